"""A Postgres server of the benchmark's own, and what it does: processor time, transactions, log, connections."""

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))  # the tests know where servers come from

from support.server_guard import postgres_server  # noqa: E402
from support.services import Postgres  # noqa: E402

ON_DISK = "/var/tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the server has done up to now."""

    cpu_seconds: float
    transactions: int
    log_bytes: int
    connections: int

    def since(self, before: "Load") -> "Load":
        """Return what was done in between, and the connections there are now."""
        return Load(
            cpu_seconds=self.cpu_seconds - before.cpu_seconds,
            transactions=self.transactions - before.transactions,
            log_bytes=self.log_bytes - before.log_bytes,
            connections=self.connections,
        )


class BenchServer:
    """A running server with its defaults: `synchronous_commit`, `fsync` and `full_page_writes` are on.

    Args:
        postgres: It.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @property
    def process(self) -> int:
        """Its first process, the parent of all others."""
        return self._postgres.server.pid

    def version(self) -> str:
        """Return its version."""
        return self._postgres.execute("SHOW server_version").split()[0]

    @contextmanager
    def database(self) -> Iterator[Mapping[str, str]]:
        """Make an empty database for one program; say in `DATABASE_URL` where it is, and drop it in the end."""
        name = f"bench_{secrets.token_hex(6)}"
        self._postgres.execute(f"CREATE DATABASE {name}")
        self._postgres.execute("CHECKPOINT")  # one program's dirty pages are not another's cost
        try:
            yield {"DATABASE_URL": self._postgres.dsn(name)}
        finally:
            self._postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def bench_server() -> Iterator[BenchServer]:
    """Run a server on new data."""
    with (
        tempfile.TemporaryDirectory(
            prefix="agent-runtime-bench-", dir=ON_DISK, ignore_cleanup_errors=True
        ) as folder,
        postgres_server(Path(folder)) as server,
    ):
        yield BenchServer(Postgres(server=server))


async def load(connection: object, postmaster: int) -> Load:
    """Read what the server has done; `connection` is one to the database that is measured."""
    row = await connection.fetchrow(  # type: ignore[attr-defined]  # asyncpg's
        "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()), "
        "pg_current_wal_lsn() - '0/0', "
        "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid())"
    )
    return Load(
        cpu_seconds=processor_seconds(postmaster, *_children(postmaster)),
        transactions=row[0],
        log_bytes=int(row[1]),
        connections=row[2],
    )


def processor_seconds(*processes: int) -> float:
    """Return the processor time that processes have used, with that of their ended children."""
    ticks = 0
    for process in processes:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(parent: int) -> list[int]:
    return [
        int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _parent(path) == parent
    ]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
