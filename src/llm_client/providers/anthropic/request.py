"""Requests of Anthropic's Messages API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from llm_client.errors import ConfigurationError
from llm_client.json_text import JsonValue
from llm_client.messages import (
    CompletionResult,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
)
from llm_client.providers.anthropic.open_calls import paired
from llm_client.providers.anthropic.response import PROVIDER, read_message
from llm_client.providers.anthropic.stream import MessagesStreamReader
from llm_client.providers.anthropic.usage import read_usage
from llm_client.providers.call_ids import plain_id, with_ids
from llm_client.providers.failures import Origin
from llm_client.providers.media import decode_text, own_file, refuse, require_data, taken
from llm_client.providers.response import merge_extra, object_in
from llm_client.providers.strict_schema import StrictRoom, told_in_prompt
from llm_client.providers.turn_order import PlacedCall, blocks_of, tool_name, without_last
from llm_client.spec import RequestSpec
from llm_client.tools.server import (
    CodeExecution,
    ServerTool,
    VendorTool,
    WebSearch,
    body_for,
    lacks_tool,
    settings_of,
)
from llm_client.tools.tool import Tool
from llm_client.usage import Usage

DEFAULT_MAX_TOKENS = 8192
_LEAST_BUDGET = 1024
"""Smallest thinking budget that Anthropic accepts."""
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_BUDGET_MODEL = re.compile(r"claude-(3|(opus|sonnet|haiku)-4($|-[0-5]($|\D)|-20)|4)")
"""Models before 4.6: they think within a budget; newer ones decide themselves, guided by an effort."""
_CACHED = {"type": "ephemeral"}
_THINKING = frozenset({"thinking", "redacted_thinking"})


class MessagesFormat:
    """Writes and reads the Messages API.

    Args:
        default_max_tokens: Output limit of requests that set none.
    """

    def __init__(self, default_max_tokens: int = DEFAULT_MAX_TOKENS) -> None:
        self._default_max_tokens = default_max_tokens

    def path(self, model: str, *, stream: bool) -> str:
        """Return what follows the base URL."""
        return "/v1/messages"

    def encode(self, spec: RequestSpec, model: str, *, stream: bool) -> dict[str, JsonValue]:
        """Return the request's body."""
        if spec.logprobs is not None:
            raise ConfigurationError(
                "Anthropic's API does not say how likely its tokens were; leave logprobs out"
            )
        room = StrictRoom()
        output = None if spec.output_schema is None else room.output(spec.output_schema.schema)
        if spec.output_schema is not None and output is None:
            spec = spec.evolve(messages=told_in_prompt(spec.messages, spec.output_schema))
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": self._default_max_tokens if spec.max_tokens is None else spec.max_tokens,
            "messages": _messages(with_ids(spec.messages, plain_id, unique=True)),
        }
        system = _system(spec.messages)
        optional = {
            "system": system or None,
            "tools": [*(_tool(tool, room) for tool in spec.tools), *map(_server_tool, spec.server_tools)]
            or None,
            "tool_choice": _tool_choice(spec),
            "temperature": spec.temperature,
            "top_p": spec.top_p,
            "stop_sequences": list(spec.stop) or None,
        }
        body.update((name, value) for name, value in optional.items() if value is not None)
        _put_thinking(body, spec, model)
        if output is not None:
            body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": output}
        if stream:
            body["stream"] = True
        return merge_extra(body, spec.extra) if spec.extra else body

    def decode(self, payload: object, origin: Origin, request_id: str | None) -> CompletionResult:
        """Read a whole answer."""
        return read_message(payload, origin, request_id)

    def usage(self, payload: object) -> Usage:
        """Read what a body says was used."""
        return read_usage(object_in(object_in(payload).get("usage") or {}))

    def reader(self, origin: Origin, request_id: str | None) -> MessagesStreamReader:
        """Return the reader of a new stream."""
        return MessagesStreamReader(origin, request_id)


def _system(messages: Sequence[Message]) -> str | list[dict[str, Any]]:
    """Return the instructions: a plain text where there is one, else blocks."""
    blocks: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            blocks += _blocks(message.content)
    if len(blocks) == 1 and "cache_control" not in blocks[0]:
        return str(blocks[0]["text"])
    return blocks


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the turns; results of parallel tool calls share one user turn, as the API demands."""
    turns: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "tool":
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append(_tool_result(message))
            continue
        if message.role == "user" and results is not None:
            results += _blocks(message.content)  # two user turns in a row would be two turns of one person
            results = None
            continue
        results = None
        if blocks := _said(message) if message.role == "user" else _assistant(message):
            turns.append({"role": message.role, "content": blocks})
    whole = [
        turn
        if turn["role"] == "user" or isinstance(turn["content"], str)
        else {**turn, "content": without_last(turn["content"], _THINKING)}
        for turn in paired(turns)
    ]
    turns = [turn for turn in whole if turn["content"]]
    return [*turns[:-1], *map(_begun, turns[-1:])]


def _begun(turn: dict[str, Any]) -> dict[str, Any]:
    """Return the last turn; one of the model's, which it goes on with, may not end in white space."""
    content = turn["content"]
    if turn["role"] == "user":
        return turn
    if isinstance(content, str):
        return {**turn, "content": content.rstrip()}
    last = content[-1]
    return (
        turn
        if last["type"] != "text"
        else {**turn, "content": [*content[:-1], {**last, "text": last["text"].rstrip()}]}
    )


