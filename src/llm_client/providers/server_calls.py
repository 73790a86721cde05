"""What a vendor's own tools do while an answer comes, as events of its stream."""

from __future__ import annotations

from llm_client.messages import StreamEvent, StreamEventType
from llm_client.providers.tool_calls import make_tool_call
from llm_client.tools.server import common_name

_MAX_NAME = 256
"""Characters of a tool's name, and of a call's id, that are told."""


def call_began(call_id: object, tool: object, arguments: object = None) -> list[StreamEvent]:
    """Tell that a tool at the vendor has begun, with the arguments as far as the vendor has said them."""
    return _told("server_tool_start", call_id, tool, arguments)


def call_ended(call_id: object, tool: object, arguments: object = None) -> list[StreamEvent]:
    """Tell that a tool at the vendor has ended."""
    return _told("server_tool_end", call_id, tool, arguments)


def _told(kind: StreamEventType, call_id: object, tool: object, arguments: object) -> list[StreamEvent]:
    """Return the event, under the name that rules know the tool by; none where the vendor names no tool."""
    if not isinstance(tool, str) or not tool:
        return []
    known = call_id[:_MAX_NAME] if isinstance(call_id, str) and call_id else tool
    call = make_tool_call(known, common_name(tool)[:_MAX_NAME].lower(), arguments)
    return [StreamEvent(type=kind, tool_call=call)]
