"""API keys, as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from agent_runtime.ports.audit import Note
from agent_runtime.values.api_key import ApiKey

CREATED: Final = "key.created"
ROTATED: Final = "key.rotated"
REVOKED: Final = "key.revoked"
"""What a trail is told of keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key with what its secret is compared with."""

    key: ApiKey
    secret_hash: str = field(repr=False)
    """SHA-256 of the secret, in hexadecimal digits; the secret itself is stored nowhere."""


class ReplacedKey(NamedTuple):
    """The key in whose place another one is made, and when it ends at the latest."""

    key_id: str
    ends_at: datetime


class ApiKeys(Protocol):
    """Keeps API keys. What is done to one is written together with a note in the trail of its scope.

    The trail of a key for every scope is that of the installation.
    """

    async def add_key(self, stored: StoredKey, *, note: Note, replaces: ReplacedKey | None = None) -> bool:
        """Store a key; return whether it was, which it is not where the one it replaces has been replaced or revoked by now.

        Args:
            stored: The key, whose id is new.
            note: What the trail is told, at the time when the key is made.
            replaces: The key that ends for it, in the same transaction.
        """
        ...

    async def revoke_key(self, key_id: str, *, at: datetime, note: Note) -> bool:
        """Let a key hold no more; return whether it did. One that was revoked before, or is not there, stays as it is."""
        ...

    async def get_key(self, key_id: str) -> StoredKey | None:
        """Return a key, whatever has become of it, or `None`."""
        ...

    async def list_keys(
        self, *, scope_id: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[ApiKey]:
        """Return keys by id, which is the order in which they were made. A given `scope_id` hides all others."""
        ...

    async def use_key(self, key_id: str, *, at: datetime, unless_after: datetime) -> None:
        """Write down when a key was used, unless a use after a moment is written down already. A key that is not there is passed over."""
        ...
