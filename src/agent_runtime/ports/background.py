"""Tasks in the background: begun for nobody, ended in time, and not waited for when they do not obey."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar

T = TypeVar("T")
AGAIN_SECONDS: Final = 0.1
_left: set[asyncio.Task[Any]] = set()
"""What was left behind and is still being ended."""


def in_background(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Begin a task of the runtime's own.

    Its context is empty: whoever happens to start it, perhaps a job that starts a kernel or sends another job on its way,
    it works for all.
    """
    return asyncio.get_running_loop().create_task(work, name=name, context=Context())


async def ended(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait for its end, whatever it ends with.

    A driver may swallow a cancellation that arrives together with an answer, as `asyncio.wait_for` does before Python
    3.12; so it is repeated.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=AGAIN_SECONDS)
    if task is not None and not task.cancelled():
        task.exception()  # it has been logged, or nobody needs it


async def promptly(work: Coroutine[Any, Any, T], *, seconds: float | None = None, name: str) -> T:
    """Await something that may not obey: whoever is cancelled, or has waited long enough, is let go at once.

    A driver asks its server to stop before it lets a cancelled caller go, and if the server does not answer it raises
    an error of its own instead. So the work is done in a task, which is left behind and cancelled until it ends.

    Raises:
        TimeoutError: It took longer than `seconds`.
    """
    task = asyncio.get_running_loop().create_task(work, name=name)
    try:
        await asyncio.wait((task,), timeout=seconds)
    except BaseException:
        leave(task)
        raise
    if not task.done():
        leave(task)
        raise TimeoutError
    return task.result()


def leave(task: asyncio.Task[Any]) -> None:
    """Have a task ended, without waiting for it."""
    ending = in_background(ended(task), name=f"end {task.get_name()}")
    _left.add(ending)
    ending.add_done_callback(_left.discard)


async def drained(tasks: Collection[asyncio.Task[Any]], *, seconds: float) -> None:
    """Let tasks end by themselves for a while, then cancel them and wait. Cancelled itself, it cancels them and goes."""
    if not tasks:
        return
    try:
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


async def stopped(*steps: Callable[[], Awaitable[object]], seconds: float | None = None) -> bool:
    """Take the steps of a shutdown, one after the other, within so many seconds for all together.

    Every step is taken. When the time is up, or when this is cancelled, the next ones get no time to wait for anything:
    they let go of what they hold. A step that fails keeps none of the others from being taken.

    Returns:
        Whether all had the time they wanted.

    Raises:
        Exception: What the first step that failed has raised.
    """
    end_at = None if seconds is None else asyncio.get_running_loop().time() + seconds
    in_time = True
    cancelled: asyncio.CancelledError | None = None
    failure: Exception | None = None
    for step in steps:
        try:
            async with asyncio.timeout_at(end_at):
                await step()
        except TimeoutError:
            in_time = False
        except asyncio.CancelledError as error:
            cancelled, end_at = error, 0.0
        except Exception as error:  # noqa: BLE001 -- raised when every step has been taken
            failure = failure or error
    if cancelled is not None:
        raise cancelled
    if failure is not None:
        raise failure
    return in_time
