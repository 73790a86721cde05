"""API keys as they are sent and answered."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from pydantic import AwareDatetime, Field

from agent_runtime.client.model_bounds import Sent, for_example
from agent_runtime.client.models import Answered
from agent_runtime.values.api_key import Role
from agent_runtime.values.checks import MAX_SECONDS

if TYPE_CHECKING:
    from agent_runtime.values.api_key import ApiKey


class NewKey(Sent):
    """A key to make."""

    model_config = for_example(
        name="web shop", role="operator", scope_id="acme", expires_at="2027-01-01T00:00:00Z"
    )

    name: str = Field(description="What people call it.")
    role: Role
    scope_id: str | None = Field(
        default=None, description="An admin's own, unless their key is for all scopes."
    )
    all_scopes: bool = Field(default=False, description="For those who run the installation.")
    principal_id: str | None = Field(
        default=None, description="Who is named as having done what is done with it."
    )
    expires_at: AwareDatetime | None = None


class Rotation(Sent):
    """How a key is replaced."""

    model_config = for_example(overlap_seconds=3600)

    overlap_seconds: float = Field(
        default=0, ge=0, le=MAX_SECONDS, description="How long the old key still holds."
    )


class Key(Answered):
    """What may be known of a key."""

    key_id: str
    name: str
    role: Role
    scope_id: str | None = Field(description="Null for every scope.")
    principal_id: str | None
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Give or take a minute.")
    replaced_by: str | None = Field(description="The key that was made in its place.")

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Return what is told of a key."""
        return cls.model_validate(key)


class KeyWithText(Key):
    """A key that was just made."""

    text: str = Field(description="The key itself, which is told this once.")

    @classmethod
    def of_text(cls, key: ApiKey, text: str) -> Self:
        """Return a key with its text."""
        return cls(**Key.of(key).model_dump(), text=text)


class RotatedKey(KeyWithText):
    """A key that was just made in the place of another one."""

    replaced_expires_at: datetime | None = Field(description="When the other one holds no more.")
