"""Stopping the clocks and giving back the slots of a call that waits durably.

A tool may wait a week for a person, a model call a minute for another call's budget reservation. Such a wait counts
against no time-out and occupies no concurrency slot. Whatever limits a call (its time-outs, its slots) registers here
as a `Hold` for as long as the call runs; who waits writes `async with paused():` around the wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol

from llm_client.errors import RunAborted


class Hold(Protocol):
    """Something a running call occupies or is measured by.

    Each `pause` is followed by one `resume` or one `restart`; pairs may nest and overlap, the outermost counts.
    """

    def pause(self) -> None:
        """Give back what is held, or stop the clock."""
        ...

    async def resume(self) -> None:
        """Take it again, waiting if need be, or start the clock with the time that was left."""
        ...

    def restart(self) -> None:
        """End the pause of a call that was cancelled: start the clock, but wait for nothing."""
        ...


_HOLDS: ContextVar[tuple[Hold, ...]] = ContextVar("llm_client_holds", default=())


@contextmanager
def holding(hold: Hold) -> Iterator[None]:
    """Register a hold of the call that runs inside."""
    token = _HOLDS.set((*_HOLDS.get(), hold))
    try:
        yield
    finally:
        _HOLDS.reset(token)


@asynccontextmanager
async def paused() -> AsyncIterator[None]:
    """Release every hold of the enclosing calls while the body waits.

    Afterwards slots are taken back first, so that waiting for one counts against no time-out; the clocks start again
    last. When the wait is cancelled or aborts the run, the slots are not taken back: the call ends anyway.
    """
    holds = sorted(_HOLDS.get(), key=_is_clock)
    for hold in holds:
        hold.pause()
    waiting = deque(holds)
    try:
        try:
            yield
        except RunAborted:
            raise
        except Exception:
            await _resume(waiting)
            raise
        await _resume(waiting)
    finally:
        for hold in waiting:
            hold.restart()


async def _resume(waiting: deque[Hold]) -> None:
    while waiting:
        await waiting[0].resume()
        waiting.popleft()


def _is_clock(hold: Hold) -> bool:
    return isinstance(hold, TimeLimit)


class Limit(Protocol):
    """A bound on the time that the body of an `async with` may take, which raises `TimeoutError`."""

    @property
    def expired(self) -> bool:
        """Whether the time was up, and so the body was ended."""
        ...

    async def __aenter__(self) -> object:
        """Begin."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End."""
        ...


class TimeLimit:
    """A time-out that can be paused; `async with TimeLimit(seconds):` raises `TimeoutError` when the time is up.

    Args:
        seconds: Time the body may take, waits inside `paused()` excepted; `None` never ends.
    """

    __slots__ = ("_depth", "_expired", "_left", "_timeout", "_token")

    def __init__(self, seconds: float | None) -> None:
        self._left = seconds
        self._depth = 0
        self._expired = False
        self._timeout: asyncio.Timeout | None = None

    @property
    def deadline(self) -> float | None:
        """The event loop's time at which the body is cancelled; `None` while paused or unlimited."""
        return self._timeout.when() if self._timeout is not None else None

    @property
    def expired(self) -> bool:
        """Whether the time was up, and so the body was cancelled."""
        return self._expired or (self._timeout is not None and self._timeout.expired())

    def remaining(self) -> float | None:
        """Return the seconds that are left, 0 at least; `None` when unlimited."""
        deadline = self.deadline
        if deadline is None:
            return self._left
        return max(0.0, deadline - asyncio.get_running_loop().time())

    async def __aenter__(self) -> TimeLimit:
        self._token = _HOLDS.set((*_HOLDS.get(), self))
        if self._left is not None:
            self._timeout = asyncio.timeout(self._left)
            await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _HOLDS.reset(self._token)
        timeout, self._timeout = self._timeout, None
        if timeout is not None:
            self._expired = timeout.expired()
            await timeout.__aexit__(kind, error, trace)

    def pause(self) -> None:
        """Stop the clock."""
        self._depth += 1
        if self._depth == 1 and self._timeout is not None:
            self._left = self.remaining()
            self._reschedule(None)

    async def resume(self) -> None:
        """Start the clock with the time that was left."""
        self.restart()

    def restart(self) -> None:
        """Start the clock with the time that was left, without waiting."""
        self._depth -= 1
        if self._depth == 0 and self._timeout is not None and self._left is not None:
            self._reschedule(asyncio.get_running_loop().time() + self._left)

    def _reschedule(self, when: float | None) -> None:
        """Move the deadline, unless the time is up or the body has ended: a task it left behind may still wait."""
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(when)


def enclosing_time_limit() -> TimeLimit | None:
    """Return the innermost time limit around the running code, or `None`."""
    return next((hold for hold in reversed(_HOLDS.get()) if isinstance(hold, TimeLimit)), None)


class Slots:
    """A number of places; `async with slots.occupied():` holds one, and `paused()` gives it back meanwhile.

    Waiters are served in the order they came, those of different tenants in turns: however many wait for one of them, whoever
    comes for another has its turn after one of each.

    Args:
        size: How many may be inside at once.
    """

    __slots__ = ("_free", "_waiters", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._waiters: dict[str | None, deque[asyncio.Future[None]]] = {}
        """By tenant; whose turn is next comes first."""

    @property
    def free(self) -> int:
        """How many places nobody holds."""
        return self._free

    def occupied(self, whose: str | None = None) -> Place:
        """Return a context manager that holds a place while its body runs, on behalf of a tenant."""
        return Place(self, whose)

    async def take(self, whose: str | None = None) -> None:
        """Wait for a place and occupy it, on behalf of a tenant."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(whose, deque()).append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Hand a place to the next waiter, or free it."""
        while self._waiters:
            whose = next(iter(self._waiters))
            line = self._waiters.pop(whose)
            turn = line.popleft()
            if line:
                self._waiters[whose] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Place:
    """One occupied place of `Slots`."""

    __slots__ = ("_depth", "_held", "_left", "_slots", "_token", "_whose")

    def __init__(self, slots: Slots, whose: str | None = None) -> None:
        self._slots = slots
        self._whose = whose
        self._held = False
        self._left = False
        self._depth = 0

    async def __aenter__(self) -> Place:
        await self._slots.take(self._whose)
        self._held = True
        self._token = _HOLDS.set((*_HOLDS.get(), self))
        return self

    async def __aexit__(self, *_exception: object) -> None:
        _HOLDS.reset(self._token)
        self._left = True
        self._give()

    def _give(self) -> None:
        if self._held:
            self._held = False
            self._slots.give()

    def pause(self) -> None:
        """Give the place back."""
        self._depth += 1
        self._give()

    async def resume(self) -> None:
        """Take a place again when nobody else pauses the call any more."""
        if self._depth == 1 and not self._left:
            await self._slots.take(self._whose)
            self._held = True
        self._depth -= 1
        if self._depth > 0 or self._left:
            self._give()

    def restart(self) -> None:
        """Forget the pause; the call ends without a place."""
        self._depth -= 1
