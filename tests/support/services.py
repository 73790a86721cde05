"""A real Postgres and a real Redis for tests that ask for one.

One server of a kind serves a whole run, however many workers it has; every test gets a database of its own. Servers use
a free port, a random password and temporary data, and are gone when the run is over, also when it was killed.
"""

import fcntl
import json
import os
import secrets
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from support.server_guard import START_SECONDS, STOP_SECONDS, Server

TESTS = Path(__file__).parents[1]
REDIS_DATABASES = 64
WAIT_SECONDS = START_SECONDS + 240  # a first use may have to download the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A running Postgres server."""

    server: Server

    def dsn(self, database: str = "postgres") -> str:
        """Return the address of one database, as drivers take it."""
        return (
            f"postgresql://postgres:{self.server.password}@{self.server.host}:{self.server.port}/{database}"
        )

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run one SQL statement through `psql` and return what it prints, without a driver."""
        command = [
            f"{self.server.programs}/psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ]
        connection = {
            "PGHOST": self.server.socket_folder if os.geteuid() == 0 else self.server.host,
            "PGPORT": str(self.server.port),
            "PGUSER": "postgres",
            "PGPASSWORD": self.server.password,
            "PGDATABASE": database,
        }
        done = subprocess.run(
            command, env=os.environ | connection, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """A running Redis server."""

    server: Server

    def url(self, database: int = 0) -> str:
        """Return the address of one database, as clients take it."""
        return f"redis://:{self.server.password}@{self.server.host}:{self.server.port}/{database}"

    def execute(self, *commands: str, database: int = 0) -> list[str]:
        """Run inline commands with one-line answers, and return these, without a client library."""
        answers = []
        with socket.create_connection((self.server.host, self.server.port), timeout=10) as connection:
            stream = connection.makefile("rwb")
            for command in (f"AUTH {self.server.password}", f"SELECT {database}", *commands):
                stream.write(command.encode() + b"\r\n")
                stream.flush()
                answer = stream.readline().decode().strip()
                if answer.startswith("-"):
                    raise RuntimeError(f"redis refused: {answer}")
                answers.append(answer)
            stream.close()
        return answers[2:]


@contextmanager
def shared_server(kind: str, folder: Path) -> Iterator[Server]:
    """Use the run's server of a kind, which starts with its first user and stops after its last.

    Args:
        kind: `postgres` or `redis`.
        folder: Where this run's users of the server meet; the same for all of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users_path = folder / "users"
    users_path.touch()
    with users_path.open("r+") as users:
        with (folder / "start").open("w") as start:
            fcntl.lockf(start, fcntl.LOCK_EX)  # one starter at a time
            _join(users, folder)
            if not (folder / "state.json").exists():
                _start_guard(kind, folder)
            server = _server(folder)
        try:
            yield server
        finally:
            fcntl.lockf(users, fcntl.LOCK_UN)
            _wait_for_the_end(users, server)


def _join(users: IO[str], folder: Path) -> None:
    """Hold a read lock; while a guard is stopping its server, wait for it to be done."""
    fcntl.lockf(users, fcntl.LOCK_SH)
    state = folder / "state.json"
    if state.exists() and "error" in json.loads(state.read_text()):
        state.unlink()


def _start_guard(kind: str, folder: Path) -> None:
    with (folder / "guard.log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "support.server_guard", kind, folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # an interrupt on the terminal is for the tests
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            check=True,
        )


def _server(folder: Path) -> Server:
    state = folder / "state.json"
    deadline = time.monotonic() + WAIT_SECONDS
    while not state.exists():
        if time.monotonic() > deadline:
            pytest.fail(f"the server did not start: {(folder / 'guard.log').read_text()[-2000:]}")
        time.sleep(0.02)
    content = json.loads(state.read_text())
    if "error" in content:
        pytest.fail(content["error"])
    return Server(**content["server"])


def _wait_for_the_end(users: IO[str], server: Server) -> None:
    """Wait until the server is gone, unless somebody else still uses it: a run leaves no process behind."""
    deadline = time.monotonic() + STOP_SECONDS + 5
    while time.monotonic() < deadline and not _has_reader(users) and Path(server.data).exists():
        time.sleep(0.01)


def _has_reader(users: IO[str]) -> bool:
    question = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    return bool(struct.unpack("hhqqi", fcntl.fcntl(users, fcntl.F_GETLK, question))[0] == fcntl.F_RDLCK)


def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "servers"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The run's Postgres server."""
    with shared_server("postgres", run_folder(tmp_path_factory) / "postgres") as server:
        yield Postgres(server=server)


@pytest.fixture
def postgres_dsn(postgres: Postgres) -> Iterator[str]:
    """The address of an empty Postgres database that this test alone uses."""
    name = f"test_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE DATABASE {name}")
    yield postgres.dsn(name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """The run's Redis server."""
    with shared_server("redis", run_folder(tmp_path_factory) / "redis") as server:
        yield Redis(server=server)


@pytest.fixture
def redis_url(redis_server: Redis, worker_id: str) -> str:
    """The address of an empty Redis database that no other worker uses."""
    worker = int(worker_id.removeprefix("gw")) + 1 if worker_id.startswith("gw") else 0
    database = worker % REDIS_DATABASES
    redis_server.execute("FLUSHDB", database=database)
    return redis_server.url(database)
