"""Events as frames of a stream."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final

from fastapi.sse import format_sse_event

from agent_runtime.client import models as schemas
from agent_runtime.values.content import is_compressed
from agent_runtime.values.event import RuntimeEvent
from llm_client.turns import LARGE, aside, read_aside

END_FRAME: Final = format_sse_event(event="end", data_str="{}")
"""After it nothing comes any more: a browser that is not told so would connect again for ever."""
GAP_FRAME: Final = format_sse_event(event="gap", data_str="{}")
"""Says that events are missing before the next one: the reader was away for too long."""
REMEMBERED: Final = 4_096
"""Frames that are remembered: all readers of a job are sent the same ones, and making one takes longer than sending it."""
MAX_REMEMBERED: Final = 8 * 1024
"""Bytes of a frame that is remembered."""


class Frames:
    """Makes frames, each that several readers are sent only once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, bool, str | None], tuple[RuntimeEvent, bytes]] = OrderedDict()

    async def of(self, event: RuntimeEvent, *, content: bool, named: bool, id_: str | None = None) -> bytes:
        """Return an event as a frame; only what is stored has an id, which is what a reader says when it comes back.

        Args:
            event: The event.
            content: With its private content.
            named: With its type as the frame's name.
            id_: Instead of its `seq`.
        """
        if content or event.seq is None:
            return await _made(event, content, named, id_)
        key = (event.event_id, named, id_)
        known = self._known.get(key)
        if known is not None and known[0].data == event.data:  # else it was erased meanwhile
            return known[1]
        made = await _made(event, content, named, id_)
        self._known.pop(key, None)
        if len(made) <= MAX_REMEMBERED:
            self._known[key] = (replace(event, content=None), made)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return made


async def _made(event: RuntimeEvent, content: bool, named: bool, id_: str | None) -> bytes:
    """Return a frame; one of much is made aside."""
    told = content and event.content is not None
    if told and (is_compressed(event.content or b"") or len(event.content or b"") > LARGE):
        return await aside(_frame, event, content, named, id_)
    return await read_aside(event.data, lambda: _frame(event, content, named, id_))


def _frame(event: RuntimeEvent, content: bool, named: bool, id_: str | None) -> bytes:
    return format_sse_event(
        data_str=schemas.Event.of(event, content=content).model_dump_json(),
        event=" ".join(event.type.split()) if named else None,
        id=id_ or (None if event.seq is None else str(event.seq)),
    )
