"""The keys of an identity provider: fetched when they are needed, kept for a while, and fetched anew when a token names another one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Final

import httpx2
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from agent_runtime.ports.clock import Clock
from agent_runtime.server.jwt.bearer import ProviderAway
from agent_runtime.server.jwt.config import JwtConfig
from llm_client.background import begin, is_news
from llm_client.json_text import loads
from llm_client.logs import logger_of
from llm_client.turns import aside

logger = logger_of(__name__)

FRESH_SECONDS: Final = 300.0
"""How long keys are taken for what they were when they were fetched; then they are fetched anew, beside the requests."""
KEPT_SECONDS: Final = 3600.0
"""How long they hold where they cannot be fetched: so long a provider may be away, and so long a key that it has withdrawn may open something."""
EVERY_SECONDS: Final = 10.0
"""How often they are fetched at most, whatever tokens name: a flood of unknown keys is no flood of requests to the provider."""
FETCH_SECONDS: Final = 5.0
MAX_BYTES: Final = 256 * 1024
"""Of the provider's answer."""
MAX_KEYS: Final = 100
MAX_ID: Final = 256
"""Characters of the id of a key."""
_PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y")
"""What makes a public key; whatever else stands beside it is not looked at: certificates, addresses, a private part."""
_FITS: Final[Mapping[str, tuple[str, str | None]]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The kind of key, and its curve, with which each algorithm works."""


class _NoKeys(Exception):
    """What the provider answers with has no keys in it. The text says so, with nothing of the answer."""


Keys = Mapping[tuple[str, str], PyJWK]
"""Keys by their id and an algorithm: one that fits none that is allowed is not there."""


class ProviderKeys:
    """Knows the keys of an identity provider.

    Args:
        config: Where they are, and which algorithms are allowed.
        clock: Measures how old they are.
    """

    def __init__(self, config: JwtConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._keys: Keys = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, key_id: str, algorithm: str) -> PyJWK | None:
        """Return a key, if the provider has it and it fits the algorithm; `None` otherwise.

        Raises:
            ProviderAway: No keys are known, or they are too old, and cannot be fetched.
        """
        age = self._age()
        if age is None or age >= KEPT_SECONDS:
            await self._fetched()
            if (age := self._age()) is None or age >= KEPT_SECONDS:
                self._keys = {}
                raise ProviderAway("the identity provider's keys cannot be fetched; try again in a moment")
        elif age >= FRESH_SECONDS:
            self._begun()
        if (key_id, algorithm) not in self._keys:
            await self._fetched()
        return self._keys.get((key_id, algorithm))

    def _age(self) -> float | None:
        return None if self._read_at is None else self._clock.monotonic() - self._read_at

    async def _fetched(self) -> None:
        """Wait for the keys to be fetched, if it is time for that."""
        fetching = self._begun()
        if fetching is not None:
            await asyncio.shield(fetching)  # whoever goes leaves it to the others

    def _begun(self) -> asyncio.Task[None] | None:
        """Return what fetches the keys for all who wait; `None` if that was tried a moment ago."""
        now = self._clock.monotonic()
        if self._fetching is None and (self._tried_at is None or now - self._tried_at >= EVERY_SECONDS):
            self._tried_at = now
            self._fetching = begin(self._fetch(), name="keys of the identity provider", context=Context())
        return self._fetching

    async def _fetch(self) -> None:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = await aside(_read, await self._answer(), self._config.algorithms)
            self._read_at = began
        except (httpx2.HTTPError, OSError, ValueError, TimeoutError, _NoKeys) as error:
            said = f"the keys of the identity provider cannot be fetched: {_why(error)}"
            if is_news(said):
                logger.warning("%s", said)
        except Exception:
            logger.exception("the keys of the identity provider cannot be fetched, by a mistake")
        finally:
            self._fetching = None

    async def _answer(self) -> bytes:
        """Return what the provider says, from this address alone and no more than anybody means."""
        is_plain = self._config.jwks_url.startswith("http:")  # on this machine: no proxy is asked for it
        make = partial(httpx2.AsyncClient, timeout=FETCH_SECONDS, trust_env=not is_plain)
        body = b""
        async with await aside(make) as http:  # which reads certificates
            headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
            async with http.stream("GET", self._config.jwks_url, headers=headers) as response:
                if response.status_code != 200:
                    raise _NoKeys(f"it answers with {response.status_code}")
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > MAX_BYTES:
                        raise _NoKeys(f"it answers with more than {MAX_BYTES:,} bytes")
        return body

    async def aclose(self) -> None:
        """Wait for what is being fetched, which does not take long."""
        if (fetching := self._fetching) is not None:
            await asyncio.shield(fetching)


def _read(body: bytes, algorithms: Sequence[str]) -> Keys:
    """Return the keys of a JWKS that can verify something; what else stands there is left out. Raises `_NoKeys`."""
    told = loads(body)
    listed = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(listed, list):
        raise _NoKeys("it answers with no set of keys")
    found: dict[tuple[str, str], PyJWK] = {}
    for each in listed[:MAX_KEYS]:
        if not isinstance(each, dict) or not _is_for_tokens(each):
            continue
        for algorithm, key in _made(each, algorithms):
            found.setdefault((each["kid"], algorithm), key)
    if not found:
        raise _NoKeys("it answers with no key that can verify a token")
    return found


def _is_for_tokens(told: Mapping[str, Any]) -> bool:
    """Whether a key has an id, and may verify signatures."""
    uses, key_id = told.get("key_ops"), told.get("kid")
    return (
        isinstance(key_id, str)
        and 0 < len(key_id) <= MAX_ID
        and told.get("use") in (None, "sig")
        and (uses is None or (isinstance(uses, list) and "verify" in uses))
    )


def _made(told: Mapping[str, Any], algorithms: Sequence[str]) -> Iterator[tuple[str, PyJWK]]:
    """Yield a key for each algorithm that it may be used with: one that names its own is for that alone."""
    public = {name: told[name] for name in _PUBLIC if isinstance(told.get(name), str)}
    for algorithm in algorithms:
        kind, curve = _FITS[algorithm]
        fits = public.get("kty") == kind and curve in (None, public.get("crv"))
        if not fits or told.get("alg") not in (None, algorithm):
            continue
        try:
            key = PyJWK(public, algorithm)
        except (PyJWTError, ValueError, KeyError, TypeError):  # it is none
            return
        if key.Algorithm.check_key_length(key.key) is None:  # one that is too short can be guessed
            yield algorithm, key


def _why(error: Exception) -> str:
    """Return what may be told of a failure: nothing of the address, and nothing that the provider says."""
    if isinstance(error, _NoKeys):
        return str(error)
    return "it does not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
