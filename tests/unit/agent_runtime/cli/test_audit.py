"""`agent-runtime audit`: what it says, and what it ends with."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_runtime import ExecutionRequest, KernelOptions, RuntimeKernel, UnknownJob
from agent_runtime.cli.commands.audit import audit
from agent_runtime.storage.sqlite import SQLiteStorage


async def op(context: Any, given: Any) -> Any:
    return await context.step(str, given)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(
        audit, [str(one) for one in arguments], catch_exceptions=True, standalone_mode=False
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file with two jobs and a trail."""
    path = tmp_path / "runs.db"

    async def fill() -> None:
        storage = SQLiteStorage(path)
        options = KernelOptions(audit_trail=True, projection_interval=0.01)
        async with RuntimeKernel(storage=storage, operators={"op": op}, options=options) as kernel:
            for number in range(2):
                await (await kernel.execute(ExecutionRequest(operator="op", input=number))).result()
            while sum(head.number for head in await kernel.audit.heads()) < 2:
                await asyncio.sleep(0.01)
            assert (await kernel.audit.verify()).is_intact
        await storage.aclose()

    asyncio.run(fill())
    return path


def change(path: Path, statement: str) -> str:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
        return str(db.execute("SELECT min(job_id) FROM runtime_jobs").fetchone()[0])


def test_what_is_intact_is_said_with_what_was_compared(database: Path) -> None:
    done = run("verify", "--db", database)
    assert done.return_value == 0
    assert done.stdout == "2 jobs, 10 entries, 2 entries of trails: intact\n"
    told = json.loads(run("verify", "--db", database, "--json").stdout)
    assert (told["intact"], told["jobs"], told["problems"], told["findings"]) == (True, 2, 0, [])


def test_what_was_changed_is_named_and_ends_with_one(database: Path) -> None:
    job_id = change(database, "UPDATE runtime_events SET type = 'x\x1b[31m' WHERE id = 3")
    done = run("verify", "--db", database)
    assert done.return_value == 1
    assert f"{job_id}: entry 3 (x" in done.stdout
    assert "1 do not verify" in done.stdout
    assert "\x1b" not in done.stdout
    (finding,) = json.loads(run("verify", "--db", database, "--job", job_id, "--json").stdout)["findings"]
    assert (finding["problem"], finding["job_id"], finding["place"]) == ("changed", job_id, 3)


def test_a_head_that_was_kept_tells_when_everything_was_made_anew(database: Path) -> None:
    line = run("heads", "--db", database).stdout.strip()
    assert run("verify", "--db", database, "--head", line).return_value == 0
    change(database, "DELETE FROM runtime_audit WHERE number = 2")
    assert run("verify", "--db", database).return_value == 0
    done = run("verify", "--db", database, "--head", line)
    assert done.return_value == 1
    assert "cut off after entry 1" in done.stdout
    (told,) = json.loads(run("heads", "--db", database, "--json").stdout)
    assert (told["scope_id"], told["number"]) == ("default", 1)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "default",
        "default:1:xx",
        "default:x:" + "00" * 32,
        "1:" + "00" * 32,
        ":0:" + "00" * 32,
        "d:0:" + "00" * 32,
        "d:1:00",
    ],
)
def test_what_is_no_head_is_refused(database: Path, line: str) -> None:
    assert "is no SCOPE:NUMBER:LINK" in str(run("verify", "--db", database, "--head", line).exception)


def test_a_head_of_the_installations_trail_has_no_scope(database: Path) -> None:
    done = run("verify", "--db", database, "--head", ":1:" + "00" * 32)
    assert done.return_value == 1
    assert "the trail of the installation is not there, and had 1 entries" in done.stdout


