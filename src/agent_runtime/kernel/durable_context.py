"""The operator's context inside a job: every call is a place in the journal."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent_runtime.errors import (
    ActionExpired,
    ChildFailed,
    ContentTooLarge,
    InvalidInput,
    NondeterminismError,
    ResultNotSerializable,
    StepFailed,
)
from agent_runtime.kernel.admission import admit
from agent_runtime.kernel.branch import Branch, branch_here
from agent_runtime.kernel.children import child_job
from agent_runtime.kernel.effects import JournaledEffect, Outcome
from agent_runtime.kernel.failed_at import failure_of
from agent_runtime.kernel.failures import describe_failure
from agent_runtime.kernel.guards import Guard
from agent_runtime.kernel.operator import OperatorRegistry, OperatorResult
from agent_runtime.kernel.operator_context import OperatorContext, call
from agent_runtime.kernel.results import misfit, read_result, write_result
from agent_runtime.kernel.run import JobRun
from agent_runtime.kernel.waits import await_action, blocking, open_action, wait
from agent_runtime.ports.journal import NewEvent, Timer
from agent_runtime.values.action import ActionRecord, ActionSpec
from agent_runtime.values.checks import check_text
from agent_runtime.values.content import encode
from agent_runtime.values.context import BudgetSpec, ExecutionContext
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.orchestration import OrchestrationConfig
from llm_client.errors import RunAborted
from llm_client.middleware import ToolInvocation
from llm_client.tools.execution import execute
from llm_client.tools.tool import Effect, Reconcile, Tool, ToolResult

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine

__all__ = ["DurableContext"]


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
        job = run.job
        super().__init__(
            execution_ctx=ExecutionContext(
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
            config=OrchestrationConfig(max_depth=run.services.options.max_child_depth),
            depth=job.depth,
            engine=engine,
            clock=run.services.clock,
        )
        self._run = run
        self._guard = guard
        self._registry = registry
        self._tools = tools
        self._children = 0

    def _branch(self) -> Branch:
        branch = branch_here()
        if branch is None or branch.run is not self._run:
            raise InvalidInput("this context belongs to a job that does not run in this task")
        if branch.abandoned:
            raise asyncio.CancelledError("a sibling branch has failed")
        return branch

    async def _call_tool(self, invocation: ToolInvocation) -> ToolResult:
        branch = self._branch()

        async def attempt(call_: ToolInvocation) -> ToolResult:
            return await self._guard.attempt_tool(call_, execute)

        return await self._guard.call_tool_at(branch.take_place(), invocation, attempt)

    async def step(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        name: str | None = None,
        effect: Effect = "unsafe",
        reconcile: Reconcile | None = None,
        key: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call a function as a recorded step, or return what it returned when it ran before."""
        branch = self._branch()
        step_name = name or str(getattr(function, "__name__", type(function).__name__))
        place = branch.take_place(key)
        with failure_of(self._run.operation_id(place)), branch.step(step_name):
            await self._run.admit_step(branch)
            with branch.child(place) as inner:
                journaled = JournaledEffect(
                    inner,
                    kind="step",
                    name=step_name,
                    place=place,
                    effect=effect,
                    arguments=_named(args, kwargs),
                    reconcile=reconcile,
                    misfit=functools.partial(misfit, function),
                )
                recorded = await journaled.recall()
                if recorded is not None:
                    return _value(function, step_name, recorded)
                await journaled.intend()
                inner.effect = journaled.step
                return await self._execute_step(journaled, function, args, kwargs)

    async def _execute_step(
        self,
        journaled: JournaledEffect,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        try:
            async with journaled.branch.settling_streams():
                value = await call(function, args, kwargs)
        except Exception as error:
            if isinstance(error, RunAborted) and not isinstance(error, ActionExpired):
                raise  # a question of the step's own that nobody answered is a failure like any other
            await journaled.finish(ok=False, data=describe_failure(error), content=None)
            raise StepFailed(
                f"{type(error).__name__}: {error}", step=journaled.name, error_type=type(error).__name__
            ) from error
        try:
            content, as_read = write_result(function, value)
        except (ResultNotSerializable, ContentTooLarge) as error:
            await journaled.finish(ok=False, data=describe_failure(error), content=None)
            raise
        await journaled.finish(ok=True, data={}, content=content)
        return as_read

    async def action(self, spec: ActionSpec, *, key: str | None = None) -> ActionRecord:
        """Ask a person and return the action with the answer; the job may leave the memory meanwhile."""
        return await self.await_action(await self._open_action(spec, key, with_tokens=False))

    async def open_action(self, spec: ActionSpec, *, key: str | None = None) -> ActionRecord:
        """Ask without waiting. Inside a resumed job this is the question that was asked before, with further tokens."""
        return await self._open_action(spec, key, with_tokens=True)

    async def _open_action(self, spec: ActionSpec, key: str | None, *, with_tokens: bool) -> ActionRecord:
        branch = self._branch()
        operation_id = self._run.operation_id(branch.take_place(key))
        with branch.step(str(spec.type)):
            await self._run.admit_step(branch)
            return await open_action(branch, operation_id, spec, with_tokens=with_tokens)

    async def await_action(self, action: ActionRecord) -> ActionRecord:
        """Wait for the answer to a question this job has asked."""
        branch = self._branch()
        async with branch.settling_streams():
            pass
        return await await_action(branch, action)

    async def sleep(self, seconds: float | None = None, *, until: datetime | None = None) -> None:
        """Wait for a time, or until a moment, as a row in the timers' table."""
        branch = self._branch()
        operation_id = self._run.operation_id(branch.take_place())
        await self._run.admit_step(branch)
        if self._run.history.match(operation_id, "timer", "sleep") is None:
            due_at = self._due(seconds, until)
            data = {"name": "sleep", "due_at": due_at.isoformat()}
            timer = Timer(
                self._run.job_id, f"sleep:{operation_id}", due_at, RuntimeEventType.TIMER_FIRED, operation_id
            )
            await self._run.commit(
                [
                    NewEvent(RuntimeEventType.TIMER_SET, operation_id, data),
                    *blocking(branch, operation_id, "timer"),
                ],
                set_timers=[timer],
            )
        await wait(branch, operation_id, "timer")

    async def child(
        self,
        operator: Any,
        input: Any = None,  # noqa: A002 -- the documented name
        *,
        key: str | None = None,
        budgets: BudgetSpec | None = None,
    ) -> OperatorResult:
        """Run another operator as a durable job of its own and wait for it."""
        branch, run = self._branch(), self._run
        operation_id = run.operation_id(branch.take_place(key))
        name = operator if isinstance(operator, str) else self._registered(operator)
        await run.admit_step(branch)
        if run.history.match(operation_id, "child", name) is None:
            self._registry.get(name)
            if self.depth + 1 > self.config.max_depth:
                raise InvalidInput(f"jobs are nested deeper than max_depth = {self.config.max_depth}")
            record, created = child_job(run, name, encode(input), operation_id=operation_id, budgets=budgets)
            started = NewEvent(
                RuntimeEventType.CHILD_STARTED, operation_id, {"name": name, "child_job_id": record.job_id}
            )
            policies = run.services.policies
            policy = await run.patiently(lambda: policies.of_job(run.job.policy_ref))
            admission = admit(record, created, policy)
            await run.commit(
                [started, *blocking(branch, operation_id, "child")],
                create=[(admission.job, admission.events)],
                signals=admission.refusal,
                **admission.parts,
            )
        ended = await wait(branch, operation_id, "child")
        if ended.data.get("status") != "succeeded":
            raise ChildFailed(
                f"child job {ended.data.get('job_id')} ({name}) {ended.data.get('status')}: {ended.data.get('error')}",
                job_id=str(ended.data.get("job_id")),
                error_code=ended.data.get("error_code"),
            )
        body = ended.body() or {}
        return OperatorResult(content=body.get("content", ""), output_data=body.get("output_data") or {})

    def _registered(self, operator: Any) -> str:
        made = self._registry.add(operator)
        return made.name

    async def gather(self, *awaitables: Awaitable[Any], return_exceptions: bool = False) -> list[Any]:
        """Run branches at the same time, each with places of its own in the journal."""
        try:
            return await self._gather(awaitables, return_exceptions=return_exceptions)
        finally:
            for awaitable in awaitables:
                if (
                    inspect.iscoroutine(awaitable)
                    and inspect.getcoroutinestate(awaitable) == inspect.CORO_CREATED
                ):
                    awaitable.close()  # stopped before it began: nothing is left behind that nobody awaits

    async def _gather(self, awaitables: Sequence[Awaitable[Any]], *, return_exceptions: bool) -> list[Any]:
        parent = self._branch()
        place = parent.take_place()
        await parent.streams_ended()
        branches: dict[int, Branch] = {}

        async def run(number: int, awaitable: Awaitable[Any]) -> Any:
            async with parent.nested(f"{place}.{number}") as branch:
                branches[number] = branch
                return await awaitable

        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(run(number, awaitable)) for number, awaitable in enumerate(awaitables)]
        try:
            if tasks and not return_exceptions:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                if any(task.done() and not task.cancelled() and task.exception() for task in tasks):
                    _abandon(tasks, branches)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        if not return_exceptions:
            for result in results:
                if isinstance(result, Exception):
                    raise result
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        return list(results)

    async def emit(self, type: str, data: Mapping[str, Any] | None = None) -> None:  # noqa: A002 -- the documented name
        """Write an event of the application to the journal, once."""
        check_text("type", type)
        if "." not in type or type.split(".", maxsplit=1)[0] in _RESERVED:
            raise InvalidInput(f"{type!r} is not a name for an application's event; use 'custom.…'")
        await self._write_once(type, {**(data or {})})

    async def progress(self, fraction: float, message: str | None = None) -> None:
        """Say how far the job is."""
        if not 0.0 <= fraction <= 1.0:
            raise InvalidInput(f"progress is a fraction from 0 to 1, not {fraction}")
        data = {"progress": fraction, **({} if message is None else {"message": message})}
        await self._write_once(RuntimeEventType.JOB_PROGRESS, data, progress=fraction)

    async def _write_once(self, type_: str, data: dict[str, Any], **parts: Any) -> None:
        branch = self._branch()
        operation_id = self._run.operation_id(branch.take_place())
        await self._run.admit_step(branch)
        if self._run.history.match(operation_id, "value", data.get("name", type_)) is None:
            await self._run.commit([NewEvent(type_, operation_id, data)], **parts)

    def now(self) -> datetime:
        """Return the current time, written to the journal no later than what depends on it."""
        operation_id = self._run.operation_id(self._branch().take_place())
        step = self._run.history.match(operation_id, "value", "now")
        if step is not None:
            return datetime.fromisoformat(step.declaration.data["value"])
        moment = self._clock.now()
        data = {"name": "now", "value": moment.isoformat()}
        self._run.record(NewEvent(RuntimeEventType.VALUE_RECORDED, operation_id, data))
        return moment

    def random(self) -> random.Random:
        """Return a generator seeded by the job and the place of this call."""
        place = self._branch().take_place()
        seed = hashlib.blake2b(f"{self._run.job.seed}:{place}".encode(), digest_size=16).digest()
        return random.Random(seed)  # noqa: S311 -- reproducible on purpose

    def patched(self, change_id: str) -> bool:
        """Return whether this run follows new code; the answer is recorded the first time."""
        check_text("change_id", change_id)
        branch, history = self._branch(), self._run.history
        place = f"{branch.place}.[patch:{change_id}]" if branch.place else f"[patch:{change_id}]"
        operation_id = self._run.operation_id(place)
        if history.match(operation_id, "value", "patched") is not None:
            return True
        if self._run.operation_id(branch.upcoming_place()) in history.steps:
            return False
        data = {"name": "patched", "change": change_id}
        self._run.record(NewEvent(RuntimeEventType.VALUE_RECORDED, operation_id, data))
        return True


