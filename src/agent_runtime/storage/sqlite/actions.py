"""Questions to people, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent_runtime.ports.readers import Part, Pending
from agent_runtime.storage import rows
from agent_runtime.storage.queries import ACTION_IDS, LONG_IN_ACTIONS, PENDING, list_actions
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.reader import Reader, first_rows
from agent_runtime.storage.sqlite.values import (
    DIALECT,
    decode,
    to_time,
)
from agent_runtime.values.action import ActionRecord, ActionStatus
from llm_client.turns import aside

_ONE = f"SELECT {', '.join(rows.ACTION)} FROM runtime_actions WHERE action_id = ?"  # noqa: S608 -- names of our own
_LONG = [list(rows.ACTION).index(name) for name in LONG_IN_ACTIONS]


class ActionReader:
    """Reads actions."""

    _reader: Reader

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        found = await self._reader.rows(_ONE, (action_id,))
        action = _action(found[0]) if found else None
        return action if action is not None and scope_id in (None, action.scope_id) else None

    async def find_action(self, token_hash: str) -> ActionRecord | None:
        """Return the action one of whose resume tokens has this hash."""
        found = await self._reader.rows(sql.ACTION_BY_HASH, (token_hash,))
        if not found:
            return None
        ((action_id, approver),) = found
        action = await self.get_action(action_id)
        return None if action is None else replace(action, token_of=approver)

    async def list_actions(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        status: ActionStatus | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return actions, newest first."""
        asked = list_actions(
            DIALECT, scope_id=scope_id, job_id=job_id, status=status, limit=limit, before=before
        )
        found = await self._reader.rows(*asked)
        return list(map(_action, found))


class ActionLists:
    """Reads actions for lists of many."""

    _reader: Reader

    async def part_of_actions(
        self,
        *,
        max_bytes: int,
        scope_id: str | None = None,
        job_id: str | None = None,
        status: ActionStatus | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Part[ActionRecord]:
        """Return actions, newest first, and read no further."""
        ids = list_actions(
            DIALECT,
            scope_id=scope_id,
            job_id=job_id,
            status=status,
            limit=limit + 1,
            before=before,
            select=ACTION_IDS,
        )
        found, has_more = await self._reader.run(
            lambda db: first_rows(db, ids, _ONE, _LONG, limit=limit, max_bytes=max_bytes)
        )
        return Part(await aside(lambda: list(map(_action, found))), has_more)

    async def pending_actions(self) -> Pending:
        """Return how many actions wait for an answer, and since when."""
        ((count, oldest),) = await self._reader.rows(PENDING)
        return Pending(int(count), None if oldest is None else to_time(oldest))


def _action(row: Sequence[object]) -> ActionRecord:
    return rows.action_record(decode(rows.ACTION, row))
