"""Giving up on a tool call that takes too long."""

from __future__ import annotations

from llm_client.agent.middleware.failures import TIMEOUT
from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.pausing import TimeLimit
from llm_client.tools.execution import failure
from llm_client.tools.tool import ToolResult


class TimeoutMiddleware(ToolMiddleware):
    """Ends a call after the tool's time-out, which covers all attempts; durable waits do not count.

    The function is cancelled; a plain function's thread cannot be, and runs on.

    Args:
        seconds: For tools that set no time-out.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self._seconds = seconds

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Run the call within its time."""
        own = invocation.tool.timeout
        seconds = self._seconds if own is None else own
        limit = TimeLimit(seconds)
        try:
            async with limit:
                return await proceed(invocation.evolve(deadline=limit.deadline))
        except TimeoutError:
            if not limit.expired:
                raise
        return failure(f"the tool did not finish within {seconds:g} seconds", TIMEOUT)
