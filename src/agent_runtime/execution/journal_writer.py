"""The only hand that writes a claimed job's journal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from agent_runtime.errors import FenceLost, RunSuspended, StorageError
from agent_runtime.execution.history import History
from agent_runtime.execution.services import RunServices
from agent_runtime.execution.suspicion import Suspicion
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.ports.journal import Commit, NewEvent, placed
from agent_runtime.values.budget import Charge
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord
from llm_client.background import Backoff, begin, in_background, leave
from llm_client.logs import logger_of

logger = logger_of(__name__)
T = TypeVar("T")

HOLD_SECONDS: Final = 0.002
"""How long an outcome waits for the intent that follows it, before it is written alone."""
MAX_HELD: Final = 256
"""Entries that are held back at once; the next outcome is written with them."""
MAX_HELD_BYTES: Final = 1_000_000
"""Bytes of their contents."""


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


_CARRIED: Final = ("charges", "clear_timers", "message_changes")
"""Parts of what waits for the next commit that go with its events."""


@dataclass(slots=True)
class _Waiting:
    """Recorded values that go out with the next commit: nothing that depends on them can be written earlier."""

    events: list[NewEvent] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    clear_timers: list[tuple[str, str]] = field(default_factory=list)
    message_changes: list[MessageChange] = field(default_factory=list)
    has_outcome: bool = False
    """An outcome of an effect is among them, and must not wait long."""

    def has_room_for(self, outcome: NewEvent) -> bool:
        """Whether one more outcome is within bounds."""
        size = sum(len(event.content or b"") for event in (*self.events, outcome))
        return len(self.events) < MAX_HELD and size <= MAX_HELD_BYTES


class JournalWriter:
    """Writes what happens in a claimed job, and knows its history.

    Args:
        job: It.
        history: Its journal, learnt.
        services: The kernel's.
    """

    def __init__(self, job: JobRecord, history: History, services: RunServices) -> None:
        self.job = job
        self.history = history
        self.services = replace(services, clock=JobClock(services.clock, self.history))
        self.suspicion = Suspicion(job, self.history)
        self.attention = asyncio.Event()
        """Set whenever the supervisor has something to look at."""
        self.closed = False
        """Nothing may be written any more: suspended, ended, or lost to another worker."""
        self.has_ended = False
        """The job's end is written."""
        self.lost: BaseException | None = None
        """Why the run cannot go on: `FenceLost`, or a storage that stays broken."""
        self._last_seq = job.last_seq
        self._waiting = _Waiting()
        self._carrying: asyncio.Future[None] | None = None
        """While this is there, a commit carries what had waited. It may yet be refused or come late, and nobody else may
        write meanwhile what depends on it."""
        self._hold_timer: asyncio.TimerHandle | None = None
        """Writes an outcome for which no intent has come in time."""
        self._writing = 0
        """Commits on their way."""
        self._silence: asyncio.Future[None] | None = None
        """Done when nothing is being written any more."""
        self._last_word: asyncio.Future[None] | None = None
        """While this is there, who wants to write waits for it."""

    @property
    def job_id(self) -> str:
        """The job."""
        return self.job.job_id

    @property
    def last_seq(self) -> int:
        """The place of the job's last entry, those that are held back included."""
        return self._last_seq + len(self._waiting.events)

    async def commit(self, events: Sequence[NewEvent], **parts: Any) -> int:
        """Append events, and whatever else belongs to them, to the journal; return the first one's seq.

        A failing storage is tried again for a while. When the job has been lost to another worker, or the storage
        stays broken, the run ends here: the caller is cancelled and nothing more is written. A caller that is
        cancelled while it waits is let go when it is known what was written, so that nobody settles it again.
        """
        self.check_open()
        while self._last_word is not None:
            await asyncio.shield(self._last_word)
            self.check_open()
        self._writing += 1
        try:
            return await self._append(events, parts)
        finally:
            self._writing -= 1
            if not self._writing and self._silence is not None and not self._silence.done():
                self._silence.set_result(None)

    @contextlib.asynccontextmanager
    async def last_word(self) -> AsyncIterator[None]:
        """Let what is being written be written, and then nobody but `conclude`; for the run's supervisor.

        The same fence covers everything a run writes. Without this, a task that the operator has left behind could
        write beneath the end of the job, or into a job that has been given up.
        """
        self.check_open()
        loop = asyncio.get_running_loop()
        self._last_word = held = loop.create_future()
        try:
            while self._writing:
                self._silence = loop.create_future()
                await self._silence
            self.check_open()
            yield
        finally:
            self._last_word = None
            held.set_result(None)

    async def conclude(self, events: Sequence[NewEvent], **parts: Any) -> None:
        """Write the last entries of this run, with which it gives the job up, inside `last_word`."""
        await self._append(events, parts)
        change = parts.get("job")
        self.has_ended = change is not None and change.status.is_terminal
        self.close()

    async def _append(self, events: Sequence[NewEvent], parts: Mapping[str, Any]) -> int:
        """Write events, and before them what waits for the next commit."""
        async with self._taken() as waiting:
            return await self._write(waiting, events, parts, self.services.storage.commit)

    @contextlib.asynccontextmanager
    async def _taken(self) -> AsyncIterator[_Waiting]:
        """Take what waits for the next commit, to be written in the body; nobody else writes meanwhile."""
        while self._carrying is not None:
            await asyncio.shield(self._carrying)
            self.check_open()
        waiting, self._waiting = self._waiting, _Waiting()
        if not waiting.events:
            yield waiting
            return
        self._carrying = carried = asyncio.get_running_loop().create_future()
        try:
            yield waiting
        finally:
            self._carrying = None
            carried.set_result(None)

    async def take_signals(self) -> Sequence[RuntimeEvent]:
        """Append the signals that wait for the job to its journal, after all that is held back, and return them."""
        fold, fence = self.services.storage.fold, self.job.fence
        folded: Sequence[RuntimeEvent] = ()

        async def write(held: Commit) -> int:
            nonlocal folded
            folded = await fold(self.job_id, fence=fence, at=held.at, held=held)
            return self._last_seq + 1

        async with self._taken() as waiting:
            if not waiting.events:
                return await fold(self.job_id, fence=fence, at=self.services.clock.now())
            await self._write(waiting, (), {}, write)
            return folded

    async def _write(
        self,
        waiting: _Waiting,
        events: Sequence[NewEvent],
        parts: Mapping[str, Any],
        write: Callable[[Commit], Awaitable[int]],
    ) -> int:
        written = [*waiting.events, *events]
        absolution = parts.get("absolution") or self.suspicion.absolution_by(written, parts.get("job"))
        added = {name: [*getattr(waiting, name), *parts.get(name, ())] for name in _CARRIED}
        commit = Commit(
            commit_id=new_commit_id(),
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
                first_seq = await self._insist(lambda: write(commit))
            except asyncio.CancelledError as error:
                cancelled = error
                first_seq = await self._make_sure(lambda: write(commit))
        except (FenceLost, StorageError) as error:
            self.lose(error)
            raise cancelled or RunSuspended from error
        except Exception as error:  # refused: nothing was written, so what had waited waits on
            self._wait_with(waiting)
            if cancelled is not None:
                raise cancelled from error
            raise
        self._last_seq = max(self._last_seq, first_seq + len(commit.events) - 1)
        self.services.ledger.note(commit.charges)
        if absolution is not None:
            self.suspicion.absolved(absolution)
        for seq, event in enumerate(events, first_seq + len(waiting.events)):
            self._learn(event, seq)
        if cancelled is not None:
            raise cancelled
        return first_seq

    async def leave_suspects_place(self) -> None:
        """Let another suspect run beside this job: from here on no death of the process is held against it."""
        if self.suspicion.has_place and not self.closed:
            await self.commit([], absolution="place")

    def record(
        self,
        event: NewEvent,
        *,
        clear_timers: Sequence[tuple[str, str]] = (),
        message_changes: Sequence[MessageChange] = (),
    ) -> None:
        """Remember an event, to be written no later than the next commit, which also clears timers and moves messages."""
        self.check_open()
        self._waiting.events.append(event)
        self._waiting.clear_timers.extend(clear_timers)
        self._waiting.message_changes.extend(message_changes)
        self._learn(event, None)

    def may_hold(self, outcome: NewEvent) -> bool:
        """Whether an outcome may be held back: not in a job that may be what kills its processes, nor beyond the bounds."""
        return not self.suspicion.is_suspect and self._waiting.has_room_for(outcome)

    def hold(self, outcome: NewEvent, charges: Sequence[Charge]) -> None:
        """Record an outcome that is written with the next commit, or alone when none comes within `HOLD_SECONDS`."""
        self.record(outcome)
        self._wait_with(_Waiting(charges=[*charges], has_outcome=True))

    def _wait_with(self, earlier: _Waiting) -> None:
        """Let something wait for the next commit, before what waits already."""
        waiting = self._waiting
        waiting.events = [*earlier.events, *waiting.events]
        waiting.charges = [*earlier.charges, *waiting.charges]
        waiting.clear_timers = [*earlier.clear_timers, *waiting.clear_timers]
        waiting.message_changes = [*earlier.message_changes, *waiting.message_changes]
        waiting.has_outcome |= earlier.has_outcome
        if waiting.has_outcome and self._hold_timer is None and not self.closed:
            self._hold_timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._let_go)

    def _let_go(self) -> None:
        self._hold_timer = None
        if self._waiting.has_outcome and not self.closed:
            in_background(self._write_held(), name="write held")

    async def _write_held(self) -> None:
        try:
            await self.commit([])
        except Exception as error:  # noqa: BLE001 -- without its outcome the run cannot go on
            self.lose(error)

    async def settled(self) -> None:
        """Return when every outcome that was held is written."""
        while self._waiting.has_outcome or self._carrying is not None:
            if self._waiting.has_outcome:
                await self.commit([])
            elif self._carrying is not None:
                await asyncio.shield(self._carrying)
            self.check_open()

    async def written(self) -> None:
        """Return when all that is held back is written: outcomes, and recorded values.

        For calls by which others could see what depends on it, so they never go on when that will not be written.

        Raises:
            asyncio.CancelledError: The run is over.
        """
        try:
            self.check_open()
            while self._carrying is not None:
                await asyncio.shield(self._carrying)
                self.check_open()
            if self._waiting.events:
                await self._write_held()
            self.check_open()
        except RunSuspended:
            raise asyncio.CancelledError("the run is over") from self.lost

    def _learn(self, event: NewEvent, seq: int | None) -> None:
        job = self.job
        self.history.apply(placed(event, job.job_id, job.scope_id, seq or 0, self.services.clock.now()))

    async def _make_sure(self, write: Callable[[], Awaitable[int]]) -> int:
        """Find out what became of a commit whose writer was cancelled: asking for it again tells, and adds nothing.

        Raises:
            StorageError: The storage does not tell in time.
        """
        loop = asyncio.get_running_loop()
        again = begin(self._insist(write), name="make sure", context=Context())
        give_up_at = loop.time() + self.services.options.cancel_timeout / 2
        try:
            while not again.done() and (left := give_up_at - loop.time()) > 0:
                with contextlib.suppress(
                    asyncio.CancelledError
                ):  # cancelled once more, which changes nothing
                    await asyncio.wait((again,), timeout=left)
            if again.done():
                return again.result()
        finally:
            leave(again)
        raise StorageError("it is not known whether the last commit was written")

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the storage for what a step depends on: its failures are not the job's.

        It is asked again for as long as a commit would be; then the run ends here, and another one goes on later.
        """
        try:
            return await self._insist(ask)
        except StorageError as error:
            self.lose(error)
            raise RunSuspended from error

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the storage until it answers, or has failed for too long."""
        clock, options = self.services.clock, self.services.options
        give_up_at = clock.monotonic() + options.storage_patience
        backoff = Backoff(0.05, 2.0)
        while True:
            try:
                return await ask()
            except StorageError as error:
                delay = backoff.next()
                if clock.monotonic() + delay > give_up_at:
                    raise
                logger.warning("job %s: %s; trying again in %.2f s", self.job.job_id, error, delay)
                await asyncio.sleep(delay)
                if self.lost is not None:
                    raise

    def check_open(self) -> None:
        """Refuse to work for a run that is over.

        Raises:
            RunSuspended: The job goes on later.
            asyncio.CancelledError: The job has ended.
        """
        if self.has_ended:
            raise asyncio.CancelledError("the job has ended")
        if self.closed:
            raise RunSuspended

    def lose(self, error: BaseException) -> None:
        """Give the run up without writing anything more."""
        self.closed = True
        self.lost = self.lost or error
        self.attention.set()

    def close(self) -> None:
        """Write nothing any more and forget timers."""
        self.closed = True
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
