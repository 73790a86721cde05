"""Calling asynchronous code from ordinary code, over one event loop in a thread of its own.

Clients keep connections that belong to an event loop, so every blocking call of a process must use the same loop;
`asyncio.run` per call would leave their connections behind in a dead one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

from llm_client.errors import ConfigurationError

T = TypeVar("T")


_starting = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """Return the loop of the background thread, which ends with the process."""
    with _starting:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="llm-client-blocking", daemon=True).start()
    return loop


def run_blocking(coroutine: Coroutine[Any, Any, T], instead: str) -> T:
    """Run a coroutine to its end and return its result.

    An interrupt (Ctrl-C) cancels it.

    Args:
        coroutine: What to run.
        instead: What to write in asynchronous code, for the error's text.

    Raises:
        ConfigurationError: This thread runs an event loop, which would stand still meanwhile.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
    coroutine.close()
    raise ConfigurationError(f"a blocking call inside a running event loop would stop it; write `{instead}`")
