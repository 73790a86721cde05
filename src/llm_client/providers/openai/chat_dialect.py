"""How the servers that speak OpenAI's Chat Completions differ from each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDialect:
    """One server's way to speak Chat Completions. The defaults fit most compatible servers."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens", "by_model"] = "by_model"
    """`by_model`: the newer name for OpenAI's reasoning models behind a gateway, which refuse the older one."""
    seed_field: str = "seed"
    required_choice: str = "required"
    """What `tool_choice` says when the model must call some tool."""
    streams_usage: bool = True
    """Usage comes in a stream when `stream_options` asks for it; without, it comes anyway."""
    reasoning: Literal["effort", "object"] = "effort"
    """`reasoning_effort: …`, or OpenRouter's `reasoning: {effort, max_tokens}`."""
    carried_reasoning: tuple[str, ...] = ()
    """Fields of an assistant message that the server wants back in later turns, such as `reasoning` or `reasoning_content`."""
    thinking_chunks: bool = False
    """The thoughts among the texts of an answer (`{"type": "thinking", …}`) come back in later turns, where they stood."""
    takes_refusals: bool = False
    """An assistant message has a field `refusal`; without it, what a model refused with goes back as its text."""
    short_call_ids: bool = False
    """Ids of tool calls must be nine letters and digits; those of other vendors are shortened the same way each time."""
    longest_call_id: int | None = None
    """Characters of a tool call's id; longer ones, of other vendors, are shortened the same way each time."""
    answers_tools_first: bool = False
    """What a person says may not follow a tool's result: an answer of the model's has to stand between, and one word does."""
    takes_media: bool = True
    """The server takes images and sounds; without it, those of tools' results are left out, of which their text tells."""
    web_search: Literal["options", "openrouter"] | None = None
    """How the server is asked to search the web: by OpenAI's `web_search_options`, or by OpenRouter's tool of its own."""
    output_schema: bool = True
    """The server enforces a JSON Schema; without it, it only promises JSON and the schema goes into the prompt."""
    tools_with_output_schema: bool = True
    """Tools and an output schema go together. Without it, the schema of a request with tools goes into the prompt: servers that write
    their answers by a grammar never call a tool under one, others refuse."""


OPENAI = ChatDialect(
    max_tokens_field="max_completion_tokens", takes_refusals=True, web_search="options", longest_call_id=40
)
"""The bound on ids: "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40" (github.com/vercel/ai/issues/5171)."""
COMPATIBLE = ChatDialect()
OPENROUTER = ChatDialect(
    max_tokens_field="max_tokens",
    reasoning="object",
    carried_reasoning=("reasoning_details", "annotations"),
    web_search="openrouter",
)
"""Annotations of a file hold what it says: it is not read again where they come back (OpenRouter's page on PDF inputs)."""
MISTRAL = ChatDialect(
    seed_field="random_seed",
    required_choice="any",
    streams_usage=False,
    short_call_ids=True,
    thinking_chunks=True,
    answers_tools_first=True,
)
"""An assistant message keeps its `ThinkChunk`s (docs.mistral.ai/studio-api/conversations/reasoning, "multi-turn conversations"). 400, "Unexpected role
'user' after role 'tool'" (github.com/zed-industries/zed/pull/31736, github.com/NousResearch/hermes-agent/issues/20154)."""
GROQ = ChatDialect(tools_with_output_schema=False)
"""400, "json mode cannot be combined with tool/function calling" (github.com/vercel/ai/issues/10023)."""
LOCAL = ChatDialect(tools_with_output_schema=False)
"""A schema keeps the tokens of a tool call from being written: vLLM, github.com/vllm-project/vllm/issues/39929. LM Studio writes by llama.cpp's
grammars, as Ollama does; nobody has reported it there."""
OLLAMA = ChatDialect(carried_reasoning=("reasoning",), tools_with_output_schema=False)
"""The same, as its maintainers say (github.com/ollama/ollama/issues/11185 and 13750)."""
DEEPSEEK = ChatDialect(
    max_tokens_field="max_tokens",
    carried_reasoning=("reasoning_content",),
    takes_media=False,
    output_schema=False,
)
