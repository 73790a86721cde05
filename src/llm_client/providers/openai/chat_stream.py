"""Chat Completions streams: chunks of deltas, ended by `[DONE]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_client.messages import CompletionResult, ReasoningPart, StreamEvent
from llm_client.providers.failures import Origin, failure_of_event
from llm_client.providers.openai.chat_response import read_content, read_finish, read_usage
from llm_client.providers.response import ResponseDraft


class ChatStreamReader:
    """Reads one Chat Completions stream.

    Args:
        origin: Who was asked.
        request_id: The vendor's id of the request, if a header gave it.
    """

    def __init__(self, origin: Origin, request_id: str | None) -> None:
        self.draft = ResponseDraft(provider=origin.provider, model=origin.model, request_id=request_id)
        self._origin = origin
        self._done = False
        self._keys: dict[int, int] = {}  # the server's index of a call → our number of it
        self._calls = 0
        self._thoughts: list[str] = []
        self._details: list[Any] = []
        self._carries_content = False

    @property
    def complete(self) -> bool:
        """Whether `[DONE]` has come."""
        return self._done

    def may_end(self) -> bool:
        """Whether the stream may end here: some servers leave `[DONE]` out, and usage comes last."""
        return self._done or (self.draft.finish_reason is not None and self.draft.usage is not None)

    def read_done_mark(self) -> list[StreamEvent]:
        """Take `[DONE]`."""
        self._done = True
        return self.draft.close_open_calls()

    def read(self, payload: Any) -> list[StreamEvent]:
        """Take one chunk."""
        if payload.get("error"):
            raise failure_of_event(payload, self._origin, request_id=self.draft.request_id)
        draft = self.draft
        events: list[StreamEvent] = []
        choices = payload.get("choices")
        if choices:
            choice = choices[0]
            delta = choice.get("delta")
            if delta:
                self._read_delta(delta, events)
            if choice.get("finish_reason"):
                draft.finish_reason = read_finish(choice["finish_reason"])
                events += draft.close_open_calls()
        usage = payload.get("usage")
        if usage:
            draft.usage = read_usage(usage)
            events.append(StreamEvent(type="usage", usage=draft.usage))
        if draft.request_id is None:
            draft.request_id = payload.get("id")
        if payload.get("model"):
            draft.model = payload["model"]
        return events

    def result(self, *, partial: bool = False) -> CompletionResult:
        """Return the whole answer, or what has arrived of it."""
        self._keep_reasoning()
        return self.draft.result(partial=partial)

    def _read_delta(self, delta: Mapping[str, Any], events: list[StreamEvent]) -> None:
        draft = self.draft
        content = delta.get("content")
        if content:
            if isinstance(content, str):
                events.append(draft.add_text(content))
            else:
                text, thoughts = read_content(content)
                if thoughts:
                    events.append(self._think(thoughts))
                if text:
                    events.append(draft.add_text(text))
            if len(delta) == 1:
                return
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            self._carries_content = self._carries_content or bool(delta.get("reasoning_content"))
            events.append(self._think(thought))
        for detail in delta.get("reasoning_details") or ():
            _join_detail(self._details, detail)
        if delta.get("refusal"):
            draft.refusal.append(delta["refusal"])
        for call in delta.get("tool_calls") or ():
            self._read_call(call, events)

    def _think(self, text: str) -> StreamEvent:
        self._thoughts.append(text)
        return StreamEvent(type="reasoning", text=text)

    def _read_call(self, call: Mapping[str, Any], events: list[StreamEvent]) -> None:
        function = call.get("function") or {}
        index, call_id, name = call.get("index"), call.get("id") or "", function.get("name") or ""
        position = index if isinstance(index, int) else self._calls - 1 if not call_id else self._calls
        key = self._keys.get(position)
        # Some servers give every parallel call the index 0; a new id with a name is a new call.
        if key is None or (call_id and name and self.draft.stub(key).id != call_id):
            key = self._keys[position] = self._calls
            self._calls += 1
            events.append(self.draft.open_call(key, call_id, name))
        fragment = function.get("arguments")
        if fragment:
            events.append(self.draft.add_arguments(key, fragment))

    def _keep_reasoning(self) -> None:
        text = "".join(self._thoughts)
        data: dict[str, Any] = {}
        if self._carries_content:
            data["reasoning_content"] = text
        if self._details:
            data["reasoning_details"] = self._details
        if text or data:
            self.draft.reasoning = [ReasoningPart(provider=self._origin.provider, text=text, data=data)]


def _join_detail(details: list[Any], piece: Any) -> None:
    """Add a piece of OpenRouter's reasoning; pieces of one block carry the same index and type."""
    last = details[-1] if details else None
    if (
        isinstance(last, dict)
        and isinstance(piece, dict)
        and last.get("index") == piece.get("index")
        and last.get("type") == piece.get("type")
        and piece.get("index") is not None
    ):
        for name, value in piece.items():
            if name in ("text", "summary", "data") and isinstance(value, str):
                last[name] = (last.get(name) or "") + value
            elif value is not None:
                last[name] = value
        return
    details.append(dict(piece) if isinstance(piece, dict) else piece)
