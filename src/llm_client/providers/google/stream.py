"""Streams of Google's `generateContent`: chunks of the same form as a whole answer, the last with a finish reason."""

from __future__ import annotations

from typing import Any

from llm_client.messages import CompletionResult, StreamEvent
from llm_client.providers.failures import Origin, failure_of_event
from llm_client.providers.google.response import check_prompt, read_finish, read_part, read_usage
from llm_client.providers.response import ResponseDraft


class GenerateContentReader:
    """Reads one stream of `generateContent`.

    Args:
        origin: Who was asked.
        request_id: The vendor's id of the request, if a header gave it.
    """

    def __init__(self, origin: Origin, request_id: str | None) -> None:
        self.draft = ResponseDraft(provider=origin.provider, model=origin.model, request_id=request_id)
        self._origin = origin

    @property
    def complete(self) -> bool:
        """Never before the end of the body: Google has no end marker, and usage may follow the finish reason."""
        return False

    def may_end(self) -> bool:
        """Whether the stream may end here: after a finish reason."""
        return self.draft.finish_reason is not None

    def read(self, payload: Any) -> list[StreamEvent]:
        """Take one chunk."""
        if isinstance(payload, list) or payload.get("error"):
            raise failure_of_event(payload, self._origin, request_id=self.draft.request_id)
        draft = self.draft
        events: list[StreamEvent] = []
        draft.model = payload.get("modelVersion") or draft.model
        draft.request_id = draft.request_id or payload.get("responseId")
        usage = payload.get("usageMetadata")
        if usage:
            draft.usage = read_usage(usage)
        check_prompt(payload, self._origin, draft.request_id, read_usage(usage))
        for candidate in (payload.get("candidates") or ())[:1]:
            for part in (candidate.get("content") or {}).get("parts") or ():
                events += read_part(draft, part)
            draft.finish_reason = read_finish(candidate.get("finishReason")) or draft.finish_reason
            if candidate.get("finishReason"):
                events += draft.close_open_calls()
        if usage and draft.finish_reason:
            events.append(StreamEvent(type="usage", usage=draft.usage))
        return events

    def read_done_mark(self) -> list[StreamEvent]:
        """Take `[DONE]`, which some proxies add."""
        return []

    def result(self, *, partial: bool = False) -> CompletionResult:
        """Return the whole answer, or what has arrived of it."""
        return self.draft.result(partial=partial)
