"""The process that serves: uvicorn, told when to end by whoever started it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from agent_runtime.errors import ConfigurationError
from agent_runtime.server.connections import Connection
from agent_runtime.server.parts import Service
from agent_runtime.server.web_sockets import WebSocketConnection
from llm_client.background import begin, leave

DRAIN_SECONDS: Final = 10
"""How long requests may take to end once the process is told to."""
MAX_HEADER_BYTES: Final = 32 * 1024
UNSENT_BYTES: Final = 128 * 1024
"""What the kernel takes of an answer before it can send it."""
BACKLOG: Final = 1024


class _Server(uvicorn.Server):
    """Uvicorn that leaves signals to its caller, and says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serves = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        if self.started:
            self.serves.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def serving(
    app: FastAPI, *, host: str = "127.0.0.1", port: int = 0, trusted_proxies: Sequence[str] = ()
) -> AsyncIterator[str]:
    """Serve inside, and give the address. At the end streams end, and what was asked is answered first, if that takes no longer than some seconds.

    Args:
        app: What `create_app` made.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        trusted_proxies: Addresses whose word counts on where a request came from.

    Raises:
        ConfigurationError: Nobody can listen there.
    """
    listening = _listen(host, port)
    service: Service = app.state.service
    connection: Any = partial(Connection, stopping=service.stopping)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        http=connection,  # on h11, which bounds what stands before a body
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ws=WebSocketConnection,
        ws_max_size=service.config.max_body_bytes,
        ws_ping_interval=service.config.heartbeat,
        ws_per_message_deflate=False,  # what is sent is short, and unpacking is the reader's to pay for
        lifespan="off",
        log_config=None,
    )
    server = _Server(config)
    try:
        async with app.router.lifespan_context(app):  # which tells what has failed, where uvicorn would exit
            running, serves = begin(server.serve(sockets=[listening])), begin(server.serves.wait())
            try:
                await asyncio.wait({running, serves}, return_when=asyncio.FIRST_COMPLETED)
                shown = f"[{host}]" if ":" in host else host
                yield f"http://{shown}:{listening.getsockname()[1]}"
            finally:
                leave(serves)
                service.stopping.set()
                server.should_exit = True
                await asyncio.shield(running)
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, or asyncio leaves Nagle's algorithm on, and each answer's body waits forty milliseconds for its head to be acknowledged.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(
            socket, "TCP_NOTSENT_LOWAT"
        ):  # else the kernel takes megabytes for who reads nothing, and says so in leaps
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"nobody can listen on {host} port {port}: {error.strerror or error}"
        ) from error
    return listening
