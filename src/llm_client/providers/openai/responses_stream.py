"""Streams of OpenAI's Responses API: typed events, ended by the whole response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llm_client.json_text import HalfWaits
from llm_client.messages import CompletionResult, MediaPart, ReasoningPart, StreamEvent
from llm_client.providers.failures import Origin
from llm_client.providers.openai.responses_response import (
    check_status,
    read_answer,
    read_finish,
)
from llm_client.providers.openai.responses_turn import BEHIND, item_part, server_call, thought_of
from llm_client.providers.openai.usage import read_response_usage
from llm_client.providers.response import MAX_BLOCKS, object_in
from llm_client.providers.server_calls import call_began, call_ended
from llm_client.providers.stated import check_numbers
from llm_client.providers.wire import StreamReader

_LAST = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


class ResponsesStreamReader(StreamReader):
    """Reads one stream of the Responses API."""

    def __init__(self, origin: Origin, request_id: str | None) -> None:
        super().__init__(origin, request_id)
        self._whole: CompletionResult | None = None
        self._items: dict[int, Mapping[str, Any]] = {}
        self._ids: dict[int, str] = {}
        self._thoughts = HalfWaits()
        self._thinking = False
        self._has_thought = False
        """Whether a reasoning item has come."""
        self._handlers: dict[str, Callable[[Mapping[str, Any]], list[StreamEvent]]] = {
            "response.output_text.delta": self._text,
            "response.reasoning_summary_text.delta": self._thought,
            "response.reasoning_text.delta": self._thought,
            "response.reasoning_summary_part.added": self._thought_part,
            "response.refusal.delta": self._refusal,
            "response.output_item.added": self._item_added,
            "response.function_call_arguments.delta": self._arguments,
            "response.output_item.done": self._item_done,
            "response.created": self._created,
            "error": self._error,
        } | dict.fromkeys(_LAST, self._end)

    def read(self, payload: object) -> list[StreamEvent]:
        """Take one event; unknown types are skipped."""
        payload = object_in(payload)
        kind = payload.get("type")
        handler = self._handlers.get(kind) if isinstance(kind, str) else None
        check_numbers(payload, "output_index", "content_index")
        if handler is not None:
            return handler(payload)
        return self._error(payload) if payload.get("error") else []

    def result(self, *, partial: bool = False) -> CompletionResult:
        """Return the whole answer, or what has arrived of it."""
        return super().result(partial=partial) if self._whole is None else self._whole

    def _text(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        return self.draft.add_text(event["delta"], _place(event))

    def _thought(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        self._thinking = True
        shown = self._thoughts.take(event["delta"])
        return [StreamEvent(type="reasoning", text=shown)] if shown else []

    def _thought_part(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        return [StreamEvent(type="reasoning", text="\n\n")] if self._thinking else []

    def _refusal(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        return self.draft.add_refusal(event["delta"], _place(event))

    def _created(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        response = event.get("response") or {}
        self.draft.model = response.get("model") or self.draft.model
        self.draft.request_id = self.draft.request_id or response.get("id")
        return []

    def _item_added(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        item = event["item"]
        if item.get("type") != "function_call":
            return self._counted(call_began(item.get("id"), *server_call(item)))
        key = event["output_index"]
        events = [self.draft.open_call(key, item.get("call_id") or "", item["name"])]
        if item.get("arguments"):
            events += self.draft.add_arguments(key, item["arguments"])
        return events

    def _arguments(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        return self.draft.add_arguments(event["output_index"], event["delta"])

    def _item_done(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        item, key = event["item"], event["output_index"]
        self._items[key] = self.draft.kept.take(item)
        if len(self._items) > MAX_BLOCKS:
            raise ValueError(f"more than {MAX_BLOCKS} items")
        kind = item.get("type")
        if kind == "function_call":
            events: list[StreamEvent] = []
            if not self.draft.has_call(key):
                events.append(self.draft.open_call(key, item.get("call_id") or "", item["name"]))
            self.draft.set_arguments(key, item.get("arguments"))
            self._ids[key] = self.draft.call_id(key)
            return [*events, *self.draft.close_call(key)]
        if kind and kind != "message":
            self.draft.add_part(self._part(item))
        return self._counted(call_ended(item.get("id"), *server_call(item)))

    def _part(self, item: Mapping[str, Any]) -> MediaPart | ReasoningPart:
        """Return an item for an answer that may break: nobody knows what would have followed its reasoning."""
        if item.get("type") != "reasoning":
            return item_part(item, self._origin.provider, {BEHIND: ""} if self._has_thought else {})
        self._has_thought = True
        return ReasoningPart(provider=self._origin.provider, text=thought_of(item))

    def _counted(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """Count what is told of tools at the vendor: who records the stream keeps it."""
        for event in events:
            self.draft.kept.take(None if event.tool_call is None else event.tool_call.arguments)
        return events

    def _error(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        if event.get("usage"):
            self.draft.usage = read_response_usage(event)
        payload = event if event.get("error") else {"error": {k: v for k, v in event.items() if k != "type"}}
        raise self.failure(payload, usage=bool(event.get("usage")))

    def _end(self, event: Mapping[str, Any]) -> list[StreamEvent]:
        response = event["response"]
        draft = self.draft
        # Some compatible servers end with an empty response; what they said before counts then.
        output, ids = response.get("output"), self._ids
        if not output:
            keys = sorted(self._items)
            output = [self._items[key] for key in keys]
            ids = {number: self._ids[key] for number, key in enumerate(keys) if key in self._ids}
        whole = {**response, "output": output}
        draft.usage = read_response_usage(whole)
        check_status(response, self._origin, draft.request_id, draft.usage)
        draft.finish_reason = read_finish(response)
        if not output and draft.finish_reason == "stop":
            draft.finish_reason = None  # what it holds has not been said to be whole
        events = draft.close_open_calls()
        # A call without an id got a fresh one when it began; the events have said it already.
        self._whole = read_answer(whole, self._origin, draft.request_id, ids) if output else draft.result()
        self.complete = True
        return [*events, StreamEvent(type="usage", usage=draft.usage)]


def _place(event: Mapping[str, Any]) -> tuple[Any, Any]:
    return event.get("output_index"), event.get("content_index")
