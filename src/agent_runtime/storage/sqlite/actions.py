"""Questions to people, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent_runtime.storage import rows
from agent_runtime.storage.queries import list_actions
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import (
    DIALECT,
    decode,
)
from agent_runtime.values.action import ActionRecord, ActionStatus

_ACTION = ", ".join(rows.ACTION)


class ActionReader:
    """Reads actions."""

    _reader: Reader

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        found = await self._reader.rows(
            f"SELECT {_ACTION} FROM runtime_actions WHERE action_id = ?",  # noqa: S608 -- names of our own
            (action_id,),
        )
        action = rows.action_record(decode(rows.ACTION, found[0])) if found else None
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
        return [rows.action_record(decode(rows.ACTION, row)) for row in found]
