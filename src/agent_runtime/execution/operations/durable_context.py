"""The operator's context inside a job: every call is a place in the journal."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from agent_runtime.errors import (
    ActionExpired,
    ContentTooLarge,
    InvalidInput,
    NondeterminismError,
    ResultNotSerializable,
)
from agent_runtime.execution.branch import Branch, Operation, branch_here
from agent_runtime.execution.guards import Guard
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.asking import Ask, Asked, JournaledWait, ask_and_wait
from agent_runtime.execution.operations.changes import hash_of_question
from agent_runtime.execution.operations.children import Children, ChildRequest
from agent_runtime.execution.operations.durable_child import DurableChildHandle
from agent_runtime.execution.operations.effects import JournaledEffect, Outcome
from agent_runtime.execution.operations.failed_at import failure_of
from agent_runtime.execution.operations.failures import describe_failure, recorded_failure, step_failed
from agent_runtime.execution.operations.gathering import close_unstarted, gather, wait_any
from agent_runtime.execution.operations.messages import ask_for_message
from agent_runtime.execution.operations.results import ResultType, result_type
from agent_runtime.execution.operations.timeouts import TimeoutScope
from agent_runtime.execution.operations.waits import ask_person, await_action, open_action, resolved
from agent_runtime.operators.child_handle import ChildHandle
from agent_runtime.operators.context import OperatorContext, call, value_of
from agent_runtime.operators.durable_wait import DurableWait, WaitKind, Won, check_waits
from agent_runtime.operators.operator import OperatorRegistry
from agent_runtime.operators.orchestration import OrchestrationConfig
from agent_runtime.operators.result import OperatorResult
from agent_runtime.ports.commit import NewEvent, Timer
from agent_runtime.ports.trace_context import TRACEPARENT, own_context
from agent_runtime.values.action import ActionRecord, ActionSpec
from agent_runtime.values.checks import MAX_LABELS_BYTES, check_choice, check_json, check_seconds, check_text
from agent_runtime.values.context import BudgetSpec, ExecutionContext
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import OnParentEnd
from agent_runtime.values.message import InboxMessage, check_identity
from agent_runtime.values.public_data import public_name
from llm_client.errors import RunAborted
from llm_client.exits import PASSING
from llm_client.middleware import ToolInvocation
from llm_client.public_text import text_of
from llm_client.spec import RequestContext
from llm_client.tools.execution import execute
from llm_client.tools.tool import Effect, Reconcile, Tool, ToolResult
from llm_client.turns import read_aside

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine

__all__ = ["DurableContext"]

T = TypeVar("T")


class DurableContext(OperatorContext):
    """The context of one run of a job."""

    def __init__(
        self,
        run: JobRun,
        *,
        guard: Guard,
        registry: OperatorRegistry,
        engine: ExecutionEngine | None,
        tools: Mapping[str, Tool],
    ) -> None:
        job, traced = run.job, own_context(run.job_id, run.history.created_data(TRACEPARENT))
        super().__init__(
            execution_ctx=ExecutionContext(
                request=RequestContext(trace_id=f"{traced.trace_id:032x}", span_id=f"{traced.span_id:016x}"),
                scope_id=job.scope_id,
                principal_id=job.principal_id,
                session_id=job.session_id,
                run_id=job.run_id,
                job_id=job.job_id,
                budgets=job.budgets,
                policy_ref=job.policy_ref,
                versions=job.versions,
                metadata=job.metadata,
            ),
            config=run.services.orchestration
            or OrchestrationConfig(max_depth=run.services.options.max_child_depth),
            depth=job.depth,
            engine=engine,
            clock=run.services.clock,
        )
        self._run = run
        self._guard = guard
        self._registry = registry
        self._tools = tools
        self.children = Children(run, registry, self.config, self.depth)

    def branch(self) -> Branch:
        """Return the line that the current task works in."""
        branch = branch_here()
        if branch is None or branch.run is not self._run:
            raise InvalidInput("this context belongs to a job that does not run in this task")
        return branch

    async def tool(self, name: str, /, **arguments: object) -> Any:
        """Call a tool and return its value, or what it returned when it was called before."""
        branch, invocation = self.branch(), self._invocation(name, arguments)

        async def attempt(call_: ToolInvocation) -> ToolResult:
            return await self._guard.attempt_tool(call_, execute)

        operation = branch.reach("tool", invocation.tool.name)
        with failure_of(operation.id):
            return value_of(await self._guard.call_tool_at(operation, invocation, attempt), name)

    async def step(
        self,
        function: Callable[..., object],
        /,
        *args: object,
        name: str | None = None,
        effect: Effect = "unsafe",
        reconcile: Reconcile | None = None,
        key: str | None = None,
        **kwargs: object,
    ) -> Any:
        """Call a function as a recorded step, or return what it returned when it ran before."""
        branch = self.branch()
        step_name = name or str(getattr(function, "__name__", type(function).__name__))
        operation = branch.reach("step", step_name, key=key, effect=effect)
        returns = result_type(function)
        with failure_of(operation.id), branch.step(step_name):
            await branch.admit()
            with branch.child(operation.place) as inner:
                journaled = JournaledEffect(
                    inner,
                    kind="step",
                    name=step_name,
                    operation=operation,
                    effect=effect,
                    arguments=_named(args, kwargs),
                    reconcile=reconcile,
                    write_result=returns.write_told,
                )
                recorded = await journaled.recall()
                if recorded is not None:
                    return await _value(self._run, returns, step_name, recorded)
                await journaled.intend()
                inner.effect = journaled.step
                try:
                    return await self._execute_step(
                        journaled, functools.partial(call, function, args, kwargs), returns
                    )
                except asyncio.CancelledError:
                    await journaled.settle_interrupted()
                    raise

    async def _execute_step(
        self, journaled: JournaledEffect, run: Callable[[], Awaitable[Any]], returns: ResultType
    ) -> Any:
        try:
            async with journaled.branch.settling_streams():
                value = await run()
        except BaseException as error:
            cancelled_itself = isinstance(error, asyncio.CancelledError) and not journaled.branch.is_cut_off()
            if isinstance(error, PASSING) and not cancelled_itself:
                raise
            data = describe_failure(error)
            if isinstance(error, RunAborted) and not isinstance(error, ActionExpired):
                if (
                    self._run.lifecycle.control_error is None
                ):  # known, so that no later run has to ask what became of it
                    await journaled.finish(ok=False, data={**data, "aborts": True}, content=None)
                raise  # a question of the step's own that nobody answered is a failure like any other
            await journaled.finish(ok=False, data=data, content=None)
            raise step_failed(journaled.name, data) from error
        try:
            content, as_read = await returns.write_aside(value)
        except (ResultNotSerializable, ContentTooLarge) as error:
            data = describe_failure(
                type(error)(f"step {journaled.name!r} returned what cannot be kept: {error}")
            )
            await journaled.finish(ok=False, data=data, content=None)
            raise recorded_failure(data) from error
        await journaled.finish(ok=True, data={}, content=content)
        return as_read

    def action(self, spec: ActionSpec, *, key: str | None = None) -> DurableWait[ActionRecord]:
        """Ask a person and return the action with the answer; the job may leave the memory meanwhile."""

        async def ask(branch: Branch) -> Asked[ActionRecord]:
            operation = branch.reach("action", str(spec.type), key=key)
            asks = await hash_of_question(branch, operation.step, spec)
            await branch.admit()
            asking = ask_person(branch, operation.id, spec, asks=asks)

            async def read(answer: RuntimeEvent) -> ActionRecord:
                return resolved(asking.action, answer)

            return Asked(
                operation_id=operation.id,
                kind="action",
                read=read,
                events=asking.events,
                parts=asking.parts,
            )

        return self._wait("action", ask)

    async def open_action(self, spec: ActionSpec, *, key: str | None = None) -> ActionRecord:
        """Ask without waiting. Inside a resumed job this is the question that was asked before, with further tokens."""
        branch = self.branch()
        operation = branch.reach("action", str(spec.type), key=key)
        with branch.step(str(spec.type)):
            asks = await hash_of_question(branch, operation.step, spec)
            await branch.admit()
            return await open_action(branch, operation.id, spec, asks=asks, held=True)

    async def await_action(self, action: ActionRecord) -> ActionRecord:
        """Wait for the answer to a question this job has asked."""
        branch = self.branch()
        async with branch.settling_streams():
            pass
        return await await_action(branch, action)

    def sleep(self, seconds: float | None = None, *, until: datetime | None = None) -> DurableWait[None]:
        """Wait for a time, or until a moment, as a row in the timers' table."""

        async def ask(branch: Branch) -> Asked[None]:
            operation = branch.reach("timer", "sleep")
            await branch.admit()
            if operation.step is not None:
                return Asked(operation_id=operation.id, kind="timer", read=_nothing)
            due_at = self._due(seconds, until)
            data = {"name": "sleep", "due_at": due_at.isoformat()}
            key = f"sleep:{operation.id}"
            timer = Timer(self._run.job_id, key, due_at, RuntimeEventType.TIMER_FIRED, operation.id)
            return Asked(
                operation_id=operation.id,
                kind="timer",
                read=_nothing,
                events=[NewEvent(RuntimeEventType.TIMER_SET, operation.id, data)],
                parts={"set_timers": [timer]},
            )

        return self._wait("timer", ask)

    def receive(self, identity: str | None = None) -> DurableWait[InboxMessage]:
        """Wait for the next message to an identity, and take it."""
        wanted = self._run.job.inbox if identity is None else identity
        check_identity("identity", wanted)

        async def ask(branch: Branch) -> Asked[InboxMessage]:
            return await ask_for_message(branch, wanted)

        return self._wait("message", ask)

    def child(
        self,
        operator: object,
        input: object = None,  # noqa: A002 -- the documented name
        *,
        key: str | None = None,
        budgets: BudgetSpec | None = None,
    ) -> DurableWait[OperatorResult]:
        """Run another operator as a durable job of its own and wait for it."""
        name = self._registered(operator)

        async def ask(branch: Branch) -> Asked[OperatorResult]:
            return await self.children.ask(branch, ChildRequest(name, input, key, budgets))

        return self._wait("child", ask)

    async def start_child(
        self,
        operator: object,
        input: object = None,  # noqa: A002 -- as `child` names it
        *,
        key: str | None = None,
        budgets: BudgetSpec | None = None,
        on_parent_end: OnParentEnd = "cancel",
    ) -> ChildHandle:
        """Start another operator as a job of its own, without waiting for it."""
        check_choice("on_parent_end", on_parent_end, ("cancel", "keep"))
        name, branch = self._registered(operator), self.branch()
        request = ChildRequest(name, input, key, budgets, on_parent_end, held=True)
        operation = branch.reach("child", name, key=key)
        with branch.step(name):
            child_job_id = await self.children.start(branch, operation, request)
        return DurableChildHandle(self.children, self.branch, child_job_id, operation.id, name)

    def _registered(self, operator: Any) -> str:
        return operator if isinstance(operator, str) else self._registry.add(operator).name

    def _wait(self, kind: WaitKind, ask: Ask[T]) -> DurableWait[T]:
        async def ask_here() -> T:
            return await ask_and_wait(self.branch(), ask)

        return JournaledWait(kind, ask_here(), ask)

    async def gather(self, *awaitables: Awaitable[object], return_exceptions: bool = False) -> list[Any]:
        """Run branches at the same time, each with places of its own in the journal."""
        try:
            return await gather(self.branch(), awaitables, name="gather", return_exceptions=return_exceptions)
        finally:
            close_unstarted(awaitables)

    async def wait_all(self, *waits: DurableWait[object], return_exceptions: bool = False) -> list[Any]:
        """Wait until all of these have ended, and return what they gave, in order."""
        try:
            check_waits(waits, "wait_all")
            return await gather(self.branch(), waits, name="wait_all", return_exceptions=return_exceptions)
        finally:
            close_unstarted(waits)

    async def wait_any(self, *waits: DurableWait[object]) -> Won[Any]:
        """Wait until the first of these has ended."""
        try:
            return await wait_any(self.branch(), waits)
        finally:
            close_unstarted(waits)

    async def emit(self, type: str, data: Mapping[str, object] | None = None) -> None:  # noqa: A002 -- the documented name
        """Write an event of the application to the journal, once."""
        check_text("type", type)
        if "." not in type or type.split(".", maxsplit=1)[0] in _RESERVED:
            raise InvalidInput(f"{type!r} is not a name for an application's event; use 'custom.…'")
        if public_name(type) != type:
            raise InvalidInput(
                "the type of an event is a name that everybody may read, and looks like a secret"
            )
        check_json("data", data or {}, limit=MAX_LABELS_BYTES)
        await self._write_once(type, {**(data or {})})

    async def progress(self, fraction: float, message: str | None = None) -> None:
        """Say how far the job is."""
        if not 0.0 <= fraction <= 1.0:
            raise InvalidInput(f"progress is a fraction from 0 to 1, not {fraction}")
        data = {"progress": fraction, **({} if message is None else {"message": message})}
        await self._write_once(RuntimeEventType.JOB_PROGRESS, data, progress=fraction)

    async def _write_once(self, type_: str, data: dict[str, Any], **parts: Any) -> None:
        branch = self.branch()
        operation = branch.reach("value", data.get("name", type_))
        with branch.recorded_only():
            await branch.admit()
            if operation.step is None:
                event = await read_aside(data, functools.partial(NewEvent, type_, operation.id, data))
                await self._run.journal.commit([event], **parts)

    def now(self) -> datetime:
        """Return the current time, written to the journal no later than what depends on it."""
        operation = self.branch().reach("value", "now")
        if operation.step is not None:
            return datetime.fromisoformat(operation.step.declaration.data["value"])
        moment = self._clock.now()
        self._record(operation, name="now", value=moment.isoformat())
        return moment

    def random(self) -> Random:
        """Return a generator seeded by the job and the place of this call."""
        return self._generator("random")

    def uuid(self) -> UUID:
        """Return a random id; the same on every resume."""
        return UUID(int=self._generator("uuid").getrandbits(128), version=4)

    def _generator(self, name: str) -> Random:
        operation = self.branch().reach("value", name)
        if operation.step is None:
            self._record(operation, name=name)
        seed = hashlib.blake2b(
            f"{self._run.seed_of(operation.id)}:{operation.place}".encode(), digest_size=16
        ).digest()
        return Random(seed)  # noqa: S311 -- reproducible on purpose

    def _record(self, operation: Operation, **data: Any) -> None:
        self._run.journal.record(NewEvent(RuntimeEventType.VALUE_RECORDED, operation.id, data))

    def patched(self, change_id: str) -> bool:
        """Return whether this job follows new code: decided at the first call, for the whole job, and recorded.

        It does unless something is recorded at the place that this line has reached, or after it.
        """
        check_identity("change_id", change_id)
        branch, history = self.branch(), self._run.history
        self._run.lifecycle.check_going_on()
        decided = history.patches.get(change_id)
        if decided is None:
            decided = not branch.is_recorded_ahead()
            operation = Operation(self._run.operation_id(f"[patch:{change_id}]"), "", None)
            self._record(operation, name="patched", change=change_id, value=decided)
        return decided

    def timeout(self, seconds: float) -> TimeoutScope:
        """Bound what happens in a body, waits included: `async with context.timeout(30): …` raises `TimeoutError`.

        The bound outlives the process. When it is reached, waits inside end at once, steps and model calls are cut off; an
        effect whose outcome would then be unknown has `drain_timeout` to finish.
        """
        check_seconds("seconds", seconds)
        return TimeoutScope(self.branch(), seconds)


