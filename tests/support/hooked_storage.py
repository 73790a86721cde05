"""A storage that lets a test step in right before a chosen commit."""

from collections.abc import Awaitable, Callable
from typing import Any

from agent_runtime.ports.commit import Commit
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.faults import Choice


class HookedStorage:
    """Calls `hook` once, before the first commit that `chosen` picks."""

    def __init__(self, inner: Storage, chosen: Choice, hook: Callable[[], Awaitable[Any]]) -> None:
        self._inner = inner
        self._chosen = chosen
        self._hook = hook
        self.called = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, commit: Commit) -> int:
        if not self.called and self._chosen(commit):
            self.called = True
            await self._hook()
        return await self._inner.commit(commit)
