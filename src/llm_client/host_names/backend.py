"""Connections of httpcore2 to names that are looked up beside everything else. Imported only with httpcore2."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import httpcore2
from httpcore2 import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from llm_client.host_names.look_ups import Address, addresses_of, first_of

if TYPE_CHECKING:
    import httpx2
    from httpcore2 import SOCKET_OPTION


class NamedBackend(AsyncNetworkBackend):
    """Connects as httpcore2 does by itself, to addresses."""

    def __init__(self) -> None:
        self._plain = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to the first address of a name that answers, in so many seconds altogether."""

        async def connect(address: Address) -> AsyncNetworkStream:
            return await self._plain.connect_tcp(
                address.host, port, local_address=local_address, socket_options=socket_options
            )

        try:
            async with asyncio.timeout(timeout):
                return await first_of(await addresses_of(host), connect, AsyncNetworkStream.aclose)
        except TimeoutError:
            raise httpcore2.ConnectTimeout from None
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to a socket of this machine."""
        return await self._plain.connect_unix_socket(path, timeout, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._plain.sleep(seconds)


BACKEND: Final = NamedBackend()


def look_up_aside(client: httpx2.AsyncClient) -> None:
    """Have a client of httpx2, which takes no backend, look names up so as well."""
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001 -- as above
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore2.AsyncConnectionPool):
            pool._network_backend = BACKEND  # noqa: SLF001
