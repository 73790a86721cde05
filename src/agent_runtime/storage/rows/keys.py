"""The statements and rows of API keys, the same for both databases but for their parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from agent_runtime.ports.keys import StoredKey
from agent_runtime.storage.rows import Columns
from agent_runtime.values.api_key import ApiKey, Role

KEY: Final[Columns] = {
    "key_id": "plain",
    "name": "plain",
    "role": "plain",
    "scope_id": "plain",
    "principal_id": "plain",
    "created_at": "time",
    "created_by": "plain",
    "expires_at": "time",
    "revoked_at": "time",
    "last_used_at": "time",
    "replaced_by": "plain",
    "secret_hash": "plain",
}
_KEYS: Final = f"SELECT {', '.join(KEY)} FROM runtime_api_keys"  # noqa: S608 -- names of our own
ONE: Final = f"{_KEYS} WHERE key_id = {{key}}"
ALL: Final = f"{_KEYS} WHERE key_id > {{after}} ORDER BY key_id LIMIT {{limit}}"
OF_SCOPE: Final = (
    f"{_KEYS} WHERE scope_id = {{scope}} AND key_id > {{after}} ORDER BY scope_id, key_id LIMIT {{limit}}"
)
REPLACE: Final = """
UPDATE runtime_api_keys
SET replaced_by = {new}, expires_at = CASE WHEN expires_at < {ends} THEN expires_at ELSE {ends} END
WHERE key_id = {key} AND revoked_at IS NULL AND replaced_by IS NULL RETURNING key_id
"""
REVOKE: Final = "UPDATE runtime_api_keys SET revoked_at = {at} WHERE key_id = {key} AND revoked_at IS NULL RETURNING scope_id"
USE: Final = """
UPDATE runtime_api_keys SET last_used_at = {at} WHERE key_id = {key} AND (last_used_at IS NULL OR last_used_at <= {since})
"""


def key_row(stored: StoredKey) -> list[object]:
    """Return a key's column values, in the order of `KEY`."""
    return [stored.secret_hash if name == "secret_hash" else getattr(stored.key, name) for name in KEY]


def stored_key(row: Iterable[object]) -> StoredKey:
    """Build a key from its column values."""
    values: dict[str, Any] = dict(zip(KEY, row, strict=True))
    secret_hash = values.pop("secret_hash")
    return StoredKey(key=ApiKey(**{**values, "role": Role(values["role"])}), secret_hash=secret_hash)
