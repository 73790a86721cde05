"""Bounding how many tool calls run at the same time."""

from __future__ import annotations

from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.pausing import Slots
from llm_client.tools.tool import ToolResult


class ConcurrencyMiddleware(ToolMiddleware):
    """Lets a number of calls of all runs of an agent through at the same time; the others wait their turn, tenants in turns.

    A tool that waits durably gives its place back meanwhile.

    Args:
        max_concurrency: How many calls run at the same time.
    """

    def __init__(self, max_concurrency: int = 10) -> None:
        self._slots = Slots(max_concurrency)

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Wait for a place and run the call."""
        async with self._slots.occupied(invocation.whose):
            return await proceed(invocation)
