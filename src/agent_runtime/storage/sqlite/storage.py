"""`Storage` on one SQLite file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.journal import Claim, Listener
from agent_runtime.storage.compression import compressed
from agent_runtime.storage.ends import Ends
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.actions import ActionLists, ActionReader
from agent_runtime.storage.sqlite.agents import Agents
from agent_runtime.storage.sqlite.claims import EVENTS, claim, drain_signals, has_slot
from agent_runtime.storage.sqlite.commit import apply
from agent_runtime.storage.sqlite.connection import Durability, address
from agent_runtime.storage.sqlite.due import DueWork
from agent_runtime.storage.sqlite.errors import file_error
from agent_runtime.storage.sqlite.executor_lock import ExecutorLock
from agent_runtime.storage.sqlite.feed import Feed
from agent_runtime.storage.sqlite.inbox import InboxReader, woken_by_mail
from agent_runtime.storage.sqlite.jobs import JobReader
from agent_runtime.storage.sqlite.journal import Audit, JournalReader
from agent_runtime.storage.sqlite.keys import ApiKeys
from agent_runtime.storage.sqlite.ledger import LedgerReader, RuleReader
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.retention import Retention
from agent_runtime.storage.sqlite.schedules import Schedules
from agent_runtime.storage.sqlite.values import (
    event_record,
)
from agent_runtime.storage.sqlite.workers import Workers
from agent_runtime.storage.sqlite.writer import Writer
from agent_runtime.storage.turns import Rotation
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord

_ALL = 2**31


class SQLiteStorage(
    JournalReader,
    DueWork,
    JobReader,
    ActionReader,
    ActionLists,
    LedgerReader,
    RuleReader,
    InboxReader,
    Workers,
    Retention,
    Feed,
    Audit,
    ApiKeys,
    Schedules,
    Agents,
):
    """Storage in a file. One process at a time executes jobs; any number submit, watch and resolve.

    Args:
        path: The file; it is created when missing, its folder is not.
        durability: `power` survives a loss of power, `process` only the death of the process and is faster.
    """

    is_durable = True
    is_shared = False
    live_channel = None
    clock: Clock = SystemClock()

    def __init__(self, path: str | Path, *, durability: Durability = "power") -> None:
        # Once: the current folder may be another one later. To ask for it takes no look at a disk.
        self._path = Path(os.fsdecode(os.getcwdb()), path)  # noqa: PTH109 -- `Path.cwd` is taken for a blocking call
        self._ends = Ends()
        self._writer = Writer(self._path, durability=durability, on_remote_change=self._on_remote_change)
        self._reader = Reader(self._path)
        self._lock = ExecutorLock(self._path)
        self._listeners: list[Listener] = []
        self._rotation = Rotation()
        self._opening: asyncio.Lock | None = None
        self._is_open = False

    @property
    def path(self) -> Path:
        """The file, wherever the current folder was when it was named."""
        return self._path

    @property
    def address(self) -> str:
        """The URI by which others open the file, also where it cannot be written. Looks at the folder."""
        return address(self._path)

    async def look_at_clock(self) -> None:
        """Do nothing: everybody who uses it is on this machine."""

    async def open(self) -> None:
        """Open the file and create or check its tables."""
        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if not self._is_open:
                await self._writer.start()
                self._reader.start()
                self._is_open = True

    async def acquire_executor(self) -> bool:
        """Take the file's executor lock, if no other process holds it, and free what a dead executor left."""
        await self.open()
        if self._lock.is_held:  # by another kernel of this process, whose jobs are not left behind
            return True
        try:
            if not await asyncio.to_thread(self._lock.acquire):
                return False
        except OSError as error:
            raise file_error(error, str(self._path)) from error
        try:
            await self._writer.run(lambda db: db.execute(sql.FREE_ALL_JOBS, ("",)))
            await self._writer.run(lambda db: db.execute(sql.FORGET_OTHER_WORKERS, ("",)))
            await self._writer.run(lambda db: db.execute(sql.FORGET_OPERATORS))  # whoever listed them is gone
        except BaseException:  # the next try would take it for ours, and free nothing
            self._lock.release()
            raise
        return True

    async def release_executor(self) -> None:
        """Give the file's executor lock up."""
        await asyncio.to_thread(self._lock.release)

    async def aclose(self) -> None:
        """Finish what was handed in, give up the executor's place and close the file."""
        self._is_open = False
        await self._writer.stop()
        await self._reader.stop()
        await asyncio.to_thread(self._lock.release)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every later commit."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop telling `listener`."""
        self._listeners.remove(listener)

    async def commit(self, commit: Commit) -> int:
        """Write all of `commit` or nothing."""
        commit = await compressed(commit)
        woken: list[str] = []

        def write(db: sqlite3.Connection) -> int:
            first_seq = apply(db, commit, self._ends)
            woken[:] = woken_by_mail(db, commit)
            return first_seq

        first_seq: int = await self._writer.run(
            write, lambda first_seq: self._tell_committed(commit, first_seq, woken)
        )
        return first_seq

    def _tell_committed(self, commit: Commit, first_seq: int, woken: Sequence[str]) -> None:
        for listener in tuple(self._listeners):
            listener.committed(commit, first_seq)
            if woken:
                listener.mailed(woken)

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
        """Take a job that is due and unowned, if its scope has a free slot."""

        def take(db: sqlite3.Connection) -> Any:
            if caps and not has_slot(db, job_id, caps, ability):
                return None
            return claim(db, job_id, owner, at, suspects=suspects, ability=ability)

        claimed = await self._writer.run(take, self._tell_claimed)
        if claimed is None:
            return None
        job, events, new = claimed
        if len(events) < job.last_seq:
            place = (job_id, job.last_seq - len(new))
            older = await self._reader.run(  # made in its thread: there may be many
                lambda db: [
                    event_record(job_id, job.scope_id, row)
                    for row in db.execute(f"{EVENTS} AND seq <= ? ORDER BY seq", place)
                ]
            )
            events = [*older, *new]
        return Claim(job=job, events=events)

    async def drain_signals(
        self, job_id: str, *, fence: int, at: datetime, held: Commit | None = None
    ) -> Sequence[RuntimeEvent]:
        """Append what is held, then the waiting signals, to the journal of a job that is ours."""
        first = None if held is None else await compressed(held)
        woken: list[str] = []

        def write(db: sqlite3.Connection) -> tuple[int, list[RuntimeEvent]]:
            first_seq = 0
            if first is not None:
                first_seq = apply(db, first, self._ends)
                woken[:] = woken_by_mail(db, first)
            return first_seq, drain_signals(db, job_id, fence, at)

        def publish(written: tuple[int, list[RuntimeEvent]]) -> None:
            first_seq, drained = written
            if first is not None:
                self._tell_committed(first, first_seq, woken)
            self._tell_drained(job_id, drained)

        written: tuple[int, list[RuntimeEvent]] | int = await self._writer.run(write, publish)
        if not isinstance(written, int):
            return written[1]
        assert first is not None  # noqa: S101 -- only a commit is found to have been made before
        return await self.events(job_id, after_seq=written + len(first.events) - 1, limit=_ALL)

    def _tell_claimed(self, claimed: tuple[JobRecord, Any, list[RuntimeEvent]] | None) -> None:
        if claimed is not None:
            self._tell_drained(claimed[0].job_id, claimed[2])

    def _tell_drained(self, job_id: str, events: list[RuntimeEvent]) -> None:
        if events:
            for listener in tuple(self._listeners):
                listener.signals_drained(job_id, events)

    def _on_remote_change(self) -> None:
        for listener in tuple(self._listeners):
            listener.on_remote_change()
