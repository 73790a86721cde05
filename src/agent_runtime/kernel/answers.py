"""What calls of models have ended with, for all who follow their jobs: each answer is read and decoded once, however many want it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from agent_runtime.ports.journal import JournalReader
from agent_runtime.values.content import content_aside
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from llm_client.background import begin
from llm_client.codec import load_result

MAX_KEPT: Final = 4_000_000
"""Characters of answers that are kept; one of more is kept while it is waited for."""
KEPT_SECONDS: Final = 5.0
"""How long an answer is kept: what is erased is not told from here for longer."""


@dataclass(slots=True)
class _Answer:
    """One answer, once it is there."""

    reading: asyncio.Task[str | None]
    until: float
    length: int = 0


class Answers:
    """Reads answers.

    Args:
        storage: Where they are.
    """

    def __init__(self, storage: JournalReader) -> None:
        self._storage = storage
        self._known: OrderedDict[tuple[str, int], _Answer] = OrderedDict()
        self._kept = 0

    async def of(self, event: RuntimeEvent) -> str | None:
        """Return the text that a call has ended with, `None` where there is none: it failed, or its content was deleted.

        Args:
            event: The end of the call, with its content or without.

        Raises:
            StorageError: It cannot be read.
        """
        if event.type != RuntimeEventType.MODEL_COMPLETED or event.job_id is None or event.seq is None:
            return None
        now = asyncio.get_running_loop().time()
        self._forget(now)
        key = (event.job_id, event.seq)
        known = self._known.get(key)
        if known is None:
            reading = begin(self._read(event), name="reading an answer for its readers", context=Context())
            known = self._known[key] = _Answer(reading, now + KEPT_SECONDS)
            reading.add_done_callback(lambda _: self._has_come(key, known))
        return await asyncio.shield(known.reading)

    async def _read(self, event: RuntimeEvent) -> str | None:
        stored: RuntimeEvent = event
        if event.content is None:
            found = await self._storage.events(event.job_id or "", after_seq=(event.seq or 1) - 1, limit=1)
            if not found or found[0].seq != event.seq or found[0].content is None:
                return None
            (stored,) = found
        return await content_aside(stored.content, lambda: load_result(stored.body()).content)

    def _has_come(self, key: tuple[str, int], answer: _Answer) -> None:
        """Count an answer, and forget one that could not be read."""
        if answer.reading.cancelled() or answer.reading.exception() is not None:
            self._known.pop(key, None)
            return
        answer.length = len(answer.reading.result() or "")
        self._kept += answer.length
        self._forget(asyncio.get_running_loop().time())

    def _forget(self, now: float) -> None:
        """Forget the oldest answers, as far as they are too old or too long together."""
        while self._known:
            key, oldest = next(iter(self._known.items()))
            if not oldest.reading.done() or (oldest.until > now and self._kept <= MAX_KEPT):
                return
            del self._known[key]
            self._kept -= oldest.length
