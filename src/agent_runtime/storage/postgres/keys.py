"""API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from agent_runtime.ports.audit import INSTALLATION, Note
from agent_runtime.ports.keys import ReplacedKey, StoredKey
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.journal import extend_trail
from agent_runtime.storage.postgres.values import decode, encode, from_text, to_text
from agent_runtime.storage.rows import keys as key_rows
from agent_runtime.values.api_key import ApiKey

if TYPE_CHECKING:
    from agent_runtime.storage.postgres.connections import Connection

ONE: Final = key_rows.ONE.format(key="$1")
ALL: Final = key_rows.ALL.format(after="$1", limit="$2")
OF_SCOPE: Final = key_rows.OF_SCOPE.format(after="$1", limit="$2", scope="$3")
_REPLACE: Final = key_rows.REPLACE.format(key="$1", new="$2", ends="$3::timestamptz")
_REVOKE: Final = key_rows.REVOKE.format(key="$1", at="$2")
_USE: Final = key_rows.USE.format(key="$1", at="$2", since="$3")
_INSERT: Final = sql.insert("runtime_api_keys", key_rows.KEY)


class ApiKeys:
    """Keeps API keys."""

    _connections: Connections

    async def add_key(self, stored: StoredKey, *, note: Note, replaces: ReplacedKey | None = None) -> bool:
        """Store a key, and let the one it replaces end."""
        key, row = stored.key, encode(key_rows.KEY, key_rows.key_row(stored))

        async def add(connection: Connection) -> bool:
            if replaces is not None:
                old = to_text(replaces.key_id)
                if not await connection.fetch(_REPLACE, old, key.key_id, replaces.ends_at):
                    return False
            await connection.execute(_INSERT, *([value] for value in row))
            await extend_trail(connection, key.scope_id or INSTALLATION, key.created_at, (), [note])
            return True

        return await self._connections.change(add)

    async def revoke_key(self, key_id: str, *, at: datetime, note: Note) -> bool:
        """Let a key hold no more."""

        async def revoke(connection: Connection) -> bool:
            found = await connection.fetch(_REVOKE, to_text(key_id), at)
            for (scope_id,) in found:
                trail = INSTALLATION if scope_id is None else from_text(scope_id)
                await extend_trail(connection, trail, at, (), [note])
            return bool(found)

        return await self._connections.change(revoke)

    async def get_key(self, key_id: str) -> StoredKey | None:
        """Return a key, or `None`."""
        found = await self._connections.fetch(ONE, to_text(key_id))
        return key_rows.stored_key(decode(key_rows.KEY, tuple(found[0]))) if found else None

    async def list_keys(
        self, *, scope_id: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[ApiKey]:
        """Return keys by id."""
        page = (to_text(after), limit)
        if scope_id is None:
            found = await self._connections.fetch(ALL, *page)
        else:
            found = await self._connections.fetch(OF_SCOPE, *page, to_text(scope_id))
        return [key_rows.stored_key(decode(key_rows.KEY, tuple(row))).key for row in found]

    async def use_key(self, key_id: str, *, at: datetime, unless_after: datetime) -> None:
        """Write down when a key was used."""
        await self._connections.fetch(_USE, to_text(key_id), at, unless_after)
