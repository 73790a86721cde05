"""Which entries of a retry's journal repeat what the job before it has done, and told."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from agent_runtime.ports.storage import Storage
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord

MAX_JOBS: Final = 5_000
"""Jobs of whose beginnings something is remembered."""
_PAGE: Final = 20
"""Entries that are read at once: their content may be long."""


@dataclass(slots=True)
class _Beginning:
    """What is known of how a journal begins."""

    copied: int = 1
    """Up to this entry it holds nothing but copies, after the first one."""
    own: int | None = None
    """The first entry of the job's own work, where it is known."""


class Copies:
    """Tells copies from what a job has done itself.

    An entry's place in its journal decides, never which entries came before it: they may come again, and those in between may have been
    handed to another process.

    Args:
        storage: Whose journals.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: OrderedDict[str, _Beginning] = OrderedDict()

    async def is_copy(self, event: RuntimeEvent, job: JobRecord) -> bool:
        """Whether an entry repeats what the job before this one has done."""
        if job.predecessor_id is None:
            return False
        seq = event.seq or 1
        beginning = await self._beginning(event, job.job_id)
        if event.type == RuntimeEventType.JOB_STARTED and beginning.own is None:
            beginning.own = seq
        if event.is_terminal or seq == 1:
            return False
        if beginning.own is None and seq > beginning.copied:
            await self._read_on(beginning, event, job.job_id)
        return beginning.own is None or seq < beginning.own

    async def _beginning(self, event: RuntimeEvent, job_id: str) -> _Beginning:
        known = self._known.get(job_id)
        if known is None:
            is_first = event.type == RuntimeEventType.JOB_CREATED
            first = [event] if is_first else await self._storage.events(job_id, limit=1)
            is_retry = bool(first) and "retries" in first[0].data
            known = self._known[job_id] = _Beginning(own=None if is_retry else 1)
        self._known.move_to_end(job_id)
        while len(self._known) > MAX_JOBS:
            self._known.popitem(last=False)
        return known

    async def _read_on(self, beginning: _Beginning, event: RuntimeEvent, job_id: str) -> None:
        """Find out whether the job's own work has begun before an entry; read no more of its journal than tells."""
        here = event.seq or 1
        while beginning.own is None and beginning.copied < here - 1:
            limit = min(_PAGE, here - 1 - beginning.copied)
            page = await self._storage.events(job_id, after_seq=beginning.copied, limit=limit)
            if not page:
                break
            started = (one.seq for one in page if one.type == RuntimeEventType.JOB_STARTED)
            beginning.own = next(started, None)
            beginning.copied += len(page)
        if beginning.own is None:
            beginning.copied = here
