"""API keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from agent_runtime.ports.audit import INSTALLATION, Note
from agent_runtime.ports.keys import ReplacedKey, StoredKey
from agent_runtime.storage.memory.journal import note_in_trail
from agent_runtime.storage.memory.state import State
from agent_runtime.values.api_key import ApiKey


class ApiKeys:
    """Keeps API keys."""

    _state: State

    async def add_key(self, stored: StoredKey, *, note: Note, replaces: ReplacedKey | None = None) -> bool:
        """Store a key, and let the one it replaces end."""
        keys, key = self._state.api_keys, stored.key
        if replaces is not None:
            old = keys.get(replaces.key_id)
            if old is None or old.key.revoked_at is not None or old.key.replaced_by is not None:
                return False
            ends = min(old.key.expires_at or replaces.ends_at, replaces.ends_at)
            keys[old.key.key_id] = replace(old, key=replace(old.key, replaced_by=key.key_id, expires_at=ends))
        keys[key.key_id] = stored
        note_in_trail(self._state, _trail_of(key), key.created_at, [note])
        return True

    async def revoke_key(self, key_id: str, *, at: datetime, note: Note) -> bool:
        """Let a key hold no more."""
        stored = self._state.api_keys.get(key_id)
        if stored is None or stored.key.revoked_at is not None:
            return False
        self._state.api_keys[key_id] = replace(stored, key=replace(stored.key, revoked_at=at))
        note_in_trail(self._state, _trail_of(stored.key), at, [note])
        return True

    async def get_key(self, key_id: str) -> StoredKey | None:
        """Return a key, or `None`."""
        return self._state.api_keys.get(key_id)

    async def list_keys(
        self, *, scope_id: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[ApiKey]:
        """Return keys by id."""
        found = sorted(key_id for key_id in self._state.api_keys if key_id > after)
        keys = (self._state.api_keys[key_id].key for key_id in found)
        return [key for key in keys if scope_id in (None, key.scope_id)][:limit]

    async def use_key(self, key_id: str, *, at: datetime, unless_after: datetime) -> None:
        """Write down when a key was used."""
        stored = self._state.api_keys.get(key_id)
        if stored is not None and (
            stored.key.last_used_at is None or stored.key.last_used_at <= unless_after
        ):
            self._state.api_keys[key_id] = replace(stored, key=replace(stored.key, last_used_at=at))


def _trail_of(key: ApiKey) -> str:
    return INSTALLATION if key.scope_id is None else key.scope_id
