"""`agent-runtime doctor` tries what a worker would do, takes it back, and says what is missing."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent_runtime import Budget, Ledger
from agent_runtime.adapters.procrastinate import CONNECTIONS
from agent_runtime.kernel.stores import StorageView
from agent_runtime.storage.examined_server import QUEUE_CONNECTIONS
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from llm_client.background import begin, ended
from support.cli import CommandLine, Ended, bound_by_permissions
from support.services import Postgres

PASSWORD = secrets.token_hex(8)


def problems(ended: Ended) -> list[str]:
    assert "Traceback" not in ended.err
    found = re.findall(r"^problem  (\S.*)$", ended.out, re.MULTILINE)
    assert ended.code == (1 if found else 0), ended.out + ended.err
    return found


async def made(path: Path) -> None:
    storage = SQLiteStorage(path)
    await storage.open()
    await storage.aclose()


async def test_a_file_that_can_be_written_is_and_stays_as_it_was(cli: CommandLine) -> None:
    await made(cli.folder / "runs.db")
    before = (cli.folder / "runs.db").read_bytes()
    ended = await cli.run("doctor", "--db", "runs.db")
    assert problems(ended) == []
    assert "a row was written and taken back" in ended.out
    assert (cli.folder / "runs.db").read_bytes() == before
    assert "no process executes" in ended.out


@pytest.mark.parametrize("what", ["the file", "the folder"])
async def test_a_file_that_cannot_be_written_is_a_problem(cli: CommandLine, what: str) -> None:
    folder = cli.folder / "kept"
    folder.mkdir()
    await made(folder / "runs.db")
    (folder / "runs.db").chmod(0o444)
    if what == "the folder":
        folder.chmod(0o555)
    ended = await cli.run("doctor", "--db", "kept/runs.db", **bound_by_permissions())
    found = problems(ended)
    assert any("cannot be written" in line and "runs.db" in line for line in found), ended.out
    folder.chmod(0o755)


@pytest.mark.parametrize("kind", ["missing", "empty"])
async def test_no_database_is_made(cli: CommandLine, kind: str) -> None:
    if kind == "empty":
        (cli.folder / "runs.db").touch()
    ended = await cli.run("doctor", "--db", "runs.db")
    assert problems(ended) == []
    assert "is made by the first run" in ended.out
    files = {path.name: path.stat().st_size for path in cli.folder.glob("runs.db*")}
    assert files == ({"runs.db": 0} if kind == "empty" else {})


async def test_budgets_in_a_zone_that_no_file_knows_are_named(cli: CommandLine) -> None:
    storage = SQLiteStorage(cli.folder / "runs.db")
    await storage.open()
    ledger = Ledger(StorageView(storage))
    await ledger.save_budget(Budget(scope_id="acme", max_cost_daily=1, timezone="Europe/Berlin"))
    await storage.aclose()
    assert problems(await cli.run("doctor", "--db", "runs.db")) == []
    hidden = "import sys, zoneinfo; sys.modules['tzdata'] = None; zoneinfo.reset_tzpath(())\n"
    (cli.folder / "hidden").mkdir()
    (cli.folder / "hidden" / "sitecustomize.py").write_text(hidden)
    cli.environment["PYTHONPATH"] = str(cli.folder / "hidden")
    (found,) = problems(await cli.run("doctor", "--db", "runs.db"))
    assert found.startswith("time zones")
    assert "'Europe/Berlin' is not known here" in found
    assert "acme" in found


@pytest.fixture
def role(postgres: Postgres, database: str) -> Iterator[tuple[str, str]]:
    """A role of its own with all rights, and the database's address as that role."""
    name, at = f"role_{secrets.token_hex(4)}", database.rpartition("/")[2]
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    postgres.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}", at)
    yield name, re.sub(r"//[^@]*@", f"//{name}:{PASSWORD}@", database)
    postgres.execute(f"DROP OWNED BY {name}", at)
    postgres.execute(f"DROP ROLE {name}")


async def examined(cli: CommandLine, dsn: str) -> list[str]:
    cli.environment["AGENT_RUNTIME_DATABASE_URL"] = dsn
    ended = await cli.run("doctor")
    assert PASSWORD not in ended.out + ended.err
    return problems(ended)


