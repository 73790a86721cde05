"""Keeping tool results from filling the context window."""

from __future__ import annotations

from dataclasses import replace

from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.tools.tool import ToolResult


def truncate(result: ToolResult, max_characters: int) -> ToolResult:
    """Return a result whose content is at most so long, with a note of what is missing; errors stay errors.

    The value of a result that was cut is the text that is left.
    """
    missing = len(result.content) - max_characters
    if missing <= 0:
        return result
    content = f"{result.content[:max_characters]}\n[… {missing:,} characters left out]"
    return replace(result, content=content, value=content)


class ResultSizeMiddleware(ToolMiddleware):
    """Cuts long results.

    Args:
        max_characters: What the model reads at most.
    """

    def __init__(self, max_characters: int = 50_000) -> None:
        self._max_characters = max_characters

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Run the call and cut what it returns."""
        return truncate(await proceed(invocation), self._max_characters)
