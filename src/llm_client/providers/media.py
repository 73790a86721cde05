"""Images, sounds and files on their way into a vendor's request."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn

from llm_client.errors import ConfigurationError
from llm_client.messages import MediaPart, Part

_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What every vendor takes as an image."""
_AUDIO_FORMATS = {"wav": "wav", "x-wav": "wav", "wave": "wav", "mp3": "mp3", "mpeg": "mp3"}


def data_url(part: MediaPart) -> str:
    """Return the part as a `data:` URL, or its URL if it has one."""
    if part.url:
        return part.url
    return f"data:{part.media_type};base64,{require_data(part)}"


def require_data(part: MediaPart) -> str:
    """Return the part's base64 data. Raises `ConfigurationError` when it has none."""
    if part.data is None:
        raise ConfigurationError(
            f"a {part.media_type} part needs its data here; a URL or an id is not enough for this API"
        )
    return part.data


def own_file(part: MediaPart, provider: str) -> str | None:
    """Return the id of a file at this vendor; `None` where the part names none. Raises `ConfigurationError` for another vendor's."""
    if part.file_id and part.provider not in ("", provider):
        raise ConfigurationError(
            f"the file {part.file_id!r} is at {part.provider}; {provider} cannot read it"
        )
    return part.file_id


def decode_text(part: MediaPart) -> str:
    """Return the text of a `text/*` part. Raises `ConfigurationError` when it is not base64 of UTF-8."""
    try:
        return b64decode(require_data(part), validate=True).decode("utf-8")
    except (Base64Error, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the data of a {part.media_type} part is not base64 of UTF-8 text"
        ) from error


def audio_format(part: MediaPart) -> str:
    """Return OpenAI's name of an audio format. Raises `ConfigurationError` for others than WAV and MP3."""
    name = _AUDIO_FORMATS.get(part.media_type.partition("/")[2])
    return name if name is not None else refuse(part, "OpenAI's API")


def taken(parts: str | Iterable[Part], write: Callable[[MediaPart], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the media of a tool's result as an API takes them.

    Those it does not take are left out, as a tool may give anything and the conversation has to go on; the result's text tells of them.
    """
    written = []
    for part in () if isinstance(parts, str) else parts:
        if not isinstance(part, MediaPart):
            continue
        if part.media_type.startswith("image/") and part.media_type not in _IMAGES:
            continue
        with suppress(ConfigurationError):
            written.append(write(part))
    return written


def refuse(part: MediaPart, api: str) -> NoReturn:
    """Say that an API does not take such a part."""
    raise ConfigurationError(f"{api} does not take {part.media_type} parts")