_RESERVED = frozenset(
    type_.split(".")[0] for type_ in RuntimeEventType if type_ != RuntimeEventType.ARTIFACT_CREATED
)


def _named(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's arguments by name, positional ones by number."""
    return {**{str(number): value for number, value in enumerate(args)}, **kwargs}


def _value(function: Callable[..., Any], name: str, outcome: Outcome) -> Any:
    """Return a recorded step's value, or raise its failure."""
    error = outcome.data.get("error")
    if error is None:
        try:
            return read_result(function, outcome.content)
        except Exception as problem:
            raise NondeterminismError(
                f"the recorded value of step {name!r} no longer fits what {name!r} says it returns: {problem}"
            ) from problem
    kind = str(outcome.data.get("error_type", ""))
    if kind == ResultNotSerializable.__name__:
        raise ResultNotSerializable(str(error))
    if kind == ContentTooLarge.__name__:
        raise ContentTooLarge(str(error))
    raise StepFailed(f"{kind}: {error}", step=name, error_type=kind)


def _abandon(tasks: Sequence[asyncio.Task[Any]], branches: Mapping[int, Branch]) -> None:
    """Let the siblings of a failed branch finish what they are doing, but begin nothing more."""
    for number, task in enumerate(tasks):
        branch = branches.get(number)
        if task.done() or branch is None:
            task.cancel()
        else:
            branch.abandoned = True
            if branch.is_blocked():
                task.cancel()
