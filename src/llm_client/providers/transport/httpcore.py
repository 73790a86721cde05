"""The default transport: httpx2's own connections (httpcore2), driven without the client above them.

`httpx2.AsyncClient` adds cookies, redirects, authentication flows and header merging to each request; a model
provider needs none of them, and leaving them out makes a small request measurably cheaper
(`benchmarks/client/run.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from llm_client.errors import ConfigurationError, ConnectionFailed, ProviderTimeout
from llm_client.network import NETWORK
from llm_client.providers.transport.connections import Connections, PooledResponse, not_reached
from llm_client.providers.transport.inflate import Inflate, encoding_of
from llm_client.providers.transport.port import (
    Headers,
    HttpRequest,
    HttpResponse,
    TransportOptions,
    check_header,
    forget_closed_loops,
    make_ssl_context,
)
from llm_client.providers.transport.proxies import (
    exposed,
    is_read_by,
    load_modules,
    proxy_authorization,
    proxy_for,
)
from llm_client.turns import aside

if TYPE_CHECKING:
    import ssl
    from urllib.parse import SplitResult

    from httpcore2 import URL, Proxy

_MAX_TARGETS = 256


class HttpcoreTransport:
    """HTTP/1.1 with pooled connections, on httpcore2.

    Args:
        options: Proxy, certificates and limits.
    """

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._loops: dict[asyncio.AbstractEventLoop, _LoopConnections] = {}

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return when the response's headers have arrived."""
        NETWORK.check(request.url.partition("?")[0])
        loop = asyncio.get_running_loop()
        opened = self._loops.get(loop)
        if opened is None:
            # The first import takes some forty milliseconds, which the event loop must not wait for.
            await aside(load_modules, "httpcore2", "llm_client.host_names.backend")
            forget_closed_loops(self._loops)
            opened = self._loops.setdefault(loop, _LoopConnections(self._options))
        return await opened.send(request)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        opened = self._loops.pop(asyncio.get_running_loop(), None)
        if opened is not None:
            await opened.aclose()


class _LoopConnections:
    """What one event loop has opened: connections by origin and proxy."""

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._targets: dict[str, _Target] = {}
        self._connections: dict[tuple[str, str, str | None], Connections] = {}
        self._ssl_context: ssl.SSLContext | None = None

    async def send(self, request: HttpRequest) -> HttpResponse:
        from httpcore2 import Request

        target = self._targets.get(request.url) or await self._resolve(request.url)
        if request.is_private and target.is_exposed:
            raise exposed()
        headers = [(b"host", target.host)]
        headers += [
            (name.encode("ascii"), check_header(name, value)) for name, value in request.headers.items()
        ]
        headers.append((b"content-length", b"%d" % len(request.body)))
        timeouts = request.timeouts
        phases = {
            "connect": timeouts.connect,
            "read": timeouts.read,
            "write": timeouts.write,
            "pool": timeouts.pool,
        }
        with _mapped_errors():
            response = await target.connections.send(
                Request(
                    b"POST", target.url, headers=headers, content=request.body, extensions={"timeout": phases}
                ),
                wait=timeouts.pool,
            )
        return _HttpcoreResponse(response)

    async def aclose(self) -> None:
        connections, self._connections, self._targets = self._connections, {}, {}
        for to_one_origin in connections.values():
            await to_one_origin.aclose()

    async def _resolve(self, address: str) -> _Target:
        from httpcore2 import URL

        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"not an HTTP URL: {address!r}")
        url = URL(
            scheme=parts.scheme,
            host=_host_name(parts.hostname),
            port=parts.port,
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        )
        netloc = parts.netloc.rpartition("@")[2]
        proxy = proxy_for(parts, self._options)
        key = (parts.scheme, netloc, proxy.geturl() if proxy is not None else None)
        if parts.scheme == "https" and self._ssl_context is None:
            # Reads the certificate authorities from disk; plain HTTP does without.
            self._ssl_context = await aside(make_ssl_context, self._options)
        if key not in self._connections:
            self._connections[key] = self._open(url, proxy)
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        target = _Target(url, _host_name(netloc), self._connections[key], is_read_by(proxy, parts))
        self._targets[address] = target
        return target

    def _open(self, url: URL, proxy: SplitResult | None) -> Connections:
        from httpcore2 import AsyncConnectionPool

        from llm_client.host_names.backend import BACKEND

        # The pool only serves as the factory that knows proxies; it never holds a connection.
        factory = AsyncConnectionPool(
            ssl_context=self._ssl_context,
            proxy=None if proxy is None else _httpcore_proxy(proxy),
            keepalive_expiry=self._options.keepalive_seconds,
            network_backend=BACKEND,
        )
        return Connections(
            lambda: factory.create_connection(url.origin),
            max_connections=self._options.max_connections,
            max_idle=self._options.max_keepalive_connections,
        )


class _Target(NamedTuple):
    """A URL, taken apart once."""

    url: URL
    host: bytes
    connections: Connections
    is_exposed: bool
    """Whether a proxy on another machine reads what is sent."""


class _HttpcoreResponse:
    """A response of httpcore2 whose body has not been read."""

    __slots__ = ("_headers", "_pooled", "status")

    def __init__(self, pooled: PooledResponse) -> None:
        self._pooled = pooled
        self._headers: dict[str, str] | None = None
        self.status = pooled.response.status

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in self._pooled.response.headers
            }
        return self._headers

    async def chunks(self) -> AsyncGenerator[bytes]:
        encoding = self._encoding()
        stream: Any = self._pooled.response.stream
        with _mapped_errors():
            if encoding is None:
                async for chunk in stream:
                    yield chunk
                return
            inflate = Inflate(encoding)
            async for chunk in stream:
                for piece in inflate.feed(chunk):
                    yield piece

    async def aclose(self) -> None:
        await self._pooled.aclose()

    def _encoding(self) -> str | None:
        for name, value in self._pooled.response.headers:
            if len(name) == 16 and name.lower() == b"content-encoding":
                return encoding_of(value.decode("latin-1"))
        return None


def _host_name(host: str) -> bytes:
    return host.encode("ascii" if host.isascii() else "idna")


def _httpcore_proxy(proxy: SplitResult) -> Proxy:
    from httpcore2 import URL, Proxy

    url = URL(scheme=proxy.scheme, host=proxy.hostname or "", port=proxy.port, target="/")
    credentials = proxy_authorization(proxy)
    return Proxy(url, headers=None if credentials is None else {"Proxy-Authorization": credentials})


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Turn httpcore2's exceptions into ours; none of their texts can hold a header's value."""
    import httpcore2

    try:
        yield
    except httpcore2.ConnectTimeout:
        raise not_reached("no connection to the provider within the connect time-out") from None
    except httpcore2.PoolTimeout:
        raise not_reached("no free connection within the pool time-out") from None
    except httpcore2.TimeoutException as error:
        phase = "write" if isinstance(error, httpcore2.WriteTimeout) else "read"
        raise ProviderTimeout(f"the provider was silent for longer than the {phase} time-out") from None
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError, httpcore2.ProxyError) as error:
        failed = ConnectionFailed(f"the connection failed: {str(error) or type(error).__name__}")
        failed.has_left = not isinstance(error, httpcore2.ConnectError | httpcore2.ProxyError)
        raise failed from error
    except (httpcore2.LocalProtocolError, httpcore2.UnsupportedProtocol):
        # h11 quotes the offending header value, which may be a key.
        raise ConfigurationError(
            "a header value or the URL holds characters that HTTP does not allow"
        ) from None
