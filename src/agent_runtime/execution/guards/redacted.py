"""Content taken out of what models read and tools give: of texts, calls and names, and of documents that are text."""

from __future__ import annotations

import codecs
import hashlib
import re
import string
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from agent_runtime.execution.policy_enforcer import redactor
from llm_client.codec import load_part
from llm_client.extra_fields import signed_fields
from llm_client.messages import (
    CallPart,
    MediaPart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    foreign_data,
)
from llm_client.redaction import Redactor
from llm_client.tools.tool import ToolResult
from llm_client.turns import read_aside

_TEXTUAL: Final = re.compile(
    r"text/.*|[^/]+/(.*[+.-])?(csv|ecmascript|javascript|json|jsonl|ndjson|python-code|rtf|sh|sql|toml|typescript|xml|yaml)"
)
"""Types of documents that are text, whatever they are called."""
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNREADABLE: Final = b"<REDACTED:unreadable>"
_TO_STANDARD: Final = str.maketrans("-_", "+/", string.whitespace)
_PIECE: Final = 64 * 1024
"""Characters of a document in a URL that are read at once."""
_NOT_IN_NAMES: Final = re.compile(r"[^\w.-]+")


async def redacted_messages(messages: Sequence[Message], kinds: tuple[str, ...]) -> Sequence[Message]:
    """Return messages without some kinds of content; what a vendor signed or encoded stays as it is.

    Long ones are read in a thread, so that other jobs go on meanwhile.
    """
    cleaner = redactor(kinds)

    def cleaned() -> list[Message]:
        return [_redacted(message, cleaner) for message in messages]

    return await read_aside(messages, cleaned)


async def redacted_result_of(result: ToolResult, kinds: tuple[str, ...]) -> ToolResult:
    """Return a tool's result without some kinds of content; a long one is read in a thread."""
    cleaner = redactor(kinds)

    def cleaned() -> ToolResult:
        return replace(
            result,
            content=cleaner.redact(result.content),
            value=_redacted_value(result.value, cleaner),
            error=cleaner.redact(result.error),
            media=tuple(_redacted_media(part, cleaner) for part in result.media),
        )

    return await read_aside(result, cleaned)


def _redacted(message: Message, cleaner: Redactor) -> Message:
    content: str | tuple[Part, ...]
    if isinstance(message.content, str):
        content = cleaner.text(message.content)
    else:
        content = tuple(_redacted_part(part, cleaner) for part in message.content)
    calls = tuple(
        replace(
            call,
            id=_redacted_id(call.id, cleaner),
            name=_redacted_name(call.name, cleaner),
            arguments=cleaner.redact(call.arguments),
            malformed=cleaner.redact(call.malformed),
        )
        for call in message.tool_calls
    )
    name = message.name and _redacted_name(message.name, cleaner)
    answered = message.tool_call_id and _redacted_id(message.tool_call_id, cleaner)
    if (content, calls, name, answered) == (
        message.content,
        message.tool_calls,
        message.name,
        message.tool_call_id,
    ):
        return message
    return replace(message, content=content, tool_calls=calls, name=name, tool_call_id=answered)


def _redacted_part(part: Part, cleaner: Redactor) -> Part:
    if isinstance(part, MediaPart):
        return _redacted_media(part, cleaner)
    if isinstance(part, TextPart | RefusalPart):
        return replace(part, text=cleaner.text(part.text), data=_redacted_data(part, cleaner))
    if isinstance(part, CallPart):
        call_id = _redacted_id(part.call_id, cleaner)
        return replace(part, call_id=call_id, data=_redacted_data(part, cleaner))
    return part if part.data else replace(part, text=cleaner.text(part.text))


def _redacted_data(part: TextPart | RefusalPart | CallPart, cleaner: Redactor) -> dict[str, Any]:
    """Return what goes back beside a text or a call: what is signed as it is, and of the rest what is known and holds nothing to take out.

    Half of a quotation or of an id would be refused, so such a field is left out whole.
    """
    if not part.data:
        return part.data
    signed, others = signed_fields(part.data), foreign_data(part)
    return {
        name: value
        for name, value in part.data.items()
        if name in signed or (name not in others and cleaner.redact({name: value}) == {name: value})
    }


def _redacted_name(name: str, cleaner: Redactor) -> str:
    """Return whose message it is without what is taken out; vendors refuse the marks that stand in texts."""
    left = cleaner.text(name)
    return name if left == name else _NOT_IN_NAMES.sub("_", left).strip("_")


