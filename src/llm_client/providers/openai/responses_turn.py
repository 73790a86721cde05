"""A turn of the Responses API, taken apart into a message and put together again.

OpenAI pairs each reasoning item with the item that followed it, by their ids and their order, and refuses a history in
which one of them is missing. So an answer with reasoning remembers the order and the ids of its items, and goes back
as it came. If its text or its tool calls have been changed since, it goes back without reasoning and ids instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from llm_client.messages import Message, ReasoningPart, ToolCall
from llm_client.providers.turn_order import own_parts


def remember_turn(output: Sequence[Mapping[str, Any]], provider: str) -> tuple[ReasoningPart, ...]:
    """Return what must travel with an answer: its opaque items, and the order of all of them.

    Text and arguments are not kept twice: the order holds the length of each text and the id of each call.
    """
    parts: list[ReasoningPart] = []
    order: list[dict[str, Any]] = []
    for item in output:
        kind = item.get("type")
        if kind == "message":
            order.append(
                _without_nothing(
                    kind="message", id=item.get("id"), phase=item.get("phase"), chars=len(message_text(item))
                )
            )
        elif kind == "function_call":
            order.append(_without_nothing(kind="call", id=item.get("id"), call_id=item.get("call_id")))
        else:
            order.append({"kind": "item", "number": len(parts)})
            parts.append(opaque_part(item, provider))
    phased = any("phase" in entry for entry in order)
    return (*parts, ReasoningPart(provider=provider, data={"order": order})) if parts or phased else ()


def opaque_part(item: Mapping[str, Any], provider: str) -> ReasoningPart:
    """Carry an item that is neither text nor a function call: reasoning, or the work of a built-in tool."""
    pieces = (item.get("summary") or item.get("content") or ()) if item.get("type") == "reasoning" else ()
    text = "\n\n".join(piece.get("text", "") for piece in pieces if isinstance(piece, Mapping))
    # The API gives `status` and empty fields, and refuses to take some of them back.
    block = {name: value for name, value in item.items() if value is not None and name != "status"}
    return ReasoningPart(provider=provider, text=text, data={"item": block})


def message_text(item: Mapping[str, Any]) -> str:
    """Return the text of a message item, without refusals."""
    return "".join(
        part.get("text") or "" for part in item.get("content") or () if part.get("type") == "output_text"
    )


def turn_items(message: Message, provider: str) -> list[dict[str, Any]]:
    """Return an assistant message as input items, with its reasoning if the turn is still what it was."""
    remembered = _remembered_items(message, own_parts(message, provider))
    if remembered is not None:
        return remembered
    said = [{"role": "assistant", "content": message.text}] if message.text else []
    return [*said, *(call_item(call) for call in message.tool_calls)]


def call_item(call: ToolCall) -> dict[str, Any]:
    """Return a tool call as an input item."""
    arguments = orjson.dumps(call.arguments, option=orjson.OPT_NON_STR_KEYS).decode()
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments}


def _remembered_items(message: Message, parts: Sequence[ReasoningPart]) -> list[dict[str, Any]] | None:
    order = next((part.data["order"] for part in parts if "order" in part.data), None)
    if order is None:
        return None
    opaque = [part.data["item"] for part in parts if "item" in part.data]
    calls = {call.id: call for call in message.tool_calls}
    text = message.text
    if not _is_unchanged(order, opaque, text, [*calls]):
        return None
    items: list[dict[str, Any]] = []
    start = 0
    for entry in order:
        if entry["kind"] == "item":
            items.append(opaque[entry["number"]])
        elif entry["kind"] == "call":
            items.append({**call_item(calls[entry["call_id"]]), **_without_nothing(id=entry.get("id"))})
        elif entry["chars"]:
            items.append(_message_item(entry, text[start : start + entry["chars"]]))
            start += entry["chars"]
    return items


def _is_unchanged(
    order: Sequence[Mapping[str, Any]], opaque: Sequence[Mapping[str, Any]], text: str, calls: list[str]
) -> bool:
    """Whether a message still says what its turn said, and its reasoning can be read by OpenAI."""
    readable = all(
        item.get("type") != "reasoning" or item.get("encrypted_content") or item.get("content")
        for item in opaque
    )
    return (
        readable
        and sum(entry["kind"] == "item" for entry in order) == len(opaque)
        and sum(entry.get("chars", 0) for entry in order) == len(text)
        and [entry.get("call_id") for entry in order if entry["kind"] == "call"] == calls
    )


def _message_item(entry: Mapping[str, Any], text: str) -> dict[str, Any]:
    phase = _without_nothing(phase=entry.get("phase"))
    if not entry.get("id"):
        return {"role": "assistant", "content": text, **phase}
    content = [{"type": "output_text", "text": text, "annotations": []}]
    item = {
        "type": "message",
        "id": entry["id"],
        "role": "assistant",
        "status": "completed",
        "content": content,
    }
    return {**item, **phase}


def _without_nothing(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
