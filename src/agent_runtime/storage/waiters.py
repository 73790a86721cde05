"""Who waits for which action, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from agent_runtime.errors import StorageClosed
from agent_runtime.ports.signals import SignalMessage


class Waiters:
    """Futures by action. One that gives up takes only itself away."""

    def __init__(self) -> None:
        self._of_action: dict[str, set[asyncio.Future[SignalMessage]]] = {}

    def __len__(self) -> int:
        return len(self._of_action)

    @property
    def action_ids(self) -> Collection[str]:
        """The actions that somebody waits for."""
        return tuple(self._of_action)

    def add(self, action_ids: Collection[str]) -> asyncio.Future[SignalMessage]:
        """Begin to wait for the first signal of any of these actions."""
        future: asyncio.Future[SignalMessage] = asyncio.get_running_loop().create_future()
        for action_id in action_ids:
            self._of_action.setdefault(action_id, set()).add(future)
        return future

    def remove(self, action_ids: Collection[str], future: asyncio.Future[SignalMessage]) -> None:
        """Wait no longer."""
        for action_id in action_ids:
            waiting = self._of_action.get(action_id, set())
            waiting.discard(future)
            if not waiting:
                self._of_action.pop(action_id, None)

    def publish(self, message: SignalMessage) -> None:
        """Give a message to all who wait for its action."""
        for future in tuple(self._of_action.get(message.action_id, ())):
            if not future.done():
                future.set_result(message)

    def close(self) -> None:
        """Let everybody who waits fail."""
        for waiting in self._of_action.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(StorageClosed("the signal channel was stopped"))
