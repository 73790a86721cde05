"""What every `Storage` must count against a job whose claims die. A part of `StorageContract`."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import pytest

from agent_runtime.errors import JobSuspected
from agent_runtime.ports.commit import CommitParts, JobChange, NewEvent, Signal
from agent_runtime.ports.journal import Claim
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, commit, job, pairs
from agent_runtime.values.deaths import OpenClaim
from agent_runtime.values.job import JobRecord, JobStatus


class DeathsContract:
    """The part of the suite in which workers die."""

    async def begun(self, storage: Storage) -> JobRecord:
        """Store a job and claim it."""
        record = job()
        await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
        return (await self.again(storage, record.job_id)).job

    async def again(self, storage: Storage, job_id: str) -> Claim:
        """Claim a job that is due."""
        claim = await storage.claim(job_id, owner="w1", at=NOW)
        assert claim is not None
        assert claim.job == await storage.get_job(job_id)
        return claim

    async def dies(self, storage: Storage, job_id: str) -> JobRecord:
        """Let the worker die, and another life claim the job."""
        await storage.remove_worker("w1", died=True)
        return (await self.again(storage, job_id)).job

    async def writes(self, storage: Storage, owned: JobRecord, **parts: Unpack[CommitParts]) -> JobRecord:
        """Write something under a claim."""
        await storage.commit(
            commit(job_id=owned.job_id, fence=owned.fence, events=[NewEvent("step.completed")], **parts)
        )
        found = await storage.get_job(owned.job_id)
        assert found is not None
        return found

    async def test_a_job_may_be_stored_as_one_that_its_creator_has_taken(self, storage: Storage) -> None:
        record = replace(
            job(), status=JobStatus.RUNNING, owner="w1", fence=1, started_at=NOW, open_claim=OpenClaim.PLAIN
        )
        await storage.commit(commit(create=[(record, [NewEvent("job.created"), NewEvent("job.started")])]))
        owned = replace(record, last_seq=2)
        assert await storage.get_job(record.job_id) == owned
        assert await storage.claim(record.job_id, owner="w2", at=NOW) is None
        assert list(await storage.owned_jobs("w1")) == [(record.job_id, 1)]
        assert not await storage.due_jobs(limit=10)
        assert (await self.writes(storage, owned)).last_seq == 3
        again = await self.dies(storage, record.job_id)
        assert (again.fence, again.counted) == (2, (1, 0, OpenClaim.PLAIN))

    async def test_claims_that_say_no_good_bye_are_counted_as_deaths(self, storage: Storage) -> None:
        owned = await self.begun(storage)
        assert owned.counted == (0, 0, OpenClaim.PLAIN)
        owned = await self.dies(storage, owned.job_id)
        assert owned.counted == (1, 0, OpenClaim.PLAIN)
        assert (await self.writes(storage, owned)).counted == owned.counted
        assert (await self.writes(storage, owned, progress=0.5)).counted == owned.counted

    @pytest.mark.parametrize("status", [JobStatus.WAITING, JobStatus.RUNNING, JobStatus.BLOCKED])
    async def test_a_claim_that_says_good_bye_is_no_death(self, storage: Storage, status: JobStatus) -> None:
        owned = await self.dies(storage, (await self.begun(storage)).job_id)
        gone = await self.writes(storage, owned, job=JobChange(status=status, release=True))
        assert gone.counted == (1, 0, OpenClaim.NONE)
        await storage.commit(commit(signals=[Signal("s", owned.job_id, "custom.s")]))
        assert (await self.again(storage, owned.job_id)).job.deaths == 1

    async def test_a_worker_that_signs_off_and_a_claim_that_never_ran_kill_nothing(
        self, storage: Storage
    ) -> None:
        owned = await self.begun(storage)
        await storage.remove_worker("w1")
        owned = (await self.again(storage, owned.job_id)).job
        assert await storage.free_job(owned.job_id, fence=owned.fence)
        assert (await self.again(storage, owned.job_id)).job.deaths == 0

    async def test_after_two_deaths_a_job_is_given_only_to_who_takes_suspects(self, storage: Storage) -> None:
        owned = await self.dies(storage, (await self.begun(storage)).job_id)
        await storage.remove_worker("w1", died=True)
        with pytest.raises(JobSuspected):
            await storage.claim(owned.job_id, owner="w1", at=NOW, suspects=False)
        assert pairs(await storage.due_jobs()) == [(owned.job_id, 0)]
        owned = (await self.again(storage, owned.job_id)).job
        assert owned.counted == (2, 0, OpenClaim.LONE_SUSPECT)
        assert await storage.claim(owned.job_id, owner="w2", at=NOW, suspects=False) is None
        owned = await self.dies(storage, owned.job_id)
        assert owned.counted == (3, 1, OpenClaim.LONE_SUSPECT)

    async def test_a_suspect_that_has_left_its_place_is_not_blamed_for_a_death(
        self, storage: Storage
    ) -> None:
        owned = await self.begun(storage)
        for _ in range(2):
            owned = await self.dies(storage, owned.job_id)
        owned = await self.writes(storage, owned, absolution="slot")
        assert owned.counted == (2, 0, OpenClaim.PLAIN)
        assert (await self.dies(storage, owned.job_id)).counted == (3, 0, OpenClaim.LONE_SUSPECT)

    async def test_what_forgives_forgives_all_deaths(self, storage: Storage) -> None:
        owned = await self.begun(storage)
        for _ in range(3):
            owned = await self.dies(storage, owned.job_id)
        assert (await self.writes(storage, owned, absolution="deaths")).counted == (0, 0, OpenClaim.PLAIN)
        assert (await self.dies(storage, owned.job_id)).counted == (1, 0, OpenClaim.PLAIN)

    async def test_a_job_that_is_to_be_tried_again_begins_anew(self, storage: Storage) -> None:
        owned = await self.begun(storage)
        for _ in range(4):
            owned = await self.dies(storage, owned.job_id)
        blocked = JobChange(status=JobStatus.BLOCKED, release=True)
        assert (await self.writes(storage, owned, job=blocked)).counted == (4, 2, OpenClaim.NONE)
        await storage.commit(commit(signals=[Signal("r", owned.job_id, "job.retry_requested")]))
        claim = await storage.claim(owned.job_id, owner="w1", at=NOW, suspects=False)
        assert claim is not None
        assert claim.job.counted == (0, 0, OpenClaim.PLAIN)