_RESERVED = frozenset(
    {
        *(type_.split(".")[0] for type_ in RuntimeEventType if type_ != RuntimeEventType.ARTIFACT_CREATED),
        *("agent", "branch", "message", "run", "schedule", "timeout", "wait"),
    }
)
"""Families of events that belong to the runtime, some of them for what is to come."""


def _named(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's arguments by name, positional ones by number."""
    return {**{str(number): value for number, value in enumerate(args)}, **kwargs}


async def _value(run: JobRun, returns: ResultType, name: str, outcome: Outcome) -> Any:
    """Return a recorded step's value, or raise its failure."""
    if outcome.data.get("error") is None:
        try:
            return await returns.read_aside(outcome.content)
        except Exception as problem:
            raise run.lifecycle.refuse(
                NondeterminismError(
                    f"the recorded value of step {name!r} no longer fits what {name!r} says it returns: "
                    f"{text_of(problem)}"
                )
            ) from problem
    if outcome.data.get("aborts") or outcome.data.get("error_type") in _UNKEPT:
        raise recorded_failure(outcome.data, step=name)
    raise step_failed(name, outcome.data)


_UNKEPT = frozenset({ResultNotSerializable.__name__, ContentTooLarge.__name__})
"""Failures of a step that did what it should and returned what cannot be kept."""


async def _nothing(_: RuntimeEvent) -> None:
    """A timer says nothing."""
