"""A job's events as one reader sees them: what is stored, in order, and in between what comes live.

What is stored is read from the storage whenever the bus has not sent it whole. Live text is exact: who joins in the middle of an answer is
told what has come of it, and from there on nothing is told twice or left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from agent_runtime.events.bus import GAP, EventBus, Subscription
from agent_runtime.events.live_calls import LiveCalls, TextSoFar
from agent_runtime.kernel.answers import Answers
from agent_runtime.ports.journal import JournalReader
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.event import EPOCH, RuntimeEvent, RuntimeEventType

PARTIAL: Final = "model.partial"
"""Type of the live event that says what has come of an answer so far: it replaces what a reader had of it."""
_PAGE: Final = 500
_PAGE_BYTES: Final = 1024 * 1024
"""Of what is read at once, unless one entry alone has more."""
_ANSWERED: Final = frozenset(
    {RuntimeEventType.MODEL_COMPLETED, RuntimeEventType.MODEL_FAILED, RuntimeEventType.MODEL_LEFT}
)


class Follower:
    """One reader of a job.

    Args:
        job_id: The job.
        bus: Where live events come from. The reader is registered at once: a model's answer is streamed if somebody listens.
        storage: Where the others are.
        live: Answers that are coming.
        answers: Answers that have come.
        after_seq: The last event that the reader knows.
        partials: Whether the reader is told what has come of answers, where it cannot know.
        with_content: Whether the reader wants the private content of entries; it is not read otherwise.
        text: Whether the reader wants what models write now; otherwise no process is asked for it.
    """

    def __init__(
        self,
        job_id: str,
        *,
        bus: EventBus,
        storage: JournalReader,
        live: LiveCalls,
        answers: Answers,
        after_seq: int = 0,
        partials: bool = False,
        with_content: bool = True,
        text: bool = True,
    ) -> None:
        self._job_id = job_id
        self._storage = storage
        self._live = live
        self._answers = answers
        self._partials = partials
        self._with_content = with_content
        self._last_seq = after_seq
        self._scope_id, self._at = DEFAULT_SCOPE, EPOCH
        """The job's scope, and the time of what was told last: of what is put together here, too."""
        self._subscription: Subscription = bus.stream(job_id=job_id)
        self._text = text
        if text:
            live.watch(job_id)
        self._known: dict[str, list[int]] = {}
        """Characters of text and of reasoning that the reader has, of each answer that is coming."""
        self._begun: set[str] = set()
        """Calls of models that have begun since the reader has come; of others an earlier connection may have brought a part."""
        self._call_of: dict[str, str] = {}
        """Which call each of them comes from: another attempt begins anew, and what the one before has brought does not count."""
        self._cut: set[str] = set()
        """Answers of whose beginning nothing was kept any more."""
        self._ended: set[str] = set()
        """Answers that had come whole when the storage was read: what is still queued of their text is old."""
        self._joined = live.of(job_id) if partials else ()
        """What had come when the reader began to listen."""

    def close(self) -> None:
        """Listen no more. Once."""
        self._subscription.detach()
        if self._text:
            self._live.unwatch(self._job_id)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        """Yield events, and end after the terminal one."""
        async for event in self._stored():
            yield event
            if event.is_terminal:
                return
        if await self._has_ended():
            return
        for partial in self._told(self._joined):
            yield partial
        self._joined = ()
        async for event in self._subscription:
            async for told in self._tell(event):
                yield told
                if told.is_terminal:
                    return

    async def _has_ended(self) -> bool:
        """Whether the reader knew the last event already, or claims to know more: its connection was lost between that and the end."""
        for event in await self._storage.tail(self._job_id, 1, with_content=False):
            self._scope_id, self._at = event.scope_id, event.timestamp
            return event.is_terminal and (event.seq or 0) <= self._last_seq
        return False

    async def _tell(self, event: RuntimeEvent) -> AsyncIterator[RuntimeEvent]:
        """Yield what an event of the bus comes to: itself, what is stored up to it, or nothing new."""
        if event.seq is None and event.type != GAP:
            for told in self._live_event(event) if self._text else ():
                yield told
            return
        if event.seq is not None and event.seq <= self._last_seq:
            return
        if event.seq == self._last_seq + 1:
            self._ended.clear()  # all that was queued before the storage was read has been told
            for told in await self._note(event):
                yield told
            return
        async for stored in self._stored():
            yield stored

    async def _stored(self) -> AsyncIterator[RuntimeEvent]:
        while page := await self._storage.events(
            self._job_id,
            after_seq=self._last_seq,
            limit=_PAGE,
            max_bytes=_PAGE_BYTES,
            with_content=self._with_content,
        ):
            for event in page:
                if event.type in _ANSWERED and event.operation_id is not None:
                    self._ended.add(event.operation_id)
                for told in await self._note(event):
                    yield told

    async def _note(self, event: RuntimeEvent) -> Sequence[RuntimeEvent]:
        """Return a stored event, and before it all of the answer that it ends, where the reader may have been told a part of it."""
        self._last_seq = event.seq or self._last_seq
        self._scope_id, self._at = event.scope_id, event.timestamp
        operation = event.operation_id or ""
        if event.type == RuntimeEventType.MODEL_STARTED:
            self._begun.add(operation)
            self._ended.discard(operation)
        shown = event if self._with_content else replace(event, content=None)
        if event.type not in _ANSWERED or not self._partials:
            return (shown,)
        known = self._known.pop(operation, None)
        has_nothing = known is None and operation in self._begun and operation not in self._call_of
        self._begun.discard(operation)
        if event.type != RuntimeEventType.MODEL_FAILED:  # after which it may be tried again
            self._call_of.pop(operation, None)
        whole = None if has_nothing else await self._answers.of(event)
        if whole is None or (known is not None and len(whole) == known[0] and operation not in self._cut):
            return (shown,)
        self._cut.discard(operation)
        return (self._partial(TextSoFar(operation, "", whole, "", len(whole), 0)), shown)

    def _told(self, coming: Sequence[TextSoFar]) -> list[RuntimeEvent]:
        """Return what has come of answers, and remember that the reader knows it."""
        told = [each for each in coming if each.operation_id not in self._ended]
        for each in told:
            self._known[each.operation_id] = [each.text_length, each.reasoning_length]
            self._call_of[each.operation_id] = each.call_id
            if each.text_length != len(each.text):
                self._cut.add(each.operation_id)
        return [self._partial(each) for each in told]

    def _partial(self, coming: TextSoFar) -> RuntimeEvent:
        is_cut = (coming.text_length, coming.reasoning_length) != (len(coming.text), len(coming.reasoning))
        return RuntimeEvent(
            type=PARTIAL,
            job_id=self._job_id,
            scope_id=self._scope_id,
            timestamp=self._at,
            operation_id=coming.operation_id,
            data={"text": coming.text, "reasoning": coming.reasoning, **({"cut": True} if is_cut else {})},
        )

    def _live_event(self, event: RuntimeEvent) -> Sequence[RuntimeEvent]:
        """Return what a live event says that the reader does not know."""
        self._scope_id, self._at = event.scope_id, max(self._at, event.timestamp)
        operation, offset = event.operation_id, event.data.get("offset")
        if not self._partials or event.type != RuntimeEventType.MODEL_TOKEN or operation is None:
            return (event,)
        if not isinstance(offset, int):
            return (event,)
        if operation in self._ended:
            return ()
        text, kind, call = (
            str(event.data["text"]),
            int(bool(event.data.get("reasoning"))),
            event.data.get("call"),
        )
        known = self._known.get(operation) if self._call_of.get(operation) == call else None
        if known is None and offset == 0:  # the beginning of an answer, or that of another attempt
            is_new = operation in self._begun and operation not in self._call_of
            self._call_of[operation] = str(call)
            known = self._known[operation] = [0, 0]
            known[kind] = len(text)
            return (event,) if is_new else (self._beginning(operation), event)
        if known is None or offset > known[kind]:  # its beginning, or something in between, was not heard
            coming = self._live.find(self._job_id, operation)
            return self._told([] if coming is None else [coming.so_far()])
        if offset + len(text) <= known[kind]:
            return ()
        known[kind] = offset + len(text)
        return (event,)

    def _beginning(self, operation: str) -> RuntimeEvent:
        """Say that nothing has come of an answer yet: what an earlier connection, or attempt, has brought does not count."""
        return self._partial(TextSoFar(operation, "", "", "", 0, 0))
