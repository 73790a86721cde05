"""What the fields of a Chat Completions answer mean, for whole answers and for streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from llm_client.messages import FinishReason, ReasoningPart, ToolCall
from llm_client.providers.response import make_tool_call, whole_number
from llm_client.usage import Usage

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}


def read_finish(stated: Any) -> FinishReason | None:
    """Return why the answer ended; unknown reasons are `other`."""
    return _FINISH.get(stated, "other") if isinstance(stated, str) and stated else None


def read_content(content: Any) -> tuple[str, str]:
    """Return an answer's text and its thoughts. Mistral's reasoning models answer with a list of both."""
    if content is None or isinstance(content, str):
        return content or "", ""
    text: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if part.get("type") == "thinking":
            thoughts += [piece.get("text", "") for piece in part.get("thinking") or ()]
        elif part.get("type") == "text":
            text.append(part.get("text") or "")
    return "".join(text), "".join(thoughts)


def read_reasoning(provider: str, message: Mapping[str, Any], thoughts: str) -> tuple[ReasoningPart, ...]:
    """Return what a message holds of the model's reasoning, in any of the servers' fields."""
    text = message.get("reasoning_content") or message.get("reasoning") or thoughts
    names = ("reasoning_content", "reasoning_details")
    data = {name: message[name] for name in names if message.get(name)}
    if not text and not data:
        return ()
    return (ReasoningPart(provider=provider, text=text if isinstance(text, str) else "", data=data),)


def read_usage(usage: Any) -> Usage:
    """Return one answer's usage in inclusive buckets.

    OpenAI counts cached tokens inside `prompt_tokens` and reasoning inside `completion_tokens`. xAI counts
    reasoning beside them, which shows in its total.
    """
    if not isinstance(usage, Mapping):
        return Usage(requests=1)
    read, written = whole_number(usage.get("prompt_tokens")), whole_number(usage.get("completion_tokens"))
    prompt = usage.get("prompt_tokens_details") or {}
    reasoning = whole_number((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))
    if reasoning and whole_number(usage.get("total_tokens")) == read + written + reasoning:
        written += reasoning
    cached = prompt.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or usage.get("cached_tokens")
    return Usage(
        input_tokens=read,
        output_tokens=written,
        cache_read_tokens=whole_number(cached),
        cache_write_tokens=whole_number(prompt.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        requests=1,
    )


def read_call(call: Mapping[str, Any]) -> ToolCall:
    """Return one tool call of a whole answer."""
    function = call["function"]
    arguments = function.get("arguments")
    # Ollama's native shape, which some proxies pass on, has an object where OpenAI has its text.
    text = (
        arguments
        if isinstance(arguments, str)
        else ""
        if arguments is None
        else orjson.dumps(arguments).decode()
    )
    return make_tool_call(call.get("id") or "", function["name"], text)
