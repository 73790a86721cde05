"""Whatever somebody changes behind the runtime's back, the audit names the first broken entry and says what is wrong with it."""

import asyncio
import base64
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from agent_runtime.audit.chain import Salts, content_digest, data_digest
from agent_runtime.audit.erasure import ErasureSubject
from agent_runtime.audit.evidence import evidence, verified
from agent_runtime.audit.manager import AuditManager
from agent_runtime.audit.report import AuditFinding
from agent_runtime.audit.trail import AuditTrail
from agent_runtime.ports.commit import JobChange, NewEvent
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.testing.feed_contract import all_of
from agent_runtime.values.content import encode
from agent_runtime.values.job import JobStatus
from llm_client.json_text import dumps

JOB = "job-audited"


class Tampered:
    """A database with one job of ten entries and a trail, into which somebody writes by hand."""

    def __init__(self, storage: Storage, execute: Callable[[str], Any]) -> None:
        self.storage = storage
        self._execute = execute

    async def fill(self) -> None:
        events = [NewEvent("job.created", None, {"n": 0}, b'"in"')]
        await self.storage.commit(commit(create=[(job(job_id=JOB), events)]))
        claim = await self.storage.claim(JOB, owner="w", at=NOW)
        assert claim is not None
        for number in range(7):
            step = NewEvent("step.completed", f"{JOB}:{number}", {"name": f"step {number}"}, b'"out"')
            await self.storage.commit(commit(job_id=JOB, fence=claim.job.fence, events=[step]))
        change = JobChange(status=JobStatus.SUCCEEDED, completed_at=NOW, release=True)
        end = NewEvent("job.succeeded", None, {}, b'"done"')
        await self.storage.commit(commit(job_id=JOB, fence=claim.job.fence, events=[end], job=change))
        await AuditTrail(self.storage).project(await all_of(self.storage))
        assert (await AuditManager(self.storage).verify()).is_intact

    async def does(self, *statements: str) -> list[AuditFinding]:
        """Write by hand; return what the audit says."""
        for statement in statements:
            await self._execute(statement)
        return list((await AuditManager(self.storage).verify()).findings)


