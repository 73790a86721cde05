"""Sessions of MCP clients, counted: of each key, until they are ended or nobody has used them for long.

The SDK keeps the sessions; this counts what it keeps, by the ids in its answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from agent_runtime.ports.clock import Clock


@dataclass(slots=True)
class _Open:
    owner: str
    used_at: float
    requests: int = 0


class Sessions:
    """Counts sessions in this process.

    Args:
        clock: What time it is.
        most_each: Of one caller.
        idle: Seconds after which one that nobody uses has ended.
    """

    def __init__(self, clock: Clock, *, most_each: int, idle: float) -> None:
        self._clock = clock
        self._most_each = most_each
        self._idle = idle
        self._open: dict[str, _Open] = {}
        self._opening: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many are open."""
        self._forget_idle()
        return len(self._open)

    @contextmanager
    def opening(self, owner: str) -> Iterator[None]:
        """See that a caller may open one more, and count that while it is being opened. Raises `HTTPException` (429)."""
        self._forget_idle()
        of_owner = sum(session.owner == owner for session in self._open.values()) + self._opening[owner]
        if of_owner >= self._most_each:
            raise HTTPException(429, "too many MCP sessions are open already", headers={"Retry-After": "5"})
        self._opening[owner] += 1
        try:
            yield
        finally:
            self._opening[owner] -= 1
            if not self._opening[owner]:
                del self._opening[owner]

    def opened(self, session_id: str, owner: str) -> None:
        """Count a session from now on."""
        self._open.setdefault(session_id, _Open(owner, self._clock.monotonic()))

    def closed(self, session_id: str, owner: str) -> None:
        """Count a session of this caller no more."""
        if self._of(session_id, owner) is not None:
            del self._open[session_id]

    @contextmanager
    def used(self, session_id: str, owner: str) -> Iterator[None]:
        """Keep a session of this caller for as long as a request of it is answered."""
        session = self._of(session_id, owner)
        if session is None:
            yield
            return
        session.requests += 1
        try:
            yield
        finally:
            session.requests -= 1
            session.used_at = self._clock.monotonic()

    def _of(self, session_id: str, owner: str) -> _Open | None:
        session = self._open.get(session_id)
        return session if session is not None and session.owner == owner else None

    def _forget_idle(self) -> None:
        before = self._clock.monotonic() - self._idle
        idle = [name for name, each in self._open.items() if not each.requests and each.used_at <= before]
        for name in idle:
            del self._open[name]
