"""Messages and who waits for them, inside an open transaction. Runs in the writer thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from agent_runtime.ports.commit import Commit
from agent_runtime.ports.inbox import MOST_WOKEN, MessageChange, mailed_inboxes
from agent_runtime.storage.rows import MESSAGE, RECEIVER, message_record, message_row, receiver_row
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import decode, encode, from_time
from agent_runtime.values.message import Address, InboxMessage

_COLUMNS = ", ".join(MESSAGE)
KNOWN: Final = (
    "SELECT message_id FROM runtime_messages WHERE scope_id = ? AND identity = ? AND dedupe_key = ?"
)
_NEXT_POSITION: Final = """
INSERT INTO runtime_inboxes (scope_id, identity, last_position, unclaimed) VALUES (?, ?, 1, 1)
ON CONFLICT (scope_id, identity) DO UPDATE SET last_position = last_position + 1, unclaimed = unclaimed + 1
RETURNING last_position
"""
_SEND: Final = f"INSERT INTO runtime_messages ({_COLUMNS}) VALUES ({', '.join('?' * len(MESSAGE))})"  # noqa: S608
HOLDER: Final = "SELECT scope_id, identity, claimed_by FROM runtime_messages WHERE message_id = ?"
_CHANGE: Final = """
UPDATE runtime_messages SET claimed_by = ?, claimed_at = ?, content = ?
WHERE message_id = ? AND scope_id = ? AND identity = ?
"""
_COUNT: Final = "UPDATE runtime_inboxes SET unclaimed = unclaimed + ? WHERE scope_id = ? AND identity = ?"
_UNCLAIMED: Final = "SELECT unclaimed FROM runtime_inboxes WHERE scope_id = ? AND identity = ?"
_RECEIVE: Final = f"INSERT OR IGNORE INTO runtime_receivers ({', '.join(RECEIVER)}) VALUES (?, ?, ?, ?)"  # noqa: S608
_DROP: Final = "DELETE FROM runtime_receivers WHERE job_id = ? AND operation_id = ?"
_WAITING: Final = """
SELECT r.job_id FROM runtime_receivers r JOIN runtime_jobs j ON j.job_id = r.job_id
WHERE r.scope_id = ? AND r.identity = ? AND (
  j.owner IS NOT NULL
  OR EXISTS (SELECT 1 FROM runtime_waits w WHERE w.job_id = r.job_id AND w.operation_id = r.operation_id)
) ORDER BY r.id LIMIT ?
"""
NEXT: Final = f"""
SELECT {_COLUMNS} FROM runtime_messages WHERE scope_id = ? AND identity = ? AND claimed_by IS NULL
ORDER BY priority DESC, position LIMIT 1
"""  # noqa: S608
ONE: Final = f"SELECT {_COLUMNS} FROM runtime_messages WHERE message_id = ? AND scope_id = ?"  # noqa: S608
LIST: Final = f"""
SELECT {_COLUMNS} FROM runtime_messages
WHERE scope_id = ? AND identity = ? AND claimed_by IS NULL AND position > ? ORDER BY position LIMIT ?
"""  # noqa: S608


def apply_mail(db: sqlite3.Connection, commit: Commit) -> None:
    """Make a checked commit's changes of inboxes."""
    for message in commit.messages:
        _send(db, message, commit)
    for change in commit.message_changes:
        _change(db, change, from_time(commit.at))
    db.executemany(_RECEIVE, [receiver_row(one) for one in commit.receivers])
    db.executemany(_DROP, [(one.job_id, one.operation_id) for one in commit.drop_receivers])


def _send(db: sqlite3.Connection, message: InboxMessage, commit: Commit) -> None:
    ((position,),) = db.execute(_NEXT_POSITION, message.address).fetchall()
    row = dict(zip(MESSAGE, message_row(message), strict=True)) | {"position": position, "sent_at": commit.at}
    db.execute(_SEND, encode(MESSAGE, list(row.values())))


def _change(db: sqlite3.Connection, change: MessageChange, at: int) -> None:
    claimed_at = None if change.after is None else at
    db.execute(_CHANGE, (change.after, claimed_at, change.content, change.message_id, *change.address))
    db.execute(_COUNT, (change.unclaimed, *change.address))


def unclaimed(db: sqlite3.Connection, address: Address) -> int:
    """Return how many messages wait in an inbox."""
    row = db.execute(_UNCLAIMED, address).fetchone()
    return 0 if row is None else int(row[0])


def woken_by_mail(db: sqlite3.Connection, commit: Commit) -> list[str]:
    """Return the jobs, in memory or suspended, for which a commit has left messages."""
    woken: dict[str, None] = {}
    for address in mailed_inboxes(commit.messages, commit.message_changes, commit.drop_receivers):
        most = min(unclaimed(db, address), MOST_WOKEN)
        woken |= dict.fromkeys(job_id for (job_id,) in db.execute(_WAITING, (*address, most)))
    return list(woken)


def read_messages(db: sqlite3.Connection, statement: str, *parameters: object) -> list[InboxMessage]:
    """Return the messages that a statement finds."""
    return [message_record(decode(MESSAGE, row)) for row in db.execute(statement, parameters)]


class InboxReader:
    """Reads messages."""

    _reader: Reader

    async def next_message(self, address: Address) -> InboxMessage | None:
        """Return the message that comes first, or `None`."""
        found = await self._reader.run(lambda db: read_messages(db, NEXT, *address))
        return found[0] if found else None

    async def get_message(self, message_id: str, *, scope_id: str) -> InboxMessage | None:
        """Return a message of a scope, or `None`."""
        found = await self._reader.run(lambda db: read_messages(db, ONE, message_id, scope_id))
        return found[0] if found else None

    async def list_messages(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[InboxMessage]:
        """Return messages that wait, by position."""
        return await self._reader.run(lambda db: read_messages(db, LIST, *address, after, limit))

    async def count_messages(self, address: Address) -> int:
        """Return how many messages wait."""
        return await self._reader.run(lambda db: unclaimed(db, address))
