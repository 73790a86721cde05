"""The kernel: takes jobs, has them executed, and lets anybody follow them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agent_runtime.actions.manager import ActionManager
from agent_runtime.audit.manager import AuditManager
from agent_runtime.audit.trail import AuditTrail
from agent_runtime.errors import (
    ActionAlreadyResolved,
    ConfigurationError,
    DuplicateJob,
    ExecutorBusy,
    InvalidInput,
    InvalidTransition,
    JobBlocked,
    UnknownJob,
)
from agent_runtime.events.bus import EventBus, InMemoryEventBus
from agent_runtime.events.live_calls import LiveCalls
from agent_runtime.execution.abilities import Abilities
from agent_runtime.execution.admission import admit
from agent_runtime.execution.branch import branch_here
from agent_runtime.execution.executor import Executor
from agent_runtime.execution.guards import Guard
from agent_runtime.execution.guards.belongings import Belongings
from agent_runtime.execution.options import KernelOptions
from agent_runtime.execution.policies import Policies
from agent_runtime.execution.retries import Retry, retried
from agent_runtime.execution.services import Completions, Lease, RunServices
from agent_runtime.inbox.manager import InboxManager
from agent_runtime.jobs.manager import JobManager
from agent_runtime.jobs.new_job import new_job
from agent_runtime.jobs.same_request import request_hash
from agent_runtime.kernel.answers import Answers
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.kernel.queue_credits import QueueCredits
from agent_runtime.kernel.request import ExecutionRequest
from agent_runtime.kernel.residents import Residents
from agent_runtime.kernel.scheduled import KernelStarter
from agent_runtime.kernel.schedules import ScheduleManager
from agent_runtime.kernel.stores import StorageView
from agent_runtime.keys.manager import ApiKeyManager
from agent_runtime.ledger.ledger import Ledger
from agent_runtime.operators.operator import AgentOperator, OperatorRegistry
from agent_runtime.operators.orchestration import OrchestrationConfig
from agent_runtime.policy.engine import PolicyEngine
from agent_runtime.ports.clock import Clock, clock_of
from agent_runtime.ports.commit import Commit, CommitParts, NewEvent
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.dispatcher import Dispatcher, SharedDispatcher
from agent_runtime.ports.erasure import Eraser
from agent_runtime.ports.feed import Projection
from agent_runtime.ports.ids import new_id, new_seed
from agent_runtime.ports.storage import Storage
from agent_runtime.ports.trace_context import belonging_to
from agent_runtime.residents.definitions import AgentRegistry
from agent_runtime.schedules.rules import Check
from agent_runtime.values.checks import can_be_id
from agent_runtime.values.content import content_aside
from agent_runtime.values.context import DEFAULT_SCOPE, BudgetSpec
from agent_runtime.values.event import JOURNAL_FORMAT, RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import FAILURES, JobStatus
from agent_runtime.values.message import InboxMessage, check_identity
from agent_runtime.values.retry_policy import RetryPolicy
from agent_runtime.worker.agent_keeper import AgentKeeper
from agent_runtime.worker.changes import ChangeRouter
from agent_runtime.worker.completion_waiters import CompletionWaiters
from agent_runtime.worker.heartbeat import Heartbeat
from agent_runtime.worker.live_text import LiveText
from agent_runtime.worker.projectors import Projector, Projectors
from agent_runtime.worker.ready_queue import ReadyQueue
from agent_runtime.worker.scheduler import Scheduler
from agent_runtime.worker.timers import TimerService
from agent_runtime.worker.worker import Worker
from llm_client.background import stopped
from llm_client.json_text import JsonObject
from llm_client.logs import logger_of
from llm_client.pricing.book import PriceBook
from llm_client.tokens import TokenEstimator
from llm_client.tools.registry import ToolRegistry
from llm_client.tools.tool import Tool
from llm_client.turns import read_aside

if TYPE_CHECKING:
    from llm_client.agent.agent import Agent
    from llm_client.engine.engine import ExecutionEngine

logger = logger_of(__name__)

DEFAULT_OPERATOR = "agent"


@after_the_journal(but=("aclose",))
class Kernel:
    """Runs jobs on a storage, from ready parts; `RuntimeKernel` puts them together.

    `async with kernel:` starts it, recovering what an earlier process left unfinished, and drains it at the end.
    Without that, the first `execute` starts it and `aclose` ends it.

    Args:
        storage: Where everything is kept.
        owns_storage: Whether the storage is closed with the kernel.
        dispatcher: Who calls `advance`.
        engine: For `context.model`, and for a plain agent when `agent` is not given.
        agent: Runs the requests that name no operator.
        ledger: Brings budgets that were set in code; by default one without.
        policy_engine: What jobs, models and tools may do; of several, requests choose by name, and the first is the rule.
        event_bus: Delivers events in this process.
        operators: Operators, agents and async functions that requests can name.
        tools: For `context.tool`, besides the agent's.
        clock: What time it is; by default that of the storage.
        options: Tuning.
        prices: What calls cost, and can cost at most, in jobs; by default each engine's own.
        retry: What outages mean to jobs whose request and operator do not say.
        orchestration: How far a job may spread.
        projections: What is kept up with the journals of all jobs, while this process executes.
        checks: What schedules can ask before they fire: functions, or names and functions. A schedule with a check is looked after by
            processes that have it.
        agents: What resident agents are made of. The kernel's own agent is among them, as `agent`.
        erasers: Returns what keeps content of jobs beside the storage's own tables.
        worker: Whether this process executes jobs, or only submits and follows them.
    """

    _starting: asyncio.Lock | None = None
    _started = False
    _closed = False
    _stopping: asyncio.Lock | None = None
    _stopped = False

    def __init__(
        self,
        *,
        storage: Storage,
        dispatcher: Dispatcher,
        owns_storage: bool = False,
        engine: ExecutionEngine | None = None,
        agent: Agent | None = None,
        ledger: Ledger | None = None,
        policy_engine: PolicyEngine | Iterable[PolicyEngine] | None = None,
        event_bus: EventBus | None = None,
        operators: Iterable[object] | Mapping[str, object] = (),
        tools: Iterable[Tool | Callable[..., object]] = (),
        clock: Clock | None = None,
        options: KernelOptions | None = None,
        prices: PriceBook | None = None,
        retry: RetryPolicy | None = None,
        orchestration: OrchestrationConfig | None = None,
        projections: Iterable[Projection] = (),
        checks: Iterable[Check] | Mapping[str, Check] = (),
        agents: AgentRegistry | None = None,
        erasers: Callable[[], Iterable[Eraser]] = tuple,
        worker: bool = True,
    ) -> None:
        self._owns_storage = owns_storage
        self.storage: Storage = storage
        view = StorageView(self.storage)
        self.clock = clock or clock_of(self.storage)
        self.options = options or KernelOptions()
        self._credits = QueueCredits(self.storage, self.clock)
        self.bus: EventBus = event_bus or InMemoryEventBus()
        if isinstance(self.bus, InMemoryEventBus):
            self.bus.belongs_to(self.storage)
        self.jobs = JobManager(view, clock=self.clock)
        self.actions = ActionManager(view, clock=self.clock)
        self.audit = AuditManager(self.storage, erasers=erasers)
        self.inbox = InboxManager(view, clock=self.clock, max_inbox=self.options.max_inbox)
        self.keys = ApiKeyManager(self.storage, self.clock)
        self.ledger = ledger or Ledger(view, clock=self.clock)
        engines = [policy_engine] if isinstance(policy_engine, PolicyEngine) else list(policy_engine or ())
        self._policies = Policies(engines or [PolicyEngine()], self.storage)
        self.policy = self._policies.main
        self.worker_id = new_id("worker")
        self.operators = OperatorRegistry(operators)
        self._wants_to_execute = worker
        self._orchestration = orchestration
        self._add_default_agent(engine, agent)
        self._retry = retry or RetryPolicy()
        self._assemble(
            engine or (agent.engine if agent is not None else None),
            prices=prices,
            tools=_tools(tools, agent),
            dispatcher=dispatcher,
            projections=projections,
            checks=_checks(checks),
            agents=agents,
        )

    def _assemble(
        self,
        engine: ExecutionEngine | None,
        *,
        prices: PriceBook | None,
        tools: dict[str, Tool],
        dispatcher: Dispatcher,
        projections: Iterable[Projection],
        checks: Mapping[str, Check],
        agents: AgentRegistry | None,
    ) -> None:
        """Put together what executes jobs."""
        heartbeat, ends = self._heartbeat(dispatcher), CompletionWaiters(self.storage)
        services = self._services(heartbeat, ends)
        self.live, self.answers = services.live, Answers(self.storage)
        self._live_text = self._text_for_others()
        ready = ReadyQueue(
            self.storage,
            dispatcher,
            caps=self.options.caps,
            across_scopes=self.options.priority_across_scopes,
            queues=self.options.queues,
            abilities=services.abilities,
        )
        belongings = Belongings(engine, tools=tools, registry=self.operators, executes=lambda: self.executes)
        self._guard = _guard(engine, prices, belongings)
        executor = Executor(
            services,
            registry=self.operators,
            guard=self._guard,
            engine=engine,
            tools=tools,
            resubmit=ready.signalled,
        )
        timers = TimerService(
            self.storage, self.clock, sweep_interval=self.options.sweep_interval, ledger=self.ledger
        )
        self._changes = ChangeRouter(
            self.storage,
            bus=self.bus,
            executor=executor,
            dispatcher=dispatcher,
            timers=timers,
            ready=ready,
            ends=ends,
            services=services,
        )
        self._worker = Worker(
            services,
            executor=executor,
            dispatcher=dispatcher,
            timers=timers,
            keeper=self._keeper(agents, engine),
            scheduler=self._scheduler(checks),  # which gives tasks to agents
            ready=ready,
            changes=self._changes,
            heartbeat=heartbeat,
            projectors=self._projectors(projections),
            wanted=self._wants_to_execute,
        )

    def _text_for_others(self) -> LiveText | None:
        """Return what brings live text to readers in other processes, where something carries it."""
        channel = self.storage.live_channel
        if channel is None:
            return None
        return LiveText(self.live, bus=self.bus, channel=channel, clock=self.clock)

    def _scheduler(self, checks: Mapping[str, Check]) -> Scheduler:
        """Return what looks after schedules."""

        async def execute(request: ExecutionRequest) -> str:
            return (await self.execute(request)).job_id

        scheduler = Scheduler(
            self.storage,
            self.clock,
            holder=self.worker_id,
            starter=KernelStarter(
                self.storage, jobs=self.jobs, inbox=self.inbox, agents=self.agents, execute=execute
            ),
            checks=checks,
            sweep_interval=self.options.sweep_interval,
        )
        self.schedules = ScheduleManager(self.storage, self.clock, scheduler.wake)
        return scheduler

    def _keeper(self, registry: AgentRegistry | None, engine: ExecutionEngine | None) -> AgentKeeper:
        """Return what looks after resident agents, told of what happens to them and to their jobs."""
        residents = Residents(
            self,
            storage=self.storage,
            clock=self.clock,
            holder=self.worker_id,
            jobs=self.jobs,
            ledger=self.ledger,
            operators=self.operators,
            registry=registry,
            engine=engine,
            check=self._check_executable,
            end_of=self._changes.end_of,
            sweep_interval=self.options.sweep_interval,
            max_agents=self.options.max_agents_per_scope,
        )
        self._changes.on_agents = residents.changed
        self._changes.on_job = residents.keeper.job_changed
        self.agents, self.mail, self.agent_events = residents.agents, residents.mail, residents.history
        return residents.keeper

    def _projectors(self, projections: Iterable[Projection]) -> Projectors:
        """Return what keeps projections up with the feed."""
        options = self.options
        trail = [AuditTrail(self.storage)] if options.audit_trail else []
        return Projectors(
            Projector(
                projection,
                self.storage,
                self.clock,
                holder=self.worker_id,
                interval=options.projection_interval,
                held_for=options.worker_timeout,
            )
            for projection in (*projections, *trail)
        )

    def _heartbeat(self, dispatcher: Dispatcher) -> Heartbeat:
        """Return the heartbeat of this process as a worker."""
        return Heartbeat(
            self.storage,
            self.clock,
            worker_id=self.worker_id,
            queues=self.options.queues,
            operators=self.operators.names,
            dispatch="queue" if isinstance(dispatcher, SharedDispatcher) else "local",
            timeout=self.options.worker_timeout,
            code_version=self.options.code_version,
        )

    def _services(self, lease: Lease, ends: Completions) -> RunServices:
        """Return what every run uses."""
        abilities = Abilities(
            operators=self.operators.names, code_version=self.options.code_version, process=self.worker_id
        )
        return RunServices(
            abilities=abilities,
            storage=self.storage,
            clock=self.clock,
            bus=self.bus,
            owner=self.worker_id,
            options=self.options,
            ledger=self.ledger,
            policies=self._policies,
            retry=self._retry,
            orchestration=self._orchestration,
            ends=ends,
            live=LiveCalls(always=self.options.stream_answers),
            lease=lease,
        )

    def _add_default_agent(self, engine: ExecutionEngine | None, agent: Agent | None) -> None:
        if agent is None and engine is not None:
            from llm_client.agent.agent import Agent

            agent = Agent(engine=engine)
        if agent is not None and DEFAULT_OPERATOR not in self.operators:
            self.operators.add(AgentOperator(agent, DEFAULT_OPERATOR))

    @property
    def executes(self) -> bool:
        """Whether this process executes jobs now."""
        return self._changes.executes

    async def start(self) -> None:
        """Open the storage, recover what was left unfinished and begin to execute. Idempotent.

        Raises:
            StorageError: The storage cannot be used; the message says what to do.
            ConfigurationError: An operator could not be found again after a restart.
        """
        if self._started and not self._closed:
            return
        if self._closed:
            raise InvalidInput("this kernel is closed")
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            await self._start_once()

    async def _start_once(self) -> None:
        if self._started:
            return
        self._check_operators()
        try:
            await self.storage.open()
            self._guard.start()
            await self._worker.start()
            if self._live_text is not None:
                self._live_text.start()
        except BaseException:
            await self._end()  # nothing goes on in the background, and the next try begins anew
            raise
        self._started = True

    async def _end(self) -> None:
        """Stop; a storage of our own is closed whatever happens, and in the time that is left."""
        closing = (self.storage.aclose,) if self._owns_storage else ()
        live = () if self._live_text is None else (self._live_text.stop,)
        try:
            await stopped(
                self._worker.stop, *live, self.keys.aclose, *closing, seconds=self.options.shutdown_seconds
            )
        finally:
            self._guard.stop()

    def _check_operators(self) -> None:
        closures = self.operators.closures() if self.storage.is_durable else []
        if closures:
            raise ConfigurationError(
                f"operator {closures[0]!r} is a function made inside another one; after a restart nobody could find it "
                "again: define it at the top of a module"
            )

    async def execute(self, request: ExecutionRequest) -> ExecutionHandle:
        """Accept a job and return its handle. From then on the job ends in exactly one terminal event.

        Raises:
            UnknownOperator: Nobody here knows the operator.
            IdempotencyConflict: The key was used for a different request.
            ResultNotSerializable: The input is not JSON.
            ContentTooLarge: The input is too large.
            ExecutorBusy: Another process executes this database's jobs, and it does not know the operator.
            UnknownPolicy: No policy has the name that the request asks for.
            QueueFull: Too many jobs wait for a worker; nothing was accepted.
        """
        await self.start()
        operator = request.operator or DEFAULT_OPERATOR
        await self._check_executable(operator)
        content = await read_aside((request.prompt, request.messages, request.input), request.encoded_input)
        asked = partial(request_hash, request, operator=operator, job_input=content)
        hashed = await content_aside(None if request.idempotency_key is None else content, asked)
        job = new_job(
            request,
            self.clock.now(),
            operator=operator,
            hashed=hashed,
            seed=new_seed(),
            identity=request.identity,
            queue=request.queue,
            priority=request.priority,
            retry=request.retry,
        )
        data: JsonObject = {
            "format": JOURNAL_FORMAT,
            "operator": operator,
            **belonging_to(request.traceparent),
        }
        created = NewEvent(RuntimeEventType.JOB_CREATED, None, data, content)
        admission = admit(job, created, await self._policies.for_new_job(request.policy_ref))
        end = self._changes.end_of(job.job_id)
        with self._changes.beginning(admission) as stored:
            wanted = stored.bounded_by(self.options.queue_bounds)
            async with self._credits.admitted(stored.job, wanted) as bounds:
                parts: CommitParts = {**stored.parts, "queue_bounds": bounds}
                added = await self.jobs.add(stored.job, *stored.events, **parts)
        if added.job_id != job.job_id and request.retry_failed and added.status in FAILURES:
            return await self.retry(added.job_id)
        if added.job_id != job.job_id or added.status.is_terminal:
            return self.handle(added.job_id)
        return ExecutionHandle(self, job.job_id, end)

    async def retry(
        self,
        job_id: str,
        *,
        from_step: str | None = None,
        budgets: BudgetSpec | None = None,
        new_keys: bool = False,
        scope_id: str | None = None,
    ) -> ExecutionHandle:
        """Have another job go on in the place of one that ended without success, and return its handle.

        What has succeeded is recalled; what failed – the operation that the terminal event names as `failed_at` – is done
        anew, under the same key. A job has one successor at most: asked again, this gives the one that lives or has succeeded,
        and retries it if it has not. Handles of the job follow for result, status and cancel.

        Args:
            job_id: Any job of the chain.
            from_step: Do this step anew, and all that came after it: a place, an operation id, or a name. Before an unsafe
                or reconcilable effect is repeated, somebody is asked.
            budgets: Instead of the job's own; what it has spent stays spent.
            new_keys: Use new operation ids for what is done anew, for services that keep a failure under its key.
            scope_id: Hides other scopes' jobs.

        Raises:
            UnknownJob: There is no such job.
            InvalidTransition: It has succeeded, or no kernel executes it.
            RetryRefused: Effects followed the failure; the message lists them.
            ContentPruned: Its content was deleted.
            QueueFull: Too many jobs wait for a worker.
        """
        await self.start()
        asked = Retry(from_step=from_step, budgets=budgets, new_keys=new_keys)
        while True:
            head = await self.jobs.head(job_id, scope_id=scope_id)
            is_retried = head.status is JobStatus.SUCCEEDED and head.job_id != job_id
            if head.status.is_active or is_retried:
                return self.handle(head.job_id)
            if head.operator is None or head.status is JobStatus.SUCCEEDED:
                raise InvalidTransition(f"job {head.job_id!r} is {head.status}; there is nothing to retry")
            made = await retried(self.storage, head, asked, self.clock.now())
            with contextlib.suppress(DuplicateJob, ActionAlreadyResolved):  # somebody was faster
                async with self._credits.admitted(made.job, self.options.queue_bounds) as bounds:
                    parts: CommitParts = {**made.parts, "queue_bounds": bounds}
                    await self.storage.commit(Commit(at=self.clock.now(), **parts))
                return self.handle(made.job.job_id)

    async def _check_executable(self, operator: str) -> None:
        if self.executes and (operator in self.operators or not self.storage.is_shared):
            self.operators.get(operator)
            return
        workers = [worker for worker in await self.storage.list_workers() if not worker.only_waits]
        is_known = any(operator in worker.operators for worker in workers)
        if self.executes and not is_known:
            self.operators.get(operator)
        elif self._wants_to_execute and not is_known:
            pids = ", ".join(str(worker.info.get("pid")) for worker in workers) or "unknown"
            raise ExecutorBusy(
                f"another process (pid {pids}) executes the jobs of this database and does not know the operator "
                f"{operator!r}; stop it, or use a database of your own"
            )

    def handle(self, job_id: str, *, scope_id: str | None = None) -> ExecutionHandle:
        """Return the handle of a job of this storage, whoever runs it.

        A given `scope_id` hides other scopes' jobs: the handle's methods raise `UnknownJob` for them. Without one, who
        knows a job's id may do everything with it, so give it wherever the id comes from a tenant.
        """
        if not can_be_id(job_id):
            raise UnknownJob("no job can have this id")
        return ExecutionHandle(self, job_id, scope_id=scope_id)

    async def unblock(self, job_id: str, *, scope_id: str | None = None) -> ExecutionHandle:
        """Have a blocked job tried again, also by those versions of the code that have blocked it.

        Raises:
            UnknownJob: There is no such job, or it is another scope's.
            InvalidTransition: It is not blocked.
        """
        await self.start()
        await self.jobs.unblock(job_id, scope_id=scope_id)
        return self.handle(job_id, scope_id=scope_id)

    async def send(
        self, to: str, message: object, *, dedupe_key: str | None = None, scope_id: str | None = None
    ) -> InboxMessage:
        """Send a message to an identity: to whichever job receives under that name, now or later.

        Inside a job this is an effect like any other: make it in a `context.step`, or give a `dedupe_key` that every run of
        the job makes the same.

        Args:
            to: The identity.
            message: JSON values.
            dedupe_key: A second message with the same key, to the same identity, is not sent; the first one is returned.
            scope_id: The scope of the identity; by default that of the job that sends, and outside of jobs `default`.

        Raises:
            InvalidInput: A name or the key cannot be stored; it names which.
            ResultNotSerializable: The message is not made of JSON values.
            ContentTooLarge: The message is too long.
            InboxFull: Too many messages wait for the identity; nothing was sent.
        """
        await self.start()
        if scope_id is None:
            branch = branch_here()
            scope_id = DEFAULT_SCOPE if branch is None else branch.run.job.scope_id
        return await self.inbox.send(to, message, dedupe_key=dedupe_key, scope_id=scope_id)

    async def wait_for_end(
        self, job_id: str, *, wait_blocked: bool = True, scope_id: str | None = None
    ) -> RuntimeEvent:
        """Wait until a job has ended and return its terminal event.

        Args:
            job_id: The job.
            wait_blocked: Wait on when the job becomes blocked, until somebody has mended what is wrong.
            scope_id: Hides other scopes' jobs.

        Raises:
            UnknownJob: There is no such job.
            JobBlocked: It is blocked, and `wait_blocked` is false.
        """
        await self.start()
        if scope_id is not None:
            await self.jobs.get(job_id, scope_id=scope_id)
        while True:
            stop = self._changes.end_of(job_id)
            event = await self._newest_event(job_id)
            if not event.is_terminal:
                if not wait_blocked:
                    await self.check_blocked(job_id)
                event = await asyncio.shield(stop)
            if event.is_terminal:
                return event

    async def check_blocked(self, job_id: str, *, scope_id: str | None = None) -> None:
        """Return when a job can go on by itself. Raises `JobBlocked` when it cannot; a `scope_id` hides other scopes' jobs."""
        if scope_id is not None:
            await self.jobs.get(job_id, scope_id=scope_id)
        event = await self._newest_event(job_id)
        if event.type != RuntimeEventType.JOB_BLOCKED or await self.storage.due_jobs(among=[job_id], limit=1):
            return
        if (await self._newest_event(job_id)).seq == event.seq:  # else it was claimed in between
            raise JobBlocked(event.data.get("reason"), event.data.get("code"), job_id=job_id)

    async def _newest_event(self, job_id: str) -> RuntimeEvent:
        for event in await self.storage.tail(job_id, 1):
            return event
        raise UnknownJob(f"no job {job_id!r}")

    async def aclose(self) -> None:
        """Stop: begin no further step, let those in flight end, release the jobs, close the storage. Idempotent.

        It takes no longer than `KernelOptions.drain_timeout`, whatever a job does and whether the storage answers or not.
        When it is cancelled, or runs out of a caller's time, it waits for nothing any more: what is in flight is cancelled.
        """
        self._closed = True
        self._stopping = self._stopping or asyncio.Lock()
        async with self._stopping:
            if not self._started or self._stopped:
                return
            await self._end()
            self._stopped = True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _guard(engine: ExecutionEngine | None, prices: PriceBook | None, belongings: Belongings) -> Guard:
    return Guard(prices, TokenEstimator() if engine is None else engine.estimator, belongings)


def _checks(given: Iterable[Check] | Mapping[str, Check]) -> dict[str, Check]:
    """Return checks by their names. Raises `InvalidInput` for a name that cannot be stored, or is given twice."""
    if isinstance(given, Mapping):
        checks = dict(given)
    else:
        listed = [(getattr(check, "__name__", type(check).__name__), check) for check in given]
        checks = dict(listed)
        if len(checks) < len(listed):
            raise InvalidInput("two checks have one name")
    for name in checks:
        check_identity("check", name)
    return checks


def _tools(tools: Iterable[Tool | Callable[..., Any]], agent: Agent | None) -> dict[str, Tool]:
    known = {tool.name: tool for tool in ToolRegistry(tools)}
    for tool in agent.tools if agent is not None else ():
        known.setdefault(tool.name, tool)
    return known
