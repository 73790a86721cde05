"""What an operator works with. The base class runs bare, in memory; inside a job its durable subclass is used."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from agent_runtime.errors import CallExpired, CallRefused, InvalidArguments, InvalidInput, StepFailed
from agent_runtime.operators.child_handle import BareChildHandle, ChildHandle
from agent_runtime.operators.durable_wait import DurableWait, Won, check_waits
from agent_runtime.operators.orchestration import OrchestrationConfig
from agent_runtime.operators.result import OperatorResult
from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.ports.current_job import CURRENT_JOB
from agent_runtime.ports.ids import new_id
from agent_runtime.values.action import ActionRecord, ActionSpec
from agent_runtime.values.checks import check_seconds
from agent_runtime.values.context import BudgetSpec, ExecutionContext
from agent_runtime.values.job import OnParentEnd
from agent_runtime.values.message import InboxMessage
from llm_client.agent.middleware.failures import EXPIRED, REFUSED
from llm_client.background import begin
from llm_client.errors import HostSignal
from llm_client.messages import CompletionResult, ToolCall
from llm_client.middleware import ToolInvocation
from llm_client.spec import RequestSpec
from llm_client.tools.execution import INVALID_ARGUMENTS, execute
from llm_client.tools.threads import call_in_thread
from llm_client.tools.tool import Effect, Reconcile, Tool, ToolResult

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine


_FAILED_CALLS = {REFUSED: CallRefused, EXPIRED: CallExpired, INVALID_ARGUMENTS: InvalidArguments}


def value_of(result: ToolResult, name: str) -> Any:
    """Return what a tool gave. Raises `StepFailed`, or the class of it that says why, when it failed."""
    if result.error is not None:
        kind = result.error_type or ""
        raise _FAILED_CALLS.get(kind, StepFailed)(result.error, step=name, error_type=kind)
    return result.value


class ContinueAsNew(HostSignal):
    """A control-flow signal, not an error: the operator wants to start over with a new input."""

    def __init__(self, input: object) -> None:  # noqa: A002
        super().__init__("the operator continues as a new job")
        self.input = input


class OperatorContext:
    """Models, tools, steps, waits and children for one operator.

    Bare, everything happens at once and nothing is remembered. Inside a job the same calls are recorded, survive a
    crash and may wait for days.

    Args:
        execution_ctx: Who runs, in which scope.
        config: Limits for children.
        depth: Ancestors above this operator.
        engine: For `model`.
        tools: For `tool`.
        clock: For `now`.
    """

    def __init__(
        self,
        *,
        execution_ctx: ExecutionContext | None = None,
        config: OrchestrationConfig | None = None,
        depth: int = 0,
        engine: ExecutionEngine | None = None,
        tools: Sequence[Tool] = (),
        clock: Clock | None = None,
    ) -> None:
        self.execution_ctx = execution_ctx or ExecutionContext()
        self.config = config or OrchestrationConfig()
        self.depth = depth
        self._engine = engine
        self._tools: Mapping[str, Tool] = {tool.name: tool for tool in tools}
        self._clock = clock or SystemClock()

    @property
    def job_id(self) -> str | None:
        """The job, if this runs inside one."""
        return self.execution_ctx.job_id

    async def model(self, spec: RequestSpec) -> CompletionResult:
        """Ask the kernel's model."""
        if self._engine is None:
            raise InvalidInput("this context has no engine; give one to the context or to the kernel")
        return await self._engine.complete(spec, context=self.execution_ctx.to_request_context())

    async def tool(self, name: str, /, **arguments: object) -> Any:
        """Call a tool and return its value.

        Raises:
            CallRefused: Somebody who was asked has said no.
            CallExpired: Nobody who was asked has answered in time.
            InvalidArguments: They do not match the tool's schema; it was not called.
            StepFailed: The tool failed, or a policy denies the call; `error_type` is `denied` then.
        """
        return value_of(await execute(self._invocation(name, arguments)), name)

    def _invocation(self, name: str, arguments: dict[str, Any]) -> ToolInvocation:
        tool = self._tools.get(name)
        if tool is None:
            known = ", ".join(sorted(self._tools)) or "none"
            raise InvalidInput(f"no tool is named {name!r}; known: {known}")
        call_id = new_id("call")
        return ToolInvocation(
            tool=tool,
            call=ToolCall(id=call_id, name=name, arguments=arguments),
            arguments=arguments,
            context=self.execution_ctx.to_request_context(),
            operation_id=call_id,
        )

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
        """Call a function as a recorded step and return what it returned.

        The value must survive JSON; the function's return annotation says as what it is read back. A plain function
        runs in a thread.

        Args:
            function: What to call.
            *args: Its positional arguments.
            name: The step's name in the journal; by default the function's.
            effect: What happens when the call is lost in a crash.
            reconcile: For `effect="reconcilable"`: tells whether the lost operation happened.
            key: Names the step's place instead of its position.
            **kwargs: Its keyword arguments.

        Raises:
            StepFailed: The function raised; the original is its cause in the run in which it happened.
        """
        del name, effect, reconcile, key
        return await call(function, args, kwargs)

    def action(self, spec: ActionSpec, *, key: str | None = None) -> DurableWait[ActionRecord]:
        """Ask a person and return the action with the answer, when it is awaited.

        Raises:
            ActionExpired: Nobody answered in time.
        """
        del spec, key
        return DurableWait("action", self._nobody_to_ask())

    async def _nobody_to_ask(self) -> NoReturn:
        raise InvalidInput("a bare context has nobody to ask; run the operator in a kernel")

    def sleep(self, seconds: float | None = None, *, until: datetime | None = None) -> DurableWait[None]:
        """Wait for a time, or until a moment, when it is awaited."""
        return DurableWait("timer", self._sleep(seconds, until))

    async def _sleep(self, seconds: float | None, until: datetime | None) -> None:
        await asyncio.sleep(max(0.0, (self._due(seconds, until) - self._clock.now()).total_seconds()))

    def _due(self, seconds: float | None, until: datetime | None) -> datetime:
        from datetime import timedelta

        if (seconds is None) == (until is None):
            raise InvalidInput("sleep takes either seconds or until")
        if until is not None:
            if until.tzinfo is None:
                raise InvalidInput("`until` needs a time zone")
            return until
        return self._clock.now() + timedelta(seconds=seconds or 0.0)

    def child(
        self,
        operator: object,
        input: object = None,  # noqa: A002 -- the documented name
        *,
        key: str | None = None,
        budgets: BudgetSpec | None = None,
    ) -> DurableWait[OperatorResult]:
        """Run another operator as a child job and return its result, when it is awaited.

        Raises:
            ChildFailed: It did not succeed.
        """
        del key, budgets
        return DurableWait("child", self._execute_child(operator, input))

    def receive(self, identity: str | None = None) -> DurableWait[InboxMessage]:
        """Take the next message to an identity of the job's scope, when it is awaited; the job may leave the memory meanwhile.

        The message is taken in the commit that records it, and given to no other job. Of several jobs that wait for one
        identity each message reaches one.

        Args:
            identity: Whose messages; by default those of the job: `ExecutionRequest.identity`, or the id of the first job
                of its chain.

        Raises:
            InvalidInput: There is no job to receive anything.
        """
        return DurableWait("message", self._receive(identity))

    async def _receive(self, identity: str | None) -> InboxMessage:
        del identity
        raise InvalidInput("messages are received by jobs, and this operator was not started by a kernel")

    async def start_child(
        self,
        operator: object,
        input: object = None,  # noqa: A002 -- as `child` names it
        *,
        key: str | None = None,
        budgets: BudgetSpec | None = None,
        on_parent_end: OnParentEnd = "cancel",
    ) -> ChildHandle:
        """Start another operator as a child job, without waiting for it.

        Args:
            operator: The operator, or its registered name.
            input: Its input.
            key: Names the child's place instead of its position.
            budgets: Limits of its own.
            on_parent_end: `cancel`: it is asked to stop when this job ends; `keep`: it goes on.
        """
        del key, budgets, on_parent_end
        return BareChildHandle(self._execute_child(operator, input))

    async def _execute_child(self, operator: Any, input_data: Any) -> OperatorResult:
        from agent_runtime.errors import ChildFailed

        result = as_operator_result(await operator.execute(input_data, self.descend()))
        if not result.success:
            raise ChildFailed(result.error or "the child failed", error_code=result.error_code)
        return result

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Bound what happens in a body, waits included: `async with context.timeout(30): …` raises `TimeoutError`."""
        check_seconds("seconds", seconds)
        return asyncio.timeout(seconds)

    def descend(self) -> OperatorContext:
        """Return the context of a child.

        Raises:
            InvalidInput: `config.max_depth` is reached.
        """
        if self.depth + 1 > self.config.max_depth:
            raise InvalidInput(f"operators are nested deeper than max_depth = {self.config.max_depth}")
        below = OperatorContext(
            execution_ctx=self.execution_ctx.child(),
            config=self.config,
            depth=self.depth + 1,
            engine=self._engine,
            clock=self._clock,
        )
        below._tools = self._tools
        return below

    def continue_as_new(self, input: object = None) -> NoReturn:  # noqa: A002 -- as `child` names it
        """End this job and go on as a new one, with an empty journal and this input. For work without an end.

        Whoever waits for this job's result gets the last one's. Never returns.
        """
        raise ContinueAsNew(input)

    async def gather(self, *awaitables: Awaitable[object], return_exceptions: bool = False) -> list[Any]:
        """Run branches at the same time and return their results in order.

        When a branch fails, the others finish what they have begun, start nothing new, and the failure is raised. Waits
        of the context that nobody has awaited yet are begun together, and wake the job together.
        """
        return list(await asyncio.gather(*awaitables, return_exceptions=return_exceptions))

    async def wait_all(self, *waits: DurableWait[object], return_exceptions: bool = False) -> list[Any]:
        """Wait until all of these have ended, and return what they gave, in order.

        Raises:
            InvalidInput: One is no wait of the context, or was awaited already.
        """
        check_waits(waits, "wait_all")
        return list(await asyncio.gather(*waits, return_exceptions=return_exceptions))

    async def wait_any(self, *waits: DurableWait[object]) -> Won[Any]:
        """Wait until the first of these has ended, and return which that was and what it gave, or raise its failure.

        The others are withdrawn: questions are cancelled, children asked to stop. What the code holds a handle of – a
        started child, an opened question – goes on.

        Raises:
            InvalidInput: One is no wait of the context, or was awaited already.
        """
        check_waits(waits, "wait_any")
        tasks = [begin(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            winner = next(number for number, task in enumerate(tasks) if task.done())
            return Won(winner, tasks[winner].result())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def emit(self, type: str, data: Mapping[str, object] | None = None) -> None:  # noqa: A002 -- the documented name
        """Write an event of the application (`custom.…`) to the journal."""

    async def progress(self, fraction: float, message: str | None = None) -> None:
        """Say how far the job is, from 0 to 1."""

    def now(self) -> datetime:
        """Return the current time; the same on every resume."""
        return self._clock.now()

    def uuid(self) -> UUID:
        """Return a random id; the same on every resume."""
        return UUID(int=self.random().getrandbits(128), version=4)

    def random(self) -> random.Random:
        """Return a generator of random numbers; seeded the same on every resume."""
        return random.Random()  # noqa: S311 -- for choices of operators, not for secrets

    def patched(self, change_id: str) -> bool:
        """Return whether this run follows new code: `False` only while it replays a history from before the change."""
        del change_id
        return True


def current_context() -> OperatorContext:
    """Return the context of the job that the current task works for, inside tools and operators.

    Raises:
        InvalidInput: This does not run inside a job.
    """
    job = CURRENT_JOB.get()
    if job is None or not isinstance(job.context, OperatorContext):
        raise InvalidInput("this does not run inside a job")
    return job.context


async def call(
    function: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]
) -> object:
    """Call a function: a coroutine function here, a plain one in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **kwargs)
    name = str(getattr(function, "__name__", type(function).__name__))
    returned = await call_in_thread(functools.partial(function, *args), kwargs, f"step-{name}")
    return await returned if inspect.isawaitable(returned) else returned


def as_operator_result(value: object) -> OperatorResult:
    """Return what an operator gave back as an `OperatorResult`."""
    if isinstance(value, OperatorResult):
        return value
    content = value if isinstance(value, str) else ""
    return OperatorResult(content=content, output_data={} if value is None else {"output": value})
