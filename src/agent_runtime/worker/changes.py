"""What a kernel does about commits: wake jobs, feed the bus, tell who waits for a job's end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from agent_runtime.errors import StorageError
from agent_runtime.events.bus import EventBus
from agent_runtime.execution.admission import Admission
from agent_runtime.execution.executor import Executor
from agent_runtime.execution.services import RunServices
from agent_runtime.ports.commit import Commit, NewEvent, placed
from agent_runtime.ports.dispatcher import Dispatcher, SharedDispatcher
from agent_runtime.ports.due import DueJob
from agent_runtime.ports.journal import Claim, RemoteChange
from agent_runtime.ports.storage import Storage
from agent_runtime.values.ability import Ability
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord, JobStatus
from agent_runtime.worker.completion_waiters import CompletionWaiters
from agent_runtime.worker.local_dispatcher import LocalDispatcher
from agent_runtime.worker.ready_queue import ReadyQueue
from agent_runtime.worker.timers import TimerService
from llm_client.background import BackgroundLoop, stopped
from llm_client.logs import logger_of

logger = logger_of(__name__)

_SWEEP_LIMIT = 1000
"""Jobs submitted by one sweep: the first in order. More are looked for when few of them are left."""


class ChangeRouter:
    """The kernel's ear at its storage.

    Args:
        storage: What to listen to.
        bus: Where events go.
        executor: The runs in memory.
        dispatcher: Where due jobs go, when this process executes.
        timers: To be told of new timers.
        ready: Where jobs go that become due.
        ends: Who waits for a job's end.
        services: The kernel's.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        bus: EventBus,
        executor: Executor,
        dispatcher: Dispatcher,
        timers: TimerService,
        ready: ReadyQueue,
        ends: CompletionWaiters,
        services: RunServices,
    ) -> None:
        self._storage = storage
        self._bus = bus
        self._executor = executor
        self._dispatcher = dispatcher
        self._queue = dispatcher if isinstance(dispatcher, SharedDispatcher) else None
        self._local = dispatcher if isinstance(dispatcher, LocalDispatcher) else None
        self._timers = timers
        self._ready = ready
        self._services = services
        self.executes = False
        """Whether due jobs are executed here."""
        self.on_news: Callable[[], None] | None = None
        """Called when a job may have become due, or anything may have happened, while this process does not execute."""
        self.on_agents: Callable[[], None] | None = None
        """Called when resident agents were changed, here or elsewhere."""
        self.on_job: Callable[[str], None] | None = None
        """Called when a job has gone on or stands still, here or elsewhere."""
        self._ends = ends
        self._sweeping = BackgroundLoop(
            self.sweep,
            name="looking for due jobs",
            logger=logger,
            failures=(StorageError,),  # not before the next sweep is due
        )
        self._more_due = False
        """The last sweep has left due jobs behind."""
        if self._local is not None:
            self._local.on_low = self._sweep_for_more
        self._listens = False

    def start(self) -> None:
        """Begin to listen."""
        self._storage.listen(self)
        self._listens = True
        self._ready.start()
        self._ends.start()
        self._sweeping.start()

    async def stop(self) -> None:
        """Hear nothing more; whoever waits for a job's end is cancelled."""
        if self._listens:  # an earlier stop may have been cancelled
            self._listens = False
            self._storage.unlisten(self)
        await stopped(self._ready.stop, self._sweeping.stop, self._ends.stop)

    def _tell_of(self, job_id: str) -> None:
        if self.on_job is not None:
            self.on_job(job_id)

    def committed(self, commit: Commit, first_seq: int) -> None:
        """React to a commit of this process."""
        if commit.job is not None and commit.job_id is not None:
            self._tell_of(commit.job_id)
        if commit.job is not None and commit.job.release:
            run = self._executor.runs.get(commit.job_id or "")
            if run is not None and run.job.fence == commit.fence:
                run.close()
        if commit.events and commit.job_id is not None:
            self._publish(commit, first_seq)
        for job, events in commit.create:
            self._created(job, events, commit.at)
        for signal in commit.signals:
            self.wake(signal.job_id)
        if commit.cancel_children_of is not None:
            self._sweeping.wake()
        if commit.job is not None and commit.job.release:
            self._ready.left(commit.scope_id)
            if commit.job.status is JobStatus.RUNNING:  # given up in the middle; another process may go on
                self._become_due(commit.job_id or "")
        if commit.set_timers:
            self._timers.were_set(commit.set_timers)

    def _created(self, job: JobRecord, events: Sequence[NewEvent], at: datetime) -> None:
        is_ours, is_heard = job.owner == self._services.owner, self._bus.has_listeners(job.job_id)
        journal: list[RuntimeEvent] = []
        if is_ours or is_heard:
            journal = [
                placed(event, job.job_id, job.scope_id, seq, at) for seq, event in enumerate(events, 1)
            ]
        if is_heard:
            for event in journal:
                self._bus.publish_live(event)
        if is_ours:
            self._run_now(job, journal)
        elif job.operator is not None and self._passes_on:
            self._dispatcher.submit(
                job.job_id,
                priority=job.priority,
                queue=job.queue,
                operator=job.operator,
                scope_id=job.scope_id,
            )

    def _run_now(self, job: JobRecord, journal: Sequence[RuntimeEvent]) -> None:
        """Run a job that was stored as ours."""
        assert self._local is not None  # noqa: S101 -- nothing else has promised room
        claim = Claim(job=replace(job, last_seq=len(journal)), events=journal)
        self._local.run_now(job.job_id, self._executor.run_stored(claim), scope_id=job.scope_id)

    def _would_begin(self, job: JobRecord, local: LocalDispatcher) -> bool:
        """Whether a new job would begin here at once: nobody waits before it, here or in the storage, and nobody has to count."""
        services = self._services
        return (
            self.executes
            and job.status is JobStatus.QUEUED
            and services.options.caps.of(job.scope_id) is None
            and services.lease.is_fresh()
            and not self._more_due
            and local.has_room()
        )

    @contextmanager
    def beginning(self, admission: Admission) -> Iterator[Admission]:
        """Give a new job as it is to be stored inside: as claimed, where this process would claim it at once.

        So it takes one commit instead of two. The run begins when the commit is heard of, whatever has become of who submitted it.
        """
        if self._local is None or not self._would_begin(admission.job, self._local):
            yield admission
            return
        with self._local.promised():
            yield admission.begun_by(self._services.owner)

    def _publish(self, commit: Commit, first_seq: int) -> None:
        job_id = commit.job_id or ""
        if self._bus.has_listeners(job_id):
            for seq, event in enumerate(commit.events, first_seq):
                self._bus.publish_live(placed(event, job_id, commit.scope_id, seq, commit.at))
        if commit.job is not None and job_id in self._ends:
            last_seq = first_seq + len(commit.events) - 1
            last = placed(commit.events[-1], job_id, commit.scope_id, last_seq, commit.at)
            if last.is_stop:
                self._ends.came(last)

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """React to entries that a claim or a drain has written."""
        self._tell_of(job_id)
        for event in events:
            self._bus.publish_live(event)
            if event.is_terminal:
                self._ends.came(event)

    def mailed(self, job_ids: Sequence[str]) -> None:
        """Wake jobs for which messages are there."""
        for job_id in job_ids:
            self.wake(job_id)

    def agents_changed(self, changes: Sequence[tuple[str, str]]) -> None:
        """Have resident agents looked after."""
        del changes
        if self.on_agents is not None:
            self.on_agents()

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        """React to another process's commits; without `changes`, anything may have happened."""
        if changes is None:
            self._sweeping.wake()
            self._bus.notify()
            self._timers.poll()
            self.agents_changed(())
            return
        for kind, job_id in changes:
            match kind:
                case "created" if self._queue is None:
                    self._become_due(job_id)
                case "signalled" if self._queue is None or job_id in self._executor.busy:
                    self.wake(job_id)
                case "agent":
                    self.agents_changed(())
                case "timer":
                    self._timers.poll()
                case "appended":
                    self._bus.notify(job_id)
                    self._tell_of(job_id)
                case "ended":
                    self._bus.notify(job_id)
                    self._ends.on_remote_change(job_id)

    @property
    def _passes_on(self) -> bool:
        """Whether due jobs are advanced here, or by whoever shares the queue."""
        return self.executes or self._queue is not None

    def _become_due(self, job_id: str) -> None:
        """Have a job advanced whose priority is not known here."""
        if self._passes_on:
            self._ready.signalled(job_id)
        else:
            self._tell_news()

    def _tell_news(self) -> None:
        if self.on_news is not None:
            self.on_news()

    def wake(self, job_id: str) -> None:
        """Bring a signal to its job: to the run in memory, or by advancing the job."""
        if not self._executor.signalled(job_id):
            self._become_due(job_id)

    def sweep_soon(self) -> None:
        """Look for due jobs and waiting signals."""
        self._sweeping.wake()

    async def sweep(self) -> None:
        """Submit every due job, wake every run with signals, and see which awaited jobs have ended or grown."""
        if self.executes:
            if self._queue is not None:
                # Whoever can run them: this process or another one.
                await self._queue.sweep([job.job_id for job in await self._first_due()])
            else:
                await self._submit_due()
            for job_id in await self._storage.jobs_with_signals(self._services.owner):
                self.wake(job_id)
        else:
            self._tell_news()
        await self._ends.poll()
        if self._storage.is_shared:
            self._bus.notify()  # what another process has written and not announced is found by looking

    async def _submit_due(self) -> None:
        due = await self._first_due(self._services.abilities.now())
        for job in due:
            self._dispatcher.submit(job.job_id, priority=job.priority, scope_id=job.scope_id)
        self._more_due = len(due) == _SWEEP_LIMIT

    async def _first_due(self, ability: Ability | None = None) -> Sequence[DueJob]:
        options = self._services.options
        return await self._storage.due_jobs(
            limit=_SWEEP_LIMIT,
            caps=options.caps,
            ability=ability,
            across_scopes=options.priority_across_scopes,
        )

    def _sweep_for_more(self) -> None:
        if self._more_due:
            self._more_due = False
            self._sweeping.wake()

    def end_of(self, job_id: str) -> asyncio.Future[RuntimeEvent]:
        """Return a future of the next event with which the job stops: it ends, or is blocked."""
        return self._ends.end_of(job_id)
