"""Whom a token names."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from agent_runtime.errors import AgentRuntimeError
from agent_runtime.values.api_key import Role


class Bearer(NamedTuple):
    """Whom a token names, and what it opens."""

    principal_id: str
    role: Role
    scope_id: str
    expires_at: datetime


class ProviderAway(AgentRuntimeError):
    """The identity provider's keys cannot be had, so nobody knows whose token this is."""

    code = "IDENTITY_PROVIDER_AWAY"


def looks_like_token(text: str) -> bool:
    """Whether a text that is brought for a key is to be read as a token: it begins as an object of JSON does, in Base64."""
    return text.startswith("eyJ")
