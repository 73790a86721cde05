"""Inboxes: what a commit does with messages, and reading them.

An inbox is the row of an identity. Whoever sends to it, takes from it, or begins to wait for it locks that row, so that no
message comes between a look and a wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from agent_runtime.values.message import Address, InboxMessage, Receiver

MOST_WOKEN = 100
"""Of those who wait for one identity, so many are woken by one commit at most."""


class MessageChange(NamedTuple):
    """A compare-and-set of who has a message; refused with `AlreadySettled` when somebody else has it."""

    message_id: str
    address: Address
    before: str | None
    """The job that has it; `None` while it waits."""
    after: str | None
    content: bytes | None = None
    """Of one that is given back, the body that goes back with it."""

    @property
    def unclaimed(self) -> int:
        """How many more messages wait afterwards."""
        return (self.after is None) - (self.before is None)


def mailed_inboxes(
    messages: Sequence[InboxMessage],
    changes: Sequence[MessageChange],
    dropped: Sequence[Receiver],
) -> list[Address]:
    """Return the inboxes in which a commit leaves messages to those who wait: sent, given back, or left by who was told of them."""
    taken = {change.address for change in changes if change.after is not None}
    given_back = (change.address for change in changes if change.after is None)
    left = (one.address for one in dropped if one.address not in taken)
    return sorted({*(message.address for message in messages), *given_back, *left})


class InboxReader(Protocol):
    """Reads inboxes. A scope is part of every question."""

    async def next_message(self, address: Address) -> InboxMessage | None:
        """Return the message that waits and comes first, by priority, then by position; or `None`."""
        ...

    async def get_message(self, message_id: str, *, scope_id: str) -> InboxMessage | None:
        """Return a message of a scope, waiting or received, or `None`."""
        ...

    async def list_messages(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[InboxMessage]:
        """Return messages that wait, by position, from the one after `after`."""
        ...

    async def count_messages(self, address: Address) -> int:
        """Return how many messages wait."""
        ...
