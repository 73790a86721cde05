"""`advance`: given a job id, make progress. The whole contract between the runtime and whatever executes it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from agent_runtime.actions.waiting import ACTION_HOST
from agent_runtime.errors import (
    AgentRuntimeError,
    JobSuspected,
    NondeterminismError,
    PolicyInvalid,
    SignalsPending,
    StorageError,
    UnknownOperator,
    UnknownPolicy,
)
from agent_runtime.kernel.admission import is_admitted
from agent_runtime.kernel.branch import CURRENT_BRANCH
from agent_runtime.kernel.durable_context import DurableContext
from agent_runtime.kernel.ending import Ending, end_of, finish, settle_lost_attempts
from agent_runtime.kernel.failures import public_text
from agent_runtime.kernel.governor import Governor
from agent_runtime.kernel.guards import Guard
from agent_runtime.kernel.history import newer_format
from agent_runtime.kernel.operator import OperatorRegistry
from agent_runtime.kernel.operator_context import CURRENT_CONTEXT
from agent_runtime.kernel.retrying import set_aside
from agent_runtime.kernel.run import JobRun
from agent_runtime.kernel.running_time import seconds_left
from agent_runtime.kernel.suspicion import SuspectsPlace
from agent_runtime.kernel.waits import blocking
from agent_runtime.kernel.writing import RunServices
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.journal import Claim, Commit, JobChange, NewEvent
from agent_runtime.values.event import JOURNAL_FORMAT, RuntimeEventType
from agent_runtime.values.job import JobRecord, JobStatus
from llm_client.middleware import HOST
from llm_client.tools.tool import Tool

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine

logger = logging.getLogger(__name__)


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
        """Jobs that are being claimed or run."""

    async def advance(self, job_id: str) -> None:
        """Claim a job if it is due, and run it until it ends or has to wait. Never raises but for cancellation."""
        if self._draining:
            return
        self.busy.add(job_id)
        try:
            await self._advance(job_id)
        finally:
            self._place.leave(job_id)
            self.busy.discard(job_id)
            self._early.discard(job_id)

    async def _advance(self, job_id: str) -> None:
        try:
            claim = await self._claim(job_id)
        except StorageError:
            logger.exception("job %s could not be claimed; it will be tried again", job_id)
            asyncio.get_running_loop().call_later(1.0, self._resubmit, job_id)
            return
        if claim is None:
            return
        try:
            await self._run(claim)
        except Exception as error:
            logger.exception("job %s cannot be run here; it is set aside", job_id)
            await self._set_aside(
                claim.job, public_text(f"{type(error).__name__}: {error}"), "INTERNAL_ERROR"
            )

    async def _claim(self, job_id: str) -> Claim | None:
        """Take a job; one that may be what kills its processes only when no other such job runs here."""
        if self._place.must_wait(job_id):
            return None
        services = self._services
        claim = partial(services.storage.claim, job_id, owner=services.owner, caps=self._caps)
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
            await self._set_aside(claim.job, reason, "JOURNAL_FORMAT")
            return
        run, job_id = JobRun(claim, self._services), claim.job.job_id
        run.draining = self._draining
        run.suspicion.on_left = partial(self._place.leave, job_id)
        self.runs[job_id] = run
        if job_id in self._early:
            run.wake()
        try:
            async with self._patience(run):
                await self._execute(run)
        except StorageError as error:
            run.lose(error)
        except asyncio.CancelledError:
            if run.lost is None:
                raise
        finally:
            run.close()
            del self.runs[job_id]
        if isinstance(run.lost, StorageError):
            logger.error("job %s was given up because the storage failed: %s", job_id, run.lost)
            await self._release_when_possible(run)

    @contextlib.asynccontextmanager
    async def _patience(self, run: JobRun) -> AsyncIterator[None]:
        """Let a suspect that lives on give up its place, although it writes no outcome: perhaps it never will."""
        if not run.suspicion.has_place:
            yield
            return
        loop = asyncio.get_running_loop()
        leaving = loop.create_task(self._leave_in_time(run), name=f"patience with {run.job_id}")
        try:
            yield
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    async def _leave_in_time(self, run: JobRun) -> None:
        await asyncio.sleep(self._services.options.suspect_patience)
        await run.leave_suspects_place()

    async def _set_aside(self, job: JobRecord, reason: str, code: str) -> None:
        """Park a job that this process fails to run at all, an undecodable entry for one, so that people see it."""
        change = JobChange(status=JobStatus.BLOCKED, error=reason, error_code=code, release=True)
        data = {"reason": reason, "code": code}
        commit = Commit(
            commit_id=new_commit_id(),
            at=self._services.clock.now(),
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
        if run is not None and not run.closed:
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
        self._release_runs(taken=False)

    def release_runs(self) -> None:
        """Release what runs now, because this worker was taken for dead; later claims are not concerned."""
        self._release_runs(taken=True)

    def _release_runs(self, *, taken: bool) -> None:
        for run in self.runs.values():
            run.draining = True
            run.taken = run.taken or taken
            run.attention.set()
            run.check_idle()

    async def _execute(self, run: JobRun) -> None:
        options, history = self._services.options, run.history
        await settle_lost_attempts(run)
        if run.job.lone_deaths >= options.max_crashes and history.stop_request is None:
            reason = (
                f"its process has died {run.job.lone_deaths} times while this job was the only suspect in it"
            )
            await park(run, reason, "CRASH_LOOP")
            return
        if history.stop_request is not None:
            await finish(run, Ending.of_request(history.stop_request))
            return
        try:
            operator = self._registry.get(run.job.operator or "")
            run.retry = run.job.retry or getattr(operator, "retry", None) or self._services.retry
            run.governor = Governor(run, await self._services.policies.of_job(run.job.policy_ref))
        except (UnknownOperator, UnknownPolicy, PolicyInvalid) as error:
            await park(run, str(error), error.code)
            return
        if not await is_admitted(run):
            return
        if (
            seconds_left(run, self._services.clock.now()) == 0
        ):  # a chain of quick links would outrun the timer
            await finish(run, Ending.out_of_time())
            return
        task = self._start(run, operator)
        timer = self._limit_active_time(run)
        try:
            await self._supervise(run, task)
        finally:
            if timer is not None:
                timer.cancel()
            await _unwind(task, options.cancel_timeout)

    def _start(self, run: JobRun, operator: Any) -> asyncio.Task[Any]:
        """Start the operator in a context of its own, in which models and tools are journaled."""
        context = DurableContext(
            run, guard=self._guard, registry=self._registry, engine=self._engine, tools=self._tools
        )
        variables = contextvars.copy_context()
        for variable, value in (
            (HOST, self._guard),
            (CURRENT_BRANCH, run.root),
            (CURRENT_CONTEXT, context),
            (ACTION_HOST, context),
        ):
            variables.run(_set, variable, value)
        created = run.history.created
        given = None if created is None else created.body()

        async def execute() -> Any:
            async with run.root.settling_streams():
                return await operator.execute(given, context)

        task = asyncio.get_running_loop().create_task(execute(), name=f"job {run.job_id}", context=variables)
        task.add_done_callback(lambda _: run.attention.set())
        return task

    def _limit_active_time(self, run: JobRun) -> asyncio.TimerHandle | None:
        left = seconds_left(run, self._services.clock.now())
        if left is None:
            return None

        def stop() -> None:
            run.out_of_time = True
            run.attention.set()

        return asyncio.get_running_loop().call_later(left, stop)

    async def _supervise(self, run: JobRun, task: asyncio.Task[Any]) -> None:
        """Watch over a running operator until the run has ended, one way or another."""
        while True:
            await run.attention.wait()
            run.attention.clear()
            if run.lost is not None:
                return
            request = run.history.stop_request
            if task.done() and request is None and not run.fold_in_doubt:
                if await self._conclude(run, task):
                    return
                continue
            if run.signals_waiting:
                await run.fold()
            request = run.history.stop_request
            if request is not None or run.out_of_time:
                run.stopping = True
                await _unwind(task, self._services.options.cancel_timeout)
                await finish(run, Ending.of_request(request) if request is not None else Ending.out_of_time())
                return
            if run.draining and run.is_quiet() and await _release(run):
                return
            if run.is_idle and await self._suspend(run):
                return

    async def _conclude(self, run: JobRun, task: asyncio.Task[Any]) -> bool:
        """Write how the operator ended; return whether the run is over, and not asked to stop before it goes on."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, NondeterminismError):
            await park(run, str(error), error.code)
            return True
        try:
            if not await set_aside(run, task):
                await finish(run, end_of(run, task))
        except SignalsPending:
            await run.fold()
            run.attention.set()
            return False
        return True

    async def _suspend(self, run: JobRun) -> bool:
        """Leave the memory, unless a signal has arrived meanwhile; return whether the run is over."""
        try:
            async with run.last_word():
                if not run.is_idle or run.fold_in_doubt:
                    return False
                waits = set(run.root.waits())
                events = [
                    *_standing_still(run),
                    NewEvent(RuntimeEventType.JOB_SUSPENDED, None, {"waits": sorted(waits)}),
                ]
                change = JobChange(status=_status_of(waits), release=True)
                await run.conclude(events, job=change, require_no_signals=True)
        except SignalsPending:
            await run.fold()
            run.check_idle()
            return False
        return True

    async def _release_when_possible(self, run: JobRun) -> None:
        """Give a job back whose run was lost to a broken storage, as soon as the storage works."""
        delay = 0.5
        while not self._draining:
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)
            try:
                await self._services.storage.commit(_release_commit(run, "the storage failed"))
            except StorageError:
                continue
            except AgentRuntimeError:
                return
            self._resubmit(run.job_id)
            return


