"""Bounding what one run may ask of its tools."""

from __future__ import annotations

from collections import OrderedDict

from llm_client.agent.middleware.failures import BUDGET_EXCEEDED
from llm_client.json_text import dumps
from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.tools.execution import failure
from llm_client.tools.tool import ToolResult

MAX_RUNS = 10_000
"""Runs whose use is remembered at the same time."""


class BudgetMiddleware(ToolMiddleware):
    """Refuses calls with too large arguments, and calls beyond a number per run.

    Which call of its run a call is, the run says: a run that is followed again from a journal passes here only with what it
    does anew. Calls that are made without a run's say are counted here.

    Args:
        max_calls: Tool calls per run that are made; the model is told of the others. `AgentConfig.max_tool_calls` ends the
            run instead.
        max_argument_bytes: Size of one call's arguments as JSON.
    """

    def __init__(self, max_calls: int | None = None, max_argument_bytes: int = 100_000) -> None:
        self._max_calls = max_calls
        self._max_argument_bytes = max_argument_bytes
        self._calls: OrderedDict[str, int] = OrderedDict()

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Run the call, or tell the model that the budget is spent."""
        used = max(self._calls.get(invocation.run_id, 0), invocation.number - 1)
        if self._max_calls is not None and used >= self._max_calls:
            return failure(f"this run may call tools {self._max_calls} times, and has", BUDGET_EXCEEDED)
        size = len(dumps(invocation.arguments, default=str))
        if size > self._max_argument_bytes:
            return failure(
                f"the arguments are {size} bytes long; at most {self._max_argument_bytes} are allowed",
                BUDGET_EXCEEDED,
            )
        self._calls[invocation.run_id] = used + 1
        self._calls.move_to_end(invocation.run_id)
        if len(self._calls) > MAX_RUNS:
            self._calls.popitem(last=False)
        return await proceed(invocation)
