"""Not calling a tool that keeps breaking."""

from __future__ import annotations

import asyncio

from llm_client.agent.middleware.failures import CIRCUIT_OPEN, is_malfunction
from llm_client.engine.breaker import CircuitBreakerConfig, CircuitBreakers
from llm_client.errors import CircuitOpen
from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.pausing import enclosing_time_limit
from llm_client.tools.execution import failure
from llm_client.tools.tool import ToolResult


class CircuitBreakerMiddleware(ToolMiddleware):
    """One circuit per tool and tenant: after failures in a row its calls are answered at once, until a probe works again.

    Args:
        config: The thresholds; by default 5 failures and 60 seconds.
    """

    def __init__(self, config: CircuitBreakerConfig | None = None) -> None:
        self._breakers = CircuitBreakers(
            config or CircuitBreakerConfig(failure_threshold=5, recovery_timeout=60.0)
        )

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Run the call if the circuit is closed, and note how it ended."""
        name = invocation.tool.name
        breaker = self._breakers.of("tool", name, invocation.whose)
        try:
            ticket = breaker.enter()
        except CircuitOpen as error:
            return failure(
                f"the tool {name!r} keeps failing; it will be tried again in {error.retry_after or 0:.0f} seconds",
                CIRCUIT_OPEN,
            )
        try:
            result = await proceed(invocation)
        except asyncio.CancelledError:
            (breaker.fail if _is_late() else breaker.abandon)(ticket)
            raise
        except BaseException:
            breaker.abandon(ticket)
            raise
        if is_malfunction(result):
            breaker.fail(ticket)
        elif result.success:
            breaker.succeed(ticket)
        else:
            breaker.abandon(ticket)
        return result


def _is_late() -> bool:
    """Whether a call is being cancelled because the tool's time is up, rather than by somebody."""
    limit = enclosing_time_limit()
    return limit is not None and limit.expired
