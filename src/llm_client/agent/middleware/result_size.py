"""Keeping tool results from filling the context window."""

from __future__ import annotations

import re
from dataclasses import replace

from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.tools.tool import ToolResult

_NOTE = re.compile(r"\n\[… ([\d,]+) characters left out\]\Z")
_NOTE_LENGTH = 60


def truncate(result: ToolResult, max_characters: int) -> ToolResult:
    """Return a result whose content is at most so long, with a note of what is missing; errors stay errors.

    The value of a result that was cut is the text that is left. Cutting again counts what was missing before.
    """
    content = result.content
    if len(content) <= max_characters:
        return result
    note = _NOTE.search(content, max(0, len(content) - _NOTE_LENGTH))
    missing = len(content) - max_characters
    if note is not None:
        if note.start() <= max_characters:
            return result
        missing = note.start() - max_characters + int(note.group(1).replace(",", ""))
    content = f"{content[:max_characters]}\n[… {missing:,} characters left out]"
    error = result.error if result.error is None else result.error[:max_characters]
    return replace(result, content=content, value=content, error=error)


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
