"""Keeping secrets in tool results from the model."""

from __future__ import annotations

from dataclasses import replace

from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.redaction import Redactor
from llm_client.tools.tool import ToolResult


class RedactionMiddleware(ToolMiddleware):
    """Takes secrets out of what tools return and of their error texts.

    Args:
        redactor: Which secrets; by default the known shapes and names.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or Redactor()

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Run the call and redact its result."""
        result = await proceed(invocation)
        redact = self._redactor.redact
        content = redact(result.content)
        value = content if result.value == result.content else redact(result.value)
        error = redact(result.error)
        if content is result.content and value is result.value and error is result.error:
            return result
        return replace(result, content=content, value=value, error=error)
