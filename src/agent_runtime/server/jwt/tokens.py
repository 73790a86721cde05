"""Who a token of the identity provider is from, and what it opens."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError

from agent_runtime.errors import InvalidInput
from agent_runtime.ports.clock import Clock
from agent_runtime.server.jwt.bearer import Bearer
from agent_runtime.server.jwt.config import JwtConfig
from agent_runtime.server.jwt.provider_keys import MAX_ID, ProviderKeys
from agent_runtime.values.api_key import Role
from agent_runtime.values.checks import check_text
from llm_client.background import is_news
from llm_client.json_text import loads
from llm_client.logs import logger_of

logger = logger_of(__name__)

MAX_TOKEN: Final = 8 * 1024
"""Characters of a token; a longer one is not looked at."""
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})
"""What a token may say that it is. Providers sign other things with the same keys, such as notices that somebody has logged out."""
_IN_WORDS: Final = frozenset({"scope", "scp"})
"""Claims that are a text with blanks between its values."""
_SIGNATURES: Final = PyJWS()
_LATEST: Final = datetime.max.replace(tzinfo=UTC).timestamp() - 86_400


class _Refused(Exception):
    """A token opens nothing. The text says why, with nothing of the token in it."""


class Tokens:
    """Reads tokens of an identity provider.

    Args:
        config: Whose, and what is read in them.
        clock: What time it is.
    """

    def __init__(self, config: JwtConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._keys = ProviderKeys(config, clock)

    async def authenticate(self, text: str) -> Bearer | None:
        """Return whom a token names, if it opens anything; `None` for everything else, whatever it may be.

        Why it opens nothing is in the log, once a minute; nothing of the token is.

        Raises:
            ProviderAway: The identity provider's keys cannot be had.
        """
        try:
            key_id, algorithm = self._header(text)
            key = await self._keys.get(key_id, algorithm)
            if key is None:
                raise _Refused(
                    "it is signed with a key that the identity provider does not have, or not for that"
                )
            return self._bearer(_claims(text, key, algorithm))
        except _Refused as error:
            if is_news(said := f"a token was refused: {error}"):
                logger.info("%s", said)
            return None

    async def aclose(self) -> None:
        """Wait for what is being fetched."""
        await self._keys.aclose()

    def _header(self, text: str) -> tuple[str, str]:
        """Return which key of the provider signs a token, and how. Nothing else of its header is followed: no keys, and no addresses."""
        if len(text) > MAX_TOKEN or not text.isascii() or text.count(".") != 2:
            raise _Refused("it is none, or too long")
        head = text.partition(".")[0]
        try:
            header = loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        except ValueError:
            raise _Refused("it has no header") from None
        if not isinstance(header, dict):
            raise _Refused("it has no header")
        key_id, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ")
        if algorithm not in self._config.algorithms:
            raise _Refused("it is signed in a way that is not allowed, or not at all")
        if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_ID:
            raise _Refused("it does not say which key has signed it")
        if "crit" in header or "b64" in header:
            raise _Refused("it asks for something that is not known here")
        if kind is not None and (not isinstance(kind, str) or kind.lower() not in _TYPES):
            raise _Refused("it is for something else than letting somebody in")
        return key_id, algorithm

    def _bearer(self, claims: Mapping[str, Any]) -> Bearer:
        config, now = self._config, self._clock.now().timestamp()
        if claims.get("iss") != config.issuer:
            raise _Refused("it is from another issuer")
        audience = claims.get("aud")
        if config.audience not in (audience if isinstance(audience, list) else [audience]):
            raise _Refused("it is for another audience")
        expires_at = _moment(claims, "exp")
        if expires_at is None or expires_at <= now:
            raise _Refused("it has expired, or never does")
        for name in ("nbf", "iat"):
            if (_moment(claims, name) or 0) > now + config.leeway:
                raise _Refused("it is not valid yet; is this machine's clock right?")
        scope_id = config.scope_id or _at(claims, config.scope_claim or "")
        role = self._role(_at(claims, config.role_claim))
        if role is None:
            raise _Refused("it names no role that is known here")
        try:
            return Bearer(
                principal_id=check_text("sub", f"{config.issuer}#{check_text('sub', claims.get('sub'))}"),
                role=role,
                scope_id=check_text("the scope", scope_id),
                expires_at=datetime.fromtimestamp(expires_at, UTC),
            )
        except InvalidInput:
            raise _Refused("it names nobody, or no scope") from None

    def _role(self, said: object) -> Role | None:
        """Return the role that a claim gives: of several the one that the configuration names first."""
        if isinstance(said, str):
            said = said.split() if self._config.role_claim in _IN_WORDS else [said]
        has = {each for each in said if isinstance(each, str)} if isinstance(said, list) else set()
        return next((role for value, role in self._config.roles.items() if value in has), None)


def _claims(text: str, key: PyJWK, algorithm: str) -> Mapping[str, Any]:
    """Return what a token says, after its signature has been verified."""
    try:
        claims = loads(_SIGNATURES.decode(text, key, algorithms=[algorithm]))
    except (PyJWTError, ValueError):
        raise _Refused("its signature is not right") from None
    if not isinstance(claims, dict):
        raise _Refused("it says nothing")
    return claims


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a time in a claim, in seconds since the epoch."""
    said = claims.get(name)
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= _LATEST:
        raise _Refused("a time in it is none")
    return float(said)


def _at(claims: Mapping[str, Any], name: str) -> object:
    """Return what a claim says; one with dots in its name, or one in another one."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found
