"""Bounding what one run may ask of its tools."""

from __future__ import annotations

from collections import OrderedDict

import orjson

from llm_client.agent.middleware.failures import BUDGET_EXCEEDED
from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.tools.execution import failure
from llm_client.tools.tool import ToolResult

MAX_RUNS = 10_000
"""Runs whose use is remembered at the same time."""


class BudgetMiddleware(ToolMiddleware):
    """Refuses calls beyond a number per run, and calls with too large arguments.

    Args:
        max_calls: Tool calls per run.
        max_argument_bytes: Size of one call's arguments as JSON.
    """

    def __init__(self, max_calls: int = 50, max_argument_bytes: int = 100_000) -> None:
        self._max_calls = max_calls
        self._max_argument_bytes = max_argument_bytes
        self._calls: OrderedDict[str, int] = OrderedDict()

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Count the call and run it, or tell the model that the budget is spent."""
        used = self._calls.get(invocation.run_id, 0)
        if used >= self._max_calls:
            return failure(f"this run may call tools {self._max_calls} times, and has", BUDGET_EXCEEDED)
        size = len(orjson.dumps(invocation.arguments, default=str))
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
