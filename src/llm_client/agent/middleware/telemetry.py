"""Counting tool calls and their time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.tools.tool import ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStatistics:
    """What is known about the calls of one tool."""

    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    """Time of all calls together, retries and waits included."""


class TelemetryMiddleware(ToolMiddleware):
    """Keeps statistics per tool.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.statistics: dict[str, ToolStatistics] = {}

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Time one call; one that is cancelled or aborts the run counts as failed."""
        started = self._clock()
        failed = True
        try:
            result = await proceed(invocation)
            failed = not result.success
        finally:
            self._count(invocation.tool.name, failed, self._clock() - started)
        return result

    def _count(self, name: str, failed: bool, seconds: float) -> None:
        known = self.statistics.get(name, ToolStatistics())
        self.statistics[name] = replace(
            known, calls=known.calls + 1, failures=known.failures + failed, seconds=known.seconds + seconds
        )
