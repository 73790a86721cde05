"""What an MCP tool gives, as the model reads it: texts, links and structured content in words, images and sounds as media."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from llm_client.errors import ToolError
from llm_client.json_text import JsonObject, dumps, long_floats
from llm_client.messages import MediaPart
from llm_client.public_text import without_keys, without_keys_in
from llm_client.tools.execution import failure, label_of
from llm_client.tools.foreign_schema import plain_text
from llm_client.tools.image_size import sized
from llm_client.tools.tool import ToolResult

if TYPE_CHECKING:
    from mcp.types import CallToolResult

MAX_RESULT_CHARACTERS: Final = 1_000_000
"""Of a result's text, and of its structured content as JSON."""
MAX_REFUSAL: Final = 4_000
"""Characters of what a server says when it refuses a call."""
MAX_MEDIA: Final = 20
"""Images, sounds and files of one result that are shown; of others it is told that they were there."""
_MAX_NAME: Final = 200
_PDF: Final = "application/pdf"


def result_of(answer: CallToolResult, keys: Sequence[str] = ()) -> ToolResult:
    """Turn a server's answer into a result, without keys that it repeats; a failure's content is told as well."""
    texts: list[str] = []
    media: list[MediaPart] = []
    for block in answer.content:
        text, medium = _read(block)
        if medium is not None and len(media) < MAX_MEDIA:
            media.append(medium)
        texts.append(text)
    structured = without_keys_in(_kept(answer.structured_content), keys)
    if structured is not None and not any(block.type == "text" for block in answer.content):
        texts.append(dumps(structured).decode())
    content = without_keys(plain_text("\n".join(texts)[:MAX_RESULT_CHARACTERS]), keys)
    if answer.is_error:
        why = content[:MAX_REFUSAL] or "the tool failed without saying why"
        return replace(failure(why, ToolError.code), media=tuple(media))
    value = content if structured is None else structured
    return ToolResult(content=content, value=value, media=tuple(media))


def check_digits(arguments: JsonObject) -> None:
    """Refuse arguments with a number that the SDK would send as another one: it writes floats. Raises `ToolError` for the model."""
    for number in long_floats(arguments):
        if Decimal(number.text) != Decimal(repr(float(number))):
            raise ToolError(
                f"the tool was not called: the number {number.text[:_MAX_NAME]} has more digits than its server would be told; "
                "write it with at most 15 digits, or as a text where the tool takes one"
            )


def size_of(answer: CallToolResult) -> int:
    """Return about how many characters an answer has, its media included."""
    return sum(_length(block) + _length(getattr(block, "resource", None)) for block in answer.content)


def _length(block: Any) -> int:
    return sum(len(getattr(block, name, None) or "") for name in ("text", "data", "blob"))


def _read(block: Any) -> tuple[str, MediaPart | None]:
    """Return the words for a block, and the medium that it holds."""
    if block.type == "text":
        return block.text, None
    if block.type in ("image", "audio"):
        return _medium(block.mime_type, block.data)
    if block.type == "resource_link":
        about = f" {block.description}" if block.description else ""
        return f"[link {_short(block.title or block.name)}: {_short(block.uri)}]{about}", None
    if block.type == "resource":
        return _resource(block.resource)
    return f"[{_short(block.type)}]", None


def _resource(resource: Any) -> tuple[str, MediaPart | None]:
    place, kind = _short(resource.uri), resource.mime_type or ""
    text = getattr(resource, "text", None)
    if text is not None:
        return f"[resource {place}]\n{text}", None
    blob = resource.blob
    if kind == _PDF or kind.startswith(("image/", "audio/")):
        told, medium = _medium(kind, blob, name=place.rpartition("/")[2] or None)
        return f"[resource {place}]\n{told}", medium
    if kind.startswith("text/") or kind in ("application/json", "application/xml"):
        try:
            return f"[resource {place}]\n{b64decode(blob, validate=True).decode()}", None
        except (binascii.Error, UnicodeDecodeError):
            pass
    return f"[resource {place} {_short(kind)}]".replace(" ]", "]"), None


def _medium(kind: str, data: str, name: str | None = None) -> tuple[str, MediaPart | None]:
    part = MediaPart(media_type=_short(kind), data=data, name=name)
    try:
        b64decode(data, validate=True)
    except (binascii.Error, ValueError):  # no vendor would take it, and the conversation could not go on
        return f"{label_of(part)} that cannot be read", None
    return label_of(part), sized(part)


def _short(text: Any) -> str:
    return plain_text(str(text)[:_MAX_NAME])


def _kept(value: Any) -> Any:
    """Return structured content that is JSON which we can write, and not too long."""
    try:
        return value if value is not None and len(dumps(value)) <= MAX_RESULT_CHARACTERS else None
    except TypeError:  # a number that is too long
        return None
