"""Streams of Google's `generateContent`: chunks of the same form as a whole answer, the last with a finish reason."""

from __future__ import annotations

from typing import Any

from llm_client.messages import StreamEvent
from llm_client.providers.failures import failure_of_event
from llm_client.providers.google.response import check_prompt, read_finish, read_part, read_usage
from llm_client.providers.wire import StreamReader


class GenerateContentReader(StreamReader):
    """Reads one stream of `generateContent`.

    It is never complete before the end of the body: Google has no end marker, and usage may follow the finish reason.
    """

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