def _said(message: Message) -> str | list[dict[str, Any]]:
    """Return what a person says; text of white space alone is refused, and so left out."""
    content = message.content
    if isinstance(content, str):
        return content if content.strip() else ""
    return _blocks(content)


def _assistant(message: Message) -> str | list[dict[str, Any]]:
    """Return a model's turn, which may neither hold blank text nor end in thinking."""
    if isinstance(message.content, str) and not message.tool_calls:
        return message.content if message.content.strip() else ""
    blocks: list[dict[str, Any]] = []
    for block in blocks_of(message, PROVIDER):
        if isinstance(block, PlacedCall):
            call = block.call
            use = {"type": "tool_use", "id": call.id, "name": tool_name(call.name), "input": call.arguments}
            blocks.append({**block.data, **use})
        elif isinstance(block, ReasoningPart):
            if "block" in block.data:
                blocks.append(block.data["block"])
        elif isinstance(block, RefusalPart):
            blocks += _blocks(block.text)
        elif not isinstance(block, MediaPart) or block.provider in ("", PROVIDER):
            blocks += _blocks((block,))
    return without_last(blocks, _THINKING)


def _tool_result(message: Message) -> dict[str, Any]:
    content = message.content
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
    if blocks := content if isinstance(content, str) and content.strip() else _given(content):
        result["content"] = blocks
    return result


def _given(content: str | Sequence[Part]) -> list[dict[str, Any]]:
    """Return what a tool has given; media that the API does not take are left out."""
    if isinstance(content, str):
        return _blocks(content)
    blocks: list[dict[str, Any]] = []
    for part in content:
        blocks += (
            taken((part,), lambda part: _blocks((part,))[0])
            if isinstance(part, MediaPart)
            else _blocks((part,))
        )
    return [block for block in blocks if block["type"] != "container_upload"]


def _blocks(content: str | Sequence[Part]) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks: list[dict[str, Any]] = []
    for part in content:
        block: dict[str, Any]
        if isinstance(part, MediaPart):
            block = _media(part)
        elif isinstance(part, TextPart) and part.text.strip():
            block = {**(part.data if part.provider == PROVIDER else {}), "type": "text", "text": part.text}
        else:
            continue
        if part.cache:
            block["cache_control"] = _CACHED
        blocks.append(block)
    return blocks


def _media(part: MediaPart) -> dict[str, Any]:
    image = part.media_type.startswith("image/")
    file_id = own_file(part, PROVIDER)
    if (
        file_id
        and not image
        and not part.media_type.startswith("text/")
        and part.media_type != "application/pdf"
    ):
        return {"type": "container_upload", "file_id": file_id}  # read by the code that is run there
    if not image and part.media_type != "application/pdf" and not part.media_type.startswith("text/"):
        refuse(part, "Anthropic's API")
    source: dict[str, Any]
    if file_id:
        source = {"type": "file", "file_id": file_id}
    elif part.url:
        source = {"type": "url", "url": part.url}
    elif part.media_type.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": decode_text(part)}
    else:
        source = {"type": "base64", "media_type": part.media_type, "data": require_data(part)}
    block: dict[str, Any] = {"type": "image" if image else "document", "source": source}
    if part.name and not image:
        block["title"] = part.name
    if part.cite and not image:
        block["citations"] = {"enabled": True}
    return block


def _tool(tool: Tool, room: StrictRoom) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.parameters,
    }
    strict = room.tool(tool.parameters) if tool.strict else None
    if strict is not None:
        encoded["input_schema"] = strict
        encoded["strict"] = True
    return encoded


def _server_tool(tool: ServerTool) -> dict[str, Any]:
    """Write a tool that runs at Anthropic, in the oldest form that all models take (SDK 2.14, `ToolUnionParam`)."""
    match tool:
        case WebSearch():
            return {"type": "web_search_20250305", **settings_of(tool), "name": tool.name}
        case CodeExecution():
            return {"type": "code_execution_20250825", "name": tool.name}
        case VendorTool():
            return body_for(PROVIDER, tool)
    raise lacks_tool("Anthropic's API", tool)


def _tool_choice(spec: RequestSpec) -> dict[str, Any] | None:
    if not spec.tools and not spec.server_tools:
        return None
    named = {"auto": "auto", "none": "none", "required": "any"}
    choice: dict[str, Any] | None = None
    if spec.tool_choice is not None:
        kind = named.get(spec.tool_choice)
        choice = {"type": kind} if kind else {"type": "tool", "name": spec.tool_choice}
    if spec.parallel_tool_calls is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return choice


def _put_thinking(body: dict[str, Any], spec: RequestSpec, model: str) -> None:
    """Ask for thinking: within a budget where one is named or the model knows nothing else, else by effort."""
    effort = spec.reasoning_effort
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif spec.reasoning_tokens is not None or (effort is not None and _BUDGET_MODEL.search(model)):
        _put_budget(body, spec, spec.reasoning_tokens or _BUDGETS[effort or "low"])
    elif effort is not None:
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = {"effort": _EFFORTS[effort]}


def _put_budget(body: dict[str, Any], spec: RequestSpec, budget: int) -> None:
    if spec.max_tokens is None:
        body["max_tokens"] += budget  # the default bounds the answer, the budget the thinking before it
    else:
        budget = min(budget, spec.max_tokens - 1)  # thinking counts as output, which the caller has bounded
    if budget >= _LEAST_BUDGET:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
