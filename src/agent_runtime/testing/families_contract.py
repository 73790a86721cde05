"""What every `Storage` must do about parents and children. A part of `StorageContract`."""

from __future__ import annotations

from datetime import timedelta
from typing import Unpack

import pytest

from agent_runtime.errors import FenceLost
from agent_runtime.ports.commit import CommitParts, JobChange, NewEvent, Signal
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, JobFields, commit, job
from agent_runtime.values.job import JobRecord, JobStatus


class FamiliesContract:
    """The part of the suite in which jobs have parents."""

    async def member(
        self, storage: Storage, parent: JobRecord | None = None, **values: Unpack[JobFields]
    ) -> JobRecord:
        """Store a job, below a parent if there is one, and claim it."""
        family = {} if parent is None else {"parent_job_id": parent.job_id, "depth": parent.depth + 1}
        record = job(**family, **values)
        await storage.commit(commit(create=[(record, [NewEvent("job.created", content=b'"input"')])]))
        claim = await storage.claim(record.job_id, owner="w1", at=NOW)
        assert claim is not None
        return claim.job

    async def ends(self, storage: Storage, owned: JobRecord, **parts: Unpack[CommitParts]) -> None:
        """End a job, and have its children stopped."""
        parts["job"] = JobChange(status=JobStatus.CANCELLED, release=True, completed_at=NOW)
        parts["cancel_children_of"] = owned.job_id
        await storage.commit(
            commit(
                job_id=owned.job_id,
                fence=owned.fence,
                depth=owned.depth,
                events=[NewEvent("job.cancelled")],
                **parts,
            )
        )

    async def continues(self, storage: Storage, owned: JobRecord) -> JobRecord:
        """End a job that goes on as a new one with the same parent; return that one."""
        successor = job(
            parent_job_id=owned.parent_job_id,
            depth=owned.depth,
            predecessor_id=owned.job_id,
            chain_id=owned.chain_id,
        )
        await storage.commit(
            commit(
                job_id=owned.job_id,
                fence=owned.fence,
                depth=owned.depth,
                events=[NewEvent("job.succeeded")],
                job=JobChange(status=JobStatus.SUCCEEDED, release=True, completed_at=NOW),
                create=[(successor, [NewEvent("job.created")])],
                require_no_signals=True,
            )
        )
        return successor

    async def is_stopped(self, storage: Storage, record: JobRecord) -> bool:
        """Whether a job finds a request to stop when it is claimed."""
        claim = await storage.claim(record.job_id, owner="w1", at=NOW)
        assert claim is not None
        return "job.cancel_requested" in [event.type for event in claim.events]

    async def test_a_parents_end_cancels_its_living_children(self, storage: Storage) -> None:
        parent = await self.member(storage)
        living, ended = await self.member(storage, parent), await self.member(storage, parent)
        grandchild = await self.member(storage, living)
        await self.ends(storage, ended)
        await self.ends(storage, parent)
        (event,) = await storage.drain_signals(living.job_id, fence=1, at=NOW)
        assert event.type == "job.cancel_requested"
        assert await storage.drain_signals(ended.job_id, fence=1, at=NOW) == []
        assert await storage.drain_signals(grandchild.job_id, fence=1, at=NOW) == []
        await self.ends(storage, living)
        (event,) = await storage.drain_signals(grandchild.job_id, fence=1, at=NOW)
        assert event.type == "job.cancel_requested"

    async def test_a_job_that_goes_on_after_its_parents_end_is_cancelled(self, storage: Storage) -> None:
        parent = await self.member(storage)
        child = await self.member(storage, parent)
        await self.ends(storage, parent)
        await storage.drain_signals(child.job_id, fence=1, at=NOW)
        assert await self.is_stopped(storage, await self.continues(storage, child))

    async def test_a_job_that_goes_on_without_its_parent_is_cancelled(self, storage: Storage) -> None:
        """The parent ended so long ago that it has been forgotten."""
        parent = await self.member(storage)
        child = await self.member(storage, parent)
        await self.ends(storage, parent)
        await storage.drain_signals(child.job_id, fence=1, at=NOW)
        assert await storage.prune(before=NOW.replace(year=NOW.year + 1)) == 1
        assert await self.is_stopped(storage, await self.continues(storage, child))

    @pytest.mark.parametrize("request_", ["job.cancel_requested", "job.deadline_reached"])
    async def test_whoever_joins_a_family_whose_head_is_asked_to_stop_is_cancelled(
        self, storage: Storage, request_: str
    ) -> None:
        parent = await self.member(storage)
        child = await self.member(storage, parent)
        await storage.commit(commit(signals=[Signal("stop", parent.job_id, request_)]))
        assert await self.is_stopped(storage, await self.continues(storage, child))
        born = job(parent_job_id=parent.job_id, depth=1)
        creation = [(born, [NewEvent("job.created")])]
        await storage.commit(
            commit(job_id=parent.job_id, fence=1, events=[NewEvent("child.started")], create=creation)
        )
        assert await self.is_stopped(storage, born)

    @pytest.mark.parametrize("status", [JobStatus.WAITING, JobStatus.BLOCKED, JobStatus.RUNNING])
    async def test_the_families_of_living_parents_grow(self, storage: Storage, status: JobStatus) -> None:
        parent = await self.member(storage)
        child = await self.member(storage, parent)
        await storage.commit(commit(signals=[Signal("s", parent.job_id, "child.ended")]))
        await storage.commit(
            commit(
                job_id=parent.job_id,
                fence=1,
                events=[NewEvent("job.suspended")],
                job=JobChange(status=status, release=True),
            )
        )
        assert not await self.is_stopped(storage, await self.continues(storage, child))

    async def test_a_parent_that_has_lost_its_job_creates_no_child(self, storage: Storage) -> None:
        parent = await self.member(storage)
        assert await storage.free_job(parent.job_id, fence=1)
        assert await storage.claim(parent.job_id, owner="w2", at=NOW) is not None
        born = job(parent_job_id=parent.job_id, depth=1)
        creation = [(born, [NewEvent("job.created")])]
        with pytest.raises(FenceLost):
            await storage.commit(
                commit(job_id=parent.job_id, fence=1, events=[NewEvent("child.started")], create=creation)
            )
        assert await storage.get_job(born.job_id) is None

    @pytest.mark.parametrize("method", ["prune", "prune_content"])
    async def test_what_a_child_gave_stays_as_long_as_its_parent_may_ask_for_it(
        self, storage: Storage, method: str
    ) -> None:
        """A grandchild, too: its parent, when it is retried, asks for it."""
        parent = await self.member(storage)
        child = await self.member(storage, parent)
        grandchild = await self.member(storage, child)
        prune, later = getattr(storage, method), NOW + timedelta(days=2)
        for ended in (grandchild, child):
            await self.ends(storage, ended)
        assert await prune(before=later) == 0
        for ended in (parent, child, grandchild):
            assert (await storage.events(ended.job_id))[0].content == b'"input"'
        await self.ends(storage, parent)
        assert [await prune(before=later) for _ in range(4)] == [1, 1, 1, 0]

    @pytest.mark.parametrize("method", ["prune", "prune_content"])
    async def test_what_a_child_gave_stays_as_long_as_a_retry_of_its_parent_may_ask_for_it(
        self, storage: Storage, method: str
    ) -> None:
        """Its journal refers to the children of the job that it goes on for, and that one to nothing of its own any more."""
        parent = await self.member(storage)
        child = await self.member(storage, parent)
        retry = job(origin=parent.origin, chain_id=parent.chain_id, predecessor_id=parent.job_id)
        await self.ends(storage, child)
        await self.ends(storage, parent)
        await storage.commit(commit(create=[(retry, [NewEvent("job.created")])]))
        prune, later = getattr(storage, method), NOW + timedelta(days=2)
        assert await prune(before=later) == 0
        claim = await storage.claim(retry.job_id, owner="w1", at=NOW)
        assert claim is not None
        await self.ends(storage, claim.job)
        assert [await prune(before=later) for _ in range(4)] == [1, 1, 1, 0]

    @pytest.mark.parametrize("method", ["prune", "prune_content"])
    async def test_links_that_a_child_has_left_behind_are_forgotten(
        self, storage: Storage, method: str
    ) -> None:
        """A child that goes on as another job has given nothing yet; only the last link will."""
        parent = await self.member(storage)
        child = await self.member(storage, parent)
        await self.continues(storage, child)
        assert await getattr(storage, method)(before=NOW + timedelta(days=2)) == 1

    async def test_last_entries_are_read_together(self, storage: Storage) -> None:
        parent = await self.member(storage)
        child = await self.member(storage, parent, scope_id="tenant")
        await self.ends(storage, child)
        found = await storage.last_events([parent.job_id, child.job_id, "unknown"])
        told = {event.job_id: (event.type, event.scope_id, event.seq) for event in found}
        assert told == {
            parent.job_id: ("job.started", "default", 2),
            child.job_id: ("job.cancelled", "tenant", 3),
        }
        assert await storage.last_events([]) == []
