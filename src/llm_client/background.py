"""The one room for work in the background: tasks that are kept, loops that outlive what fails, and one way to end both.

A task that nobody holds may be forgotten in the middle, and one that dies takes its error with it until somebody asks. So tasks
are begun here and nowhere else: `in_background` for work of our own, `begin` for work whose caller takes the result.

A cancellation may be swallowed. Before Python 3.12 `asyncio.wait_for` does so when it arrives together with an answer, and a
driver that asks its server to stop raises an error of its own instead. So `leave` repeats it until the task has ended, by
timers of the loop: who waits for that, in `ended`, may be cancelled himself, and the task ends all the same.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextvars import Context
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from llm_client.exits import contained
from llm_client.logs import logger_of

logger = logger_of(__name__)
T = TypeVar("T")

AGAIN_SECONDS: Final = 0.1
"""Time between two cancellations of a task of our own."""
TOLD_SECONDS: Final = 60.0
"""Between two lines about what is away."""
_MOST_TOLD: Final = 100
_TOLD: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, float]]] = WeakKeyDictionary()
CLEAN_UP_SECONDS: Final = 5.0
"""The same for a task that runs other people's code, which may have to clean up."""
JITTER: Final = 0.2
"""A wait is stretched or shortened at random by up to this fraction, so that those who fail together do not return together."""

_kept: set[asyncio.Task[Any]] = set()
"""Tasks in the background: the loop itself holds no reference to them."""


def begin(
    work: Coroutine[object, None, T], *, name: str | None = None, context: Context | None = None
) -> asyncio.Task[T]:
    """Begin a task whose caller holds it, ends it, and takes what it gives.

    Args:
        work: What it does.
        name: To be seen in logs.
        context: The context variables it has; without one, those of the caller.
    """
    return asyncio.get_running_loop().create_task(work, name=name, context=context)


def in_background(work: Coroutine[object, None, T], *, name: str) -> asyncio.Task[T]:
    """Begin a task of our own. It is kept until it ends, and if it dies that is logged at once.

    Its context is empty: whoever happens to start it, perhaps a job that starts a kernel or sends another job on its way,
    it works for all.
    """
    task = begin(work, name=name, context=Context())
    _kept.add(task)
    task.add_done_callback(_has_ended)
    return task


def _has_ended(task: asyncio.Task[Any]) -> None:
    _kept.discard(task)
    error = None if task.cancelled() else task.exception()
    if error is None:
        return
    if task.cancelling():  # a driver's error in the place of the cancellation
        logger.warning("%s failed while it was being ended: %s", task.get_name(), error)
    else:
        logger.error("%s has died", task.get_name(), exc_info=error)


def leave(task: asyncio.Task[object], *, again: float = AGAIN_SECONDS) -> None:
    """Cancel a task until it has ended, without waiting for it.

    Args:
        task: What has to end. Whatever it ends with, nobody needs it any more.
        again: Seconds between two cancellations.
    """
    if not task.done():
        task.cancel()
        task.get_loop().call_later(again, _leave, task, again)
    elif not task.cancelled():
        task.exception()


def _leave(task: asyncio.Task[Any], again: float) -> None:
    leave(task, again=again)


async def ended(*tasks: asyncio.Task[object] | None, again: float = AGAIN_SECONDS) -> None:
    """Cancel tasks until they have ended, and wait for that. Cancelled itself, it goes at once; they end all the same.

    Args:
        tasks: What has to end. Whatever they end with, nobody needs it any more.
        again: Seconds between two cancellations.
    """
    present = [task for task in tasks if task is not None]
    for task in present:
        leave(task, again=again)
    if pending := [task for task in present if not task.done()]:
        await asyncio.wait(pending)
    for task in pending:
        leave(task)


async def drained(
    tasks: Collection[asyncio.Task[object]], *, seconds: float | None = None, again: float = AGAIN_SECONDS
) -> None:
    """Let tasks end by themselves for a while, then end them. Cancelled itself, it goes at once; they end all the same.

    Args:
        tasks: What has to end.
        seconds: How long they may go on; without, for as long as they take.
        again: Seconds between two cancellations then.
    """
    if not tasks:
        return
    try:
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        await ended(*pending, again=again)
    except BaseException:
        for task in tasks:
            leave(task)
        raise


async def promptly(work: Coroutine[object, None, T], *, seconds: float | None = None, name: str) -> T:
    """Await something that may not obey: whoever is cancelled, or has waited long enough, is let go at once.

    A driver asks its server to stop before it lets a cancelled caller go, and if the server does not answer it raises
    an error of its own instead. So the work is done in a task, which is left behind and cancelled until it ends.

    Raises:
        TimeoutError: It took longer than `seconds`.
    """
    task = begin(work, name=name)
    try:
        await asyncio.wait((task,), timeout=seconds)
    finally:
        if not task.done():
            leave(task)
    if not task.done():
        raise TimeoutError
    return task.result()


async def gather_or_cancel(coroutines: Sequence[Coroutine[object, None, T]]) -> list[T]:
    """Run coroutines side by side, as one, and return their results in order. The first that fails ends the others.

    Unlike a task group it raises what was raised, not a group of it: a run that is aborted or cancelled in one branch is
    aborted or cancelled as a whole. It returns only when every branch has ended; each is cancelled once, for it may be
    other people's code that cleans up.
    """
    tasks = [begin(contained(coroutine)) for coroutine in coroutines]
    pending = set(tasks)
    failed: asyncio.Task[T] | None = None
    try:
        while pending and failed is None:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            failed = next((task for task in tasks if task in done and _has_failed(task)), None)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failed is not None:
        failed.result()
    return [task.result() for task in tasks]


