"""A Postgres server of one test, which may be killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.server_guard import START_SECONDS, Server, postgres_server, unprivileged_user
from support.services import Postgres

GRACE_SECONDS = 20
"""After five, a server kills its own processes; a machine that stands still may take longer."""


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
        """Shut the server down immediately, as `pg_ctl stop -m immediate`: without a checkpoint, cutting everybody.

        A server that has not ended after `GRACE_SECONDS` is killed with all of its processes, as a machine would end it.
        """
        os.kill(self._pid, signal.SIGQUIT)
        status = Path(self._server.socket_folder) / "postmaster.pid"
        deadline = time.monotonic() + GRACE_SECONDS
        while status.exists():
            if time.monotonic() > deadline:
                self._kill()
                break
            time.sleep(0.01)
        if self._process is not None:
            self._process.wait(START_SECONDS)

    def _kill(self) -> None:
        """End the server's processes; the first one stands still meanwhile, so that it starts no other."""
        os.kill(self._pid, signal.SIGSTOP)
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        for pid in (*children, self._pid):
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if self._process is None:
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)  # else a new server would take it for alive
        deadline = time.monotonic() + START_SECONDS
        while any(_lives(pid) for pid in children):  # each holds the shared memory until it is gone
            assert time.monotonic() < deadline, "the server's processes do not end"
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
        while not _is_ready(status, self._pid):
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


def _is_ready(status: Path, pid: int) -> bool:
    """Return whether a server says that it is ready, and not one whose file is still there."""
    lines = status.read_text().split() if status.exists() else []
    return lines[:1] == [str(pid)] and lines[-1] == "ready"


def _lives(pid: str) -> bool:
    """Return whether a process runs; of one that nobody has asked after yet only the name is left."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


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
