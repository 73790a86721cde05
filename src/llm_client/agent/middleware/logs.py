"""Logging tool calls: names, times and outcomes, never arguments or results."""

from __future__ import annotations

import time

from llm_client.logs import logger_of
from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.tools.tool import ToolResult

logger = logger_of("llm_client.tools")


class LoggingMiddleware(ToolMiddleware):
    """Logs each tool call on the logger `llm_client.tools`: successes at DEBUG, failures at WARNING."""

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Log how one call ended."""
        started = time.perf_counter()
        name, operation = invocation.tool.name, invocation.operation_id
        try:
            result = await proceed(invocation)
        except BaseException as error:
            logger.debug("tool %s (%s) ended by %s", name, operation, type(error).__name__)
            raise
        milliseconds = (time.perf_counter() - started) * 1000
        if result.success:
            logger.debug("tool %s (%s) succeeded in %.1f ms", name, operation, milliseconds)
        else:
            logger.warning(
                "tool %s (%s) failed in %.1f ms: %s", name, operation, milliseconds, result.error_type
            )
        return result
