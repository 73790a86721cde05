"""The port to HTTP: send one request, read its answer in pieces.

A transport knows bytes, connections and time, nothing of models. It raises `ConnectionFailed`, `ProviderTimeout` and
`ConfigurationError`; statuses and bodies are the caller's business.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Protocol, TypeVar, runtime_checkable

from llm_client.errors import ConfigurationError, InvalidResponse, ProviderTimeout

T = TypeVar("T")
Headers = Mapping[str, str]

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""Largest body of an answer that is read at once; embeddings of a big batch stay well below."""
IN_ONE_GO = 0.02
"""Seconds for which an answer is read before others have their turn: what has come at once may be thousands of pieces, and one of them large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds that each phase of a request may take; `None` waits for ever."""

    connect: float | None = 10.0
    read: float | None = 600.0
    """Longest silence while waiting for the answer; a model may think for minutes before its first byte."""
    write: float | None = 60.0
    pool: float | None = 60.0
    """Longest wait for a free connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLimits:
    """What one answer may take. Who passes one is cut off: a vendor's fault, or somebody in his place."""

    max_bytes: int = MAX_RESPONSE_BYTES
    """Of an answer that comes at once, decompressed."""
    max_stream_bytes: int = 64 * 1024 * 1024
    """Of a stream, decompressed; the longest answers have some hundred thousand tokens, of 200 bytes each on the wire."""
    max_tool_calls: int = 1_000
    """Tool calls in one answer; an agent runs far fewer (`AgentConfig.max_tool_calls_per_turn`)."""
    max_seconds: float | None = 3_600.0
    """From the request to the answer's headers, and from these to its end, however often the server says that it is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """How to reach the network."""

    proxy: str | None = None
    """URL of an HTTP proxy; without it `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` count, but for what is on this machine."""
    trust_env: bool = True
    """Whether the environment's proxy variables are read."""
    ca_bundle: str | Path | None = None
    """PEM file or directory of certificate authorities to trust instead of the system's."""
    ssl_context: ssl.SSLContext | None = None
    """A ready-made context, for client certificates; overrides `ca_bundle`."""
    max_connections: int = 1000
    max_keepalive_connections: int = 100
    keepalive_seconds: float = 20.0
    """How long an idle connection is kept."""

    def __repr__(self) -> str:
        # A proxy URL may hold a password.
        return f"TransportOptions(proxy={'set' if self.proxy else None}, ca_bundle={self.ca_bundle!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A POST request whose body is in memory."""

    url: str
    headers: Headers = field(repr=False)
    """Hold the key, so no representation shows them."""
    body: bytes = field(repr=False)
    timeouts: Timeouts
    is_private: bool = False
    """Whether no proxy on another machine may read it. A transport that knows of one refuses with `ConfigurationError`."""


class HttpResponse(Protocol):
    """An answer whose headers have arrived and whose body is still on its way."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Headers:
        """Response headers, names in lower case."""
        ...

    def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the decoded body as it arrives. Raises `ConnectionFailed` when it is cut, `ProviderTimeout` on silence."""
        ...

    async def aclose(self) -> None:
        """Give the connection back, or close it if the body was not read to its end. May be called twice."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Sends requests. One instance serves any number of tasks and event loops.

    Connections belong to the event loop they were opened on. Cancelling `send` or the reading of a response closes
    its connection. `aclose` closes the connections of the running loop, may be called twice, and is called by
    whoever made the transport.
    """

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return when the response's headers have arrived."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


async def read_body(
    response: HttpResponse, limit: int = MAX_RESPONSE_BYTES, *, seconds: float | None = None
) -> bytes:
    """Return the whole body and release the connection.

    Raises:
        InvalidResponse: It has more than `limit` bytes.
        ProviderTimeout: It took longer than `seconds`.
    """
    try:
        first, rest, since = b"", bytearray(), monotonic()
        async with aclosing(response.chunks()) as pieces, whole_time(seconds):
            async for chunk in pieces:
                if first:
                    rest += chunk  # at once: a body in pieces of two bytes each is twenty times as large while they are kept
                else:
                    first = chunk
                if len(first) + len(rest) > limit:
                    raise InvalidResponse(f"the answer is larger than {limit} bytes", status=response.status)
                if monotonic() - since > IN_ONE_GO:
                    await asyncio.sleep(0)
                    since = monotonic()
        return first + rest if rest else first
    finally:
        await response.aclose()


@asynccontextmanager
async def whole_time(seconds: float | None) -> AsyncIterator[None]:
    """Bound the time of an answer."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise ProviderTimeout("the answer did not end within its time") from None


def check_header(name: str, value: str) -> bytes:
    """Return a header's value as bytes. Raises `ConfigurationError`, without repeating the value, if HTTP forbids it."""
    if not value.isascii() or not value.isprintable():
        raise ConfigurationError(
            f"the value of the header {name!r} holds characters that HTTP does not allow"
        )
    return value.encode("ascii")


def forget_closed_loops(opened: dict[asyncio.AbstractEventLoop, T]) -> None:
    """Drop what belongs to loops that have ended without `aclose`: nothing can be closed on them any more."""
    for loop in list(opened):  # another thread's loop may be added meanwhile
        if loop.is_closed():
            opened.pop(loop, None)


def make_ssl_context(options: TransportOptions) -> ssl.SSLContext:
    """Return the context the options ask for, by default the system's certificate authorities. Reads files.

    Raises:
        ConfigurationError: The CA bundle cannot be read.
    """
    if options.ssl_context is not None:
        return options.ssl_context
    if options.ca_bundle is None:
        from httpcore2 import default_ssl_context

        return default_ssl_context()
    path = Path(options.ca_bundle)
    try:
        return ssl.create_default_context(
            cafile=None if path.is_dir() else str(path), capath=str(path) if path.is_dir() else None
        )
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the CA bundle {str(path)!r} cannot be read: {error}") from error
