"""Keeping secrets in tool results from the model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from llm_client.agent.middleware.result_size import truncate
from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.redaction import Redactor
from llm_client.tools.execution import media_of
from llm_client.tools.tool import ToolResult
from llm_client.turns import aside, read_aside

LARGE = 20_000
"""Characters above which a result is redacted in a thread, to keep the event loop free."""


class RedactionMiddleware(ToolMiddleware):
    """Takes secrets out of what tools return and of their error texts.

    Args:
        redactor: Which secrets; by default the known shapes and names.
        max_characters: Longer results are cut before they are redacted, as that takes time with the length. Leave room
            over what the model reads in the end, so that no secret is cut in half there.
    """

    def __init__(self, redactor: Redactor | None = None, *, max_characters: int = 100_000) -> None:
        self._redactor = redactor or Redactor()
        self._max_characters = max_characters

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Run the call and redact its result."""
        result = truncate(await proceed(invocation), self._max_characters)
        if len(result.content) > LARGE:
            return await aside(self._redacted, result)
        return await read_aside(result.value, partial(self._redacted, result))

    def _redacted(self, result: ToolResult) -> ToolResult:
        redact = self._redactor.redact
        content = redact(result.content)
        value = content if result.value == result.content else self._value(result)
        error = redact(result.error)
        if content is result.content and value is result.value and error is result.error:
            return result
        return replace(result, content=content, value=value, error=error)

    def _value(self, result: ToolResult) -> Any:
        """Return the value without its secrets; the data of media are no text, and long."""
        if not result.media or media_of(result.value) != result.media:
            return self._redactor.redact(result.value)
        entries = result.value if isinstance(result.value, list) else [result.value]
        cleaned = [
            entry if entry.get("type") == "media" else self._redactor.redact(entry) for entry in entries
        ]
        return cleaned if isinstance(result.value, list) else cleaned[0]
