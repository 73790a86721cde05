"""Names of hosts for aiohttp, looked up beside everything else. Imported only with aiohttp."""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from llm_client.host_names.look_ups import addresses_of


class OwnResolver(AbstractResolver):
    """Looks names up in threads of their own."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return where a name leads."""
        return [
            ResolveResult(
                hostname=host,
                host=address.host,
                port=port,
                family=address.family,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await addresses_of(host, family)
        ]

    async def close(self) -> None:
        """Leave the threads to what they wait for."""
