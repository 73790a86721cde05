"""A customer asks to be forgotten: afterwards nothing that was said of them is left in any file of the database, and the audit verifies."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import click
import pytest
from click.testing import CliRunner, Result

from agent_runtime import (
    ActionSpec,
    Budget,
    ExecutionRequest,
    InvalidTransition,
    JobFilter,
    OperatorContext,
    RuntimeKernel,
)
from agent_runtime.cli.commands.audit import audit
from agent_runtime.cli.commands.erase import erase
from agent_runtime.errors import ExecutorBusy, StorageError
from agent_runtime.observability import JournalLogs, update_logs
from agent_runtime.storage.sqlite import SQLiteStorage
from support.agents import scripted
from support.kernels import BOUND, QUICK, opened, pending, until

pytestmark = pytest.mark.timeout(BOUND * 4)

MARK = "Zq7-forget-me"
LONG = MARK * 3000
"""Longer than what Postgres keeps in the row itself."""
PERSON, SESSION = f"{MARK}-person", f"{MARK}-session"


async def child(context: OperatorContext, given: Any) -> str:
    await context.emit("custom.seen", {"what": given})
    return f"{given} answered"


class Storyteller:
    """Says the mark wherever an operator can."""

    name = "story"

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    async def execute(self, given: Any, context: OperatorContext) -> Any:
        said = await self.agent.run(f"{MARK} asks")
        await context.step(str, LONG, name=f"{MARK} step")
        await context.step(str, MARK, key=f"{MARK} key", effect="read")
        await context.emit("custom.noted", {"note": MARK, "inner": {MARK: [MARK]}})
        await context.progress(0.5, MARK)
        asked = await context.action(ActionSpec(type="input", payload={"title": MARK, "text": LONG}))
        mail = await context.receive()
        answered = await context.child("child", MARK)
        if given["fails"]:
            raise ValueError(f"{MARK} failed")
        return {"asked": asked.resolution, "mail": mail.body(), "child": str(answered), "said": said.content}


async def told(kernel: RuntimeKernel, number: int) -> str:
    """Play the story once; return its job."""
    request = ExecutionRequest(
        operator="story",
        input={"ask": LONG, "fails": number == 1},
        principal_id=PERSON,
        session_id=SESSION,
        run_id=f"{MARK}-run",
        identity=f"{MARK}-inbox-{number}",
        idempotency_key=f"{MARK}-{number}",
        metadata={"of": MARK},
        tags={"of": MARK},
    )
    handle = await kernel.execute(request)
    question = await pending(handle)
    await handle.resolve_action(question.action_id, {"value": MARK, "reason": MARK}, resolved_by=MARK)
    await kernel.send(f"{MARK}-inbox-{number}", {"mail": LONG}, dedupe_key=f"{MARK}-mail-{number}")
    async with asyncio.timeout(BOUND):
        await kernel.wait_for_end(handle.job_id)
    return handle.job_id


@asynccontextmanager
async def telling(where: str, folder: Path) -> AsyncIterator[RuntimeKernel]:
    options = replace(QUICK, audit_trail=True)
    agent, _ = scripted(*[f"{MARK} said {LONG}"] * 4)
    async with opened(where, folder) as storage:
        kernel = RuntimeKernel(
            storage=storage,
            operators={"story": Storyteller(agent), "child": child},
            options=options,
            dispatch="local",
        )
        async with kernel:
            yield kernel


async def fill(where: str, folder: Path) -> None:
    """Make a database with what is to be forgotten, and a job of somebody else."""
    async with telling(where, folder) as kernel:
        await kernel.ledger.save_budget(
            Budget(principal_id=PERSON, scope_id="default", max_tokens_total=10**9)
        )
        await kernel.ledger.save_budget(Budget(principal_id="*", max_tokens_total=10**9))
        for number in range(2):
            await told(kernel, number)
        await kernel.send(PERSON, {"waits": LONG})
        await (await kernel.execute(ExecutionRequest(operator="child", input="other"))).result()

        async def is_followed() -> bool:
            heads = await kernel.audit.heads()
            return bool(heads) and heads[0].number == 5

        await until(is_followed)
        logs = JournalLogs(kernel.storage)
        await update_logs(kernel.storage, logs)
        await logs.aclose()


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), standalone_mode=False)


async def command(what: click.Command, *arguments: str) -> Result:
    return await asyncio.to_thread(run, what, *arguments)


def left_in_files(path: Path) -> list[str]:
    """Return the files of a SQLite database in which the mark is still found."""
    return [one.name for one in path.parent.glob(f"{path.name}*") if MARK.encode() in one.read_bytes()]


async def test_nothing_is_left_in_a_sqlite_file_and_its_log(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await fill("sqlite", tmp_path)
    with closing(sqlite3.connect(path)) as db:  # what is deleted stays in free pages
        db.execute("CREATE TABLE scratch (x)")
        db.execute("INSERT INTO scratch VALUES (?)", (LONG,))
        db.execute("DROP TABLE scratch")
        db.commit()
    assert left_in_files(path)

    done = await command(erase, "--principal", PERSON, "--db", str(path), "--yes", "--reason", "asked to")

    assert done.exception is None, done.exception
    assert "4 jobs erased" in done.output
    assert left_in_files(path) == []
    verified = await command(audit, "verify", "--db", str(path))
    assert verified.return_value == 0, verified.output
    assert "4 jobs erased: intact" in verified.output
    with closing(sqlite3.connect(path)) as db:
        spent = db.execute("SELECT sum(input_tokens + output_tokens) FROM runtime_ledger").fetchone()[0]
        names = {name for (name,) in db.execute("SELECT DISTINCT principal_id FROM runtime_ledger")}
        counted = db.execute(
            "SELECT sum(settled_tokens) FROM runtime_budget_counters WHERE budget_id LIKE '%erased-%'"
        ).fetchone()[0]
    assert spent > 0
    assert len(names) == 1
    assert str(names).startswith("{'erased-")
    assert counted == 2 * spent  # a budget of the person's, and one that everybody has


async def test_nothing_is_left_in_the_files_of_postgres(database: str, tmp_path: Path) -> None:
    await fill(database, tmp_path)
    assert await left_in_tables(database)

    done = await command(erase, "--principal", PERSON, "--db", database, "--yes", "--full")

    assert done.exception is None, done.exception
    assert "4 jobs erased" in done.output
    assert await left_in_tables(database) == []
    verified = await command(audit, "verify", "--db", database)
    assert verified.return_value == 0, verified.output


async def left_in_tables(database: str) -> list[str]:
    """Return the tables, indexes and long values of ours in whose files the mark is found."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("CHECKPOINT")
        found = await connection.fetch(
            r"""
            SELECT c.relname FROM pg_class c LEFT JOIN pg_class t ON t.reltoastrelid = c.oid
            WHERE c.relkind IN ('r', 'i', 't') AND coalesce(t.relname, c.relname) ~ '^(runtime|execution_log|llm_call|latency)_'
              AND position($1::bytea IN pg_read_binary_file(pg_relation_filepath(c.oid))) > 0
            """,
            MARK.encode(),
        )
        return sorted(name for (name,) in found)
    finally:
        await connection.close()


