"""Messages to an identity: a name in a scope that jobs work under, one after the other or side by side."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from agent_runtime.errors import InvalidInput
from agent_runtime.values.checks import check_text
from agent_runtime.values.content import decode
from agent_runtime.values.public_data import public_name

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Bytes of JSON that one message may hold."""
MAX_INBOX: Final = 10_000
"""Messages that may wait for one identity, unless somebody says otherwise."""


class Address(NamedTuple):
    """Whose inbox."""

    scope_id: str
    identity: str


class Receiver(NamedTuple):
    """An operation of a job that waits for a message."""

    job_id: str
    operation_id: str
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxMessage:
    """A message. It waits in the inbox of its identity until a job's journal takes it over, and is in one place only."""

    message_id: str
    scope_id: str
    identity: str
    position: int = 0
    """Place among all messages of the identity, from 1; the storage gives it."""
    priority: int = 0
    """Higher comes first."""
    dedupe_key: str | None = None
    """Known to the inbox; a job that receives the message does not learn it."""
    sent_at: datetime
    claimed_by: str | None = None
    """The job that has received it."""
    claimed_at: datetime | None = None
    content: bytes | None = None
    """The body as JSON bytes; `None` when a job has it."""

    @property
    def address(self) -> Address:
        """Where it was sent to."""
        return Address(self.scope_id, self.identity)

    @property
    def body(self) -> Any:
        """What was sent, as JSON values; `None` when a job has it."""
        return None if self.content is None else decode(self.content)


def check_identity(name: str, value: object) -> None:
    """Refuse what cannot be an identity, or another name that stands in the journal: besides `check_text`, whatever would be hidden in the journal as a secret.

    Raises:
        InvalidInput: It names the field.
    """
    if public_name(check_text(name, value)) != value:
        raise InvalidInput(f"{name} is a name that everybody may read, and looks like a secret")
