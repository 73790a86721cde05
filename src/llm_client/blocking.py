"""Calling asynchronous code from ordinary code.

Clients keep connections that belong to an event loop, so every blocking call of a process must use the same loop;
`asyncio.run` per call would leave their connections behind in a dead one. That is a loop in a thread of its own, except
inside a host's job: what a job does belongs to the loop it runs on, so calls of its threads are brought there. A process that
was forked has a loop and a thread of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from llm_client.errors import ConfigurationError
from llm_client.middleware import HOST, NO_HOST

T = TypeVar("T")


class BlockingCalls:
    """The blocking calls of one thread. Who no longer waits for the thread can end them, and with them the thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Future[Any]] = set()
        self._ended = False

    @contextmanager
    def running(self, future: Future[T]) -> Iterator[None]:
        """Hold a call while it runs. One that comes too late is cancelled."""
        with self._lock:
            self._running.add(future)
            if self._ended:
                future.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(future)

    def end(self) -> None:
        """Cancel the calls that run, and those to come."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for future in running:
            future.cancel()


BLOCKING_CALLS: ContextVar[BlockingCalls | None] = ContextVar("llm_client_blocking_calls", default=None)
"""Those of the thread that serves a tool or a step."""


def _loop() -> asyncio.AbstractEventLoop:
    """Return the loop that a blocking call belongs to: the job's, else that of the background thread."""
    loop = HOST.get().loop()
    if loop is not None:
        return loop
    return _BACKGROUND.loop()


class _BackgroundThread:
    """The thread that runs blocking calls, and its loop, which ends with the process."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left: list[asyncio.AbstractEventLoop] = []

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop; the first call starts it."""
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="llm-client-blocking", daemon=True
                ).start()
            return self._loop

    def forked(self) -> None:
        """Begin anew in a process that was forked: of all threads it has only the one that forked it.

        The loop there was is kept: whoever closes it here closes what the parent waits for. And whatever the forking thread worked
        for, such as a job, runs in the parent.
        """
        self._starting = threading.Lock()
        if self._loop is not None:
            self._left.append(self._loop)
            self._loop = None
        HOST.set(NO_HOST)


_BACKGROUND: Final = _BackgroundThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_BACKGROUND.forked)


def run_blocking(coroutine: Coroutine[object, None, T], instead: str) -> T:
    """Run a coroutine to its end and return its result.

    An interrupt (Ctrl-C) cancels it.

    Args:
        coroutine: What to run.
        instead: What to write in asynchronous code, for the error's text.

    Raises:
        ConfigurationError: This thread runs an event loop, which would stand still meanwhile, or belongs to a job whose
            loop has ended.
        asyncio.CancelledError: Nobody waits any more for the tool or step that this thread serves.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_elsewhere(coroutine)
    coroutine.close()
    raise ConfigurationError(f"a blocking call inside a running event loop would stop it; write `{instead}`")


def _run_elsewhere(coroutine: Coroutine[Any, Any, T]) -> T:
    loop = _loop()
    if loop.is_closed():
        coroutine.close()
        raise ConfigurationError("this thread belongs to a job whose event loop has ended")
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    calls = BLOCKING_CALLS.get() or BlockingCalls()
    try:
        with calls.running(future):
            return future.result()
    except CancelledError as error:
        raise asyncio.CancelledError("nobody waits for this call any more") from error
    except BaseException:
        future.cancel()
        raise
