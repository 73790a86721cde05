"""The tables as the rules look at them, inside an open transaction. Runs in the writer thread.

There is one writer, so nothing has to be locked beforehand: what a rule wants to know is looked up when it asks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from agent_runtime.storage.rules import Key
from agent_runtime.storage.sqlite import inbox
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.values.budget import DIMENSIONS, Amount, Counters, EntryKey
from agent_runtime.values.deaths import Deaths
from agent_runtime.values.message import Address


class SeenRow(NamedTuple):
    """A job's row, as far as a rule depends on it."""

    fence: int
    status: str
    owner: str | None
    successor_id: str | None
    counted: Deaths


def _seen(fence: int, status: str, owner: str | None, successor_id: str | None, *counted: int) -> SeenRow:
    return SeenRow(fence, status, owner, successor_id, Deaths(*counted))


def counters_of(row: Sequence[int]) -> Counters:
    """Build counters from a row of `COUNTERS`."""
    half = len(DIMENSIONS)
    return Counters(Amount(*row[:half]), Amount(*row[half:]))


class TableView:
    """`rules.View` for one commit. Jobs are remembered: rules ask for a parent once for each of its children."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._jobs: dict[str, SeenRow | None] = {}

    def job(self, job_id: str) -> SeenRow | None:
        """Return a job as it was when it was first asked for."""
        if job_id not in self._jobs:
            row = self._db.execute(sql.SEEN_JOB, (job_id,)).fetchone()
            self._jobs[job_id] = None if row is None else _seen(*row)
        return self._jobs[job_id]

    def is_erased(self, job_id: str) -> bool:
        """Look whether the salts of a job are gone."""
        return bool(self._db.execute(sql.IS_ERASED, (job_id,)).fetchone()[0])

    def key_holder(self, key: Key) -> tuple[str, str | None] | None:
        """Look for the job that has a key."""
        found: tuple[str, str | None] | None = self._db.execute(sql.JOB_BY_KEY, key).fetchone()
        return found

    def has_signals(self, job_id: str) -> bool:
        """Look for signals of a job."""
        return self._is_there(sql.HAS_SIGNALS, (job_id,))

    def is_stopping(self, job_id: str) -> bool:
        """Look for requests to stop."""
        return self._is_there(sql.IS_STOPPING, (job_id,))

    def family(self, parent_id: str) -> list[str]:
        """Look for children."""
        return [job_id for (job_id,) in self._db.execute(sql.FAMILY, (parent_id,))]

    def waiting(self, scope_id: str | None, most: int) -> int:
        """Count up to `most` jobs."""
        if scope_id is None:
            row = self._db.execute(sql.WAITING, (most,)).fetchone()
        else:
            row = self._db.execute(sql.WAITING_IN_SCOPE, (scope_id, most)).fetchone()
        return int(row[0])

    def action(self, action_id: str) -> tuple[str, int] | None:
        """Look for a question."""
        found: tuple[str, int] | None = self._db.execute(sql.SEEN_ACTION, (action_id,)).fetchone()
        return found

    def has_timer(self, key: Key) -> bool:
        """Look for a timer."""
        return self._is_there(sql.HAS_TIMER, key)

    def has_entry(self, key: EntryKey) -> bool:
        """Look for a ledger entry."""
        return self._is_there(sql.HAS_ENTRY, key)

    def spent(self, key: Key) -> Counters:
        """Read counters."""
        row = self._db.execute(sql.COUNTERS, key).fetchone()
        return Counters() if row is None else counters_of(row)

    def unclaimed(self, address: Address) -> int:
        """Read how many messages wait."""
        return inbox.unclaimed(self._db, address)

    def holder(self, message_id: str) -> tuple[Address, str | None] | None:
        """Look for a message."""
        row = self._db.execute(inbox.HOLDER, (message_id,)).fetchone()
        return None if row is None else (Address(*row[:2]), row[2])

    def known_message(self, address: Address, dedupe_key: str) -> str | None:
        """Look for a message with a key."""
        row = self._db.execute(inbox.KNOWN, (*address, dedupe_key)).fetchone()
        return None if row is None else str(row[0])

    def _is_there(self, statement: str, parameters: Sequence[object]) -> bool:
        return bool(self._db.execute(statement, parameters).fetchone()[0])
