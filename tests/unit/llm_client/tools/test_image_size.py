"""The size of an image is read off its first bytes, and of nothing else."""

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.tools.image_size import image_size


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII5x", 13, b"IHDR", width, height)


def frame(left: int, top: int, width: int, height: int, *, table: bytes = b"") -> bytes:
    flags = 0x80 if table else 0
    return b"\x2c" + struct.pack("<HHHHB", left, top, width, height, flags) + table + b"\x02\x03abc\x01d\0"


def gif(width: int, height: int, *frames: bytes) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBxx", width, height, 0x80) + bytes(6)
    return head + b"\x21\xfe\x02hi\0" + b"".join(frames) + b"\x3b"


def jpeg(width: int, height: int, *, before: bytes = b"") -> bytes:
    return b"\xff\xd8" + before + b"\xff\xc0" + struct.pack(">HBHH", 17, 8, height, width) + bytes(10)


def segment(mark: int, content: bytes) -> bytes:
    return bytes([0xFF, mark]) + struct.pack(">H", 2 + len(content)) + content


def webp(kind: bytes, content: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 100) + b"WEBP" + kind + struct.pack("<I", len(content)) + content


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


THUMBNAIL = segment(0xE1, b"Exif\0\0" + jpeg(9, 9))


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("image/png", png(640, 480)),
        ("image/gif", gif(640, 480)),
        ("image/gif", gif(640, 480, frame(0, 0, 10, 10), frame(600, 0, 40, 9, table=bytes(6)))),
        ("image/gif", gif(1, 1, frame(0, 0, 9, 9), frame(600, 470, 40, 10))),
        ("image/jpeg", jpeg(640, 480)),
        ("image/jpeg", jpeg(640, 480, before=THUMBNAIL + b"\xff\xff" + segment(0xDB, bytes(64))[1:])),
        ("image/webp", webp(b"VP8X", bytes(4) + (639).to_bytes(3, "little") + (479).to_bytes(3, "little"))),
        ("image/webp", webp(b"VP8L", b"\x2f" + (639 | 479 << 14).to_bytes(4, "little"))),
        ("image/webp", webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 640, 480))),
    ],
)
def test_a_size_is_what_the_image_says(media_type: str, data: bytes) -> None:
    assert image_size(media_type, text(data)) == (640, 480)


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("image/png", jpeg(640, 480)),
        ("image/jpeg", png(640, 480)),
        ("image/png", png(0, 480)),
        ("image/png", png(640, 480)[:20]),
        ("image/jpeg", jpeg(640, 480)[:6]),
        ("image/jpeg", b"\xff\xd8" + segment(0xE0, bytes(40))),
        ("image/jpeg", b"\xff\xd8\xff\xe0\0\0"),
        ("image/gif", gif(640, 480)[:-1]),
        ("image/gif", gif(640, 480, b"\x2f")),
        ("image/svg+xml", b"<svg width='640' height='480'/>"),
        ("audio/wav", b"RIFF"),
    ],
)
def test_what_is_no_such_image_has_no_size(media_type: str, data: bytes) -> None:
    assert image_size(media_type, text(data)) is None


@given(
    st.sampled_from(["image/png", "image/gif", "image/webp", "image/jpeg"]),
    st.binary(max_size=200),
    st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8L"]
    ),
)
def test_no_data_breaks_it(media_type: str, data: bytes, head: bytes) -> None:
    size = image_size(media_type, text(head + data))
    assert size is None or min(size) > 0


def test_what_is_no_base64_has_no_size() -> None:
    assert image_size("image/png", "no base64!") is None