def _redacted_id(call_id: str, cleaner: Redactor) -> str:
    """Return a call's id without what is taken out; the same one wherever it stands, and another one for another call."""
    left = cleaner.text(call_id)
    if left == call_id:
        return call_id
    told_apart = hashlib.blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{_NOT_IN_NAMES.sub('_', left).strip('_')}_{told_apart}"


def _redacted_media(part: MediaPart, cleaner: Redactor) -> MediaPart:
    """Return a medium with its name, and the document it is if that is text, without what is taken out."""
    if part.vendor_data:
        return part
    is_text = _is_text(part.media_type)
    data = _redacted_base64(part.data, cleaner) if part.data and is_text else part.data
    url = _redacted_url(part.url, is_text, cleaner) if part.url else part.url
    return replace(part, data=data, url=url, name=part.name and cleaner.text(part.name))


def _redacted_url(url: str, is_text: bool, cleaner: Redactor) -> str:
    """Return a URL that is a document itself without what is taken out; any other stays as it is."""
    head, comma, payload = url.partition(",")
    scheme, _, described = head.partition(":")
    kind, *options = described.split(";")
    if scheme.strip().lower() != "data" or not (is_text or not kind.strip() or _is_text(kind)):
        return url
    if options and options[-1].strip().lower() == "base64":
        left = _redacted_base64(payload, cleaner)
    else:
        written = _unquoted(payload)
        cleaned = _redacted_bytes(written, cleaner)
        left = payload if cleaned == written else "".join(map(quote, _in_pieces(cleaned)))
    return f"{head}{comma}{left}"


def _unquoted(payload: str) -> bytes:
    """Return what a document in a URL is, piece by piece: the whole would be taken apart into as many objects as it has percent signs."""
    found, begin = [], 0
    while begin < len(payload):
        end = min(begin + _PIECE, len(payload))
        cut = payload.rfind("%", max(begin, end - 2), end)  # not between a percent sign and its digits
        end = cut if cut > begin and end < len(payload) else end
        found.append(unquote_to_bytes(payload[begin:end]))
        begin = end
    return b"".join(found)


def _in_pieces(written: bytes) -> Iterator[bytes]:
    return (written[begin : begin + _PIECE] for begin in range(0, len(written), _PIECE))


def _redacted_base64(data: str, cleaner: Redactor) -> str:
    try:
        compact = data.translate(_TO_STANDARD).rstrip("=")
        written = b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (Base64Error, ValueError):
        return b64encode(_UNREADABLE).decode()
    cleaned = _redacted_bytes(written, cleaner)
    return data if cleaned == written else b64encode(cleaned).decode()


def _redacted_bytes(written: bytes, cleaner: Redactor) -> bytes:
    """Return a text as it was encoded, without what is taken out; what is no text in any encoding that tells itself is taken out whole."""
    marked = next((encoding for mark, encoding in _MARKS if written.startswith(mark)), None)
    for encoding in (marked,) if marked else ("utf-8", "latin-1"):
        try:
            text = written.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        left = cleaner.text(text)
        return written if left == text else left.encode(encoding)
    return _UNREADABLE


def _redacted_value(value: Any, cleaner: Redactor) -> Any:
    """Return a result's value without what is taken out, documents that stand in it as media included."""
    left = cleaner.redact(value)
    if isinstance(left, list):
        return [_redacted_entry(entry, cleaner) for entry in left] if any(map(_is_media, left)) else left
    return _redacted_entry(left, cleaner)


def _redacted_entry(entry: Any, cleaner: Redactor) -> Any:
    if not _is_media(entry):
        return entry
    try:
        part = load_part(entry)
    except TypeError:  # somebody else's values, which happen to be called so
        return entry
    if not isinstance(part, MediaPart) or not _is_written_right(part):
        return entry
    left = _redacted_media(part, cleaner)
    changed = {"data": left.data, "url": left.url, "name": left.name}
    return {key: changed.get(key, value) for key, value in entry.items()}


def _is_written_right(part: MediaPart) -> bool:
    texts: tuple[object, ...] = (part.data, part.url, part.name)
    media_type: object = part.media_type
    return isinstance(media_type, str) and all(isinstance(text, str | None) for text in texts)


def _is_media(entry: object) -> bool:
    return isinstance(entry, dict) and entry.get("type") == "media"


def _is_text(media_type: str) -> bool:
    return _TEXTUAL.fullmatch(media_type.partition(";")[0].strip().lower()) is not None