def _has_failed(task: asyncio.Task[T]) -> bool:
    return task.cancelled() or task.exception() is not None


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


def doubled(first: float, failures: int, longest: float) -> float:
    """Return the wait after so many failures, 1 or more: `first` seconds, then twice as many each time, up to `longest`."""
    return min(first * 2.0 ** min(failures - 1, 60), longest)


def jittered(seconds: float, *, jitter: float = JITTER, chance: Callable[[], float] = random.random) -> float:
    """Return a wait, stretched or shortened at random.

    Args:
        seconds: The wait.
        jitter: By which fraction at most.
        chance: Returns a random number from 0 up to 1.
    """
    return seconds * (1 + jitter * (2 * chance() - 1))


class Backoff:
    """Waits between tries: twice as long each time, and never the same for two who began together.

    Args:
        first: Seconds before the second try, give or take a fifth.
        longest: The most that becomes of it; the same as `first` for waits that do not grow.
        chance: Returns a random number from 0 up to 1.
    """

    __slots__ = ("_chance", "_failures", "_first", "_longest")

    def __init__(self, first: float, longest: float, *, chance: Callable[[], float] = random.random) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance
        self._failures = 0

    @property
    def failures(self) -> int:
        """How often something has failed in a row."""
        return self._failures

    def next(self) -> float:
        """Count one more failure, and return how many seconds to wait after it."""
        self._failures += 1
        return jittered(doubled(self._first, self._failures, self._longest), chance=self._chance)

    def reset(self) -> None:
        """Begin anew: it has worked."""
        self._failures = 0

    async def pause(self) -> None:
        """Count one more failure, and wait after it."""
        await asyncio.sleep(self.next())


class BackgroundLoop:
    """A task that takes a step whenever it is woken, or the time has come, until it is stopped. It outlives what fails.

    A step during which it is woken is taken once more, so no wake-up is lost. A step that fails is logged: an expected failure
    as a warning, once for each row of them, everything else with its traceback. Then it is taken again after a back-off; without
    one, when the loop is woken next.

    Args:
        step: What it does. Returns after how many seconds to do it again though nobody wakes the loop; `None` for never.
        name: What the step does, as `firing timers`: the logs say that it failed.
        logger: Where that is said.
        failures: What a step is expected to raise now and then, as when a server is away.
        backoff: How long to wait after a failure. A step that works begins it anew; one that never returns does so itself.
    """

    def __init__(
        self,
        step: Callable[[], Awaitable[float | None]],
        *,
        name: str,
        logger: logging.Logger,
        failures: tuple[type[BaseException], ...] = (),
        backoff: Backoff | None = None,
    ) -> None:
        self._step = step
        self._name = name
        self._logger = logger
        self._failures = failures
        self._backoff = backoff
        self._woken = asyncio.Event()
        self._finishing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._task is not None

    def start(self, *, after: float | None = None) -> None:
        """Begin, with the first step when the loop is woken. Does nothing while it runs.

        Args:
            after: Take the first step after so many seconds though nobody wakes the loop; 0 for at once.
        """
        if self._task is None:
            self._finishing = False
            self._task = in_background(self._run(after), name=self._name)

    def wake(self) -> None:
        """Have the step taken soon; once for any number of wake-ups before that."""
        self._woken.set()

    async def stop(self) -> None:
        """End it, in the middle of a step if need be. May be called twice."""
        task, self._task = self._task, None
        await ended(task)

    async def finish(self) -> None:
        """Let it take a last step, well or not, and end it. Cancelled meanwhile, it is ended in the middle of it."""
        task, self._task = self._task, None
        if task is not None:
            self._finishing = True
            self.wake()
            await drained((task,))

    async def _run(self, seconds: float | None) -> None:
        task = asyncio.current_task()
        while (
            self._task is task or self._finishing
        ):  # a cancellation may have been swallowed in the last step
            await self._wake_up(seconds)
            self._woken.clear()
            seconds = await self._guarded()
            if self._finishing and not self._woken.is_set():
                return

    async def _wake_up(self, seconds: float | None) -> None:
        if seconds is None:
            await self._woken.wait()
        elif seconds <= 0:
            await asyncio.sleep(0)  # a step that waits for nothing must not keep everybody else from going on
        else:
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                return

    async def _guarded(self) -> float | None:
        """Take a step, and return when the next one is due; after one that has failed, wait."""
        try:
            seconds = await self._step()
        except self._failures as error:
            if is_news(said := _said(error)):
                self._logger.warning("%s does not work now; it is tried again: %s", self._name, said)
        except Exception:
            self._logger.exception("%s failed unexpectedly; it goes on", self._name)
        else:
            self.works()
            return seconds
        if self._backoff is not None and not self._finishing:
            await self._backoff.pause()
            self.wake()
        return None

    def works(self) -> None:
        """Learn that the step works, from one that does not return as long as it does."""
        if self._backoff is not None:
            self._backoff.reset()


def is_news(said: str) -> bool:
    """Whether a failure was not told of for a while in this event loop, by whoever met it.

    What is away is away for everybody who works in the background, and stays so for a while: one line a minute tells that.
    """
    loop = asyncio.get_running_loop()
    told = _TOLD.setdefault(loop, {})
    what, now = said.partition(" (")[0], loop.time()
    if now < told.get(what, -math.inf) + TOLD_SECONDS:
        return False
    if len(told) >= _MOST_TOLD:
        told.clear()
    told[what] = now
    return True


def _said(error: BaseException) -> str:
    """Return what may be told of a failure: the text of an error of ours, the kind of a driver's, which may name an address."""
    is_ours = isinstance(getattr(type(error), "code", None), str)
    return str(error) if is_ours else type(error).__name__
