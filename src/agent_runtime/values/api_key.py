"""API keys: by which a program or a person comes to the service, for which scope, and what may be done with each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """What somebody may do."""

    READ = "read"
    """Look at jobs, questions, budgets and logs."""
    OPERATE = "operate"
    """Submit, cancel and retry jobs."""
    APPROVE = "approve"
    """Answer questions."""
    ADMINISTER = "administer"
    """Make and end keys, change budgets, delete logs."""


class Role(StrEnum):
    """What a key is for."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"

    def allows(self, permission: Permission) -> bool:
        """Whether who has this role may do something."""
        return permission in _ALLOWED[self]


_ALLOWED: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.OPERATE}),
    Role.APPROVER: frozenset({Permission.READ, Permission.APPROVE}),
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What may be known of a key. Its text is nowhere: of its secret part only a hash is stored."""

    key_id: str
    """Stands in the text of the key, and is no secret."""
    name: str
    """What people call it."""
    role: Role
    scope_id: str | None
    """The scope it is for; `None` for every scope, which is for those who run the installation."""
    principal_id: str | None = None
    """Who is named as having done what is done with it."""
    created_at: datetime
    created_by: str | None = None
    expires_at: datetime | None = None
    """From when it does not hold any more; `None` for never."""
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    """When it was last used, give or take a minute."""
    replaced_by: str | None = None
    """The key that was made in its place."""

    def holds_at(self, moment: datetime) -> bool:
        """Whether the key opens anything at a moment, as far as is known of it now: one that was revoked never does."""
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)
