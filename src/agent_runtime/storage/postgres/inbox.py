"""Messages and who waits for them, as a batch finds and leaves them.

Inboxes are locked after jobs, in one order everywhere. Whoever sends, takes or begins to wait locks the inbox, so that
what is read of its messages and its receivers under the lock stays true until the batch is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from agent_runtime.ports.commit import Commit
from agent_runtime.ports.inbox import MOST_WOKEN, MessageChange, mailed_inboxes
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.values import decode, encode, from_text, to_text
from agent_runtime.storage.rows import MESSAGE, RECEIVER, message_record, message_row, receiver_row
from agent_runtime.storage.rules import MailNeeds
from agent_runtime.values.message import Address, InboxMessage, Receiver

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]

Row = list[object]
Columns = list[list[object]]


@dataclass(slots=True)
class LockedInbox:
    """The row of an identity."""

    last_position: int
    unclaimed: int
    receivers: dict[Receiver, None] = field(default_factory=dict)
    """Those who wait in memory or suspended, the first ones; read only where messages may be left to them."""


@dataclass(slots=True)
class Mail:
    """The inboxes that a batch has locked, and what it writes to them."""

    inboxes: dict[Address, LockedInbox] = field(default_factory=dict)
    holders: dict[str, tuple[Address, str | None]] = field(default_factory=dict)
    """Whose messages they are that change hands, and who has them; missing ones are not there."""
    known: dict[tuple[Address, str], str] = field(default_factory=dict)
    """Messages by dedupe key."""
    changed: set[Address] = field(default_factory=set)
    message_rows: list[Row] = field(default_factory=list)
    changes: dict[str, Row] = field(default_factory=dict)
    """The last word on each message that changes hands."""
    receiver_rows: dict[Receiver, Row | None] = field(default_factory=dict)
    """The last word on each receiver."""

    def apply(self, commit: Commit) -> list[str]:
        """Make every change of a checked commit; return the jobs for which it leaves messages."""
        for message in commit.messages:
            self._send(message, commit.at)
        for change in commit.message_changes:
            self._change(change, commit.at)
        for one in commit.receivers:
            self.receiver_rows[one] = encode(RECEIVER, receiver_row(one))
            self.inboxes[one.address].receivers.setdefault(one)
        for one in commit.drop_receivers:
            self.receiver_rows[one] = None
            self.inboxes[one.address].receivers.pop(one, None)
        woken: dict[str, None] = {}
        for address in mailed_inboxes(commit.messages, commit.message_changes, commit.drop_receivers):
            inbox = self.inboxes[address]
            first = [one.job_id for one in inbox.receivers][: min(inbox.unclaimed, MOST_WOKEN)]
            woken |= dict.fromkeys(first)
        return list(woken)

    def _send(self, message: InboxMessage, at: datetime) -> None:
        inbox = self.inboxes[message.address]
        inbox.last_position += 1
        inbox.unclaimed += 1
        self.changed.add(message.address)
        placed = {"position": inbox.last_position, "sent_at": at}
        row = dict(zip(MESSAGE, message_row(message), strict=True)) | placed
        self.message_rows.append(encode(MESSAGE, list(row.values())))
        self.holders[message.message_id] = (message.address, None)  # it may change hands within the batch
        if message.dedupe_key is not None:
            self.known[message.address, message.dedupe_key] = message.message_id

    def _change(self, change: MessageChange, at: datetime) -> None:
        self.holders[change.message_id] = (change.address, change.after)
        claimed_at = None if change.after is None else at
        after = None if change.after is None else to_text(change.after)
        self.changes[change.message_id] = [to_text(change.message_id), after, claimed_at, change.content]
        if change.unclaimed:
            self.inboxes[change.address].unclaimed += change.unclaimed
            self.changed.add(change.address)


async def lock_inboxes(connection: Connection, needs: MailNeeds) -> Mail:
    """Lock the inboxes, after making those that are missing, and read what the batch has to know of them."""
    mail = Mail()
    if not needs.addresses:
        return mail
    while missing := needs.addresses - mail.inboxes.keys():
        found = await connection.fetch(sql.LOCK_INBOXES, *_pairs(missing))
        for scope_id, identity, last_position, unclaimed in found:
            address = Address(from_text(scope_id), from_text(identity))
            mail.inboxes[address] = LockedInbox(last_position, unclaimed)
        if missing - mail.inboxes.keys():
            await connection.execute(sql.NEW_INBOXES, *_pairs(missing - mail.inboxes.keys()))
    if needs.messages:
        ids = [to_text(message_id) for message_id in needs.messages]
        for message_id, scope_id, identity, holder in await connection.fetch(sql.MESSAGE_HOLDERS, ids):
            address = Address(from_text(scope_id), from_text(identity))
            mail.holders[from_text(message_id)] = (address, None if holder is None else from_text(holder))
    if needs.keys:
        keys = [[to_text(value) for value in (*address, key)] for address, key in needs.keys]
        for scope_id, identity, key, message_id in await connection.fetch(
            sql.KNOWN_MESSAGES, *_columns(keys)
        ):
            address = Address(from_text(scope_id), from_text(identity))
            mail.known[address, from_text(key)] = from_text(message_id)
    if needs.mailed:
        for scope_id, identity, job_id, operation_id in await connection.fetch(
            sql.RECEIVERS_OF, *_pairs(needs.mailed), MOST_WOKEN
        ):
            address = Address(from_text(scope_id), from_text(identity))
            receiver = Receiver(from_text(job_id), from_text(operation_id), address)
            mail.inboxes[address].receivers[receiver] = None
    return mail


async def write_mail(connection: Connection, mail: Mail) -> None:
    """Write every change."""
    if mail.changed:
        counted = [
            [*map(to_text, address), mail.inboxes[address].last_position, mail.inboxes[address].unclaimed]
            for address in mail.changed
        ]
        await connection.execute(sql.COUNT_MESSAGES, *_columns(counted))
    if mail.message_rows:
        await connection.execute(sql.INSERT_MESSAGES, *_columns(mail.message_rows))
    if mail.changes:
        await connection.execute(sql.CHANGE_MESSAGES, *_columns(mail.changes.values()))
    added = [row for row in mail.receiver_rows.values() if row is not None]
    if added:
        await connection.execute(sql.INSERT_RECEIVERS, *_columns(added))
    dropped = [one for one, row in mail.receiver_rows.items() if row is None]
    if dropped:
        gone = [[to_text(one.job_id), to_text(one.operation_id)] for one in dropped]
        await connection.execute(sql.DROP_RECEIVERS, *_columns(gone))


def _pairs(addresses: Iterable[Address]) -> Columns:
    """Return two arrays of the addresses, sorted: rows are inserted in this order."""
    return _columns([[to_text(value) for value in address] for address in sorted(addresses)])


def _columns(rows: Iterable[Sequence[object]]) -> Columns:
    return [list(column) for column in zip(*rows, strict=True)]


class InboxReader:
    """Reads messages."""

    _connections: Connections

    async def next_message(self, address: Address) -> InboxMessage | None:
        """Return the message that comes first, or `None`."""
        found = await self._connections.fetch(sql.NEXT_MESSAGE, *map(to_text, address))
        return _message(found[0]) if found else None

    async def get_message(self, message_id: str, *, scope_id: str) -> InboxMessage | None:
        """Return a message of a scope, or `None`."""
        found = await self._connections.fetch(
            f"{sql.MESSAGES} WHERE message_id = $1 AND scope_id = $2", to_text(message_id), to_text(scope_id)
        )
        return _message(found[0]) if found else None

    async def list_messages(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[InboxMessage]:
        """Return messages that wait, by position."""
        found = await self._connections.fetch(sql.LIST_MESSAGES, *map(to_text, address), after, limit)
        return [_message(row) for row in found]

    async def count_messages(self, address: Address) -> int:
        """Return how many messages wait."""
        found = await self._connections.fetch(sql.COUNT_UNCLAIMED, *map(to_text, address))
        return found[0][0] if found else 0


def _message(row: Iterable[object]) -> InboxMessage:
    return message_record(decode(MESSAGE, tuple(row)))