async def test_nothing_can_be_read_in_postgres_without_writing_its_tables_anew(
    database: str, tmp_path: Path
) -> None:
    await fill(database, tmp_path)
    done = await command(erase, "--session", SESSION, "--db", database, "--yes")
    assert done.exception is None, done.exception
    assert "--full writes them anew" in done.output
    connection = await asyncpg.connect(database)
    try:
        tables = await connection.fetch(
            r"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'runtime\_%'"
        )
        told = [name for (name,) in tables if MARK in repr(await connection.fetch(f"SELECT * FROM {name}"))]
    finally:
        await connection.close()
    # The person's own mail and budgets are no session's.
    assert set(told) <= {"runtime_budgets", "runtime_budget_counters", "runtime_messages", "runtime_inboxes"}


async def test_a_job_that_goes_on_is_refused_and_cancelled_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with telling("sqlite", tmp_path) as kernel:
        handle = await kernel.execute(
            ExecutionRequest(operator="story", input={"ask": MARK, "fails": False}, principal_id=PERSON)
        )
        await pending(handle)
    refused = await command(erase, "--principal", PERSON, "--db", str(path), "--yes")
    assert isinstance(refused.exception, InvalidTransition)
    assert "--cancel" in str(refused.exception)
    done = await command(erase, "--principal", PERSON, "--db", str(path), "--yes", "--cancel")
    assert done.exception is None, done.exception
    assert left_in_files(path) == []


