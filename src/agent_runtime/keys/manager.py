"""`ApiKeyManager`: making, ending and listing API keys, and recognising them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final, Protocol

from agent_runtime.errors import (
    AgentRuntimeError,
    InvalidInput,
    InvalidTransition,
    StorageClosed,
    UnknownKey,
)
from agent_runtime.keys.known import KnownKeys
from agent_runtime.keys.text import KeyText, SessionText, read_key_text, read_session_text
from agent_runtime.ports.audit import Note
from agent_runtime.ports.clock import Clock, clock_of
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.ids import hash_token, new_key_id, new_token
from agent_runtime.ports.keys import CREATED, REVOKED, ROTATED, ApiKeys, ReplacedKey, StoredKey
from agent_runtime.values.api_key import ApiKey, Role
from agent_runtime.values.checks import (
    MAX_SECONDS,
    can_be_id,
    check_seconds,
    check_text,
    check_time,
    check_whole,
)
from llm_client.background import drained, in_background, is_news
from llm_client.logs import logger_of
from llm_client.redaction import redact

logger = logger_of(__name__)

MAX_PAGE: Final = 1000
"""Keys that one look returns at most."""
USED_EVERY: Final = timedelta(minutes=1)
"""How often the use of a key is written down."""
NOTE_SECONDS: Final = 1.0
"""How long closing waits for what is still written of uses."""
SESSION_SECONDS: Final = 12 * 3600.0
"""How long a session lasts if nothing else is said."""
_NO_OVERLAP: Final = timedelta(0)
_MOST: Final = timedelta(seconds=MAX_SECONDS)
_NO_HASH: Final = hash_token("")
"""What a secret is compared with where there is no key, so that it takes as long."""


class KeyStorage(ApiKeys, Protocol):
    """The part of a storage that keys need; every `Storage` is one."""

    @property
    def clock(self) -> Clock:
        """What time it is for all who share it."""
        ...


@after_the_journal(but=("authenticate", "authenticate_session", "is_known", "open_session", "aclose"))
class ApiKeyManager:
    """The keys of the service.

    The text of a key is returned once, when it is made: a hash of its secret is all that is stored. What is done to a key is written
    into the trail of its scope, that of a key for every scope into the trail of the installation.

    Args:
        storage: Where keys are kept.
        clock: What time it is; by default that of the storage.
    """

    def __init__(self, storage: KeyStorage, clock: Clock | None = None) -> None:
        self._storage = storage
        self._clock = clock or clock_of(storage)
        self._known = KnownKeys(storage.get_key, self._clock)
        self._notes: set[asyncio.Task[None]] = set()

    async def create(
        self,
        *,
        name: str,
        role: Role,
        scope_id: str | None,
        principal_id: str | None = None,
        expires_at: datetime | None = None,
        created_by: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key, and return it with its text, which nobody can find again.

        Args:
            name: What people call it; no secret, and several keys may have one name.
            role: What may be done with it.
            scope_id: For which scope; `None` for every scope, and for those who run the installation alone.
            principal_id: Who is named as having done what is done with it.
            expires_at: From when it does not hold any more.
            created_by: Who makes it, for the list and for the trail.

        Raises:
            InvalidInput: A value cannot be stored, or the key would have expired already; it says which.
        """
        now = self._clock.now()
        key = ApiKey(
            key_id=new_key_id(),
            name=_checked_name(name),
            role=_checked_role(role),
            scope_id=_checked("scope_id", scope_id),
            principal_id=_checked("principal_id", principal_id),
            created_at=now,
            created_by=_checked("created_by", created_by),
            expires_at=expires_at,
        )
        check_time("expires_at", expires_at)
        if expires_at is not None and not _NO_OVERLAP < expires_at - now <= _MOST:
            raise InvalidInput("expires_at is a time to come, within a hundred years")
        ends = None if expires_at is None else expires_at.isoformat()
        said = {"key_id": key.key_id, "role": key.role.value, "expires_at": ends, "by": created_by}
        return await self._made(key, Note(CREATED, said))

    async def rotate(
        self,
        key_id: str,
        *,
        overlap: timedelta = _NO_OVERLAP,
        scope_id: str | None = None,
        by: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key in the place of another one, and return it with its text.

        It has the name, role, scope and principal of the other one, and if that expires, as long a life.

        Args:
            key_id: The other one.
            overlap: How long that still holds, so that whoever uses it can be given the new one.
            scope_id: Its scope, which hides the keys of others.
            by: Who does so, for the list and for the trail.

        Raises:
            UnknownKey: There is no such key in this scope.
            InvalidTransition: It does not hold any more, or has been rotated before.
        """
        if not _NO_OVERLAP <= overlap <= _MOST:
            raise InvalidInput("overlap is a time from 0 to a hundred years")
        by = _checked("by", by)
        old, now = await self.get(key_id, scope_id=scope_id), self._clock.now()
        if not old.holds_at(now) or old.replaced_by is not None:
            raise InvalidTransition(_no_rotation(old))
        key = replace(
            old,
            key_id=new_key_id(),
            created_at=now,
            created_by=by,
            expires_at=None if old.expires_at is None else now + (old.expires_at - old.created_at),
            last_used_at=None,
        )
        ends_at = now + overlap
        said = {"key_id": old.key_id, "new_key_id": key.key_id, "ends_at": ends_at.isoformat(), "by": by}
        try:
            return await self._made(key, Note(ROTATED, said), ReplacedKey(old.key_id, ends_at))
        finally:
            self._known.forget(old.key_id)

    async def revoke(self, key_id: str, *, scope_id: str | None = None, by: str | None = None) -> ApiKey:
        """Let a key hold no more, and return it; one that was revoked before stays as it is.

        In this process it counts when this returns, in others a second later.

        Args:
            key_id: The key.
            scope_id: Its scope, which hides the keys of others.
            by: Who does so, for the trail.

        Raises:
            UnknownKey: There is no such key in this scope.
        """
        by = _checked("by", by)
        key = await self.get(key_id, scope_id=scope_id)
        try:
            note = Note(REVOKED, {"key_id": key.key_id, "by": by})
            await self._storage.revoke_key(key.key_id, at=self._clock.now(), note=note)
        finally:
            self._known.forget(key.key_id)
        return await self.get(key.key_id, scope_id=scope_id)

    async def list(
        self, *, scope_id: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[ApiKey]:
        """Return keys in the order in which they were made, also those that hold no more.

        Args:
            scope_id: Those of one scope alone; without one all, and those for every scope.
            after: Id of the last key of the page before.
            limit: How many at most.
        """
        check_whole("limit", limit, least=1, most=MAX_PAGE)
        after = _checked("after", after)
        return await self._storage.list_keys(
            scope_id=_checked("scope_id", scope_id), after=after or "", limit=limit
        )

    async def get(self, key_id: str, *, scope_id: str | None = None) -> ApiKey:
        """Return a key, also one that holds no more. A given `scope_id` hides all others. Raises `UnknownKey`."""
        found = await self._storage.get_key(key_id) if can_be_id(key_id) else None
        if found is None or _checked("scope_id", scope_id) not in (None, found.key.scope_id):
            raise UnknownKey("no API key has this id, or none of this scope")
        return found.key

    async def authenticate(self, text: str) -> ApiKey | None:
        """Return the key whose text this is, if it holds; `None` for everything else, whatever it may be.

        A key is read at most once a second. That it was used is written down once a minute, beside the request.

        Args:
            text: As it was given.

        Raises:
            StorageError: The keys cannot be looked at.
        """
        parts = read_key_text(text)
        if parts is None:
            return None
        stored = await self._known.get(parts.key_id)
        expected = _NO_HASH if stored is None else stored.secret_hash
        is_right = compare_digest(hash_token(parts.secret), expected)
        now = self._clock.now()
        if stored is None or not is_right or not stored.key.holds_at(now):
            return None
        used_at = stored.key.last_used_at
        is_old = used_at is None or now - used_at >= USED_EVERY
        if is_old and self._known.is_to_be_noted(parts.key_id, USED_EVERY.total_seconds()):
            note = in_background(
                self._note_use(parts.key_id, now), name="writing down that an API key is used"
            )
            self._notes.add(note)
            note.add_done_callback(self._notes.discard)
        return stored.key

    def is_known(self, text: str) -> bool:
        """Whether to look at a text costs no reading of a key that perhaps nobody has: its key was here before, or it is none at all."""
        parts = read_key_text(text) or read_session_text(text)
        return parts is None or self._known.has_read(parts.key_id)

    async def open_session(self, text: str, *, seconds: float = SESSION_SECONDS) -> tuple[ApiKey, str] | None:
        """Return the key whose text this is, and the text of a session that stands for it for some time; `None` for everything else.

        A browser keeps the session where scripts do not see it, instead of the key. It ends with the key, at the latest, and nothing of it is stored.

        Args:
            text: Of the key.
            seconds: How long it lasts.

        Raises:
            StorageError: The keys cannot be looked at.
        """
        check_seconds("seconds", seconds, zero=False)
        key = await self.authenticate(text)
        stored = None if key is None else await self._known.get(key.key_id)
        if key is None or stored is None:
            return None
        ends_at = self._clock.now() + timedelta(seconds=seconds)
        ends_at = ends_at if key.expires_at is None else min(ends_at, key.expires_at)
        session = SessionText.made(key.key_id, int(ends_at.timestamp()), stored.secret_hash)
        return key, str(session)

    async def authenticate_session(self, text: str) -> ApiKey | None:
        """Return the key that a session stands for, if both hold; `None` for everything else, whatever it may be.

        Raises:
            StorageError: The keys cannot be looked at.
        """
        session = read_session_text(text)
        if session is None:
            return None
        stored, now = await self._known.get(session.key_id), self._clock.now()
        is_right = session.is_made_with(_NO_HASH if stored is None else stored.secret_hash)
        if stored is None or not is_right or session.ends_at <= now.timestamp():
            return None
        return stored.key if stored.key.holds_at(now) else None

    async def aclose(self) -> None:
        """Let be written down which keys were used, for a moment. To be called before the storage is closed; idempotent."""
        await drained(tuple(self._notes), seconds=NOTE_SECONDS)

    async def _made(self, key: ApiKey, note: Note, replaces: ReplacedKey | None = None) -> tuple[ApiKey, str]:
        text = KeyText(key.key_id, new_token())
        stored = StoredKey(key=key, secret_hash=hash_token(text.secret))
        if not await self._storage.add_key(stored, note=note, replaces=replaces):
            raise InvalidTransition("the key was revoked or rotated meanwhile")
        return key, str(text)

    async def _note_use(self, key_id: str, at: datetime) -> None:
        try:
            await self._storage.use_key(key_id, at=at, unless_after=at - USED_EVERY)
        except StorageClosed:
            return
        except AgentRuntimeError as error:
            if is_news(said := str(error)):
                logger.warning("when API keys are used cannot be written down: %s", said)


def _checked(field: str, value: str | None) -> str | None:
    return None if value is None else check_text(field, value)


def _checked_name(name: str) -> str:
    if redact(check_text("name", name)) != name:
        raise InvalidInput("name looks like a secret; it is shown to everybody who lists keys")
    return name


def _checked_role(role: Role) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise InvalidInput(f"role is one of {', '.join(Role)}") from None


def _no_rotation(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "the key was revoked; make a new one"
    if key.replaced_by is not None:
        return f"the key has been rotated: {key.replaced_by} is in its place"
    return "the key has expired; make a new one"
