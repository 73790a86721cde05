"""Redis for one test: clients that are closed, names that nobody else uses, and a server that may be killed."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from redis.asyncio import Redis as Client
from redis.asyncio import from_url

from support.server_guard import START_SECONDS, free_port
from support.services import Redis


def unique(name: str) -> str:
    """Return a name for channels or keys: numbered databases of one server share their channels."""
    return f"{name}:{secrets.token_hex(6)}"


@asynccontextmanager
async def client_of(url: str, **options: object) -> AsyncIterator[Client]:
    """Open a client for one test."""
    client: Client = from_url(url, **options)
    try:
        yield client
    finally:
        await client.aclose()


class PrivateRedis:
    """A server that may be killed, paused and started again; it comes back empty, on the same port.

    Args:
        program: `redis-server`.
        folder: For its log.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *options, "--dir", self._folder],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while b"PONG" not in self._ask(b"PING\r\n"):
            assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.01)

    def _ask(self, command: bytes) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(command)
                return connection.recv(100)
        except OSError:
            return b""

    def kill(self) -> None:
        """Kill it with SIGKILL; what it held is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop its process: connections are still accepted, nothing is answered."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def flush(self) -> None:
        """Delete everything it holds."""
        assert b"OK" in self._ask(b"FLUSHALL\r\n")

    def cut(self, kind: str) -> None:
        """Close the connections of all clients of a kind: `normal` or `pubsub`."""
        assert self._ask(f"CLIENT KILL TYPE {kind}\r\n".encode()).startswith(b":")

    async def restart(self) -> None:
        """Kill it and start it again, empty."""
        await asyncio.to_thread(self.kill)
        await asyncio.to_thread(self.start)


@contextmanager
def private_redis(shared: Redis) -> Iterator[PrivateRedis]:
    """Run a server of one's own, with the program of the shared one."""
    with tempfile.TemporaryDirectory(prefix="agent-runtime-redis-", ignore_cleanup_errors=True) as folder:
        programs = Path(shared.server.programs)
        program = next(
            path for path in (programs / "redis-server", programs / "valkey-server") if path.exists()
        )
        server = PrivateRedis(program, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.resume()
            server.kill()
