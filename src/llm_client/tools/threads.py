"""Plain functions off the event loop, each in a daemon thread of its own, a bounded number of them at a time.

The event loop's own pool would not do: a function that never returns keeps its place there for good, and the process
from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from llm_client.blocking import BLOCKING_CALLS, BlockingCalls
from llm_client.middleware import HOST
from llm_client.pausing import Slots, paused

MAX_THREADS: Final = 64
"""Functions of one event loop that run at the same time; more wait for a place, in the order they came, tenants in turns."""

_PLACES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Slots]] = WeakKeyDictionary()


async def call_in_thread(
    function: Callable[..., object], keywords: Mapping[str, object], name: str
) -> object:
    """Call a function in a new thread, with this task's context variables, and return what it returns.

    When the wait is cancelled the thread runs on, as threads cannot be stopped, up to its next blocking call of this
    package; what it returns then is dropped.

    Args:
        function: What to call.
        keywords: Its arguments.
        name: Name of the thread.

    Raises:
        RuntimeError: The function raised `StopIteration`, which a coroutine cannot pass on.
    """
    if BLOCKING_CALLS.get() is not None:  # for a function in such a thread: queued, it might wait for itself
        return await _called(function, keywords, name)
    places = _PLACES.setdefault(asyncio.get_running_loop(), Slots(MAX_THREADS))
    if places.free:
        await places.take()
    else:
        async with paused():  # waiting for a place counts against no time-out
            await places.take(HOST.get().scope)
    try:
        return await _called(function, keywords, name)
    finally:  # also when nobody waits any more: one that hangs must not take the place of those to come
        places.give()


async def _called(function: Callable[..., Any], keywords: Mapping[str, Any], name: str) -> Any:
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()
    calls = BlockingCalls()
    context.run(BLOCKING_CALLS.set, calls)

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            setter(value)

    def work() -> None:
        setter: Callable[[Any], None] = outcome.set_result
        try:
            value = context.run(function, **keywords)
        except StopIteration:
            setter, value = outcome.set_exception, RuntimeError("the tool raised StopIteration")
        except KeyboardInterrupt as error:  # nobody's Ctrl-C: that reaches the main thread alone
            setter, value = outcome.set_exception, RuntimeError("the code raised KeyboardInterrupt")
            value.__cause__ = error
        except BaseException as error:  # noqa: BLE001 -- carried over to the caller, whatever it is
            setter, value = outcome.set_exception, error
        try:
            loop.call_soon_threadsafe(settle, setter, value)
        except RuntimeError:  # the loop has been closed: nobody waits any more
            return

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        return await outcome
    except asyncio.CancelledError:
        calls.end()
        raise
