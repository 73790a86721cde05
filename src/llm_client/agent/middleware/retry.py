"""Trying a broken tool again, where that cannot do harm."""

from __future__ import annotations

import asyncio

from llm_client.agent.middleware.failures import is_malfunction
from llm_client.background import doubled, jittered
from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.tools.tool import ToolResult

REPEATABLE = frozenset({"pure", "read", "idempotent"})
"""Effects that may happen twice."""


class RetryMiddleware(ToolMiddleware):
    """Repeats calls whose tool broke, if the tool's effect may be repeated.

    What a tool says on purpose (`ToolError`, `ModelRetry`) and what never reached it is not repeated.

    Args:
        retries: Further attempts, for tools that set none.
        backoff: Seconds before the first of them; doubled for each further one.
        max_backoff: Longest wait in seconds.
    """

    def __init__(self, retries: int = 2, *, backoff: float = 0.5, max_backoff: float = 10.0) -> None:
        self._retries = retries
        self._backoff = backoff
        self._max_backoff = max_backoff

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Run the call until it works or the attempts are used up."""
        tool = invocation.tool
        retries = self._retries if tool.retries is None else tool.retries
        result = await proceed(invocation)
        if tool.effect not in REPEATABLE:
            return result
        for attempt in range(invocation.attempt, retries + 1):
            if not is_malfunction(result):
                return result
            await asyncio.sleep(jittered(doubled(self._backoff, attempt, self._max_backoff)))
            result = await proceed(invocation.evolve(attempt=attempt + 1))
        return result
