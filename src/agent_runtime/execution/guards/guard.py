"""The host of everything that runs inside a job. Outside of jobs it lets calls through untouched."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from agent_runtime.execution.branch import CURRENT_BRANCH, Branch, Operation, branch_here
from agent_runtime.execution.guards.belongings import Belongings
from agent_runtime.execution.guards.models import ModelGuard
from agent_runtime.execution.guards.readings import recorded_reading
from agent_runtime.execution.guards.tools import ToolGuard
from agent_runtime.execution.operations.streams import StreamLine
from agent_runtime.execution.operations.timeouts import RecordedLimit
from llm_client.agent.middleware.failures import UNKNOWN_TOOL
from llm_client.engine.event_stream import OpenStream, StreamHost
from llm_client.governed import govern, release
from llm_client.messages import CompletionResult, ToolCall
from llm_client.middleware import (
    Host,
    ModelAttempt,
    ModelCall,
    ProceedAttempt,
    ProceedCall,
    ProceedTool,
    ToolInvocation,
)
from llm_client.pausing import Limit, TimeLimit
from llm_client.pricing.book import PriceBook
from llm_client.tokens import TokenEstimator
from llm_client.tools.execution import failure
from llm_client.tools.tool import Tool, ToolResult
from llm_client.usage import Usage

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine


_REFUSED: Final = "not run: when the job came here first, this call could not be made"


class Guard(Host):
    """Journals and bounds the calls of the job that the current task works for, and asks people. One per kernel.

    Args:
        prices: What calls cost, whichever engine makes them; without, every engine's own prices hold.
        estimator: How many tokens a request's input takes.
        belongings: What is called in jobs alone while the kernel executes.
    """

    asks_people = True

    def __init__(self, prices: PriceBook | None, estimator: TokenEstimator, belongings: Belongings) -> None:
        self._prices = prices
        self._belongings = belongings
        self._models = ModelGuard(prices or PriceBook(), estimator)
        self._tools = ToolGuard()

    def start(self) -> None:
        """Refuse calls of the kernel's engines and tools that come from outside of its jobs, from now on."""
        self._belongings.start()
        govern(self)

    def stop(self) -> None:
        """Let them be called from anywhere again."""
        release(self)

    def adopt(self, used: ExecutionEngine | Tool) -> None:
        """Learn what a job calls."""
        self._belongings.adopt(used)

    def owns(self, called: ExecutionEngine | Tool) -> bool:
        """Whether an engine or a tool belongs to the kernel, and it executes."""
        return self._belongings.has(called)

    @property
    def scope(self) -> str | None:
        """Return the scope of the job here."""
        branch = branch_here()
        return None if branch is None else branch.run.job.scope_id

    async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
        """Recall a model call, or let it happen."""
        branch = branch_here()
        if branch is None:
            return await proceed(call)
        if self._prices is not None:
            call = call.evolve(prices=self._prices)
        return await self._models.call(branch, call, proceed)

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        """Reserve, ask, settle."""
        branch = branch_here()
        return await (proceed(attempt) if branch is None else self._models.attempt(branch, attempt, proceed))

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Recall a tool call, or let it happen."""
        branch = branch_here()
        if branch is None:
            return await proceed(invocation)
        name, place = invocation.tool.name, f"{branch.batch}.{invocation.index}"
        if branch.batch and self._has_been_refused(branch, place):
            return failure(_REFUSED, UNKNOWN_TOOL)
        operation = branch.reach_at(place, "tool", name) if branch.batch else branch.reach("tool", name)
        result = await self._tools.call(branch, operation, invocation, proceed)
        step = branch.run.history.recorded_at(operation.id)
        if step is not None and step.outcome is not None and "reconciled" not in step.outcome.data:
            branch.run.transcripts.note_result(operation.place, invocation.call, result.said)
        return result

    def _has_been_refused(self, branch: Branch, place: str) -> bool:
        """Whether the model has been answered before without this call: its tool was not there, or took other arguments."""
        return branch.run.operation_id(place) not in branch.run.history.steps and branch.is_recorded_ahead()

    async def call_tool_at(
        self, operation: Operation, invocation: ToolInvocation, proceed: ProceedTool
    ) -> ToolResult:
        """Run a tool call that has a place of its own, not one below a model's answer."""
        branch = branch_here()
        assert branch is not None  # noqa: S101 -- only a job's context calls this
        return await self._tools.call(branch, operation, invocation, proceed)

    async def attempt_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Write the intent before the tool's function runs."""
        branch = branch_here()
        return await (
            proceed(invocation) if branch is None else self._tools.attempt(branch, invocation, proceed)
        )

    async def read(self, name: str, ask: Callable[[], Awaitable[object]]) -> object:
        """Recall what the world has said, or ask it and record what it says."""
        return await (ask() if branch_here() is None else recorded_reading(name, ask))

    async def recall_tool(self, call: ToolCall, index: int) -> ToolResult | None:
        """Return the recorded result of a call whose tool is gone, or takes other arguments by now."""
        branch = branch_here()
        if branch is None or not branch.batch:
            return None
        place = f"{branch.batch}.{index}"
        if branch.run.operation_id(place) not in branch.run.history.steps:
            return None
        operation = branch.reach_at(place, "tool", call.name)
        result = await self._tools.recall(branch, operation, call)
        if result is not None:
            branch.run.transcripts.note_result(operation.place, call, result.said)
        return result

    def loop(self) -> AbstractEventLoop | None:
        """Return the event loop of the job."""
        branch = CURRENT_BRANCH.get()
        return None if branch is None else branch.run.journal.loop

    def time_limit(self, seconds: float) -> Limit:
        """Bound an agent's run; in a job, that the bound was reached is recorded."""
        branch = branch_here()
        return TimeLimit(seconds) if branch is None else RecordedLimit(branch, seconds)

    def open_stream(self, stream: OpenStream[object]) -> StreamHost | None:
        """Give a stream a line of work of its own in the job that reads it."""
        branch = branch_here()
        return None if branch is None else StreamLine(branch, stream)

    def sending(self) -> None:
        """Learn that the request of the attempt in flight leaves the process."""
        branch = branch_here()
        if branch is not None:
            self._models.sending(branch)

    def answered(self, usage: Usage | None) -> None:
        """Learn that the attempt in flight has an answer."""
        if branch_here() is not None:
            self._models.answered(usage)

    async def settled(self) -> None:
        """Write the outcome that waits for the next intent."""
        branch = branch_here()
        if branch is not None:
            await branch.run.journal.settled()
