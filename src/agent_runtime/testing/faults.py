"""Storages that die at a chosen moment, for tests of what survives a crash.

A `DyingStorage` stands for the process: once it has died nothing more is written through it, and whoever waits for it
waits for ever, as code does in a process that is gone. What it wrapped holds what a restarted process would find.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, NoReturn

from agent_runtime.kernel.kernel import Kernel
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.journal import Claim, Listener
from agent_runtime.ports.storage import Storage
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import RuntimeEvent

Moment = Literal["before", "after"]
Choice = Callable[[Commit], bool]


def commit_of(type_: str, name: str | None = None) -> Choice:
    """Choose the commit that writes an event of a type, and of a step's name if one is given."""

    def chosen(commit: Commit) -> bool:
        return any(
            event.type == type_ and (name is None or event.data.get("name") == name)
            for event in commit.events
        )

    return chosen


def nth_commit(number: int) -> Choice:
    """Choose the commit with this number, counted from 1."""
    seen = 0

    def chosen(commit: Commit) -> bool:
        nonlocal seen
        del commit
        seen += 1
        return seen == number

    return chosen


class DyingStorage:
    """Passes everything on until it dies.

    Args:
        inner: The storage that survives.
        chosen: Tells the commit at which to die.
        moment: Whether that commit is still written.
    """

    def __init__(self, inner: Storage, chosen: Choice, *, moment: Moment = "after") -> None:
        self._inner = inner
        self._chosen = chosen
        self._moment: Moment = moment
        self.died = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def die(self) -> None:
        """Die now."""
        self.died.set()

    async def _gone(self) -> NoReturn:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable: nobody completes the future")

    async def commit(self, commit: Commit) -> int:
        """Write a commit, or die before or after it."""
        if self.died.is_set():
            await self._gone()
        if not self._chosen(commit):
            return await self._inner.commit(commit)
        try:
            if self._moment == "after":
                with suppress(Exception):  # nobody lives to hear that it was refused
                    await self._inner.commit(commit)
        finally:
            self.die()
        return await self._gone()

    async def claim(
        self,
        job_id: str,
        *,
        owner: str,
        at: datetime,
        caps: ScopeCaps = NO_CAPS,
        suspects: bool = True,
        ability: Ability | None = None,
    ) -> Claim | None:
        """Claim a job while alive."""
        if self.died.is_set():
            await self._gone()
        return await self._inner.claim(
            job_id, owner=owner, at=at, caps=caps, suspects=suspects, ability=ability
        )

    async def drain_signals(
        self, job_id: str, *, fence: int, at: datetime, held: Commit | None = None
    ) -> Sequence[RuntimeEvent]:
        """Fold signals while alive."""
        if self.died.is_set():
            await self._gone()
        return await self._inner.drain_signals(job_id, fence=fence, at=at, held=held)

    async def register_worker(self, worker: WorkerRecord) -> bool:
        """Register while alive."""
        return self.died.is_set() or await self._inner.register_worker(worker)

    async def remove_worker(self, worker_id: str, *, died: bool = False) -> None:
        """Sign off while alive: a dead process does not."""
        if not self.died.is_set():
            await self._inner.remove_worker(worker_id, died=died)

    async def aclose(self) -> None:
        """Leave the inner storage open for the next process."""

    def listen(self, listener: Listener) -> None:
        """Pass on."""
        self._inner.listen(listener)

    def unlisten(self, listener: Listener) -> None:
        """Pass on."""
        self._inner.unlisten(listener)


async def bury(kernel: Kernel, storage: DyingStorage, inner: Storage) -> None:
    """Clear away a kernel whose storage has died, and free its jobs as an operating system frees a process's locks."""
    storage.die()
    await kernel.aclose()
    await inner.remove_worker(kernel.worker_id, died=True)