async def test_it_is_said_when_a_process_keeps_the_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await fill("sqlite", tmp_path)
    async with telling("sqlite", tmp_path) as kernel:
        done = await command(erase, "--principal", PERSON, "--db", str(path), "--yes")
        assert isinstance(done.exception, ExecutorBusy)
        assert "prune --vacuum" in str(done.exception)
        jobs = await kernel.jobs.list(JobFilter())
    assert MARK not in repr(jobs)


async def test_it_is_said_when_a_reader_keeps_the_log(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await fill("sqlite", tmp_path)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runtime_jobs").fetchone()
        done = await command(erase, "--principal", PERSON, "--db", str(path), "--yes")
        assert "keeps its log" in str(done.exception)
    again = await command(erase, "--principal", PERSON, "--db", str(path), "--yes")
    assert again.exception is None, again.exception
    assert left_in_files(path) == []


@pytest.mark.parametrize(
    "arguments", [[], ["--principal", "a", "--job", "b"], ["--session", "a", "--principal", "b"]]
)
async def test_one_subject_is_named(tmp_path: Path, arguments: list[str]) -> None:
    storage = SQLiteStorage(tmp_path / "runs.db")
    await storage.open()
    await storage.aclose()
    done = await command(erase, *arguments, "--db", str(tmp_path / "runs.db"), "--yes")
    assert "whose content is to go" in str(done.exception)


async def test_nobody_is_asked_where_nobody_is(tmp_path: Path) -> None:
    await fill("sqlite", tmp_path)
    done = await command(erase, "--principal", PERSON, "--db", str(tmp_path / "runs.db"))
    assert isinstance(done.exception, click.UsageError)
    assert left_in_files(tmp_path / "runs.db")


@pytest.mark.parametrize("name", ["%", "' OR '1'='1", '"', "Zq7-forget-me-perso_", "*", "default"])
@pytest.mark.parametrize("option", ["--principal", "--session"])
async def test_names_are_taken_as_they_are(tmp_path: Path, option: str, name: str) -> None:
    path = tmp_path / "runs.db"
    async with opened("sqlite", tmp_path) as storage:
        kernel = RuntimeKernel(storage=storage, operators={"child": child}, options=QUICK)
        async with kernel:
            request = ExecutionRequest(operator="child", input=MARK, principal_id=PERSON, session_id=SESSION)
            await (await kernel.execute(request)).result()
    done = await command(erase, option, name, "--db", str(path), "--yes")
    assert done.output.startswith(f"nothing is kept of the {option[2:]} {name!r} in the scope 'default'"), (
        done.output
    )
    assert left_in_files(path) == ["runs.db"]


async def test_it_is_said_when_a_transaction_keeps_deleted_rows(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_runtime.storage.vacuum.PATIENCE", 0.2)
    await fill(database, tmp_path)
    reader = await asyncpg.connect(database, server_settings={"application_name": "a report"})
    async with reader.transaction(isolation="repeatable_read"):
        await reader.fetch("SELECT count(*) FROM runtime_jobs")
        done = await command(erase, "--principal", PERSON, "--db", database, "--yes")
        assert isinstance(done.exception, StorageError)
        assert "a report" in str(done.exception)
    await reader.close()
    again = await command(erase, "--principal", PERSON, "--db", database, "--yes", "--full")
    assert again.exception is None, again.exception
    assert await left_in_tables(database) == []
