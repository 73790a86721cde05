"""The faster transport, on aiohttp: install the extra `aiohttp` and pass `transport=AiohttpTransport()`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llm_client.errors import (
    ConfigurationError,
    ConnectionFailed,
    InvalidResponse,
    MissingDependency,
    ProviderTimeout,
)
from llm_client.network import NETWORK
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
    from aiohttp import ClientResponse, ClientSession


_ONE_GO = 1024 * 1024


class AiohttpTransport:
    """HTTP/1.1 with pooled connections, on aiohttp.

    Args:
        options: Proxy, certificates and limits.

    Raises:
        MissingDependency: aiohttp is not installed.
    """

    def __init__(self, options: TransportOptions | None = None) -> None:
        if find_spec("aiohttp") is None:
            raise MissingDependency("aiohttp", "aiohttp")
        self._options = options or TransportOptions()
        self._sessions: dict[asyncio.AbstractEventLoop, ClientSession] = {}

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return when the response's headers have arrived."""
        NETWORK.check(request.url.partition("?")[0])
        session = self._sessions.get(asyncio.get_running_loop()) or await self._open_session()
        from aiohttp import ClientTimeout
        from yarl import URL

        timeouts = request.timeouts
        headers, proxy, proxy_headers = self._route(request)
        with _mapped_errors():
            response = await session.post(
                URL(request.url, encoded=True),
                # aiohttp writes bytes in one go, which would hold the loop for as long as a large body takes.
                data=request.body if len(request.body) < _ONE_GO else BytesIO(request.body),
                headers=headers,
                allow_redirects=False,
                proxy=proxy,
                proxy_headers=proxy_headers,
                timeout=ClientTimeout(
                    total=None, connect=timeouts.pool, sock_connect=timeouts.connect, sock_read=timeouts.read
                ),
            )
        return _AiohttpResponse(response)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    async def _open_session(self) -> ClientSession:
        loop = asyncio.get_running_loop()
        # Importing aiohttp and reading certificates are not for the event loop to wait for.
        await aside(load_modules, "aiohttp", "llm_client.host_names.resolver")
        options = self._options
        context = await aside(make_ssl_context, options)
        forget_closed_loops(self._sessions)
        if loop not in self._sessions:  # another task may have been faster
            from aiohttp import ClientSession, DummyCookieJar, TCPConnector

            from llm_client.host_names.resolver import OwnResolver

            connector = TCPConnector(
                limit=options.max_connections,
                keepalive_timeout=options.keepalive_seconds,
                ssl=context,
                resolver=OwnResolver(),
            )
            self._sessions[loop] = ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,  # it makes of one small piece as much as there is in it
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
            )
        return self._sessions[loop]

    def _route(self, request: HttpRequest) -> tuple[Headers, str | None, Headers | None]:
        """Return the headers of a request, the proxy it goes through, and what only the proxy reads."""
        for name, value in request.headers.items():
            check_header(name, value)
        url = urlsplit(request.url)
        proxy = proxy_for(url, self._options)
        if request.is_private and is_read_by(proxy, url):
            raise exposed()
        if proxy is None:
            return request.headers, None, None
        address = proxy._replace(netloc=proxy.netloc.rpartition("@")[2]).geturl()
        credentials = proxy_authorization(proxy)
        if credentials is None:
            return request.headers, address, None
        for_proxy = {"Proxy-Authorization": credentials}
        if url.scheme == "https":
            return request.headers, address, for_proxy
        return {**request.headers, **for_proxy}, address, None  # the proxy itself reads a plain request


class _AiohttpResponse:
    """A response of aiohttp whose body has not been read."""

    __slots__ = ("_headers", "_response", "status")

    def __init__(self, response: ClientResponse) -> None:
        self._response = response
        self._headers: dict[str, str] | None = None
        self.status = response.status

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = {name.lower(): value for name, value in self._response.headers.items()}
        return self._headers

    async def chunks(self) -> AsyncGenerator[bytes]:
        encoding = encoding_of(self.headers.get("content-encoding"))
        inflate = None if encoding is None else Inflate(encoding)
        with _mapped_errors():
            async for chunk in self._response.content.iter_any():
                for piece in (chunk,) if inflate is None else inflate.feed(chunk):
                    yield piece

    async def aclose(self) -> None:
        # A body that was read to its end has released the connection already; any other closes it.
        self._response.close()


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Turn aiohttp's exceptions into ours."""
    import aiohttp

    try:
        yield
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise ConfigurationError(f"not an HTTP URL: {error}") from None
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        late = ProviderTimeout(f"the provider did not answer in time: {str(error) or type(error).__name__}")
        late.has_left = not isinstance(error, aiohttp.ConnectionTimeoutError)
        raise late from None
    except aiohttp.ContentTypeError as error:
        raise InvalidResponse(f"the answer could not be read: {error}") from error
    except aiohttp.ClientPayloadError as error:
        raise ConnectionFailed(f"the answer was cut off: {error}") from error
    except (aiohttp.ClientError, OSError) as error:
        failed = ConnectionFailed(f"the connection failed: {str(error) or type(error).__name__}")
        failed.has_left = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError)
        raise failed from error
