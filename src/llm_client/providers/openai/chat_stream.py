"""Chat Completions streams: chunks of deltas, ended by `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llm_client.json_text import whole_value
from llm_client.messages import CompletionResult, StreamEvent
from llm_client.providers.failures import Origin
from llm_client.providers.openai.chat_finish import take_finish
from llm_client.providers.openai.chat_media import MadeMedia
from llm_client.providers.openai.chat_response import (
    CarriedFields,
    beside,
    check_choice,
    read_content,
    tool_calls,
)
from llm_client.providers.openai.citations import StatedSources
from llm_client.providers.openai.logprobs import read_choice_logprobs
from llm_client.providers.openai.usage import read_usage, stated_usage
from llm_client.providers.response import object_in
from llm_client.providers.wire import StreamReader


class ChatStreamReader(StreamReader):
    """Reads one Chat Completions stream.

    Args:
        origin: Who was asked.
        request_id: The vendor's id of the request, if a header gave it.
        carried: Fields of a message that the server wants back.
    """

    def __init__(self, origin: Origin, request_id: str | None, carried: Iterable[str] = ()) -> None:
        super().__init__(origin, request_id)
        self._carried = CarriedFields(self.draft, carried)
        self._media, self._sources = MadeMedia(self.draft), StatedSources(self.draft)
        self._tier: Any = None
        self._has_begun = False
        """Whether a piece has come; servers that know no streams send a whole message as the first."""

    def may_end(self) -> bool:
        """Whether the stream may end here: some servers leave `[DONE]` out, and usage comes last."""
        return self.complete or (self.draft.finish_reason is not None and self.draft.usage is not None)

    def read_done_mark(self) -> list[StreamEvent]:
        """Take `[DONE]`."""
        self.complete = True
        return self.end()

    def end(self) -> list[StreamEvent]:
        """End the calls that are open; some streams have no `[DONE]`."""
        return self.draft.close_open_calls()

    def read(self, payload: object) -> list[StreamEvent]:
        """Take one chunk."""
        if isinstance(payload, list) and payload:
            raise self.failure(payload, usage=False)  # as Google's chat interface says it
        payload = object_in(payload)
        self._tier = payload.get("service_tier") or self._tier
        if payload.get("error") or payload.get("object") == "error":
            raise self.failure(payload, usage=bool(self._count(payload)))
        groq = object_in(payload.get("x_groq") or {})
        if groq.get("error"):  # "why a stream was stopped early": its finish reason says `stop`
            raise self.failure(groq, usage=bool(self._count(payload)))
        draft = self.draft
        events: list[StreamEvent] = []
        choices = payload.get("choices")
        if choices:
            choice = check_choice(payload, self._origin, draft.request_id)
            delta = choice.get("delta") or (None if self._has_begun else choice.get("message"))
            if delta:
                self._has_begun = True
                self._read_delta(delta, events)
            self._sources.take(payload, delta or {})
            if choice.get("logprobs"):
                read_choice_logprobs(draft, whole_value(choice["logprobs"]))
            if take_finish(draft, choice) and not draft.has_reopened_calls:
                events += draft.close_open_calls()  # unless a proxy gives a reason with every chunk
        events += self._count(payload)
        if draft.request_id is None:
            draft.request_id = payload.get("id")
        if payload.get("model"):
            draft.model = payload["model"]
        return events

    def result(self, *, partial: bool = False) -> CompletionResult:
        """Return the whole answer, or what has arrived of it."""
        self._carried.end()
        self._media.end()
        self._sources.end()
        return super().result(partial=partial)

    def _count(self, payload: Mapping[str, Any]) -> list[StreamEvent]:
        """Take the usage of a chunk, which may stand beside a failure; another chunk may have named the tier."""
        if not stated_usage(payload):
            return []
        model = payload.get("model") or self.draft.model
        usage = read_usage({**payload, "service_tier": self._tier, "model": model})
        if usage.is_nothing and self.draft.usage is not None:
            return []  # an empty count takes nothing away
        self.draft.usage = usage
        return [StreamEvent(type="usage", usage=self.draft.usage)]

    def _read_delta(self, delta: Mapping[str, Any], events: list[StreamEvent]) -> None:
        draft = self.draft
        content = delta.get("content")
        if content and isinstance(content, str) and len(delta) == 1:
            events += draft.add_text(content)
            return
        events += self._carried.take(delta)
        if content:
            events += read_content(draft, self._carried, content)
        events += self._media.take(delta)
        if delta.get("refusal"):
            draft.add_refusal(delta["refusal"])
        for piece in tool_calls(delta):
            function = piece.get("function") or {}
            call, told = draft.call_piece(
                index=piece.get("index"),
                call_id=piece.get("id") or "",
                name=function.get("name") or "",
                arguments=function.get("arguments"),
            )
            draft.kept.update(call.data, beside(piece))
            events += told
