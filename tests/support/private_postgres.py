"""A Postgres server of one test, which may be killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.server_guard import START_SECONDS, Server, postgres_server, unprivileged_user
from support.services import Postgres


class PrivatePostgres:
    """A server that can be crashed.

    Args:
        server: It, running.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pid = server.pid
        self._process: subprocess.Popen[bytes] | None = None
        self.postgres = Postgres(server=server)

    def crash(self) -> None:
        """Shut the server down immediately, as `pg_ctl stop -m immediate`: without a checkpoint, cutting everybody."""
        os.kill(self._pid, signal.SIGQUIT)
        if self._process is not None:
            self._process.wait(START_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while (Path(self._server.socket_folder) / "postmaster.pid").exists():
            assert time.monotonic() < deadline, "the server does not stop"
            time.sleep(0.01)

    def start(self) -> None:
        """Start the server again; it recovers from its log."""
        owner = unprivileged_user()
        identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
        data = self._server.socket_folder
        command = [f"{self._server.programs}/postgres", "-D", data, f"--port={self._server.port}"]
        command += [
            "--listen_addresses=127.0.0.1",
            f"--unix_socket_directories={data}",
            "--max_connections=200",
        ]
        with (Path(self._server.data) / "log").open("ab") as log:
            self._process = subprocess.Popen(  # type: ignore[call-overload]  # user and group come as a mapping
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, **identity
            )
        self._pid = self._process.pid
        status = Path(data) / "postmaster.pid"
        deadline = time.monotonic() + START_SECONDS
        while not (status.exists() and status.read_text().rstrip().endswith("ready")):
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop a server that was started again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_SECONDS)

    async def restart(self) -> None:
        """Crash it and start it again."""
        await asyncio.to_thread(self.crash)
        await asyncio.to_thread(self.start)


@contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """Run a server of one's own, in a folder that the user it runs as may enter."""
    with (
        tempfile.TemporaryDirectory(prefix="agent-runtime-postgres-", ignore_cleanup_errors=True) as folder,
        postgres_server(Path(folder)) as server,
    ):
        private = PrivatePostgres(server)
        try:
            yield private
        finally:
            private.stop()
