"""Sharing the event loop: work without an end of waiting in it – recalling a long journal – gives others a turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from time import perf_counter
from typing import Any, Final, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

T = TypeVar("T")

SLICE: Final = 0.01
"""Seconds of the loop's time after which others get a turn."""
BATCH: Final = 16
"""Tasks that are let through at once: what each does before it comes back here is short."""
CHUNK: Final = 500
"""Items of a long list that are worked on at once."""
LARGE: Final = 64 * 1024
"""About so many bytes of JSON are written and read in a thread."""
THREADS: Final = 4
"""Of one event loop, for what is done beside it. It is the processor's work, so more would not be done sooner."""
_POOLS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor]] = WeakKeyDictionary()
_PER_ITEM: Final = 8
_SCALARS: Final = frozenset({str, bytes, int, float, bool, type(None)})
_LEAVES: Final = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    type,
    Decimal,
    date,
    time,
    timedelta,
    UUID,
    Enum,
)
"""Types whose values hold no others."""


class Turns:
    """Lets any number of tasks work through what needs no waiting, without holding the loop for longer than a slice.

    A plain `asyncio.sleep(0)` would not do: of a thousand tasks that are ready, the loop runs all before anything else. Whoever
    comes when the slice of this turn of the loop is used up queues here instead, and a few are let through with each further turn.

    Args:
        slice: Seconds.
        batch: How many are let through at once.
    """

    __slots__ = ("_batch", "_began", "_is_watching", "_queue", "_slice")

    def __init__(self, slice: float = SLICE, batch: int = BATCH) -> None:  # noqa: A002 -- what it is
        self._slice = slice
        self._batch = batch
        self._began = 0.0
        self._is_watching = False
        """Whether the end of this turn of the loop will be noticed."""
        self._queue: deque[asyncio.Future[None]] = deque()

    async def give(self) -> None:
        """Go on at once within the slice; else wait for a turn."""
        now = perf_counter()
        if not self._is_watching:
            self._watch(now)
            return
        if now - self._began < self._slice:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        await turn

    def _watch(self, now: float) -> None:
        self._is_watching = True
        self._began = now
        asyncio.get_running_loop().call_soon(self._turned)

    def _turned(self) -> None:
        """Notice that the loop has gone round, and let the first ones in the queue through."""
        self._is_watching = False
        free = self._batch
        while self._queue and free:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
        if self._queue:
            self._watch(perf_counter())


async def in_chunks(items: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """Yield a long list in parts, with a turn for others between them."""
    for start in range(0, len(items), CHUNK):
        if start:
            await asyncio.sleep(0)
        yield items[start : start + CHUNK]


async def aside(work: Callable[..., T], /, *given: object) -> T:
    """Do something in a thread, with this task's context variables, as `asyncio.to_thread` does.

    That one's threads are everybody's: the names of hosts are looked up there, and tools do what may take long. Whoever waits there for
    a slow server must not keep others from reading what they were given.
    """
    return await begun_aside(partial(copy_context().run, work, *given))


def begun_aside(work: Callable[[], T]) -> asyncio.Future[T]:
    """Begin something in a thread, as `aside` does, and return what it will give."""
    loop = asyncio.get_running_loop()
    pool = _POOLS.get(loop)
    if pool is None:
        pool = _POOLS[loop] = ThreadPoolExecutor(THREADS, thread_name_prefix="aside")
    return loop.run_in_executor(pool, work)


async def read_aside(value: object, reading: Callable[[], T]) -> T:
    """Return what a function makes of a value: of a large one in a thread, so that others go on meanwhile."""
    return await aside(reading) if _is_large(value) else reading()


def _is_large(value: object) -> bool:
    """Whether a value is written and read in a thread; looks at no more of it than it takes to tell."""
    below: list[Any] = [value]
    size = 0
    while below:
        item = below.pop()
        kind = type(item)
        size += len(item) if kind is str or isinstance(item, str | bytes) else _PER_ITEM
        if size > LARGE:
            return True
        if kind in _SCALARS:
            continue
        if isinstance(item, Mapping):
            if len(item) * _PER_ITEM > LARGE:
                return True
            below += item.keys()
            below += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            if len(item) * _PER_ITEM > LARGE:
                return True
            below += item
        elif not isinstance(item, _LEAVES):
            below += _attributes(item)
    return False


def _attributes(item: object) -> Iterator[object]:
    """Yield what an object of anybody's class holds, with slots or without."""
    yield from getattr(item, "__dict__", {}).values()
    for kind in type(item).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(item, name, None)
