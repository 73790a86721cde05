"""Which lines of jobs nobody can run: told alike by every storage, from who serves a queue and who lists an operator."""

from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from agent_runtime.ports.commit import NewEvent, Signal
from agent_runtime.ports.storage import Storage
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.testing.examples import commit, job
from support.kernels import BOUND, opened

pytestmark = pytest.mark.timeout(BOUND * 3)

OPERATORS = ("everywhere", "here", "new", "newer")
QUEUES = ("here", "nowhere", "there")
Line = tuple[str, str]
LONG = 3600.0


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database")) if request.param == "postgres" else str(request.param)


async def live_for_long(storage: Storage, kind: str, *workers: tuple[tuple[str, ...], tuple[str, ...]]) -> None:  # fmt: skip
    """Register workers with their queues and operators: they came long ago, and have just shown that they live."""
    now = storage.clock.now()
    for number, (queues, operators) in enumerate(workers):
        record = WorkerRecord(
            worker_id=f"w{number}",
            queues=queues,
            operators=operators,
            started_at=now - timedelta(seconds=2 * LONG),
            heartbeat_at=now,
        )
        await storage.register_worker(record)
    if kind.startswith("postgres"):  # goes by its own clock
        connection = await asyncpg.connect(kind)
        await connection.execute("UPDATE runtime_workers SET registered_at = now() - interval '2 hours'")
        await connection.close()


async def fill(storage: Storage) -> dict[str, Line]:
    """Store two jobs of every line, old ones; return their lines."""
    made = {}
    long_ago = storage.clock.now() - timedelta(seconds=2 * LONG)
    for operator in OPERATORS:
        for queue in QUEUES:
            for _ in range(2):
                record = job(operator=operator, queue=queue, created_at=long_ago, updated_at=long_ago)
                await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
                made[record.job_id] = (operator, queue)
    return made


async def unlisted(storage: Storage, lines: dict[str, Line]) -> set[Line]:
    found = await storage.unlisted_jobs(LONG, at=storage.clock.now())
    told = [lines[job_id] for job_id in found]
    assert all(told.count(line) == 2 for line in told)
    return set(told)


async def test_of_the_queues_that_are_served_only_lines_that_nobody_lists_are_told(
    kind: str, tmp_path: Path
) -> None:
    async with opened(kind, tmp_path) as storage:
        lines = await fill(storage)
        await live_for_long(
            storage, kind, (("here",), ("here",)), (("here", "there"), ("everywhere",)), (("there",), ("new",))
        )  # fmt: skip
        expected = {("here", "there"), ("new", "here"), ("newer", "here"), ("newer", "there")}
        assert await unlisted(storage, lines) == expected
        some = await storage.unlisted_jobs(LONG, at=storage.clock.now(), limit=3)
        assert len(set(some)) == 3
        assert {lines[job_id] for job_id in some} <= expected


async def test_where_somebody_serves_every_queue_each_is_looked_at(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as storage:
        lines = await fill(storage)
        await live_for_long(storage, kind, (("here",), ("here", "new")), ((), ("everywhere",)))
        every = {(operator, queue) for operator in ("here", "new", "newer") for queue in QUEUES}
        assert await unlisted(storage, lines) == every - {("here", "here"), ("new", "here")}


async def test_a_job_that_is_to_stop_needs_anybody_who_lists_its_operator(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as storage:
        lines = await fill(storage)
        await live_for_long(storage, kind, (("here",), ("here", "everywhere", "new", "newer")))
        asked = {line: job_id for job_id, line in lines.items()}
        wanted = [Signal(f"c{job_id}", job_id, "job.cancel_requested") for job_id in asked.values()]
        await storage.commit(commit(signals=wanted))
        assert await storage.unlisted_jobs(LONG, at=storage.clock.now()) == []
        orphan = job(operator="gone", queue="nowhere", updated_at=storage.clock.now())
        await storage.commit(commit(create=[(orphan, [NewEvent("job.created")])]))
        await storage.commit(commit(signals=[Signal("c", orphan.job_id, "job.cancel_requested")]))
        assert await storage.unlisted_jobs(LONG, at=storage.clock.now()) == [orphan.job_id]


async def test_a_job_that_has_changed_lately_is_given_time(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as storage:
        await live_for_long(storage, kind, ((), ("everywhere",)))
        late = job(operator="new", updated_at=storage.clock.now())
        await storage.commit(commit(create=[(late, [NewEvent("job.created")])]))
        assert await storage.unlisted_jobs(LONG, at=storage.clock.now()) == []
