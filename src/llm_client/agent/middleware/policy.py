"""Allowing and denying tools by name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from llm_client.agent.middleware.failures import DENIED
from llm_client.middleware import ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.tools.execution import failure
from llm_client.tools.tool import ToolResult


class PolicyMiddleware(ToolMiddleware):
    """Lets through tools whose name matches an allowed pattern and no denied one.

    Server tools run at the vendor, where no middleware sees their calls: what an agent is not given in `server_tools` it does not have, and
    a durable runtime's policy rules on what is declared.

    Args:
        allow: Patterns such as `search_*`.
        deny: Patterns that win over `allow`.
    """

    def __init__(self, allow: Sequence[str] = ("*",), deny: Sequence[str] = ()) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Run the call or tell the model that it may not."""
        name = invocation.tool.name
        denied = any(fnmatchcase(name, pattern) for pattern in self._deny)
        if denied or not any(fnmatchcase(name, pattern) for pattern in self._allow):
            return failure(f"the tool {name!r} is not allowed here", DENIED)
        return await proceed(invocation)
