"""Sounds and pictures that a model has made, in answers of Chat Completions."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from llm_client.messages import MediaPart, StreamEvent
from llm_client.providers.response import MAX_BLOCKS, ResponseDraft
from llm_client.providers.stated import text_of

SPOKEN: Final = "spoken"
"""Marks the text that is the transcript of a sound."""
_DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+)(?:;[^,;]*)*;base64,", re.IGNORECASE)
_MAX_HEAD: Final = 200
"""Characters in which a `data:` URL says what it holds."""
_SOUNDS: Final = (
    (b"RIFF", "audio/wav"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
)
"""How formats begin; an answer does not say which of them was asked for."""


class MadeMedia:
    """The sound and the pictures of an answer or a stream.

    A sound comes in pieces: its id, its data, and the words that are spoken, which are the answer's text. OpenAI takes it back by its id
    (openai-python 3.57, `ChatCompletionAssistantMessageParam.audio`). Pictures come whole (OpenRouter's page on image generation).

    Args:
        draft: The answer.
    """

    def __init__(self, draft: ResponseDraft) -> None:
        self._draft = draft
        self._sound: dict[str, Any] = {}
        self._data: list[str] = []
        self._pictures: list[MediaPart] = []

    def take(self, message: Mapping[str, object]) -> list[StreamEvent]:
        """Take a message, or a piece of one."""
        pictures = message.get("images")
        self._pictures += filter(None, map(self._picture, pictures if isinstance(pictures, list) else ()))
        if len(self._pictures) > MAX_BLOCKS:
            raise ValueError(f"more than {MAX_BLOCKS} pictures")
        sound = message.get("audio")
        if not isinstance(sound, Mapping):
            return []
        about = {name: sound[name] for name in ("id", "expires_at") if sound.get(name) is not None}
        self._draft.kept.update(self._sound, about)
        if data := text_of(sound.get("data")):
            self._data.append(data)
        words = text_of(sound.get("transcript"))
        if words is None:
            return []
        self._draft.note({SPOKEN: True}, self)
        return self._draft.add_text(words, self)

    def end(self) -> None:
        """Put what has come behind the text."""
        if self._data or self._sound:
            data = _joined(self._data)
            about = {"audio": self._sound} if "id" in self._sound else {}
            sound = MediaPart(
                media_type=_format_of(data), data=data, provider=self._draft.provider, vendor_data=about
            )
            self._draft.add_part(sound)
        for picture in self._pictures:
            self._draft.add_part(picture)
        self._data, self._sound, self._pictures = [], {}, []

    def _picture(self, stated: Any) -> MediaPart | None:
        source = stated.get("image_url") if isinstance(stated, Mapping) else None
        url = text_of(source.get("url")) if isinstance(source, Mapping) else None
        if url is None:
            return None
        head = _DATA_URL.match(url[:_MAX_HEAD])
        if head is None:
            return MediaPart(media_type="image/png", url=url, provider=self._draft.provider)
        return MediaPart(media_type=head[1].lower(), data=url[head.end() :], provider=self._draft.provider)


def _joined(pieces: list[str]) -> str:
    """Return base64 that came in pieces: cut anywhere, or each encoded by itself, which its padding shows. Raises `ValueError`."""
    if not any("=" in piece for piece in pieces[:-1]):
        return "".join(pieces)
    return b64encode(b"".join(map(b64decode, pieces))).decode()


def _format_of(data: str) -> str:
    """Return the media type of a sound by how it begins; what begins with nothing known is plain samples."""
    head = b""
    with suppress(ValueError):
        head = b64decode(data[:8])
    return next((kind for mark, kind in _SOUNDS if head.startswith(mark)), "audio/pcm")
