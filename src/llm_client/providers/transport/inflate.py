"""Decompressing answers piece by piece, so that whoever reads them can stop in time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from llm_client.errors import InvalidResponse

INFLATED_PIECE = 1024 * 1024
"""Bytes that a piece of a body becomes at once at most."""


def encoding_of(header: str | None) -> str | None:
    """Return how a body is compressed by its `content-encoding`; `None` if it is not."""
    encoding = (header or "").strip().lower()
    return None if encoding in ("", "identity") else encoding


class Inflate:
    """Decompresses a body in pieces of bounded size, so that a small body cannot become a huge one at once.

    What follows the end of the compressed data would become nothing, however much there is, and zlib would keep all of it.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise InvalidResponse(f"the answer is compressed with {encoding!r}, which was not asked for")
        # 32 + MAX_WBITS: zlib recognises gzip and zlib headers by itself.
        self._object = zlib.decompressobj(32 + zlib.MAX_WBITS)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a piece of the body becomes. Raises `InvalidResponse` when it is damaged."""
        try:
            while chunk:
                if self._object.eof:
                    raise InvalidResponse("the compressed answer goes on behind its end")
                piece = self._object.decompress(chunk, INFLATED_PIECE)
                if piece:
                    yield piece
                chunk = self._object.unconsumed_tail or self._object.unused_data
        except zlib.error as error:
            raise InvalidResponse(f"the compressed answer is damaged: {error}") from error