def _set(variable: contextvars.ContextVar[Any], value: Any) -> None:
    variable.set(value)


def _status_of(waits: Collection[str]) -> JobStatus:
    """Return the status of a job that waits for this."""
    if "action" in waits:
        return JobStatus.WAITING_ACTION
    return JobStatus.SLEEPING if waits == {"timer"} else JobStatus.WAITING


def _standing_still(run: JobRun) -> list[NewEvent]:
    """Return the entries by which tool calls that stand still as a whole may be entered again."""
    events: dict[str, NewEvent] = {}
    for branch in run.root.leaves():
        for event in blocking(branch, "suspend", branch.waiting or "wait"):
            step = run.history.steps.get(event.operation_id or "")
            if step is not None and not step.may_reenter:
                events[step.operation_id] = event
    return list(events.values())


async def park(run: JobRun, reason: str, code: str) -> None:
    """Set a job aside until a worker can go on with it; nothing is lost."""
    logger.error("job %s is blocked: %s", run.job_id, reason)
    async with run.last_word():
        await run.conclude(
            [NewEvent(RuntimeEventType.JOB_BLOCKED, None, {"reason": reason, "code": code})],
            job=JobChange(status=JobStatus.BLOCKED, error=reason, error_code=code, release=True),
        )


async def _release(run: JobRun) -> bool:
    """Give a job up in the middle, for another process or a later start, unless a step has begun meanwhile."""
    async with run.last_word():
        if not run.is_quiet():
            return False
        await run.conclude(
            [NewEvent(RuntimeEventType.JOB_SUSPENDED, None, {"waits": ["worker"]}), *_standing_still(run)],
            job=JobChange(status=JobStatus.RUNNING, release=True),
        )
        return True


def _release_commit(run: JobRun, why: str) -> Commit:
    return Commit(
        commit_id=new_commit_id(),
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


async def _unwind(task: asyncio.Task[Any], timeout: float) -> None:
    """Cancel an operator and give it a bounded time to clean up."""
    if task.done():
        return
    task.cancel()
    _, pending = await asyncio.wait((task,), timeout=timeout)
    if pending:
        logger.warning("%s does not stop although it was cancelled; it is left behind", task.get_name())
