"""Where a vendor's API is and how requests get there: address, key, headers, connection and bounds."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict
from urllib.parse import urlsplit

from llm_client.errors import AuthenticationError, ConfigurationError
from llm_client.network import is_private
from llm_client.providers.addresses import is_own
from llm_client.providers.failures import Origin
from llm_client.providers.transport.httpcore import HttpcoreTransport
from llm_client.providers.transport.port import (
    AnswerLimits,
    HttpRequest,
    HttpResponse,
    Timeouts,
    Transport,
    TransportOptions,
    whole_time,
)
from llm_client.public_text import without_keys
from llm_client.redaction.given_keys import keys_given

ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that returns a fresh one for each request (short-lived tokens)."""

_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
"""Headers that carry keys: one that the caller gives is sent instead of a key from elsewhere."""
_API_KEY = "api_key"


class EndpointOptions(TypedDict, total=False):
    """How to reach a vendor: arguments that every provider over HTTP takes by name."""

    api_key: ApiKey | None
    """The key, or a function that returns one; without it the vendor's environment variables are read at each call."""
    base_url: str | None
    """Where the API begins, as the vendor's own SDK takes it; without it the vendor's environment variable, then the vendor itself."""
    headers: Mapping[str, str] | None
    """Further headers of each request."""
    transport: Transport | None
    """How to send; the caller closes it. By default each provider has its own."""
    transport_options: TransportOptions | None
    """Proxy, certificates and limits of that own transport."""
    timeouts: Timeouts | None
    """Seconds per phase of a request."""
    limits: AnswerLimits | None
    """How long, large and many-handed an answer may be."""
    plain_http: bool
    """Whether a key may be sent unencrypted to another machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """Who serves models: their name, their address, and which keys are meant for them."""

    name: str
    """As price tables know it."""
    base_url: str | None
    """Their address; `None` where every customer has their own."""
    url_variables: tuple[str, ...] = ()
    """Environment variables that replace the address."""
    url_suffix: str = ""
    """Path that belongs behind an address from the environment."""
    key_variables: tuple[str, ...] = ()
    """Environment variables that hold the key, the usual one first."""
    keys_for_any_address: bool = False
    """Whether those hold the key of whatever address is given, and not of the vendor's alone."""
    key_required: bool = True
    """Whether calls without a key are refused here."""
    key_header: tuple[str, str] = ("authorization", "Bearer ")
    """Header that carries the key, and what stands before the key in it."""

    def address(self, given: str | None) -> str:
        """Return where the API begins.

        Raises:
            ConfigurationError: Every customer has their own address, and nobody said which.
        """
        if given:
            return given
        for variable in self.url_variables:
            url = (os.environ.get(variable) or "").rstrip("/")
            if url:
                return url if url.endswith(self.url_suffix) else url + self.url_suffix
        if self.base_url is None:
            raise ConfigurationError(
                f"{self.name} needs an address: set {' or '.join(self.url_variables)} or pass base_url="
            )
        return self.base_url

    def owns(self, address: str) -> bool:
        """Whether the environment's keys may be sent to an address."""
        return self.keys_for_any_address or is_own(address, self.base_url, self.url_variables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of a vendor, ready to be asked. `Endpoint.of` makes it."""

    vendor: Vendor
    base_url: str = field(repr=False)
    transport: Transport
    owns_transport: bool
    api_key: ApiKey | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of each request, with names in small letters."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: AnswerLimits = field(default_factory=AnswerLimits)
    is_own: bool = False
    """Whether the keys in the environment are meant for it."""
    may_send_keys: bool = False
    """Whether a key is safe on the way there."""
    plain_http: bool = False
    """Whether it is safe on any way, as somebody has said."""
    keys: tuple[str, ...] = field(default=(), repr=False)
    """What may be one in the headers and the address, in every form in which a server may repeat it."""

    @classmethod
    def of(
        cls,
        vendor: Vendor,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        transport_options: TransportOptions | None = None,
        timeouts: Timeouts | None = None,
        limits: AnswerLimits | None = None,
        plain_http: bool = False,
    ) -> Endpoint:
        """Find the address, and open nothing yet. The arguments are `EndpointOptions`.

        Raises:
            ConfigurationError: There is no address, or it is none.
        """
        url = vendor.address(base_url)
        _check_address(url)
        given = {name.lower(): value for name, value in (headers or {}).items()}
        return cls(
            vendor=vendor,
            base_url=url.rstrip("/"),
            transport=transport or HttpcoreTransport(transport_options),
            owns_transport=transport is None,
            api_key=api_key,
            headers={
                "content-type": "application/json",
                "user-agent": "agent-runtime",
                **given,
            },
            timeouts=timeouts or Timeouts(),
            limits=limits or AnswerLimits(),
            is_own=vendor.owns(url),
            may_send_keys=plain_http or is_private(url),
            plain_http=plain_http,
            keys=keys_given(given, address=url),
        )

    @property
    def shown_url(self) -> str:
        """Its address as everybody may read it: some hold a key in their path."""
        return without_keys(self.base_url, self.keys)

    async def send(
        self, path: str, body: bytes, model: str, *, accept: str, headers: Mapping[str, str]
    ) -> tuple[Origin, HttpResponse]:
        """Send a request about a model, with further headers, and return who was asked and what begins to answer.

        Raises:
            AuthenticationError: There is no key.
            ConfigurationError: A key would go unencrypted to another machine, or through one.
        """
        key = await self.checked_key()
        secrets = (*self.keys, *(keys_given({_API_KEY: key}) if key else ()))
        origin = Origin(provider=self.vendor.name, model=model, secrets=secrets)
        if secrets and not self.may_send_keys:
            raise ConfigurationError(
                f"a key is not sent unencrypted: use https for {self.shown_url}, or plain_http=True if nobody can read along"
            )
        headers = {**self.headers, **headers, "accept": accept}
        if key:
            header, before = self.vendor.key_header
            headers[header] = before + key
        if accept == "application/json":
            headers["accept-encoding"] = "gzip, deflate"
        request = HttpRequest(
            url=self.base_url + path,
            headers=headers,
            body=body,
            timeouts=self.timeouts,
            is_private=bool(secrets) and not self.plain_http,
        )
        with origin.blamed():
            async with whole_time(self.limits.max_seconds):
                return origin, await self.transport.send(request)

    async def checked_key(self) -> str | None:
        """Return the key, unless a header of the caller's stands in its place. Raises `AuthenticationError` where one is needed."""
        return None if _CREDENTIALS & self.headers.keys() else await self.key()

    async def key(self) -> str | None:
        """Return the key, if there is one. Raises `AuthenticationError` where one is needed."""
        key, vendor = self.api_key, self.vendor
        if callable(key):
            fresh = key()
            key = await fresh if inspect.isawaitable(fresh) else fresh
        if key is None and self.is_own:
            key = _first_set(vendor.key_variables)
        key = key.strip() if key else None
        if not key and vendor.key_required:
            variables = " or ".join(vendor.key_variables)
            remedy = f"set {variables} or pass api_key="
            if not self.is_own:
                remedy = (
                    f"{variables} is only sent to the vendor's own address; pass api_key= or key_variables="
                )
            raise AuthenticationError(f"no API key for {vendor.name}: {remedy}", provider=vendor.name)
        return key


def _first_set(variables: Sequence[str]) -> str | None:
    return next(filter(None, map(os.environ.get, variables)), None)


def _check_address(base_url: str) -> None:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"base_url must begin with http:// or https:// and a host, not {base_url!r}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # It would show up in representations and errors, so it is not repeated here either.
        raise ConfigurationError("base_url must hold no credentials and no query; use api_key= or headers=")