async def test_a_server_that_has_all_is_written_and_stays_as_it_was(
    cli: CommandLine, postgres: Postgres, database: str
) -> None:
    assert await examined(cli, database) == []
    at = database.rpartition("/")[2]
    assert await asyncio.to_thread(postgres.execute, "SELECT count(*) FROM runtime_workers", at) == "0"


LACKING = {
    "a role that may only read": (
        "REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public FROM {role}",
        ("a row cannot be written: ", "permission denied", "the role lacks rights on "),
    ),
    "a role that lacks one right": (
        "REVOKE DELETE ON runtime_signals FROM {role}",
        ("runtime_signals (delete)",),
    ),
    "a read-only role": (
        "ALTER ROLE {role} SET default_transaction_read_only = on",
        ("default_transaction_read_only is on", "a row cannot be written"),
    ),
    "a role with few connections": (
        "ALTER ROLE {role} CONNECTION LIMIT 5",
        ("room for 5 connections", "up to 14"),
    ),
    "no queue": ("DROP TABLE procrastinate_jobs CASCADE", ("tables of the queue are missing", "migrate")),
}


@pytest.mark.parametrize("lack", LACKING)
async def test_what_a_server_lacks_is_a_problem(
    cli: CommandLine, postgres: Postgres, database: str, role: tuple[str, str], lack: str
) -> None:
    name, dsn = role
    assert await examined(cli, dsn) == []
    statement, words = LACKING[lack]
    await asyncio.to_thread(postgres.execute, statement.format(role=name), database.rpartition("/")[2])
    found = "\n".join(await examined(cli, dsn))
    for word in words:
        assert word in found, found


@asynccontextmanager
async def pooler(dsn: str) -> AsyncIterator[str]:
    """Stand between clients and a server as a pooler in transaction mode does: what is no answer to anybody reaches nobody."""
    server = urlsplit(dsn)

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
                if head[:1] != b"A":  # a NotificationResponse
                    writer.write(head + body)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, upstream = await asyncio.open_connection(server.hostname, server.port)
        answering = begin(back(answers, writer))
        while data := await reader.read(65536):
            upstream.write(data)
        await ended(answering)
        for stream in (writer, upstream):
            stream.close()
            with suppress(ConnectionError):
                await stream.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        user = server.netloc.rpartition("@")[0]
        yield server._replace(netloc=f"{user}@127.0.0.1:{port}", query="sslmode=disable").geturl()


async def test_a_pooler_that_delivers_no_notifications_is_a_problem(cli: CommandLine, database: str) -> None:
    async with pooler(database) as dsn:
        (found,) = await examined(cli, dsn)
    assert "a pooler in transaction mode breaks LISTEN" in found


def test_a_worker_uses_as_many_connections_as_it_is_said_to() -> None:
    assert QUEUE_CONNECTIONS == CONNECTIONS


async def test_an_encoding_that_cannot_hold_every_text_is_a_problem(
    cli: CommandLine, postgres: Postgres
) -> None:
    name = f"test_{secrets.token_hex(6)}"
    await asyncio.to_thread(
        postgres.execute, f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    )
    try:
        found = "\n".join(await examined(cli, postgres.dsn(name)))
        assert "encoding is LATIN1" in found
        assert "agent-runtime migrate" in found, "that it has no tables is said as well"
    finally:
        await asyncio.to_thread(postgres.execute, f"DROP DATABASE {name} WITH (FORCE)")


async def test_tables_that_are_missing_are_a_problem_and_not_made(
    cli: CommandLine, postgres: Postgres
) -> None:
    name = f"test_{secrets.token_hex(6)}"
    await asyncio.to_thread(postgres.execute, f"CREATE DATABASE {name}")
    try:
        assert "no tables of agent-runtime yet" in "\n".join(await examined(cli, postgres.dsn(name)))
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert await asyncio.to_thread(postgres.execute, tables, name) == "0"
        storage = PostgresStorage(postgres.dsn(name))
        await storage.setup()
        await storage.aclose()
        assert await examined(cli, postgres.dsn(name)) == []
    finally:
        await asyncio.to_thread(postgres.execute, f"DROP DATABASE {name} WITH (FORCE)")
