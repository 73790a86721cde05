"""The only hand that writes a claimed job's journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Unpack, cast

from agent_runtime.errors import FenceLost, RunSuspended, StorageError
from agent_runtime.execution.journal.commit_turns import CommitTurns
from agent_runtime.execution.journal.held_entries import HOLD_SECONDS, HeldEntries
from agent_runtime.execution.journal.history import History
from agent_runtime.execution.journal.storage_retry import StorageRetry
from agent_runtime.execution.journal.suspicion import Suspicion
from agent_runtime.execution.lifecycle import Lifecycle, RunState
from agent_runtime.execution.services import RunServices
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.commit import Commit, CommitParts, NewEvent, placed
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.values.budget import Charge, LedgerEntry
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord
from llm_client.background import in_background


class JobClock:
    """The time inside a job: never earlier than its last entry, whatever has been done to a clock since."""

    def __init__(self, clock: Clock, history: History) -> None:
        self._clock = clock
        self._history = history

    def now(self) -> datetime:
        """Return the current time."""
        return max(self._clock.now(), self._history.last_moment)

    def monotonic(self) -> float:
        """Return what the clock returns."""
        return self._clock.monotonic()


_CARRIED: Final = ("charges", "ledger", "clear_timers", "message_changes")
"""Parts of what is held back that go with its events."""


class JournalWriter:
    """Writes what happens in a claimed job, and knows its history.

    Args:
        job: It.
        history: Its journal, learnt.
        services: The kernel's.
        lifecycle: The run's.
    """

    def __init__(self, job: JobRecord, history: History, services: RunServices, lifecycle: Lifecycle) -> None:
        self.job = job
        self.history = history
        self.services = replace(services, clock=JobClock(services.clock, history))
        """The kernel's, with the job's own time."""
        self.lifecycle = lifecycle
        self.loop = asyncio.get_running_loop()
        """Where the job runs."""
        self.suspicion = Suspicion(job, history)
        self.retry = StorageRetry(job.job_id, lifecycle, self.services.clock, services.options)
        """Asks the storage for what a step depends on."""
        self._last_seq = job.last_seq
        self._held = HeldEntries()
        self._turns = CommitTurns(lifecycle.check_open)
        self._flush_timer: asyncio.TimerHandle | None = None
        """Writes an outcome for which no intent has come in time."""

    @property
    def last_seq(self) -> int:
        """The position of the job's last entry, those that are held back included."""
        return self._last_seq + len(self._held.events)

    async def commit(self, events: Sequence[NewEvent], **parts: Unpack[CommitParts]) -> int:
        """Append events, and whatever else belongs to them, to the journal; return the first one's seq.

        A failing storage is tried again for a while. When the job has been lost to another worker, or the storage
        stays broken, the run ends here: the caller is cancelled and nothing more is written. A caller that is
        cancelled while it waits is let go when it is known what was written, so that nobody settles it again.
        """
        await self._turns.enter()
        try:
            return await self._append(events, parts)
        finally:
            self._turns.leave()

    def final_turn(self) -> AbstractAsyncContextManager[None]:
        """Let what is being written be written, and then nothing but the `final_commit`; for the run's supervisor."""
        return self._turns.final()

    async def final_commit(self, events: Sequence[NewEvent], **parts: Unpack[CommitParts]) -> None:
        """Write the last entries of this run, with which it gives the job up, inside `final_turn`."""
        await self._append(events, parts)
        change = parts.get("job")
        has_ended = change is not None and change.status.is_terminal
        self.close(RunState.ENDED if has_ended else RunState.GIVEN_UP)

    async def _append(self, events: Sequence[NewEvent], parts: CommitParts) -> int:
        """Write events, and before them what waits for the next commit."""
        async with self._taken() as held:
            return await self._write(
                held, events, cast("dict[str, Any]", parts), self.services.storage.commit
            )

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[HeldEntries]:
        """Take what is held back, to be written in the body."""
        await self._turns.carried()
        held, self._held = self._held, HeldEntries()
        if not held.events:
            yield held
            return
        with self._turns.carrying():
            yield held

    async def drain_signals(self) -> Sequence[RuntimeEvent]:
        """Append the signals that wait for the job to its journal, after all that is held back, and return them."""
        drain, job_id, fence = self.services.storage.drain_signals, self.job.job_id, self.job.fence
        drained: Sequence[RuntimeEvent] = ()

        async def write(commit: Commit) -> int:
            nonlocal drained
            drained = await drain(job_id, fence=fence, at=commit.at, held=commit)
            return self._last_seq + 1

        async with self._taken() as held:
            if not held.events:
                return await drain(job_id, fence=fence, at=self.services.clock.now())
            await self._write(held, (), {}, write)
            return drained

    async def _write(
        self,
        held: HeldEntries,
        events: Sequence[NewEvent],
        parts: Mapping[str, Any],
        write: Callable[[Commit], Awaitable[int]],
    ) -> int:
        written = [*held.events, *events]
        absolution = parts.get("absolution") or self.suspicion.absolution_by(written, parts.get("job"))
        added = {name: [*getattr(held, name), *parts.get(name, ())] for name in _CARRIED}
        commit = Commit(
            at=self.services.clock.now(),
            job_id=self.job.job_id,
            fence=self.job.fence,
            depth=self.job.depth,
            scope_id=self.job.scope_id,
            events=written,
            **{**parts, **added, "absolution": absolution},
        )
        cancelled: asyncio.CancelledError | None = None
        try:
            try:
                first_seq = await self.retry.until_answered(lambda: write(commit))
            except asyncio.CancelledError as error:
                cancelled = error
                first_seq = await self.retry.find_out(lambda: write(commit))
        except (FenceLost, StorageError) as error:
            self.lifecycle.abort(error)
            raise cancelled or RunSuspended from error
        except Exception as error:  # refused: nothing was written, so what had been held is held on
            self._held.put_before(held)
            self._flush_in_time()
            if cancelled is not None:
                raise cancelled from error
            raise
        self._last_seq = max(self._last_seq, first_seq + len(commit.events) - 1)
        self.services.ledger.accounts.charged(commit.charges)
        if absolution is not None:
            self.suspicion.absolved(absolution)
        for seq, event in enumerate(events, first_seq + len(held.events)):
            self._learn(event, seq)
        if cancelled is not None:
            raise cancelled
        return first_seq

    async def leave_suspects_slot(self) -> None:
        """Let another suspect run beside this job: from here on no death of the process is held against it."""
        if self.suspicion.has_slot and not self.lifecycle.is_over:
            await self.commit([], absolution="slot")

    def record(
        self,
        event: NewEvent,
        *,
        clear_timers: Sequence[tuple[str, str]] = (),
        message_changes: Sequence[MessageChange] = (),
    ) -> None:
        """Remember an event, to be written no later than the next commit, which also clears timers and moves messages."""
        self.lifecycle.check_open()
        self._held.add(event)
        self._held.clear_timers.extend(clear_timers)
        self._held.message_changes.extend(message_changes)
        self._learn(event, None)

    def may_defer(self, outcome: NewEvent) -> bool:
        """Whether an outcome may be held back: not in a job that may be what kills its processes, nor beyond the bounds."""
        return not self.suspicion.is_suspect and self._held.has_room_for(outcome)

    def defer(self, outcome: NewEvent, charges: Sequence[Charge], ledger: Sequence[LedgerEntry] = ()) -> None:
        """Record an outcome that is written with the next commit, or alone when none comes within `HOLD_SECONDS`."""
        self.record(outcome)
        self._held.charges.extend(charges)
        self._held.ledger.extend(ledger)
        self._held.has_outcome = True
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        """See to it that an outcome that is held back does not wait long."""
        if self._held.has_outcome and self._flush_timer is None and not self.lifecycle.is_over:
            self._flush_timer = self.loop.call_later(HOLD_SECONDS, self._flush_soon)

    def _flush_soon(self) -> None:
        self._flush_timer = None
        if self._held.has_outcome and not self.lifecycle.is_over:
            in_background(self._flush_if_held(), name="write held")

    async def _flush_if_held(self) -> None:
        with suppress(RunSuspended):  # the run's last commit has taken it along
            await self._turns.carried()
            if self._held.has_outcome:  # which may have gone out meanwhile, with another commit
                await self._flush()

    async def _flush(self) -> None:
        try:
            await self.commit([])
        except Exception as error:  # noqa: BLE001 -- without its outcome the run cannot go on
            self.lifecycle.abort(error)

    async def settled(self) -> None:
        """Return when every outcome that was held is written."""
        while self._held.has_outcome or self._turns.is_carrying:
            if self._held.has_outcome:
                await self.commit([])
            else:
                await self._turns.carried()
            self.lifecycle.check_open()

    async def written(self) -> None:
        """Return when all that is held back is written: outcomes, and recorded values.

        For calls by which others could see what depends on it, so they never go on when that will not be written.

        Raises:
            asyncio.CancelledError: The run is over.
        """
        try:
            self.lifecycle.check_open()
            await self._turns.carried()
            if self._held.events:
                await self._flush()
            self.lifecycle.check_open()
        except RunSuspended:
            raise asyncio.CancelledError("the run is over") from self.lifecycle.lost

    def _learn(self, event: NewEvent, seq: int | None) -> None:
        job = self.job
        self.history.apply(placed(event, job.job_id, job.scope_id, seq or 0, self.services.clock.now()))

    def close(self, state: RunState = RunState.GIVEN_UP) -> None:
        """Write nothing any more."""
        self.lifecycle.advance(state)
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
