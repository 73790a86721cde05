"""Questions to people, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent_runtime.ports.readers import Part, Pending
from agent_runtime.storage.cursors import last_of_page
from agent_runtime.storage.memory.state import State
from agent_runtime.storage.queries import LONG_IN_ACTIONS
from agent_runtime.values.action import ActionRecord, ActionStatus
from llm_client.json_text import dumps


class ActionReader:
    """Reads actions."""

    _state: State

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        action = self._state.actions.get(action_id)
        return action if action is not None and scope_id in (None, action.scope_id) else None

    async def find_action(self, token_hash: str) -> ActionRecord | None:
        """Return the action one of whose resume tokens has this hash."""
        token = self._state.tokens.get(token_hash)
        action = None if token is None else self._state.actions.get(token.action_id)
        return None if token is None or action is None else replace(action, token_of=token.approver)

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
        return _newest(self._state, scope_id, job_id, status, before)[:limit]


class ActionLists:
    """Reads actions for lists of many."""

    _state: State

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
        """Return actions, newest first, as far as they are short enough."""
        found = _newest(self._state, scope_id, job_id, status, before)
        sizes = ((number, _bytes_of(action)) for number, action in enumerate(found[:limit], 1))
        upto = last_of_page(sizes, max_bytes) or 0
        return Part(found[:upto], upto < len(found))

    async def pending_actions(self) -> Pending:
        """Return how many actions wait for an answer, and since when."""
        asked = [action.created_at for action in self._state.actions.values() if action.is_pending]
        return Pending(len(asked), min(asked, default=None))


def _newest(
    state: State, scope_id: str | None, job_id: str | None, status: ActionStatus | None, before: str | None
) -> list[ActionRecord]:
    found = [
        action
        for action in state.actions.values()
        if scope_id in (None, action.scope_id)
        and job_id in (None, action.job_id)
        and status in (None, action.status)
        and (before is None or action.action_id < before)
    ]
    return sorted(found, key=lambda action: action.action_id, reverse=True)


def _bytes_of(action: ActionRecord) -> int:
    return sum(len(dumps(getattr(action, name))) for name in LONG_IN_ACTIONS)
