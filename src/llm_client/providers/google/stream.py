"""Streams of Google's `generateContent`: chunks of the same form as a whole answer, the last with a finish reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_client.json_text import whole_value
from llm_client.messages import CompletionResult, StreamEvent
from llm_client.providers.failures import Origin
from llm_client.providers.google.grounding import Grounding
from llm_client.providers.google.response import check_prompt, read_finish, read_part
from llm_client.providers.google.usage import billed_searches, queries_of, read_usage
from llm_client.providers.response import object_in
from llm_client.providers.wire import StreamReader
from llm_client.usage import Usage


class GenerateContentReader(StreamReader):
    """Reads one stream of `generateContent`.

    It is never complete before the end of the body: Google has no end marker, and usage may follow the finish reason.
    """

    def __init__(self, origin: Origin, request_id: str | None) -> None:
        super().__init__(origin, request_id)
        self._usage: dict[str, Any] = {}
        self._queries: dict[str, None] = {}
        self._grounding = Grounding()

    def may_end(self) -> bool:
        """Whether the stream may end here: after a finish reason."""
        return self.draft.finish_reason is not None

    def read(self, payload: object) -> list[StreamEvent]:
        """Take one chunk."""
        draft = self.draft
        chunk = object_in(next(iter(payload), {}) if isinstance(payload, list) else payload)
        failed = isinstance(payload, list) or chunk.get("error")
        draft.model = chunk.get("modelVersion") or draft.model
        draft.request_id = draft.request_id or chunk.get("responseId")
        usage = chunk.get("usageMetadata")
        candidates = (chunk.get("candidates") or ())[:1]
        self._count(usage, candidates)
        if failed:
            raise self.failure(payload, usage=bool(usage))
        check_prompt(chunk, self._origin, draft.request_id, draft.usage or Usage(requests=1))
        events: list[StreamEvent] = []
        for candidate in candidates:
            for part in (candidate.get("content") or {}).get("parts") or ():
                events += read_part(draft, part)
            self._grounding.take(draft, whole_value(_without_content(candidate)))
            read_finish(draft, candidate)
            if candidate.get("finishReason"):
                events += draft.close_open_calls()
        if usage and draft.finish_reason:
            events.append(StreamEvent(type="usage", usage=draft.usage))
        return events

    def result(self, *, partial: bool = False) -> CompletionResult:
        """Return the whole answer, or what has arrived of it."""
        self._grounding.end(self.draft)
        return super().result(partial=partial)

    def _count(self, usage: Mapping[str, Any] | None, candidates: Any) -> None:
        """Take what a chunk says of the use; later numbers are cumulative and may leave out what has not changed."""
        self.draft.kept.update(self._usage, usage or {})
        for candidate in candidates:
            self.draft.kept.update(self._queries, dict.fromkeys(queries_of(candidate)))
        if self._usage or self._queries:
            self.draft.usage = read_usage(self._usage, billed_searches(len(self._queries), self.draft.model))


def _without_content(candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in candidate.items() if name != "content"}
