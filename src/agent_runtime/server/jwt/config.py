"""Whose tokens let somebody in, and what is read in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from agent_runtime.errors import InvalidInput
from agent_runtime.values.api_key import Role
from agent_runtime.values.checks import check_seconds, check_text
from llm_client.network import is_private

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""How a token may be signed: always with a private key, never with what the service knows as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtConfig:
    """The identity provider whose tokens are taken beside API keys. Needs the extra `jwt`.

    A token has to be signed by one of the provider's keys, to be from this issuer, for this audience, and to expire. What it opens stands
    in its claims: one that names no scope, or no role that is known here, opens nothing. None opens every scope.

    Raises:
        InvalidInput: A value is none that can be meant; it names the field.
    """

    issuer: str
    """`iss`, letter for letter, such as `https://login.example.com/`."""
    audience: str
    """What has to stand in `aud`: what the provider calls this service."""
    jwks_url: str
    """Where the provider's public keys are: with `https`, or on this machine."""
    roles: Mapping[str, Role]
    """Which role a value of the claim gives; of several that a token has, the one that is named first here counts."""
    role_claim: str = "roles"
    """Has the values: a list, or a text; in `scope` and `scp` one with blanks between them. `realm_access.roles` is a claim in a claim."""
    scope_claim: str | None = None
    """Names the tenant. Either this or `scope_id`."""
    scope_id: str | None = None
    """The one scope that all tokens are for."""
    algorithms: tuple[str, ...] = ALGORITHMS
    """How tokens may be signed."""
    leeway: float = 30.0
    """Seconds by which the provider's clock may be ahead of ours: for `nbf` and `iat`. A token expires to the moment."""

    def __post_init__(self) -> None:
        for name in ("issuer", "audience", "role_claim"):
            check_text(name, getattr(self, name))
        if (self.scope_claim is None) == (self.scope_id is None):
            raise InvalidInput("either scope_claim or scope_id says which scope a token is for")
        for name in ("scope_claim", "scope_id"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name))
        check_seconds("leeway", self.leeway)
        self._check_url()
        self._check_roles()
        if not isinstance(self.algorithms, tuple) or not self.algorithms:  # type: ignore[redundant-expr]  # a text holds texts
            raise InvalidInput("algorithms is a tuple of names")
        if unknown := [each for each in self.algorithms if each not in ALGORITHMS]:
            raise InvalidInput(f"algorithms are of {', '.join(ALGORITHMS)}; {unknown[0]!r} is none of them")

    def _check_url(self) -> None:
        url = urlsplit(check_text("jwks_url", self.jwks_url))
        if url.scheme not in ("https", "http") or not url.hostname or not is_private(self.jwks_url):
            raise InvalidInput("jwks_url begins with https://; http:// is for this machine's own addresses")
        if url.username is not None or url.fragment:
            raise InvalidInput("jwks_url has no user and no fragment")

    def _check_roles(self) -> None:
        if not isinstance(self.roles, Mapping) or not self.roles:  # type: ignore[redundant-expr]  # read from files, too
            raise InvalidInput("roles say which role a value of the claim gives")
        try:
            roles = {check_text("a value in roles", value): Role(role) for value, role in self.roles.items()}
        except ValueError as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"a role is one of {', '.join(Role)}") from None
        object.__setattr__(self, "roles", roles)
