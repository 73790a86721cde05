"""The job that the current task works for, as far as services beside the kernel have to know it.

A job shows its operator some outcomes and values before they are on disk. What others can see must not depend on them
until they are: a crash would take them back. So whatever is asked of a service from inside a job waits for its journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from agent_runtime.values.action import ActionRecord, ActionSpec

C = TypeVar("C", bound=type)


class JobJournal(Protocol):
    """The journal of a job that runs in this process."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it runs."""
        ...

    async def written(self) -> None:
        """Return when all that the job has held back so far is on disk.

        Raises:
            asyncio.CancelledError: The run is over, and what it holds back will never be written.
        """
        ...


class ActionHost(Protocol):
    """A running job that can ask and wait durably."""

    @property
    def job_id(self) -> str | None:
        """The job."""
        ...

    async def open_action(self, spec: ActionSpec) -> ActionRecord:
        """Ask; a resumed job gets the question it asked before."""
        ...

    async def await_action(self, action: ActionRecord) -> ActionRecord:
        """Wait for the answer. Raises `ActionExpired`."""
        ...


@dataclass(frozen=True, slots=True)
class CurrentJob:
    """A job that runs in this process: one variable carries all that the tasks of it find."""

    journal: JobJournal
    context: ActionHost
    """What its operator works with."""


CURRENT_JOB: ContextVar[CurrentJob | None] = ContextVar("agent_runtime_job", default=None)
"""The job whose context the current task has, whichever kernel runs it; `None` outside jobs."""


async def journal_written() -> None:
    """Inside a job, return when all that it has held back is on disk; outside, at once. Raises like `JobJournal.written`."""
    job = CURRENT_JOB.get()
    if job is None:
        return
    journal = job.journal
    if journal.loop is asyncio.get_running_loop():
        await journal.written()
    elif journal.loop.is_closed():
        raise asyncio.CancelledError("the loop of the job is closed")
    else:  # a thread of a step or a tool, with a loop of its own
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(journal.written(), journal.loop))


def after_the_journal(*, but: Collection[str] = ()) -> Callable[[C], C]:
    """Let every public async method of a class, called inside a job, begin when the job's journal is written.

    Args:
        but: Methods that show nothing of a job and have to work when its run is over.
    """

    def wrap(cls: C) -> C:
        for name, method in list(vars(cls).items()):
            if name.startswith("_") or name in but:
                continue
            if inspect.iscoroutinefunction(method):
                setattr(cls, name, _waiting(method))
            elif inspect.isasyncgenfunction(method):
                setattr(cls, name, _waiting_generator(method))
        return cls

    return wrap


def _waiting(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def wait_and_call(*args: Any, **kwargs: Any) -> Any:
        await journal_written()
        return await method(*args, **kwargs)

    return wait_and_call


def _waiting_generator(method: Callable[..., Any]) -> Callable[..., AsyncIterator[Any]]:
    @functools.wraps(method)
    async def wait_and_iterate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        await journal_written()
        async with contextlib.aclosing(method(*args, **kwargs)) as items:
            async for item in items:
                yield item

    return wait_and_iterate
