"""`advance`: given a job id, make progress. The whole contract between the runtime and whatever executes it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from agent_runtime.errors import (
    AgentRuntimeError,
    JobSuspected,
    PolicyInvalid,
    RunSuspended,
    StorageError,
    UnknownOperator,
    UnknownPolicy,
)
from agent_runtime.execution.admission import has_begun, is_admitted
from agent_runtime.execution.branch import CURRENT_BRANCH, Branch
from agent_runtime.execution.completion import Completion, finish, settle_lost_attempts
from agent_runtime.execution.guards import Guard
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.journal.history import History, newer_format
from agent_runtime.execution.journal.suspicion import SuspectsPlace
from agent_runtime.execution.leaving import block
from agent_runtime.execution.operations.durable_context import DurableContext
from agent_runtime.execution.policy_enforcer import PolicyEnforcer
from agent_runtime.execution.running_time import seconds_left
from agent_runtime.execution.services import RunServices
from agent_runtime.execution.supervision import Supervisor
from agent_runtime.operators.operator import OperatorRegistry
from agent_runtime.ports.commit import Commit, JobChange, NewEvent
from agent_runtime.ports.current_job import CURRENT_JOB, CurrentJob
from agent_runtime.ports.journal import Claim
from agent_runtime.values.deaths import CRASH_LOOP
from agent_runtime.values.event import JOURNAL_FORMAT, RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord, JobStatus
from llm_client.background import Backoff, begin, ended, in_background
from llm_client.exits import contained
from llm_client.logs import logger_of
from llm_client.middleware import HOST
from llm_client.public_text import kind_of, text_of
from llm_client.tools.tool import Tool

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine

logger = logger_of(__name__)


class Executor:
    """Executes claimed jobs in this process.

    Args:
        services: Storage, clock, bus and options.
        registry: The operators this process knows.
        guard: What stands around model and tool calls.
        engine: For `context.model`.
        tools: For `context.tool`.
        resubmit: Called with a job that should be advanced again.
    """

    def __init__(
        self,
        services: RunServices,
        *,
        registry: OperatorRegistry,
        guard: Guard,
        engine: ExecutionEngine | None,
        tools: Mapping[str, Tool],
        resubmit: Callable[[str], None],
    ) -> None:
        self._services = services
        self._registry = registry
        self._guard = guard
        self._engine = engine
        self._tools = tools
        self._resubmit = resubmit
        self._caps = services.options.caps
        self._draining = False
        self._place = SuspectsPlace(resubmit)
        self.runs: dict[str, JobRun] = {}
        """Runs in memory, by job."""
        self._early: set[str] = set()
        """Jobs that received a signal after their claim and before their run was registered."""
        self.busy: set[str] = set()
        """Jobs that are being claimed, run, or put away after their run."""
        self._again: set[str] = set()
        """Those of them that were submitted meanwhile."""

    async def advance(self, job_id: str, *, is_listed: bool = True) -> None:
        """Claim a job if it is due, and run it until it ends or has to wait. Never raises but for cancellation.

        A job has one run here at a time. The last one may still be leaving the memory when the job is due again; who comes
        then is asked to come back.
        """
        if self._draining:
            return
        if job_id in self.busy:
            self._again.add(job_id)
            return
        self.busy.add(job_id)
        try:
            await self._advance(job_id, is_listed=is_listed)
        finally:
            self._left(job_id)

    def run_stored(self, claim: Claim) -> Coroutine[Any, Any, None]:
        """Return what runs a job that was stored as one of ours: from now on it is busy, and signals come to it."""
        self.busy.add(claim.job.job_id)
        return self._run_stored(claim)

    async def _run_stored(self, claim: Claim) -> None:
        try:
            await self._services.turns.give()
            await self._run_safely(claim)
        finally:
            self._left(claim.job.job_id)

    def _left(self, job_id: str) -> None:
        self._place.leave(job_id)
        self.busy.discard(job_id)
        self._early.discard(job_id)
        if job_id in self._again:
            self._again.discard(job_id)
            self._resubmit(job_id)

    async def advance_unlisted(self, job_id: str) -> None:
        """Claim a job whose operator nobody knows, to end it if it is asked to stop, and to set it aside if not."""
        if job_id not in self.busy:
            await self.advance(job_id, is_listed=False)

    async def _advance(self, job_id: str, *, is_listed: bool) -> None:
        await self._services.turns.give()
        try:
            claim = await self._claim(job_id, is_listed=is_listed)
        except StorageError:
            logger.exception("job %s could not be claimed; it will be tried again", job_id)
            asyncio.get_running_loop().call_later(1.0, self._resubmit, job_id)
            return
        if claim is not None:
            await self._run_safely(claim)

    async def _run_safely(self, claim: Claim) -> None:
        try:
            await self._run(claim)
        except Exception as error:
            logger.exception("job %s cannot be run here; it is set aside", claim.job.job_id)
            await self._block(claim.job, f"{kind_of(error)}: {text_of(error)}", "INTERNAL_ERROR")

    async def _claim(self, job_id: str, *, is_listed: bool) -> Claim | None:
        """Take a job; one that may be what kills its processes only when no other such job runs here."""
        if self._place.must_wait(job_id):
            return None
        services = self._services
        claim = partial(services.storage.claim, job_id, owner=services.owner, caps=self._caps)
        if is_listed:
            claim = partial(claim, ability=services.abilities.now())
        try:
            return await claim(at=services.clock.now(), suspects=False)
        except JobSuspected:
            if not self._place.take(job_id):
                return None
            return await claim(at=services.clock.now(), suspects=True)

    async def _run(self, claim: Claim) -> None:
        """Run a claimed job until it ends, waits, or is lost."""
        newer = newer_format(claim.events)
        if newer is not None:
            reason = (
                f"the job's journal has format {newer}, and this version of agent-runtime reads those up to "
                f"{JOURNAL_FORMAT}: let newer workers run it"
            )
            logger.error("job %s is blocked: %s", claim.job.job_id, reason)
            await self._block(claim.job, reason, "JOURNAL_FORMAT")
            return
        run, job_id = JobRun(claim.job, await History.of(claim.events), self._services), claim.job.job_id
        if self._draining:
            run.drain()
        run.journal.suspicion.on_left = partial(self._place.leave, job_id)
        self.runs[job_id] = run
        if job_id in self._early:
            run.wake()
        try:
            async with self._patience(run):
                await self._execute(run)
        except StorageError as error:
            run.lifecycle.abort(error)
        except (asyncio.CancelledError, RunSuspended):
            if run.lifecycle.lost is None:
                raise
        finally:
            run.close()
            del self.runs[job_id]
        if isinstance(run.lifecycle.lost, StorageError):
            logger.error("job %s was given up because the storage failed: %s", job_id, run.lifecycle.lost)
            self._tell_of_storage(run, run.lifecycle.lost)
            await self._release_when_possible(run)

    def _tell_of_storage(self, run: JobRun, failure: StorageError) -> None:
        """Tell who listens here why a job does not go on; the journal cannot."""
        data = {"message": str(failure), "code": failure.code}
        self._services.bus.publish_live(
            RuntimeEvent(
                type=RuntimeEventType.JOB_WARNING,
                job_id=run.job_id,
                scope_id=run.job.scope_id,
                timestamp=self._services.clock.now(),
                data=data,
            )
        )

    @contextlib.asynccontextmanager
    async def _patience(self, run: JobRun) -> AsyncIterator[None]:
        """Let a suspect that lives on give up its slot, although it writes no outcome: perhaps it never will."""
        if not run.journal.suspicion.has_slot:
            yield
            return
        leaving = in_background(self._leave_in_time(run), name=f"patience with {run.job_id}")
        try:
            yield
        finally:
            await ended(leaving)

    async def _leave_in_time(self, run: JobRun) -> None:
        await asyncio.sleep(self._services.options.suspect_patience)
        await run.journal.leave_suspects_slot()

    async def _block(self, job: JobRecord, reason: str, code: str) -> None:
        """Park a job that this process fails to run at all, an undecodable entry for one, so that people see it."""
        now = self._services.clock.now()
        change = replace(
            self._services.abilities.blocking(job, reason, code, now),
            expect=frozenset({JobStatus.RUNNING}),  # not after its end
        )
        data = {"reason": reason, "code": code}
        commit = Commit(
            at=now,
            job_id=job.job_id,
            fence=job.fence,
            depth=job.depth,
            scope_id=job.scope_id,
            events=[NewEvent(RuntimeEventType.JOB_BLOCKED, None, data)],
            job=change,
        )
        try:
            await self._services.storage.commit(commit)
        except AgentRuntimeError:
            logger.exception("job %s could not be set aside; the next start finds it", job.job_id)

    def signalled(self, job_id: str) -> bool:
        """Bring a signal to a job's run in memory; return whether there is one, or is about to be."""
        run = self.runs.get(job_id)
        if run is not None and not run.lifecycle.is_over:
            run.wake()
            return True
        if run is None and job_id in self.busy:
            self._early.add(job_id)
        return False

    def undrain(self) -> None:
        """Let steps begin again, after a start that had to be given up."""
        self._draining = False

    def drain(self) -> None:
        """Begin no further step: runs are released as soon as their steps in flight have ended."""
        self._draining = True
        for run in self.runs.values():
            run.drain()

    def release_runs(self) -> None:
        """Release what runs now, because this worker was evicted; later claims are not concerned."""
        for run in self.runs.values():
            run.drain(evicted=True)

    async def _execute(self, run: JobRun) -> None:
        options, history = self._services.options, run.history
        await settle_lost_attempts(run)
        request = history.stop_request
        if run.job.lone_deaths >= options.max_crashes:
            died = (
                f"its process has died {run.job.lone_deaths} times while this job was the only suspect in it"
            )
            if request is None:
                await block(run, died, CRASH_LOOP)
            else:  # what it would clean up with has killed all the others
                await finish(run, Completion.of_request(request, no_clean_up=died))
            return
        if request is not None and not has_begun(run):
            await finish(run, Completion.of_request(request))
            return
        try:
            operator = self._registry.get(run.job.operator or "")
            run.retry = run.job.retry or getattr(operator, "retry", None) or self._services.retry
            run.enforcer = PolicyEnforcer(
                run.journal, await self._services.policies.of_job(run.job.policy_ref)
            )
        except (UnknownOperator, UnknownPolicy, PolicyInvalid) as error:
            if request is None:
                await block(run, text_of(error), error.code)
            else:
                await finish(run, Completion.of_request(request, no_clean_up=text_of(error)))
            return
        if request is None and not await is_admitted(run):
            return
        if (
            request is None and seconds_left(run, self._services.clock.now()) == 0
        ):  # a chain of quick links would outrun the timer
            await finish(run, Completion.out_of_time())
            return
        root = Branch(run)
        task = self._start(root, operator)
        timer = self._limit_active_time(run)
        supervisor = Supervisor(root, task)
        if run.lifecycle.attention.is_set():
            # Its row says that it runs: whoever stops it now finds that its code has begun.
            await asyncio.sleep(0)
        try:
            await supervisor.watch()
        finally:
            if timer is not None:
                timer.cancel()
            await supervisor.unwind()

    def _start(self, root: Branch, operator: Any) -> asyncio.Task[Any]:
        """Start the operator in a context of its own, in which models and tools are journaled."""
        run = root.run
        run.idleness.work = root
        context = DurableContext(
            run, guard=self._guard, registry=self._registry, engine=self._engine, tools=self._tools
        )
        variables = contextvars.copy_context()
        variables.run(HOST.set, self._guard)
        variables.run(CURRENT_BRANCH.set, root)
        variables.run(CURRENT_JOB.set, CurrentJob(run.journal, context))
        created = run.history.created
        given = None if created is None else created.body()

        async def execute() -> Any:
            async with root.settling_streams():
                return await operator.execute(given, context)

        task = begin(contained(execute()), name=f"job {run.job_id}", context=variables)
        root.task = task

        def has_ended(done: asyncio.Task[Any]) -> None:
            run.lifecycle.attention.set()
            if not done.cancelled():
                done.exception()  # one that is left behind is not reported as forgotten

        task.add_done_callback(has_ended)
        return task

    def _limit_active_time(self, run: JobRun) -> asyncio.TimerHandle | None:
        left = seconds_left(run, self._services.clock.now())
        if left is None:
            return None

        def stop() -> None:
            run.out_of_time = True
            run.lifecycle.attention.set()

        return asyncio.get_running_loop().call_later(left, stop)

    async def _release_when_possible(self, run: JobRun) -> None:
        """Give a job back whose run was lost to a broken storage, as soon as the storage works."""
        backoff = Backoff(0.5, 10.0)
        while not self._draining:
            await backoff.pause()
            try:
                await self._services.storage.commit(_release_commit(run, "the storage failed"))
            except StorageError:
                continue
            except AgentRuntimeError:
                return
            self._resubmit(run.job_id)
            return


def _release_commit(run: JobRun, why: str) -> Commit:
    return Commit(
        at=run.services.clock.now(),
        job_id=run.job_id,
        fence=run.job.fence,
        depth=run.job.depth,
        scope_id=run.job.scope_id,
        events=[NewEvent(RuntimeEventType.JOB_SUSPENDED, None, {"waits": ["worker"], "reason": why})],
        job=JobChange(
            status=JobStatus.RUNNING, expect=frozenset({JobStatus.RUNNING}), release=True
        ),  # its end or suspension may have been written without an answer
    )
