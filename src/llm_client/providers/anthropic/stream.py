"""Streams of Anthropic's Messages API: blocks that start, grow and stop, ended by `message_stop`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_client.json_text import HalfWaits, loads, whole_value
from llm_client.messages import StreamEvent
from llm_client.providers.anthropic.response import (
    cite,
    others,
    read_other_block,
    read_refusal,
    read_stop,
)
from llm_client.providers.anthropic.usage import read_usage
from llm_client.providers.failures import Origin
from llm_client.providers.response import MAX_BLOCKS, object_in
from llm_client.providers.server_calls import call_began, call_ended
from llm_client.providers.stated import check_numbers
from llm_client.providers.wire import StreamReader

_RESULT: Final = "_tool_result"


class MessagesStreamReader(StreamReader):
    """Reads one stream of the Messages API."""

    def __init__(self, origin: Origin, request_id: str | None) -> None:
        super().__init__(origin, request_id)
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}  # open blocks that are neither text nor a tool call
        self._growing: dict[int, dict[str, list[str]]] = {}  # their texts, by field
        self._input: dict[int, list[str]] = {}
        self._thoughts: dict[int, HalfWaits] = {}
        self._citations: dict[int, list[Any]] = {}
        self._server_tools: dict[object, object] = {}
        """Names of the tools that Anthropic has called, by the call's id."""
        self._handlers: dict[str, Callable[[Mapping[str, Any]], list[StreamEvent]]] = {
            "content_block_delta": self._grow,
            "content_block_start": self._start,
            "content_block_stop": self._stop,
            "message_start": self._begin,
            "message_delta": self._message_delta,
            "message_stop": self._end,
            "error": self._error,
        }

    def read(self, payload: object) -> list[StreamEvent]:
        """Take one event; `ping` and unknown types are skipped."""
        payload = object_in(payload)
        kind = payload.get("type")
        handler = self._handlers.get(kind) if isinstance(kind, str) else None
        check_numbers(payload, "index")
        return handler(payload) if handler is not None else []

    def _begin(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        message = event["message"]
        self.draft.model = message.get("model") or self.draft.model
        self.draft.request_id = self.draft.request_id or message.get("id")
        return self._count(message.get("usage"))

    def _start(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        index, block = event["index"], self.draft.kept.take(object_in(event["content_block"]))
        kind = block.get("type")
        if kind == "text":
            self.draft.begin("text", index, **others(block, "type", "text"))
            cite(self.draft, index, whole_value(block.get("citations")))
            return self.draft.add_text(block["text"], index) if block.get("text") else []
        if kind == "tool_use":
            events = [self.draft.open_call(index, block.get("id") or "", block["name"])]
            self.draft.keep_with_call(index, others(block, "type", "id", "name", "input"))
            if block.get("input"):  # proxies send whole calls at once
                events += self.draft.add_arguments(index, block["input"])
            return events
        self._blocks[index] = block = dict(block)
        if len(self._blocks) > MAX_BLOCKS:
            raise ValueError(f"more than {MAX_BLOCKS} blocks")
        self._growing.pop(index, None)
        self._input.pop(index, None)
        self._thoughts[index] = HalfWaits()
        return [StreamEvent(type="reasoning", text=block["thinking"])] if block.get("thinking") else []

    def _grow(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        index, delta = event["index"], event["delta"]
        kind = delta.get("type")
        if kind == "text_delta":
            return self.draft.add_text(delta["text"], index)
        if kind == "citations_delta":
            self._citations.setdefault(index, []).append(self.draft.kept.take(delta["citation"]))
            self.draft.note({"citations": self._citations[index]}, index)
            cite(self.draft, index, [whole_value(delta["citation"])])
        elif kind == "input_json_delta":
            if self.draft.has_call(index):
                return self.draft.add_arguments(index, delta["partial_json"])
            if index in self._blocks:
                self._input.setdefault(index, []).append(delta["partial_json"])
        elif index in self._blocks:
            return self._grow_other(index, delta)
        return []

    def _grow_other(self, index: int, delta: Mapping[str, Any]) -> list[StreamEvent]:
        """Let a block grow that is carried as it is: each text of a delta continues the field of the same name."""
        block, growing = self._blocks[index], self._growing.setdefault(index, {})
        for name, value in delta.items():
            if name != "type" and isinstance(value, str):
                if name not in growing:
                    growing[self.draft.kept.take(name)] = [block.get(name) or ""]
                growing[name].append(value)
        if delta.get("type") != "thinking_delta":
            return []
        shown = self._thoughts[index].take(delta["thinking"])
        return [StreamEvent(type="reasoning", text=shown)] if shown else []

    def _stop(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        index = event["index"]
        if self.draft.has_call(index):
            return self.draft.close_call(index)
        block = self._blocks.pop(index, None)
        if block is not None:
            block |= {name: "".join(pieces) for name, pieces in self._growing.pop(index, {}).items()}
            if index in self._input:
                block["input"] = self.draft.kept.take(loads("".join(self._input.pop(index)) or "{}"))
            self.draft.add_part(read_other_block(whole_value(block)))
            return self._server_tool(block)
        return []

    def _server_tool(self, block: Mapping[str, Any]) -> list[StreamEvent]:
        """Tell what a block says of a tool that runs at Anthropic, or at an MCP server that it asks."""
        kind = block.get("type")
        if kind in ("server_tool_use", "mcp_tool_use"):
            if isinstance(block.get("id"), str):
                self._server_tools[block["id"]] = block.get("name")
            return call_began(block.get("id"), block.get("name"), block.get("input"))
        if isinstance(kind, str) and kind.endswith(_RESULT):
            call_id = block.get("tool_use_id")
            known = self._server_tools.get(call_id) if isinstance(call_id, str) else None
            return call_ended(call_id, known or kind.removesuffix(_RESULT))
        return []

    def _message_delta(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        delta = event.get("delta") or {}
        self.draft.end(read_stop(delta.get("stop_reason")))
        refusal = read_refusal(delta, self.draft)
        if refusal:
            self.draft.refusal[:] = [refusal]
        return self._count(event.get("usage"))

    def _end(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        self.complete = True
        return self.draft.close_open_calls()

    def _error(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        self._count(event.get("usage"))
        raise self.failure(event, usage=bool(event.get("usage")))

    def _count(self, usage: Mapping[str, Any] | None) -> list[StreamEvent]:
        """Take a usage object; later ones are cumulative and may leave out what has not changed."""
        if not usage:
            return []
        stated = {name: value for name, value in usage.items() if value is not None}
        self.draft.kept.update(self._usage, stated)
        self.draft.usage = read_usage(self._usage)
        return [StreamEvent(type="usage", usage=self.draft.usage)]
