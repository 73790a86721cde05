"""API keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from agent_runtime.ports.audit import INSTALLATION, Note
from agent_runtime.ports.keys import ReplacedKey, StoredKey
from agent_runtime.storage.rows import keys as key_rows
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.journal import extend_trail
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import decode, encode, from_time
from agent_runtime.storage.sqlite.writer import Writer
from agent_runtime.values.api_key import ApiKey

_NAMES: Final = ("key", "new", "scope", "after", "limit", "ends", "at", "since")
_PLACES: Final = {name: f":{name}" for name in _NAMES}
_ONE: Final = key_rows.ONE.format(**_PLACES)
_ALL: Final = key_rows.ALL.format(**_PLACES)
_OF_SCOPE: Final = key_rows.OF_SCOPE.format(**_PLACES)
_REPLACE: Final = key_rows.REPLACE.format(**_PLACES)
_REVOKE: Final = key_rows.REVOKE.format(**_PLACES)
_USE: Final = key_rows.USE.format(**_PLACES)
_INSERT: Final = sql.insert("runtime_api_keys", key_rows.KEY)


class ApiKeys:
    """Keeps API keys."""

    _reader: Reader
    _writer: Writer

    async def add_key(self, stored: StoredKey, *, note: Note, replaces: ReplacedKey | None = None) -> bool:
        """Store a key, and let the one it replaces end."""
        key, row = stored.key, encode(key_rows.KEY, key_rows.key_row(stored))

        def add(db: sqlite3.Connection) -> bool:
            if replaces is not None:
                ends = from_time(replaces.ends_at)
                asked = {"key": replaces.key_id, "new": key.key_id, "ends": ends}
                if not db.execute(_REPLACE, asked).fetchall():
                    return False
            db.execute(_INSERT, row)
            extend_trail(db, key.scope_id or INSTALLATION, key.created_at, (), [note])
            return True

        return await self._writer.run(add)

    async def revoke_key(self, key_id: str, *, at: datetime, note: Note) -> bool:
        """Let a key hold no more."""

        def revoke(db: sqlite3.Connection) -> bool:
            found = db.execute(_REVOKE, {"key": key_id, "at": from_time(at)}).fetchall()
            for (scope_id,) in found:
                extend_trail(db, scope_id or INSTALLATION, at, (), [note])
            return bool(found)

        return await self._writer.run(revoke)

    async def get_key(self, key_id: str) -> StoredKey | None:
        """Return a key, or `None`."""
        found = await self._reader.rows(_ONE, {"key": key_id})
        return key_rows.stored_key(decode(key_rows.KEY, found[0])) if found else None

    async def list_keys(
        self, *, scope_id: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[ApiKey]:
        """Return keys by id."""
        page = {"scope": scope_id, "after": after, "limit": limit}
        found = await self._reader.rows(_ALL if scope_id is None else _OF_SCOPE, page)
        return [key_rows.stored_key(decode(key_rows.KEY, row)).key for row in found]

    async def use_key(self, key_id: str, *, at: datetime, unless_after: datetime) -> None:
        """Write down when a key was used."""
        used = {"key": key_id, "at": from_time(at), "since": from_time(unless_after)}
        await self._writer.run(lambda db: db.execute(_USE, used))
