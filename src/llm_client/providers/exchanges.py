"""What goes over the wire, as the vendor writes it, for whoever writes a call down: bodies alone, since headers hold keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from llm_client.json_text import loads
from llm_client.public_text import without_keys_in

LONGEST: Final = 4 * 1024 * 1024
"""Bytes of a body that are shown; longer ones are media."""


class Exchange:
    """A request, and what was answered to it. Of a stream only the request is kept.

    Args:
        sent: The request's body.
    """

    __slots__ = ("_keys", "_received", "_sent", "status")

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._received: bytes | None = None
        self._keys: Sequence[str] = ()
        self.status: int | None = None
        """Of the answer, `None` when none has come."""

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self._sent) + len(self._received or b"")

    def request(self) -> Any:
        """Return the request as JSON values."""
        return _read(self._sent)

    def answer(self) -> Any:
        """Return the answer as JSON values, or as text where it is no JSON, without keys that it repeats; `None` where there is none."""
        return None if self._received is None else without_keys_in(_read(self._received), self._keys)

    def answered(self, status: int, body: bytes, keys: Sequence[str]) -> None:
        """Take the answer, and the keys that whoever has answered was sent."""
        self.status, self._received, self._keys = status, body, keys


def _read(body: bytes) -> Any:
    if len(body) > LONGEST:
        return f"<{len(body):,} bytes>"
    try:
        return loads(body)
    except ValueError:  # an error page, say
        return body.decode("utf-8", "replace")


_OVERHEARD: Final = ContextVar[list[Exchange] | None]("llm_client_exchanges", default=None)


@contextmanager
def overheard() -> Iterator[list[Exchange]]:
    """Give a list to which everything is added that is sent and answered inside."""
    exchanges: list[Exchange] = []
    token = _OVERHEARD.set(exchanges)
    try:
        yield exchanges
    finally:
        _OVERHEARD.reset(token)


def was_sent(body: bytes) -> None:
    """Tell whoever listens what leaves."""
    if (exchanges := _OVERHEARD.get()) is not None:
        exchanges.append(Exchange(body))


def was_answered(status: int, body: bytes, keys: Sequence[str]) -> None:
    """Tell whoever listens what has come, and which keys were sent."""
    if exchanges := _OVERHEARD.get():
        exchanges[-1].answered(status, body, keys)