@pytest.fixture(params=["sqlite", "postgres"])
async def tampered(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> AsyncIterator[Tampered]:
    storage: SQLiteStorage | PostgresStorage
    if request.param == "sqlite":
        path = tmp_path / "runs.db"
        storage = SQLiteStorage(path)

        def write(statement: str) -> None:
            with closing(sqlite3.connect(path, timeout=60)) as db, db:
                db.execute(statement)

        async def execute(statement: str) -> None:
            await asyncio.to_thread(write, statement)
    else:
        storage = PostgresStorage(database)

        async def execute(statement: str) -> None:
            connection = await asyncpg.connect(database)
            await connection.execute(statement.replace("X'", r"'\x"))
            await connection.close()

    await storage.open()
    one = Tampered(storage, execute)
    await one.fill()
    yield one
    await storage.aclose()


EVENTS = f"runtime_events WHERE job_id = '{JOB}'"
UPDATE = "UPDATE runtime_events SET {} WHERE job_id = '" + JOB + "' AND {}"
CHANGES = {
    "data": """data = '{"name": "another"}'""",
    "content": "content = X'2278'",
    "content that is not there": "content = NULL",
    "type": "type = 'step.failed'",
    "operation": "operation_id = 'other'",
    "link": "link = X'00'",
    "no link": "link = NULL",
    "data that is taken for erased": "data_digest = X'00'",
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_changed_entry_is_named(tampered: Tampered, what: str) -> None:
    (found,) = await tampered.does(UPDATE.format(CHANGES[what], "seq = 5"))
    assert (found.problem, found.job_id, found.place) == ("changed", JOB, 5)
    assert "entry 5 (step." in found.text


@pytest.mark.parametrize("lie", ["""data = '{"name": "another"}'""", f"operation_id = '{JOB}:5'"])
async def test_nothing_stands_beside_the_digest_of_an_erased_entry(tampered: Tampered, lie: str) -> None:
    subject = ErasureSubject(scope_id="default", job_id=JOB)
    await AuditManager(tampered.storage).erase(subject, by="me")
    assert await tampered.does() == []
    (found,) = await tampered.does(UPDATE.format(lie, "seq = 5"))
    assert (found.problem, found.place) == ("changed", 5)


JOB_ROW = f"UPDATE runtime_jobs SET {{}} WHERE job_id = '{JOB}'"
UNREADABLE = {
    "last_seq": JOB_ROW.format("last_seq = 'x'"),
    "erased_at": JOB_ROW.format("erased_at = 'x'"),
    "pruned": JOB_ROW.format("content_pruned_at = 9e18"),
    "status": JOB_ROW.format("status = 'asleep'"),
    "head": JOB_ROW.format("audit_head = 'x'"),
    "salt": JOB_ROW.format("audit_salt = 5"),
    "time of the trail": "UPDATE runtime_audit SET at = 9e18 WHERE number = 1",
    "data of the trail": "UPDATE runtime_audit SET data = '[1]' WHERE number = 1",
    "seq of the trail": "UPDATE runtime_audit SET seq = 'x' WHERE number = 1",
}


@pytest.mark.parametrize("what", UNREADABLE)
async def test_a_row_that_cannot_be_read_is_named_and_ends_no_verification(tmp_path: Path, what: str) -> None:
    path = tmp_path / "runs.db"
    storage = SQLiteStorage(path)
    await storage.open()

    async def execute(statement: str) -> None:
        with closing(sqlite3.connect(path, timeout=60)) as db, db:
            await asyncio.to_thread(lambda: None)
            db.execute(statement)

    one = Tampered(storage, execute)
    await one.fill()
    await storage.commit(commit(create=[(job(job_id="job-other"), [NewEvent("job.created")])]))
    (found,) = await one.does(UNREADABLE[what])
    assert (found.problem, found.job_id) == ("changed", None if "trail" in what else JOB)
    report = await AuditManager(storage).verify("job-other")
    assert report.jobs == 1
    await storage.aclose()


def _say(lines: list[Any], seq: int, **changes: Any) -> None:
    lines[seq] |= changes


def _beside_digest(lines: list[Any]) -> None:
    salts = Salts.read(bytes.fromhex(lines[0]["salts"]))
    made = data_digest(salts.data, 5, lines[5]["operation_id"], lines[5]["data"])
    _say(lines, 5, data_digest=made.hex(), data={"name": "another"})


def _without_content(lines: list[Any]) -> None:
    salts = Salts.read(bytes.fromhex(lines[0]["salts"]))
    made = content_digest(salts.content, 5, base64.b64decode(lines[5].pop("content")))
    _say(lines, 5, content_digest=made.hex(), body="another")


LIES: dict[str, Callable[[list[Any]], None]] = {
    "data beside its digest": _beside_digest,
    "content that was never pruned": _without_content,
    "a body that is not of the content": lambda lines: _say(lines, 5, body="another"),
    "how the job ended": lambda lines: _say(lines, 0, status="failed"),
    "that it has not ended": lambda lines: _say(lines, 0, status="running"),
}


@pytest.mark.parametrize("what", LIES)
async def test_evidence_that_says_something_else_does_not_verify(what: str) -> None:
    storage = MemoryStorage()
    await Tampered(storage, lambda _: None).fill()
    lines: list[Any] = [orjson.loads(dumps(line)) async for line in evidence(storage, JOB)]
    assert verified([dumps(line) for line in lines]).is_intact
    LIES[what](lines)
    (found,) = verified([dumps(line) for line in lines]).findings
    assert found.problem == "changed"
    await storage.aclose()


async def test_evidence_with_a_number_of_any_length_verifies() -> None:
    storage = MemoryStorage()
    content = encode({"n": 10**400})
    await storage.commit(commit(create=[(job(job_id=JOB), [NewEvent("job.created", None, {}, content)])]))
    lines = [dumps(line) async for line in evidence(storage, JOB)]
    assert verified(lines).is_intact
    await storage.aclose()


async def test_content_that_is_taken_away_with_a_digest_in_its_place_is_said(tampered: Tampered) -> None:
    (audited,) = await tampered.storage.audited([JOB])
    made = content_digest(Salts.read(audited.salts).content, 5, b'"out"').hex()
    (found,) = await tampered.does(UPDATE.format(f"content = NULL, content_digest = X'{made}'", "seq = 5"))
    assert (found.problem, found.place) == ("changed", 5)
    assert "neither pruned nor erased" in found.text


@pytest.mark.parametrize(
    ("gone", "said"), [("seq = 5", "entry 5 is missing"), ("seq IN (5, 6)", "entries 5 to 6 are")]
)
async def test_missing_entries_are_named(tampered: Tampered, gone: str, said: str) -> None:
    (found,) = await tampered.does(f"DELETE FROM {EVENTS} AND {gone}")
    assert (found.problem, found.place) == ("missing", 5)
    assert said in found.text


async def test_a_missing_entry_is_found_when_the_others_are_renumbered(tampered: Tampered) -> None:
    (found,) = await tampered.does(
        f"DELETE FROM {EVENTS} AND seq = 5",
        UPDATE.format("seq = -seq", "seq > 5"),
        UPDATE.format("seq = -seq - 1", "seq < 0"),
    )
    assert (found.problem, found.place) == ("missing", 5)


@pytest.mark.parametrize("links", ["link", "X'00'"])
async def test_an_inserted_entry_is_named(tampered: Tampered, links: str) -> None:
    (found,) = await tampered.does(
        UPDATE.format("seq = -seq", "seq >= 5"),
        UPDATE.format("seq = 1 - seq", "seq < 0"),
        "INSERT INTO runtime_events (job_id, seq, type, at, operation_id, data, content, link) "
        f"SELECT job_id, 5, 'step.completed', at, 'other', data, content, {links} FROM {EVENTS} AND seq = 4",
    )
    assert (found.problem, found.place) == ("inserted", 5)


async def test_an_entry_behind_the_end_is_named(tampered: Tampered) -> None:
    (found,) = await tampered.does(
        "INSERT INTO runtime_events (job_id, seq, type, at, operation_id, data, content, link) "
        f"SELECT job_id, 11, type, at, operation_id, data, content, link FROM {EVENTS} AND seq = 10",
    )
    assert (found.problem, found.place) == ("changed", 11)


@pytest.mark.parametrize("other", [6, 8])
async def test_entries_that_were_exchanged_are_named(tampered: Tampered, other: int) -> None:
    (found,) = await tampered.does(
        UPDATE.format("seq = -1", "seq = 5"),
        UPDATE.format("seq = 5", f"seq = {other}"),
        UPDATE.format(f"seq = {other}", "seq = -1"),
    )
    assert (found.problem, found.place) == ("reordered", 5)


async def test_a_journal_that_was_cut_off_is_told(tampered: Tampered) -> None:
    (found,) = await tampered.does(f"DELETE FROM {EVENTS} AND seq > 8")
    assert (found.problem, found.place) == ("cut_off", 9)


async def test_a_journal_that_was_cut_off_with_its_head_is_told_by_the_trail(tampered: Tampered) -> None:
    (found,) = await tampered.does(
        f"DELETE FROM {EVENTS} AND seq > 8",
        f"UPDATE runtime_jobs SET last_seq = 8, audit_head = (SELECT link FROM {EVENTS} AND seq = 8) WHERE job_id = '{JOB}'",
    )
    assert (found.problem, found.place) == ("cut_off", 9)
    assert "trail" in found.text


async def test_a_job_that_was_taken_away_is_missed_by_the_trail(tampered: Tampered) -> None:
    (found,) = await tampered.does(
        f"DELETE FROM {EVENTS}", f"DELETE FROM runtime_jobs WHERE job_id = '{JOB}'"
    )
    assert (found.problem, found.job_id) == ("job_missing", JOB)


async def test_a_job_without_any_entry_is_cut_off(tampered: Tampered) -> None:
    (found,) = await tampered.does(f"DELETE FROM {EVENTS}")
    assert (found.problem, found.place) == ("cut_off", 1)


async def test_a_changed_head_is_told(tampered: Tampered) -> None:
    found = await tampered.does(f"UPDATE runtime_jobs SET audit_head = X'00' WHERE job_id = '{JOB}'")
    assert {one.problem for one in found} == {"changed"}


async def test_a_changed_trail_is_told(tampered: Tampered) -> None:
    (found,) = await tampered.does("UPDATE runtime_audit SET job_id = 'other' WHERE number = 1")
    assert (found.problem, found.job_id, found.place) == ("changed", None, 1)


async def test_a_time_that_was_changed_is_found(tampered: Tampered) -> None:
    is_sqlite = isinstance(tampered.storage, SQLiteStorage)
    (found,) = await tampered.does(
        UPDATE.format("at = at + 1" if is_sqlite else "at = at + interval '1 microsecond'", "seq = 5")
    )
    assert (found.problem, found.place) == ("changed", 5)


@pytest.mark.parametrize(
    "rubbish", ["data = 'no JSON'", "data = '[]'", "at = 'never'", "data = X'ff'", "content = 'text'"]
)
async def test_what_is_no_entry_any_more_is_a_finding_and_no_failure(tmp_path: Path, rubbish: str) -> None:
    path = tmp_path / "runs.db"
    storage = SQLiteStorage(path)
    await storage.open()

    async def execute(statement: str) -> None:
        def write() -> None:
            with closing(sqlite3.connect(path, timeout=60)) as db, db:
                db.execute(statement)

        await asyncio.to_thread(write)

    one = Tampered(storage, execute)
    await one.fill()
    (found,) = await one.does(UPDATE.format(rubbish, "seq = 5"))
    await storage.aclose()
    assert (found.problem, found.place) == ("changed", 5)
