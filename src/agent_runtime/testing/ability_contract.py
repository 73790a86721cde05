"""What every `Storage` must know of who can run what. A part of `StorageContract`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Unpack

import pytest

from agent_runtime.ports.commit import JobChange, NewEvent, Signal
from agent_runtime.ports.storage import Storage
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.testing.examples import NOW, JobFields, commit, job, pairs
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import ScopeCaps
from agent_runtime.values.job import JobRecord, JobStatus

ONE = Ability(operators=frozenset({"op", "x"}), versions=("v1", "process-1"))
LONG = 3600.0
"""Seconds that no test takes."""


class AbilityContract:
    """The part of the suite in which not everybody can run everything."""

    async def waiting(self, storage: Storage, **values: Unpack[JobFields]) -> JobRecord:
        """Store a job that is due."""
        record = job(**values)
        await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
        return record

    async def blocked(self, storage: Storage, *failed: str, **values: Unpack[JobFields]) -> JobRecord:
        """Store a job that some versions of the code have blocked."""
        record = await self.waiting(storage, **values)
        assert await storage.claim(record.job_id, owner="w1", at=NOW) is not None
        change = JobChange(status=JobStatus.BLOCKED, release=True, failed_versions=failed)
        await storage.commit(
            commit(job_id=record.job_id, fence=1, events=[NewEvent("job.blocked")], job=change)
        )
        return record

    async def listing(
        self, storage: Storage, name: str, operators: Sequence[str], queues: Sequence[str] = ()
    ) -> None:
        """Let a worker show that it lives."""
        now = datetime.now(UTC)  # noqa: TID251 -- shared storages go by the server's clock
        worker = WorkerRecord(
            worker_id=name,
            operators=tuple(operators),
            queues=tuple(queues),
            started_at=now,
            heartbeat_at=now,
        )
        await storage.register_worker(worker)

    async def unlisted(self, storage: Storage, seconds: float) -> set[str]:
        """Return the jobs that nobody can run now."""
        now = datetime.now(UTC)  # noqa: TID251 -- as above
        return set(await storage.unlisted_jobs(seconds, at=now))

    async def test_jobs_are_given_to_who_knows_their_operator(self, storage: Storage) -> None:
        ours, other = await self.waiting(storage), await self.waiting(storage, operator="other")
        assert pairs(await storage.due_jobs(ability=ONE)) == [(ours.job_id, 0)]
        assert await storage.next_jobs("default", cap=5, ability=ONE) == [(ours.job_id, 0)]
        assert await storage.claim(other.job_id, owner="w", at=NOW, ability=ONE) is None
        assert await storage.claim(ours.job_id, owner="w", at=NOW, ability=ONE) is not None
        assert len(await storage.due_jobs()) == 1

    async def test_a_job_that_nobody_here_can_run_takes_no_place_from_others(self, storage: Storage) -> None:
        other, ours = await self.waiting(storage, operator="other"), await self.waiting(storage)
        caps = ScopeCaps(default=1)
        assert await storage.claim(other.job_id, owner="w", at=NOW, ability=ONE, caps=caps) is None
        assert await storage.claim(ours.job_id, owner="w", at=NOW, ability=ONE, caps=caps) is not None

    async def test_a_blocked_job_is_left_alone_by_the_code_that_has_blocked_it(
        self, storage: Storage
    ) -> None:
        record = await self.blocked(storage, "v0", "v1")
        found = await storage.get_job(record.job_id)
        assert found is not None
        assert found.failed_versions == ("v0", "v1")
        await storage.commit(commit(signals=[Signal("r", record.job_id, "job.retry_requested")]))
        assert await storage.due_jobs(ability=ONE) == []
        assert await storage.claim(record.job_id, owner="w", at=NOW, ability=ONE) is None
        two = Ability(operators=ONE.operators, versions=("v2",))
        assert pairs(await storage.due_jobs(ability=two)) == [(record.job_id, 0)]
        claim = await storage.claim(record.job_id, owner="w", at=NOW, ability=two)
        assert claim is not None
        assert claim.job == await storage.get_job(record.job_id)

    async def test_a_blocked_job_that_is_to_stop_is_ended_by_who_has_blocked_it(
        self, storage: Storage
    ) -> None:
        record, other = await self.blocked(storage, "v1"), await self.blocked(storage, operator="other")
        stops = [Signal("c", one.job_id, "job.cancel_requested") for one in (record, other)]
        await storage.commit(commit(signals=stops))
        assert pairs(await storage.due_jobs(ability=ONE)) == [(record.job_id, 0)]
        assert await storage.claim(other.job_id, owner="w", at=NOW, ability=ONE) is None
        assert await storage.claim(record.job_id, owner="w", at=NOW, ability=ONE) is not None

    async def test_blocked_jobs_that_can_be_run_are_found_page_by_page(self, storage: Storage) -> None:
        records = [await self.blocked(storage) for _ in range(5)]
        await self.blocked(storage, "v1")
        await self.blocked(storage, operator="other")
        asked = await self.blocked(storage)
        await storage.commit(commit(signals=[Signal("r", asked.job_id, "job.retry_requested")]))
        ids = [record.job_id for record in records]
        assert await storage.blocked_jobs(ONE, at=NOW, started_at=NOW, limit=3) == ids[:3]
        assert await storage.blocked_jobs(ONE, at=NOW, started_at=NOW, after=ids[2], limit=3) == ids[3:]

    async def test_the_next_try_of_a_blocked_job_may_have_to_wait(self, storage: Storage) -> None:
        record = await self.waiting(storage)
        assert await storage.claim(record.job_id, owner="w1", at=NOW) is not None
        later = datetime.now(UTC) + timedelta(days=1)  # noqa: TID251 -- as above
        change = JobChange(status=JobStatus.BLOCKED, release=True, failed_versions=("p",), retry_at=later)
        await storage.commit(
            commit(job_id=record.job_id, fence=1, events=[NewEvent("job.blocked")], job=change)
        )
        assert await storage.blocked_jobs(ONE, at=NOW, started_at=NOW) == []
        await storage.commit(commit(unblock=[record.job_id]))
        assert await storage.blocked_jobs(ONE, at=NOW, started_at=NOW) == [record.job_id]
        found = await storage.get_job(record.job_id)
        assert found is not None
        assert (found.failed_versions, found.retry_at) == ((), None)

    async def test_ended_and_blocked_jobs_are_told_from_those_that_wait(self, storage: Storage) -> None:
        blocked, waiting, ended = await self.blocked(storage), await self.waiting(storage), job()
        await storage.commit(commit(create=[(ended, [NewEvent("job.created")])]))
        assert await storage.claim(ended.job_id, owner="w1", at=NOW) is not None
        change = JobChange(status=JobStatus.FAILED, release=True, completed_at=NOW)
        await storage.commit(
            commit(job_id=ended.job_id, fence=1, events=[NewEvent("job.failed")], job=change)
        )
        asked = [blocked.job_id, waiting.job_id, ended.job_id, "job-none"]
        assert set(await storage.stopped_jobs(asked)) == {blocked.job_id, ended.job_id}
        assert await storage.stopped_jobs([]) == []

    async def test_a_due_job_is_unlisted_only_while_its_queue_is_served(self, storage: Storage) -> None:
        record = await self.waiting(storage, operator="new", queue="q")
        assert await self.unlisted(storage, 0.0) == set()  # nobody is alive: it waits
        await self.listing(storage, "elsewhere", ["new", "op"], ["other"])
        assert await self.unlisted(storage, 0.0) == set()
        await self.listing(storage, "w1", ["op"])
        assert await self.unlisted(storage, 0.0) == {record.job_id}
        assert await self.unlisted(storage, LONG) == set()

    async def test_an_operator_that_was_listed_a_moment_ago_is_not_missed_yet(self, storage: Storage) -> None:
        """The worker that knew it is replaced, and another application serves the same queue."""
        record = await self.waiting(storage, operator="new")
        await self.listing(storage, "other", ["op"])
        await self.listing(storage, "old", ["new"])
        await storage.remove_worker("old")
        assert record.job_id not in await self.unlisted(storage, LONG)

    @pytest.mark.parametrize("status", [JobStatus.WAITING, JobStatus.BLOCKED, JobStatus.RUNNING])
    async def test_a_job_that_is_to_stop_is_unlisted_whoever_serves_its_queue(
        self, storage: Storage, status: JobStatus
    ) -> None:
        record = await self.waiting(storage, operator="gone", queue="nobodys")
        assert await storage.claim(record.job_id, owner="w1", at=NOW) is not None
        change = JobChange(status=status, release=True)
        await storage.commit(commit(job_id=record.job_id, fence=1, events=[NewEvent("x")], job=change))
        assert await self.unlisted(storage, 0.0) == set()
        await storage.commit(commit(signals=[Signal("c", record.job_id, "job.cancel_requested")]))
        assert await self.unlisted(storage, 0.0) == {record.job_id}
        await self.listing(storage, "w1", ["gone"], ["another"])
        assert await self.unlisted(storage, LONG) == set()

    async def test_what_has_killed_its_processes_is_left_to_those_that_have_started_since(
        self, storage: Storage
    ) -> None:
        record = await self.waiting(storage)
        assert await storage.claim(record.job_id, owner="w1", at=NOW) is not None
        change = JobChange(status=JobStatus.BLOCKED, release=True, error_code="CRASH_LOOP", retry_at=NOW)
        await storage.commit(
            commit(job_id=record.job_id, fence=1, events=[NewEvent("job.blocked")], job=change)
        )
        later = NOW + timedelta(seconds=1)
        assert await storage.blocked_jobs(ONE, at=later, started_at=NOW) == []
        assert await storage.blocked_jobs(ONE, at=later, started_at=later) == [record.job_id]
