"""Messages and who waits for them, in dictionaries."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field, replace
from datetime import datetime

from agent_runtime.ports.commit import Commit
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.values.message import Address, InboxMessage, Receiver


@dataclass(slots=True)
class Inbox:
    """The row of an identity, with what waits in it."""

    last_position: int = 0
    waiting: list[tuple[int, int, str]] = field(default_factory=list)
    """In the order in which they are received: by falling priority, then by position."""

    def put(self, message: InboxMessage) -> None:
        """Let a message wait at its place."""
        insort(self.waiting, (-message.priority, message.position, message.message_id))


@dataclass(slots=True)
class Mail:
    """Everything about messages."""

    inboxes: dict[Address, Inbox] = field(default_factory=dict)
    messages: dict[str, InboxMessage] = field(default_factory=dict)
    keys: dict[tuple[Address, str], str] = field(default_factory=dict)
    """Message by inbox and dedupe key."""
    receivers: dict[str, dict[str, Address]] = field(default_factory=dict)
    """Operations that wait, by job."""
    lines: dict[Address, dict[Receiver, None]] = field(default_factory=dict)
    """Who waits for an identity, those who have waited longest first."""

    def unclaimed(self, address: Address) -> list[InboxMessage]:
        """Return the messages that wait, in order."""
        inbox = self.inboxes.get(address)
        return [] if inbox is None else [self.messages[message_id] for _, _, message_id in inbox.waiting]

    def count(self, address: Address) -> int:
        """Return how many messages wait."""
        inbox = self.inboxes.get(address)
        return 0 if inbox is None else len(inbox.waiting)

    def mailed(self, job_id: str) -> set[str]:
        """Return the operations of a job that wait for a message that is there."""
        waiting = self.receivers.get(job_id, {})
        return {operation_id for operation_id, address in waiting.items() if self.count(address)}

    def apply(self, commit: Commit) -> None:
        """Make every change of a checked commit."""
        for message in commit.messages:
            self._send(replace(message, sent_at=commit.at))
        for change in commit.message_changes:
            self._change(change, commit.at)
        for receiver in commit.receivers:
            known = self.receivers.setdefault(receiver.job_id, {})
            if receiver.operation_id not in known:  # an operation waits at one inbox
                known[receiver.operation_id] = receiver.address
                self.lines.setdefault(receiver.address, {})[receiver] = None
        for receiver in commit.drop_receivers:
            address = self.receivers.get(receiver.job_id, {}).pop(receiver.operation_id, None)
            if address is not None:
                self.lines[address].pop(receiver._replace(address=address), None)

    def _send(self, message: InboxMessage) -> None:
        inbox = self.inboxes.setdefault(message.address, Inbox())
        inbox.last_position += 1
        message = replace(message, position=inbox.last_position)
        self.messages[message.message_id] = message
        inbox.put(message)
        if message.dedupe_key is not None:
            self.keys[message.address, message.dedupe_key] = message.message_id

    def _change(self, change: MessageChange, at: datetime) -> None:
        message, inbox = self.messages[change.message_id], self.inboxes[change.address]
        if change.before is None:
            inbox.waiting.remove((-message.priority, message.position, message.message_id))
        self.messages[change.message_id] = message = replace(
            message,
            claimed_by=change.after,
            claimed_at=None if change.after is None else at,
            content=change.content,
        )
        if change.after is None:
            inbox.put(message)

    def forget(self, gone: list[str]) -> None:
        """Delete the inboxes that nothing is left of, and received messages; theirs are next."""
        kept = {message.address for message in self.messages.values()}
        kept |= {address for address, line in self.lines.items() if line}
        self.inboxes = {address: inbox for address, inbox in self.inboxes.items() if address in kept}
        for message_id in gone:
            message = self.messages.pop(message_id)
            if message.dedupe_key is not None:
                del self.keys[message.address, message.dedupe_key]
