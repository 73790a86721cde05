"""The messages that wait for identities, as they are read."""

from __future__ import annotations

from collections.abc import Sequence

from agent_runtime.storage.memory.state import State
from agent_runtime.values.message import Address, InboxMessage


class InboxReader:
    """Reads messages."""

    _state: State

    async def next_message(self, address: Address) -> InboxMessage | None:
        """Return the message that comes first, or `None`."""
        return next(iter(self._state.mail.unclaimed(address)), None)

    async def get_message(self, message_id: str, *, scope_id: str) -> InboxMessage | None:
        """Return a message of a scope, or `None`."""
        message = self._state.mail.messages.get(message_id)
        return message if message is not None and message.scope_id == scope_id else None

    async def list_messages(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[InboxMessage]:
        """Return messages that wait, by position."""
        waiting = self._state.mail.unclaimed(address)
        found = [message for message in waiting if message.position > after]
        return sorted(found, key=lambda message: message.position)[:limit]

    async def count_messages(self, address: Address) -> int:
        """Return how many messages wait."""
        return self._state.mail.count(address)