@pytest.mark.parametrize("name", ["' OR 1=1 --", "nothing", '"; DROP TABLE runtime_jobs; --', "%"])
def test_names_are_looked_for_as_they_are(database: Path, name: str) -> None:
    assert isinstance(run("verify", "--db", database, "--job", name).exception, UnknownJob)
    assert (
        run("verify", "--db", database, "--scope", name).stdout
        == "0 jobs, 0 entries: there is nothing to verify\n"
    )
    job_id = change(database, "SELECT 1")
    assert isinstance(run("verify", "--db", database, "--job", job_id, "--scope", name).exception, UnknownJob)
    assert run("verify", "--db", database).stdout.startswith("2 jobs")


def lines_of(database: Path) -> tuple[str, list[str]]:
    job_id = change(database, "SELECT 1")
    return job_id, run("export", "--db", database, "--job", job_id).stdout.splitlines()


def test_evidence_is_verified_without_the_database(database: Path, tmp_path: Path) -> None:
    job_id, lines = lines_of(database)
    database.unlink()
    path = tmp_path / "evidence.jsonl"
    path.write_text("\n".join(lines) + "\n")
    assert json.loads(lines[0])["job_id"] == job_id
    assert [json.loads(line)["type"] for line in lines[1:]][-1] == "job.succeeded"
    assert json.loads(lines[1])["body"] is not None
    done = run("verify", "--evidence", path)
    assert (done.return_value, done.stdout) == (0, "1 job, 5 entries: intact\n")


def test_evidence_that_was_pruned_verifies_too(database: Path, tmp_path: Path) -> None:
    async def prune() -> None:
        storage = SQLiteStorage(database)
        await storage.open()
        assert await storage.prune_content(before=storage.clock.now()) == 2
        await storage.aclose()

    asyncio.run(prune())
    path = tmp_path / "evidence.jsonl"
    path.write_text("\n".join(lines_of(database)[1]))
    assert "without its content, which was pruned: intact" in run("verify", "--evidence", path).stdout


@pytest.mark.parametrize(
    ("tamper", "problem", "place"),
    [
        (lambda lines: [*lines[:3], lines[3].replace('"type":"', '"type":"x'), *lines[4:]], "changed", 3),
        (lambda lines: [*lines[:3], *lines[4:]], "missing", 3),
        (lambda lines: lines[:-1], "cut_off", 5),
        (lambda lines: [*lines, lines[-1]], "changed", 6),
        (lambda lines: [lines[0].replace('"entries":5', '"entries":4'), *lines[1:]], "inserted", 5),
        (lambda lines: [lines[0].replace(json.loads(lines[0])["head"], "00" * 32), *lines[1:]], "changed", 5),
        (
            lambda lines: [lines[0].replace(json.loads(lines[0])["job_id"], "job-other"), *lines[1:]],
            "changed",
            1,
        ),
    ],
)
def test_evidence_that_was_changed_is_told(
    database: Path, tmp_path: Path, tamper: Any, problem: str, place: int
) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_text("\n".join(tamper(lines_of(database)[1])))
    done = run("verify", "--evidence", path, "--json")
    assert done.return_value == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["problem"], finding["place"]) == (problem, place)


@pytest.mark.parametrize(
    "text", ["", "{}", "no JSON", '{"format": "agent-runtime audit 1"}', "[]", "\x00", "null"]
)
def test_what_is_no_evidence_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_text(text)
    assert "this is no evidence" in str(run("verify", "--evidence", path).exception)


def test_a_line_that_is_no_entry_is_refused(database: Path, tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    for line in (
        "{}",
        "[]",
        "no JSON",
        '{"seq": 1, "type": "x", "at": "never", "operation_id": null, "data": {}}',
    ):
        path.write_text(f"{lines_of(database)[1][0]}\n{line}")
        assert "a line of it is no entry" in str(run("verify", "--evidence", path).exception)


def test_evidence_goes_with_no_other_option(database: Path, tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_text("")
    assert "by itself" in str(run("verify", "--evidence", path, "--db", database).exception)
    assert isinstance(run("export", "--db", database, "--job", "' OR 1=1 --").exception, UnknownJob)
    job_id = change(database, "SELECT 1")
    assert isinstance(
        run("export", "--db", database, "--job", job_id, "--scope", "other").exception, UnknownJob
    )
