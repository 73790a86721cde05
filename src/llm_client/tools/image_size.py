"""How large an image is, from the first bytes of its data: what it costs is bounded by that."""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode
from dataclasses import replace
from typing import Final

from llm_client.messages import MediaPart

_HEAD: Final = 64 * 1024
"""Characters of base64 that are looked at; a JPEG says its size behind its colour profile."""
_WHOLE: Final = 8 * 1024 * 1024
"""Likewise of a GIF, whose frames say how large it is; of a longer one nobody knows."""
_GIF_FRAME, _GIF_EXTENSION, _GIF_END = 0x2C, 0x21, 0x3B
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Segments of a JPEG that begin with its size."""
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Marks of a JPEG that nothing follows."""


def image_size(media_type: str, data: str) -> tuple[int, int] | None:
    """Return the width and height of a PNG, GIF, WebP or JPEG; nothing, where it is none of what it is said to be.

    Args:
        media_type: What it is said to be.
        data: Base64.
    """
    readers = {"image/png": _png, "image/gif": _gif, "image/webp": _webp, "image/jpeg": _jpeg}
    reader = readers.get(media_type)
    if reader is None:
        return None
    try:
        size = reader(b64decode(data[: _WHOLE if reader is _gif else _HEAD], validate=True))
    except (binascii.Error, struct.error, IndexError, ValueError):
        return None
    return size if size is not None and min(size) > 0 else None


def sized(part: MediaPart) -> MediaPart:
    """Return a medium with its size, where it is an image that says it and nobody else has."""
    if part.data is None or part.width is not None or part.height is not None:
        return part
    size = image_size(part.media_type, part.data)
    return part if size is None else replace(part, width=size[0], height=size[1])


def _png(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(_PNG) or head[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _gif(head: bytes) -> tuple[int, int] | None:
    if head[:6] not in (b"GIF87a", b"GIF89a"):
        return None
    width, height = struct.unpack_from("<HH", head, 6)
    at = 13 + _table_size(head[10])
    while (kind := head[at]) != _GIF_END:
        if kind == _GIF_FRAME:  # may be larger than what the file says of itself, and is shown then
            left, top, wide, high = struct.unpack_from("<HHHH", head, at + 1)
            width, height = max(width, left + wide), max(height, top + high)
            at += 11 + _table_size(head[at + 9])
        elif kind == _GIF_EXTENSION:
            at += 2
        else:
            return None
        while head[at]:
            at += 1 + head[at]
        at += 1
    return width, height


def _table_size(flags: int) -> int:
    """Return the bytes of a table of colours, if there is one."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    if head[:2] != b"\xff\xd8":
        return None
    at = 2
    while True:
        if head[at] != 0xFF:
            return None
        mark = head[at + 1]
        if mark == 0xFF:  # filling
            at += 1
        elif mark in _JPEG_BARE:
            at += 2
        elif mark in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        else:
            (length,) = struct.unpack_from(">H", head, at + 2)
            at += 2 + length
