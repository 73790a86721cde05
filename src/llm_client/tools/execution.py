"""Running a tool's function once: arguments in, `ToolResult` out."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from llm_client.codec import dump_part, load_part
from llm_client.errors import ModelRetry, RunAborted, ToolError
from llm_client.exits import PASSING
from llm_client.json_text import (
    MAX_LISTS,
    dumps,
    exact,
    holds_more_lists,
    non_finite,
    read_exactly,
    whole_text,
    whole_value,
)
from llm_client.messages import MediaPart, TextPart
from llm_client.middleware import ToolInvocation
from llm_client.public_text import kind_of, raw_text_of, text_of
from llm_client.tools.image_size import sized
from llm_client.tools.threads import call_in_thread
from llm_client.tools.tool import Tool, ToolContext, ToolResult
from llm_client.turns import read_aside

_MEDIA_KINDS = frozenset({"image", "audio", "video"})
INVALID_ARGUMENTS = "invalid_arguments"
"""`error_type` of a call whose arguments do not match the tool's schema: it was not run."""
NOT_SERIALIZABLE = "result_not_serializable"
"""`error_type` of a tool that ran but returned something JSON cannot hold."""


async def execute(invocation: ToolInvocation) -> ToolResult:
    """Run the function of a tool and turn what it returns or raises into a result.

    `RunAborted` and cancellation pass through; every other exception becomes a failed result.
    """
    tool = invocation.tool
    try:
        try:
            keywords = await read_aside(invocation.arguments, partial(_keywords, invocation))
        except ToolError as error:
            return invalid_arguments(error)
        returned = await call_handler(tool, keywords)
        return await read_aside(returned, partial(to_result, returned))
    except (RunAborted, *PASSING):
        raise
    except BaseException as error:  # noqa: BLE001 -- whatever a tool raises is for the model to read
        return failure_of(error)


def _keywords(invocation: ToolInvocation) -> dict[str, Any]:
    tool = invocation.tool
    keywords = tool.validate(invocation.arguments) if tool.validate else dict(invocation.arguments)
    if tool.takes_context:
        keywords[tool.takes_context] = ToolContext(
            operation_id=invocation.operation_id,
            idempotency_key=invocation.operation_id,
            job_id=invocation.context.job_id,
            attempt=invocation.attempt,
            deadline=invocation.deadline,
            request=invocation.context,
        )
    return keywords


async def call_handler(tool: Tool, keywords: Mapping[str, object]) -> object:
    """Call a tool's function: coroutine functions here, others in a thread with this task's context variables."""
    handler = tool.handler
    called = handler if inspect.isroutine(handler) else type(handler).__call__
    if inspect.iscoroutinefunction(called):
        return await handler(**keywords)
    returned = await call_in_thread(handler, keywords, f"tool-{tool.name}")
    return await returned if inspect.isawaitable(returned) else returned


def failure(message: str, error_type: str) -> ToolResult:
    """Return a failed result whose content tells the model what went wrong."""
    return ToolResult(content=f"Error: {message}", error=message, error_type=error_type)


def invalid_arguments(error: ToolError) -> ToolResult:
    """Return the failed result of a call that a tool's schema refuses, with what is wrong."""
    return failure(f"the arguments do not match the tool's schema:\n{error}", INVALID_ARGUMENTS)


def failure_of(error: BaseException) -> ToolResult:
    """Return the failed result that stands for an exception."""
    text = raw_text_of(error)
    if isinstance(error, ModelRetry):
        return failure(text, ModelRetry.code)
    if isinstance(error, ToolError):
        return failure(text, ToolError.code)
    name = kind_of(error)
    return failure(name if text == name else f"{name}: {text}", name)


def to_result(returned: object) -> ToolResult:
    """Turn what a tool returned into JSON values and the text the model reads.

    Text is passed on as it is, a `MediaPart` (or a list of such and texts) as media with words for it, everything else is written as JSON. What JSON cannot hold is a failed result of type
    `result_not_serializable`: the function has run, so calling it again is not the answer.
    """
    if isinstance(returned, ToolResult):
        return returned
    if isinstance(returned, str):
        text = whole_text(returned)
        return ToolResult(content=text, value=text)
    pieces = _pieces(returned)
    if pieces is not None:
        return _with_media(returned, pieces)
    if holds_more_lists(returned, MAX_LISTS):
        return _not_json(returned, f"it holds more than {MAX_LISTS:,} lists and objects")
    try:
        written = dumps(returned, default=_plain)
        value = returned if returned is None or isinstance(returned, bool | int) else _read_again(written)
    except (TypeError, ValueError, RecursionError) as error:
        return _not_json(returned, text_of(error))
    if b"null" in written and (number := non_finite(returned)) is not None:
        return _not_json(returned, str(number))
    return ToolResult(content="" if returned is None else written.decode(), value=value)


def _read_again(written: bytes) -> Any:
    """Return what was written as it will be read again, whole numbers beyond those of any float among it. Raises `ValueError`."""
    try:
        return exact(orjson.loads(written), written)
    except orjson.JSONDecodeError:
        return read_exactly(written)


def label_of(part: MediaPart) -> str:
    """Return the words for a medium that stands beside a text."""
    kind = part.media_type.partition("/")[0]
    kind = kind if kind in _MEDIA_KINDS else "file"
    return f"[{kind} {part.media_type} {part.name or ''}".rstrip() + "]"


def media_of(value: object) -> tuple[MediaPart, ...]:
    """Return the media of a result's value, as `to_result` writes them there."""
    entries = value if isinstance(value, list) else [value]
    written = [entry for entry in entries if isinstance(entry, dict) and entry.get("type") == "media"]
    try:
        parts = [load_part(entry) for entry in written]
    except TypeError:  # somebody else's values, which happen to be called so
        return ()
    return tuple(part for part in parts if isinstance(part, MediaPart))


def _pieces(returned: Any) -> Sequence[str | TextPart | MediaPart] | None:
    """Return what a tool has returned as texts and media; nothing, where no media are among it."""
    pieces = returned if isinstance(returned, list | tuple) else (returned,)
    if not any(isinstance(piece, MediaPart) for piece in pieces):
        return None
    return pieces if all(isinstance(piece, str | TextPart | MediaPart) for piece in pieces) else None


def _with_media(returned: Any, pieces: Sequence[str | TextPart | MediaPart]) -> ToolResult:
    texts, values, media = [], [], []
    for piece in pieces:
        part: TextPart | MediaPart = TextPart(text=piece) if isinstance(piece, str) else piece
        if isinstance(part, MediaPart):
            media.append(part := sized(part))
        texts.append(label_of(part) if isinstance(part, MediaPart) else whole_text(part.text))
        values.append(whole_value(dump_part(part)))
    return ToolResult(
        content="\n".join(texts),
        value=values if isinstance(returned, list | tuple) else values[0],
        media=tuple(media),
    )


def _not_json(returned: Any, reason: str) -> ToolResult:
    kind = type(returned).__name__
    return failure(
        f"the tool ran but returned a {kind} that cannot be written as JSON: {reason}", NOT_SERIALIZABLE
    )


def _plain(value: Any) -> Any:
    """Translate what orjson does not know; it asks again for what is inside."""
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return whole_value(sorted(value, key=repr))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
    if type(value).__module__ in {"decimal", "pathlib"}:
        return whole_text(str(value))
    raise TypeError(f"type {type(value).__name__} is not JSON")
