"""The package's values as JSON values and back, for caches, recordings and saved conversations.

Fields that hold their default are left out, unknown fields are ignored when reading, so that what an older or a newer
version wrote can be read.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from decimal import Decimal
from operator import attrgetter
from types import NoneType
from typing import Any, TypeVar, get_args

from llm_client.json_text import JsonObject, JsonValue
from llm_client.messages import (
    CallPart,
    Citation,
    CompletionResult,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    StreamEvent,
    TextPart,
    TokenLogprob,
    ToolCall,
)
from llm_client.spec import OutputSchema, RequestSpec
from llm_client.tools.server import dump_server_tool
from llm_client.tools.tool import Tool
from llm_client.usage import Usage

V = TypeVar("V")

_PART_TYPES: dict[str, type[Part]] = {
    "text": TextPart,
    "media": MediaPart,
    "reasoning": ReasoningPart,
    "refusal": RefusalPart,
    "call": CallPart,
}
_PART_NAMES = {kind: name for name, kind in _PART_TYPES.items()}


_VALUES: tuple[type[Any], ...] = (
    CallPart,
    Citation,
    CompletionResult,
    MediaPart,
    Message,
    OutputSchema,
    ReasoningPart,
    RefusalPart,
    RequestSpec,
    StreamEvent,
    TextPart,
    ToolCall,
    Usage,
)
_DEFAULTS: dict[type[Any], dict[str, Any]] = {
    kind: {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(kind)
    }
    for kind in _VALUES
}
"""The fields of each value with their defaults; `MISSING` for a field that has none."""
_READERS: dict[type[Any], attrgetter[tuple[Any, ...]]] = {
    kind: attrgetter(*known) for kind, known in _DEFAULTS.items()
}
"""Read all fields of a value at once."""


def _dump(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their default, as they are."""
    kind = type(value)
    return {
        name: entry
        for (name, default), entry in zip(_DEFAULTS[kind].items(), _READERS[kind](value), strict=True)
        if entry is not default and entry != default
    }


def _load(kind: type[V], data: Mapping[str, Any], **replaced: Any) -> V:
    known = _DEFAULTS[kind]
    return kind(**{name: entry for name, entry in data.items() if name in known} | replaced)


def dump_part(part: Part) -> dict[str, JsonValue]:
    """Return a message part as JSON values."""
    return {"type": _PART_NAMES[type(part)], **_dump(part)}


def load_part(data: JsonObject) -> Part:
    """Read what `dump_part` wrote."""
    given: Mapping[str, Any] = data
    return _load(_PART_TYPES[given["type"]], data)


def dump_tool_call(call: ToolCall) -> dict[str, JsonValue]:
    """Return a tool call as JSON values."""
    return _dump(call)


def load_tool_call(data: JsonObject) -> ToolCall:
    """Read what `dump_tool_call` wrote."""
    return _load(ToolCall, data)


def dump_message(message: Message) -> dict[str, JsonValue]:
    """Return a message as JSON values."""
    data = _dump(message)
    if not isinstance(message.content, str):
        data["content"] = [dump_part(part) for part in message.content]
    if message.tool_calls:
        data["tool_calls"] = [_dump(call) for call in message.tool_calls]
    return data


def load_message(data: JsonObject) -> Message:
    """Read what `dump_message` wrote."""
    given: Mapping[str, Any] = data
    content = given.get("content", "")
    return _load(
        Message,
        data,
        content=content if isinstance(content, str) else tuple(load_part(part) for part in content),
        tool_calls=tuple(load_tool_call(call) for call in given.get("tool_calls", ())),
    )


def check_message(message: Message) -> None:
    """Look at the types of what a stranger's message holds, which `load_message` takes as they are.

    Raises:
        TypeError: A field is of another type than its own.
    """
    if message.role not in get_args(Role):
        raise TypeError("role is none")
    parts = () if isinstance(message.content, str) else message.content
    for value in (message, *message.tool_calls, *parts):
        for name, types in _TYPES_OF_FIELDS[type(value)]:
            if not isinstance(getattr(value, name), types):
                raise TypeError(f"{name} is of another type")


_TYPES_BY_HINT: dict[Any, tuple[type[Any], ...]] = {
    "str": (str,),
    "str | None": (str, NoneType),
    "bool": (bool,),
    "dict[str, Any]": (dict,),
}
_TYPES_OF_FIELDS: dict[type[Any], list[tuple[str, tuple[type[Any], ...]]]] = {
    kind: [(field.name, _TYPES_BY_HINT[field.type]) for field in fields(kind) if field.type in _TYPES_BY_HINT]
    for kind in (Message, ToolCall, *_PART_NAMES)
}
"""Sizes of images, which are taken for none where they cannot be, are not among them."""


