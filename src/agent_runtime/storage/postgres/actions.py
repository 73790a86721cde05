"""Questions to people, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agent_runtime.ports.readers import Part, Pending
from agent_runtime.storage import rows
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections, first_rows
from agent_runtime.storage.postgres.values import (
    DIALECT,
    decode,
    from_text,
    to_text,
)
from agent_runtime.storage.queries import ACTION_IDS, LONG_IN_ACTIONS, PENDING, list_actions, part
from agent_runtime.values.action import ActionRecord, ActionStatus
from llm_client.turns import aside

_ACTION = ", ".join(rows.ACTION)
PART = part("runtime_actions", "action_id", rows.ACTION, LONG_IN_ACTIONS)


class ActionReader:
    """Reads actions."""

    _connections: Connections

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        statement = f"SELECT {_ACTION} FROM runtime_actions WHERE action_id = $1"  # noqa: S608 -- names of ours
        found = await self._connections.fetch(statement, to_text(action_id))
        action = _action(found[0]) if found else None
        return action if action is not None and scope_id in (None, action.scope_id) else None

    async def find_action(self, token_hash: str) -> ActionRecord | None:
        """Return the action one of whose resume tokens has this hash."""
        found = await self._connections.fetch(sql.ACTION_BY_HASH, to_text(token_hash))
        if not found:
            return None
        action_id, approver = (None if value is None else from_text(value) for value in found[0])
        action = await self.get_action(action_id or "")
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
        text, parameters = list_actions(
            DIALECT, scope_id=scope_id, job_id=job_id, status=status, limit=limit, before=before
        )
        found = await self._connections.fetch(text, *parameters)
        return [_action(row) for row in found]


class ActionLists:
    """Reads actions for lists of many."""

    _connections: Connections

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
        found, has_more = await first_rows(self._connections, ids, PART, limit=limit, max_bytes=max_bytes)
        return Part(await aside(lambda: list(map(_action, found))), has_more)

    async def pending_actions(self) -> Pending:
        """Return how many actions wait for an answer, and since when."""
        ((count, oldest),) = await self._connections.fetch(PENDING)
        return Pending(count, oldest)


def _action(row: Any) -> ActionRecord:
    return rows.action_record(decode(rows.ACTION, tuple(row)))
