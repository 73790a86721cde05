"""`InboxManager`: sending messages to identities, and looking at what waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from agent_runtime.errors import DuplicateMessage, UnknownMessage
from agent_runtime.ports.clock import Clock, clock_of
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.inbox import InboxReader
from agent_runtime.values.checks import MAX_COUNT, can_be_id, check_text, check_whole
from agent_runtime.values.content import encode
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.message import MAX_INBOX, MAX_MESSAGE_BYTES, Address, InboxMessage, check_identity

MAX_PAGE: Final = 1000
"""Messages that one look returns at most."""


class InboxStorage(InboxReader, Protocol):
    """The part of a storage that messages need; every `Storage` is one."""

    @property
    def clock(self) -> Clock:
        """What time it is for all who share it."""
        ...

    async def commit(self, commit: Commit) -> int:
        """Write all of `commit` or nothing."""
        ...


class InboxStore(Protocol):
    """A view of a storage."""

    @property
    def storage(self) -> InboxStorage:
        """The storage it is a view of."""
        ...


@after_the_journal()
class InboxManager:
    """Messages to identities. Jobs receive them with `context.receive`, each message once, in the order of sending.

    Args:
        store: Where messages are kept.
        clock: What time it is; by default that of the storage.
        max_inbox: How many messages may wait for one identity.
    """

    def __init__(self, store: InboxStore, *, clock: Clock | None = None, max_inbox: int = MAX_INBOX) -> None:
        self._storage = store.storage
        self._clock = clock or clock_of(store.storage)
        self._max_inbox = max_inbox

    async def send(
        self,
        to: str,
        message: object,
        *,
        dedupe_key: str | None = None,
        scope_id: str = DEFAULT_SCOPE,
    ) -> InboxMessage:
        """Send a message, and return it as it waits.

        Args:
            to: The identity: a name that jobs receive under, be there any or not.
            message: JSON values.
            dedupe_key: A second message with the same key, to the same identity, is not sent: the first one is returned, also
                when it has been received, until it is forgotten.
            scope_id: The scope of the identity.

        Raises:
            InvalidInput: A name or the key cannot be stored; it names which.
            ResultNotSerializable: The message is not made of JSON values.
            ContentTooLarge: It is longer than `MAX_MESSAGE_BYTES`.
            InboxFull: Too many messages wait for the identity; nothing was sent.
        """
        address = _address(to, scope_id)
        if dedupe_key is not None:
            check_text("dedupe_key", dedupe_key)
        now: datetime = self._clock.now()
        sent = InboxMessage(
            message_id=new_id("message"),
            scope_id=address.scope_id,
            identity=address.identity,
            dedupe_key=dedupe_key,
            sent_at=now,
            content=encode(message, limit=MAX_MESSAGE_BYTES),
        )
        commit = Commit(at=now, messages=[sent], inbox_bound=self._max_inbox)
        try:
            await self._storage.commit(commit)
        except DuplicateMessage as known:
            return await self.get(known.message_id, scope_id=scope_id)
        return await self.get(sent.message_id, scope_id=scope_id)

    async def get(self, message_id: str, *, scope_id: str = DEFAULT_SCOPE) -> InboxMessage:
        """Return a message, waiting or received. Raises `UnknownMessage`."""
        check_text("scope_id", scope_id)
        found = None
        if can_be_id(message_id):
            found = await self._storage.get_message(message_id, scope_id=scope_id)
        if found is None:
            raise UnknownMessage("no message of this scope has this id")
        return found

    async def count(self, identity: str, *, scope_id: str = DEFAULT_SCOPE) -> int:
        """Return how many messages wait for an identity."""
        return await self._storage.count_messages(_address(identity, scope_id))

    async def list_waiting(
        self, identity: str, *, scope_id: str = DEFAULT_SCOPE, after: int = 0, limit: int = 100
    ) -> Sequence[InboxMessage]:
        """Return messages that wait for an identity, oldest first.

        Args:
            identity: The identity.
            scope_id: Its scope.
            after: Position of the last message of the page before.
            limit: How many at most.
        """
        check_whole("after", after, most=MAX_COUNT)
        check_whole("limit", limit, least=1, most=MAX_PAGE)
        return await self._storage.list_messages(_address(identity, scope_id), after=after, limit=limit)


def _address(identity: str, scope_id: str) -> Address:
    check_identity("identity", identity)
    check_text("scope_id", scope_id)
    return Address(scope_id, identity)
