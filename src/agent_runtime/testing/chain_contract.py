"""What every `Storage` must do with jobs that go on in another one's place."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent_runtime.errors import DuplicateJob, IdempotencyConflict, InvalidTransition, UnknownJob
from agent_runtime.ports.commit import JobChange, NewEvent
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus

_CREATED = [NewEvent("job.created", None, {"n": 1})]


class ChainContract:
    """The suite."""

    async def test_a_job_has_names_of_its_own_unless_it_is_given_others(self, storage: Storage) -> None:
        """The chain, the names of operations and what chance is drawn from are stored with the job."""
        plain = job()
        given = job(origin="job-a", seed="s", chain_id="job-b")
        await storage.commit(commit(create=[(plain, _CREATED), (given, _CREATED)]))
        stored = await storage.get_job(plain.job_id)
        assert stored is not None
        assert {stored.origin, stored.seed, stored.chain_id} == {plain.job_id}
        stored = await storage.get_job(given.job_id)
        assert stored is not None
        assert (stored.origin, stored.seed, stored.chain_id) == ("job-a", "s", "job-b")

    async def test_a_successor_takes_the_idempotency_key_over(self, storage: Storage) -> None:
        """The key leads to the one job of a chain that nobody goes on in the place of, also when others are pruned."""
        first = await self._ended(storage, idempotency_key="k", request_hash="h")
        second = await self._successor(storage, first)
        assert await storage.find_job(first.scope_id, "k") == second
        assert await storage.chain_head(first.job_id) == second
        assert await storage.chain_head(first.job_id, scope_id="another") is None
        before = await storage.get_job(first.job_id)
        assert before is not None
        assert (before.successor_id, before.idempotency_key) == (second.job_id, "k")
        links = await storage.list_jobs(JobFilter(chain_id=first.job_id))
        assert {link.job_id for link in links} == {first.job_id, second.job_id}
        assert await storage.prune(before=NOW + timedelta(days=1)) == 1
        assert await storage.get_job(first.job_id) is None
        assert await storage.find_job(first.scope_id, "k") == second
        assert await storage.chain_head(first.job_id) == second
        with pytest.raises(DuplicateJob) as known:
            await storage.commit(
                commit(create=[(job(idempotency_key="k", request_hash="h"), _CREATED)], job_id=None)
            )
        assert known.value.job_id == second.job_id
        with pytest.raises(IdempotencyConflict):
            await storage.commit(commit(create=[(job(idempotency_key="k", request_hash="x"), _CREATED)]))

    async def test_a_job_has_one_successor_at_most(self, storage: Storage) -> None:
        """A second one is refused, with the name of the first."""
        first = await self._ended(storage)
        second = await self._successor(storage, first)
        with pytest.raises(DuplicateJob) as known:
            await self._successor(storage, first)
        assert known.value.job_id == second.job_id
        assert await storage.chain_head(first.job_id) == second

    async def test_a_job_may_be_succeeded_at_the_moment_at_which_it_is_stored(self, storage: Storage) -> None:
        """A storage that writes several commits as one has no row of the first job yet that it could change."""
        first = job(status=JobStatus.SUCCEEDED, completed_at=NOW)
        second = job(
            chain_id=first.job_id, predecessor_id=first.job_id, status=JobStatus.SUCCEEDED, completed_at=NOW
        )
        third = job(chain_id=first.job_id, predecessor_id=second.job_id)
        others = [commit(create=[(job(), _CREATED)]) for _ in range(3)]
        links = [commit(create=[(link, _CREATED)]) for link in (first, second, third)]
        await asyncio.gather(*(storage.commit(each) for each in (*others, *links)))
        stored = [await storage.get_job(link.job_id) for link in (first, second, third)]
        assert [link and link.successor_id for link in stored] == [second.job_id, third.job_id, None]
        assert await storage.chain_head(first.job_id) == stored[2]

    async def test_only_a_job_that_has_ended_has_a_successor(self, storage: Storage) -> None:
        """One that ends with the commit that creates the successor has ended; one that lives, or is not there, has not."""
        living = job()
        await storage.commit(commit(create=[(living, _CREATED)]))
        with pytest.raises(InvalidTransition):
            await self._successor(storage, living)
        with pytest.raises(UnknownJob):
            await self._successor(storage, job())
        claim = await storage.claim(living.job_id, owner="w", at=NOW)
        assert claim is not None
        end = JobChange(status=JobStatus.SUCCEEDED, completed_at=NOW, release=True)
        successor = self._following(claim.job)
        await storage.commit(
            commit(
                job_id=claim.job.job_id,
                fence=claim.job.fence,
                events=[NewEvent("job.succeeded", None, {})],
                job=end,
                create=[(successor, _CREATED)],
            )
        )
        head = await storage.chain_head(living.job_id)
        assert head is not None
        assert head.job_id == successor.job_id

    async def _ended(self, storage: Storage, **values: Any) -> JobRecord:
        record = job(status=JobStatus.FAILED, completed_at=NOW, **values)
        await storage.commit(commit(create=[(record, [*_CREATED, NewEvent("job.failed", None, {})])]))
        return record

    async def _successor(self, storage: Storage, before: JobRecord) -> JobRecord:
        record = self._following(before)
        await storage.commit(commit(create=[(record, _CREATED)]))
        return replace(record, last_seq=1)

    def _following(self, before: JobRecord) -> JobRecord:
        return job(
            chain_id=before.chain_id,
            predecessor_id=before.job_id,
            idempotency_key=before.idempotency_key,
            request_hash=before.request_hash,
        )
