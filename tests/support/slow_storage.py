"""A storage that writes a chosen commit at once and answers late, as one whose writer is a thread or a server does."""

import asyncio
from typing import Any

from agent_runtime.ports.commit import Commit
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import Choice


class SlowStorage(MemoryStorage):
    """Answers the first chosen commit, and tells listeners of it, only once it is released.

    A caller who is cancelled meanwhile is not answered at all; the listeners are told in any case.
    """

    def __init__(self, chosen: Choice) -> None:
        super().__init__()
        self._chosen = chosen
        self.written = asyncio.Event()
        self.release = asyncio.Event()

    async def commit(self, commit: Commit) -> int:
        if self.written.is_set() or not self._chosen(commit):
            return await super().commit(commit)
        listeners: list[Any]
        listeners, self._listeners = self._listeners, []
        first_seq = await super().commit(commit)
        self._listeners = listeners
        self.written.set()
        try:
            await self.release.wait()
        finally:
            for listener in listeners:
                listener.committed(commit, first_seq)
        return first_seq
