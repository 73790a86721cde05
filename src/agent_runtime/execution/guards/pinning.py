"""What foreign servers say of their tools is pinned for a job: what a tool has become since, people are asked about.

A server may say one thing while a tool is chosen and approved and another one afterwards, at the latest when the job goes on in
another process. So the hash of what it says is written with the first request that offers the tool, or the first call, or with the
question whether that may be made. It holds for what retries the job, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from agent_runtime.execution.journal.history import History
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.content import encode
from agent_runtime.values.event import RuntimeEventType
from llm_client.tools.tool import Tool

CHANGED: Final = (
    "its server says something else of this tool than when this job was first offered it or first called it"
)


def new_pins(history: History, operation_id: str, tools: Iterable[Tool]) -> list[NewEvent]:
    """Return the entry that pins those of the tools that the job has not met yet; none when there are none."""
    met = {
        tool.name: tool.definition
        for tool in tools
        if tool.definition is not None and tool.name not in history.definitions
    }
    return [_pins(operation_id, met)] if met else []


def is_changed(history: History, operation_id: str, tool: Tool) -> bool:
    """Whether a tool is another one than the job has met before this operation, or when it came to it first."""
    said = history.definitions.get(tool.name, [])
    before = [definition for by, definition in said if by != operation_id][-1:] or [
        definition for _, definition in said[:1]
    ]
    return tool.definition is not None and before not in ([], [tool.definition])


def agreed_pin(operation_id: str, tool: Tool) -> NewEvent:
    """Return the entry that says what a tool is from now on, since people have agreed to it."""
    return _pins(operation_id, {tool.name: tool.definition})


def _pins(operation_id: str, definitions: Mapping[str, str | None]) -> NewEvent:
    data = {"count": len(definitions)}
    return NewEvent(RuntimeEventType.TOOL_PINNED, operation_id, data, encode(definitions))