def dump_usage(usage: Usage) -> dict[str, JsonValue]:
    """Return a usage as JSON values; the cost is decimal text."""
    data = _dump(usage)
    if usage.cost is not None:
        data["cost"] = str(usage.cost)
    if usage.iterations:
        data["iterations"] = [dump_usage(iteration) for iteration in usage.iterations]
    return data


def load_usage(data: JsonObject) -> Usage:
    """Read what `dump_usage` wrote."""
    given: Mapping[str, Any] = data
    cost = given.get("cost")
    return _load(
        Usage,
        data,
        cost=None if cost is None else Decimal(cost),
        iterations=tuple(load_usage(iteration) for iteration in given.get("iterations", ())),
    )


def dump_result(result: CompletionResult) -> dict[str, JsonValue]:
    """Return a model's answer as JSON values."""
    data = _dump(result)
    data["usage"] = dump_usage(result.usage)
    if result.saved is not None:
        data["saved"] = dump_usage(result.saved)
    if result.tool_calls:
        data["tool_calls"] = [_dump(call) for call in result.tool_calls]
    if result.reasoning:
        data["reasoning"] = [dump_part(part) for part in result.reasoning]
    if result.parts:
        data["parts"] = [dump_part(part) for part in result.parts]
    if result.citations:
        data["citations"] = [_dump(citation) for citation in result.citations]
    if result.logprobs:
        data["logprobs"] = [list(entry) for entry in result.logprobs]
    if result.vectors:
        data["vectors"] = [_dump_vector(vector) for vector in result.vectors]
    return data


def load_result(data: JsonObject) -> CompletionResult:
    """Read what `dump_result` wrote."""
    given: Mapping[str, Any] = data
    saved = given.get("saved")
    return _load(
        CompletionResult,
        data,
        usage=load_usage(given.get("usage", {})),
        saved=None if saved is None else load_usage(saved),
        tool_calls=tuple(load_tool_call(call) for call in given.get("tool_calls", ())),
        reasoning=tuple(_load(ReasoningPart, part) for part in given.get("reasoning", ())),
        parts=tuple(load_part(part) for part in given.get("parts", ())),
        citations=tuple(map(_load_citation, given.get("citations", ()))),
        logprobs=tuple(map(_load_logprob, given.get("logprobs", ()))),
        vectors=tuple(_load_vector(vector) for vector in given.get("vectors", ())),
    )


def _load_citation(data: Mapping[str, Any]) -> Citation:
    pages = data.get("pages")
    return _load(Citation, data, pages=None if pages is None else tuple(pages))


def _load_logprob(entry: Sequence[Any]) -> TokenLogprob:
    token, logprob, alternatives = entry
    return TokenLogprob(token, logprob, tuple((other, likely) for other, likely in alternatives))


def _dump_vector(vector: Sequence[float]) -> str:
    """Return a vector's single-precision numbers, little end first, as base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _load_vector(text: str) -> tuple[float, ...]:
    packed = base64.b64decode(text)
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def dump_event(event: StreamEvent) -> dict[str, JsonValue]:
    """Return a stream event as JSON values.

    Raises:
        TypeError: It is an agent's last event, whose result is not a model's answer.
    """
    data = _dump(event)
    if event.tool_call is not None:
        data["tool_call"] = dump_tool_call(event.tool_call)
    if event.usage is not None:
        data["usage"] = dump_usage(event.usage)
    if event.result is not None:
        if not isinstance(event.result, CompletionResult):
            raise TypeError("only events of a model's stream can be written")
        data["result"] = dump_result(event.result)
    return data


def load_event(data: JsonObject) -> StreamEvent:
    """Read what `dump_event` wrote."""
    given: Mapping[str, Any] = data
    call, usage, result = given.get("tool_call"), given.get("usage"), given.get("result")
    return _load(
        StreamEvent,
        data,
        tool_call=None if call is None else load_tool_call(call),
        usage=None if usage is None else load_usage(usage),
        result=None if result is None else load_result(result),
    )


def dump_tool(tool: Tool) -> dict[str, JsonValue]:
    """Return what a model is told of a tool, as JSON values."""
    data: dict[str, JsonValue] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return data | {"strict": True} if tool.strict else data


def dump_spec(spec: RequestSpec) -> dict[str, JsonValue]:
    """Return what a request asks, as JSON values: everything that can change the answer, so not its time-out."""
    data = _dump(spec)
    data.pop("timeout", None)
    data["messages"] = [dump_message(message) for message in spec.messages]
    if spec.tools:
        data["tools"] = [dump_tool(tool) for tool in spec.tools]
    if spec.server_tools:
        data["server_tools"] = [dump_server_tool(tool) for tool in spec.server_tools]
    if spec.stop:
        data["stop"] = list(spec.stop)
    if spec.output_schema is not None:
        data["output_schema"] = _dump(spec.output_schema)
    if spec.extra:
        data["extra"] = dict(spec.extra)
    return data
