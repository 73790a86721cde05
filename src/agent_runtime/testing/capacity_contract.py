"""What every `Storage` must do about places: caps on what runs, bounds on what waits. A part of `StorageContract`."""

from __future__ import annotations

import asyncio
from typing import Unpack

import pytest

from agent_runtime.errors import DuplicateJob, IdempotencyConflict, QueueFull
from agent_runtime.ports.commit import JobChange, NewEvent, Signal
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, JobFields, commit, job, pairs
from agent_runtime.values.capacity import QueueBounds, ScopeCaps
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus

CAPS = ScopeCaps(default=2, scopes={"held": 0, "large": 5})


class CapacityContract:
    """The part of the suite that counts."""

    async def queued(self, storage: Storage, **values: Unpack[JobFields]) -> JobRecord:
        """Store a job that waits for a worker."""
        record = job(**values)
        await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
        return record

    async def running(self, storage: Storage, **values: Unpack[JobFields]) -> JobRecord:
        """Store a job that has an owner."""
        record = await self.queued(storage, **values)
        claim = await storage.claim(record.job_id, owner="w", at=NOW)
        assert claim is not None
        return claim.job

    async def released(self, storage: Storage, owned: JobRecord, status: JobStatus) -> None:
        """Give up a job."""
        await storage.commit(
            commit(
                job_id=owned.job_id,
                fence=owned.fence,
                scope_id=owned.scope_id,
                events=[NewEvent("custom.released")],
                job=JobChange(status=status, release=True),
            )
        )

    async def claimable(self, storage: Storage, record: JobRecord) -> bool:
        """Claim under the caps; return whether it was given."""
        return await storage.claim(record.job_id, owner="w", at=NOW, caps=CAPS) is not None

    # -- caps ----------------------------------------------------------------------------------------------------

    async def test_many_claimants_together_keep_to_a_cap(self, storage: Storage) -> None:
        records = [
            await self.queued(storage, scope_id=scope) for scope in ("a", "b", "large") for _ in range(8)
        ]
        given = await asyncio.gather(*(self.claimable(storage, record) for record in records))
        claimed = [record.scope_id for record, was_given in zip(records, given, strict=True) if was_given]
        assert {scope: claimed.count(scope) for scope in claimed} == {"a": 2, "b": 2, "large": 5}

    async def test_a_scope_with_a_cap_of_zero_is_held_back(self, storage: Storage) -> None:
        assert not await self.claimable(storage, await self.queued(storage, scope_id="held"))
        assert await storage.due_jobs(caps=CAPS) == []

    async def test_a_job_that_was_turned_away_is_as_it_was(self, storage: Storage) -> None:
        record = await self.queued(storage, scope_id="held")
        before = await storage.get_job(record.job_id)
        assert not await self.claimable(storage, record)
        assert await storage.get_job(record.job_id) == before
        assert len(await storage.events(record.job_id)) == 1

    @pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.WAITING])
    async def test_a_released_job_leaves_its_place(self, storage: Storage, status: JobStatus) -> None:
        first, _ = [await self.running(storage, scope_id="a") for _ in range(2)]
        third = await self.queued(storage, scope_id="a")
        assert not await self.claimable(storage, third)
        await self.released(storage, first, status)
        assert await self.claimable(storage, third)

    async def test_a_job_that_lost_its_owner_has_left_its_place_and_comes_before_younger_ones(
        self, storage: Storage
    ) -> None:
        first, second = [await self.running(storage, scope_id="a") for _ in range(2)]
        third = await self.queued(storage, scope_id="a")
        assert await storage.free_job(first.job_id, fence=first.fence)
        assert not await self.claimable(storage, third)
        assert await self.claimable(storage, first)
        await self.released(storage, second, JobStatus.RUNNING)
        assert not await self.claimable(storage, third)
        assert await self.claimable(storage, second)

    async def test_nobody_overtakes_those_that_come_first_for_the_places_left(self, storage: Storage) -> None:
        await self.running(storage, scope_id="a")
        old, late, high = [await self.queued(storage, scope_id="a", priority=p) for p in (0, 0, 5)]
        elsewhere = await self.queued(storage, scope_id="a", queue="other")
        assert not await self.claimable(storage, old)
        assert not await self.claimable(storage, late)
        assert pairs(await storage.due_jobs(caps=CAPS)) == [(high.job_id, 5), (elsewhere.job_id, 0)]
        assert await self.claimable(storage, elsewhere)  # a queue that nobody serves holds up no other one
        assert not await self.claimable(storage, high)

    async def test_claims_in_any_order_give_the_places_to_the_first(self, storage: Storage) -> None:
        records = [await self.queued(storage, scope_id="large", priority=n % 3) for n in range(12)]
        given = await asyncio.gather(*(self.claimable(storage, record) for record in reversed(records)))
        claimed = {record.job_id for record, was in zip(reversed(records), given, strict=True) if was}
        expected = sorted(records, key=lambda record: (-record.priority, record.job_id))[:5]
        assert claimed == {record.job_id for record in expected}

    async def test_a_woken_job_needs_a_place_as_well(self, storage: Storage) -> None:
        sleeper = await self.running(storage, scope_id="a")
        await self.released(storage, sleeper, JobStatus.SLEEPING)
        others = [await self.running(storage, scope_id="a") for _ in range(2)]
        await storage.commit(commit(signals=[Signal("s", sleeper.job_id, "timer.fired")]))
        assert not await self.claimable(storage, sleeper)
        assert await storage.due_jobs(caps=CAPS) == []
        await self.released(storage, others[0], JobStatus.SUCCEEDED)
        assert pairs(await storage.due_jobs(caps=CAPS)) == [(sleeper.job_id, 0)]
        assert await self.claimable(storage, sleeper)

    @pytest.mark.parametrize("request_", ["job.cancel_requested", "job.deadline_reached"])
    async def test_a_job_that_is_asked_to_stop_needs_no_place(self, storage: Storage, request_: str) -> None:
        record = await self.queued(storage, scope_id="held")
        await storage.commit(commit(signals=[Signal("s", record.job_id, request_)]))
        assert pairs(await storage.due_jobs(caps=CAPS)) == [(record.job_id, 0)]
        assert await self.claimable(storage, record)

    async def test_due_jobs_are_the_first_that_have_a_place(self, storage: Storage) -> None:
        await self.running(storage, scope_id="a")
        late, low, high = [await self.queued(storage, scope_id="a", priority=p) for p in (0, 0, 5)]
        other = await self.queued(storage, scope_id="large", priority=1)
        assert pairs(await storage.due_jobs(caps=CAPS)) == [(other.job_id, 1), (high.job_id, 5)]
        assert pairs(await storage.due_jobs(caps=CAPS, limit=1)) == [(other.job_id, 1)]
        assert pairs(await storage.due_jobs(caps=CAPS, among=[low.job_id, "job-none"])) == [(low.job_id, 0)]
        assert pairs(await storage.due_jobs(among=[low.job_id, high.job_id])) == [
            (high.job_id, 5),
            (low.job_id, 0),
        ]
        assert len(await storage.due_jobs()) == 4
        assert late.job_id < low.job_id

    async def test_without_a_default_only_named_scopes_are_capped(self, storage: Storage) -> None:
        caps = ScopeCaps(scopes={"held": 0})
        free = [await self.queued(storage, scope_id="free") for _ in range(3)]
        held = await self.queued(storage, scope_id="held")
        assert pairs(await storage.due_jobs(caps=caps)) == [(record.job_id, 0) for record in free]
        for record in free:
            assert await storage.claim(record.job_id, owner="w", at=NOW, caps=caps) is not None
        assert await storage.claim(held.job_id, owner="w", at=NOW, caps=caps) is None

    async def test_the_next_jobs_of_a_scope_are_those_with_a_place(self, storage: Storage) -> None:
        await self.running(storage, scope_id="a")
        sleeper = await self.running(storage, scope_id="a", priority=2)
        await self.released(storage, sleeper, JobStatus.SLEEPING)
        await storage.commit(commit(signals=[Signal(f"s{n}", sleeper.job_id, "timer.fired") for n in (1, 2)]))
        old, _, high = [await self.queued(storage, scope_id="a", priority=p) for p in (0, 0, 5)]
        await self.queued(storage, scope_id="b", priority=9)
        assert await storage.next_jobs("a", cap=1) == []
        assert await storage.next_jobs("a", cap=2) == [(high.job_id, 5)]
        assert await storage.next_jobs("a", cap=2, queues=["other"]) == []
        assert await storage.next_jobs("a", cap=2, queues=["other", "default"]) == [(high.job_id, 5)]
        assert await storage.next_jobs("a", cap=4) == [(high.job_id, 5), (sleeper.job_id, 2), (old.job_id, 0)]

    # -- turns ---------------------------------------------------------------------------------------------------

    async def flood(self, storage: Storage, scope_id: str, number: int) -> list[str]:
        """Store many urgent jobs of a scope; return their ids."""
        made = [job(scope_id=scope_id, priority=2**31 - 1) for _ in range(number)]
        for first in range(0, number, 2_000):
            created = [(record, [NewEvent("job.created")]) for record in made[first : first + 2_000]]
            await storage.commit(commit(create=created))
        return [record.job_id for record in made]

    async def test_a_flood_of_urgent_jobs_of_one_scope_keeps_no_other_from_being_next(
        self, storage: Storage
    ) -> None:
        await self.flood(storage, "a", 10_000)
        other = await self.queued(storage, scope_id="b")
        caps = ScopeCaps(default=20_000)
        assert other.job_id in [due.job_id for due in await storage.due_jobs(limit=2)]
        assert other.job_id in [due.job_id for due in await storage.due_jobs(limit=2, caps=caps)]

    @pytest.mark.parametrize("caps", [ScopeCaps(), ScopeCaps(default=2)], ids=["free", "capped"])
    async def test_sweeps_go_on_where_the_last_one_ended_until_all_scopes_were_looked_at(
        self, storage: Storage, caps: ScopeCaps
    ) -> None:
        made = [job(scope_id=f"scope {n}") for n in range(700)]
        await storage.commit(commit(create=[(record, [NewEvent("job.created")]) for record in made]))
        sweeps = [await storage.due_jobs(limit=300, caps=caps) for _ in range(3)]
        assert [len(found) for found in sweeps] == [300, 300, 300]
        assert {due.job_id for found in sweeps for due in found} == {record.job_id for record in made}

    async def test_scopes_without_a_place_hide_no_other(self, storage: Storage) -> None:
        caps = ScopeCaps(scopes={f"held {n}": 0 for n in range(400)})
        made = [job(scope_id=scope_id) for scope_id in (*caps.scopes, "later")]
        await storage.commit(commit(create=[(record, [NewEvent("job.created")]) for record in made]))
        assert pairs(await storage.due_jobs(limit=1, caps=caps)) == [(made[-1].job_id, 0)]

    async def test_one_long_line_among_short_ones_fills_what_they_leave(self, storage: Storage) -> None:
        long = await self.flood(storage, "long", 300)
        short = [await self.queued(storage, scope_id=f"short {n}") for n in range(20)]
        found = [due.job_id for due in await storage.due_jobs(limit=200)]
        assert len(found) == 200
        assert {record.job_id for record in short} <= set(found)
        assert [job_id for job_id in found if job_id in long] == sorted(long)[:180]

    async def test_the_scope_with_the_fewest_running_jobs_is_next(self, storage: Storage) -> None:
        for scope_id in ("a", "a", "b"):
            await self.running(storage, scope_id=scope_id)
        first, second, urgent = [
            await self.queued(storage, scope_id=scope, priority=priority) for scope, priority in (("a", 0), ("b", 0), ("b", 5))
        ]  # fmt: skip
        third = await self.queued(storage, scope_id="c")
        order = [third.job_id, urgent.job_id, first.job_id, second.job_id]
        assert [due.job_id for due in await storage.due_jobs()] == order

    async def test_priority_may_be_told_to_count_across_scopes(self, storage: Storage) -> None:
        late = await self.queued(storage, scope_id="a")
        high, higher = [await self.queued(storage, scope_id="b", priority=priority) for priority in (1, 2)]
        found = await storage.due_jobs(across_scopes=True)
        assert [due.job_id for due in found] == [higher.job_id, high.job_id, late.job_id]
        found = await storage.due_jobs(across_scopes=True, caps=ScopeCaps(default=9))
        assert [due.job_id for due in found] == [higher.job_id, high.job_id, late.job_id]
        found = await storage.due_jobs(across_scopes=True, caps=ScopeCaps(default=1))
        assert [due.job_id for due in found] == [higher.job_id, late.job_id]
        found = await storage.due_jobs(across_scopes=True, limit=2)
        assert [due.job_id for due in found] == [higher.job_id, high.job_id]
        found = await storage.due_jobs(across_scopes=True, among=[late.job_id, high.job_id])
        assert [due.job_id for due in found] == [high.job_id, late.job_id]

    # -- bounds --------------------------------------------------------------------------------------------------

    async def submitted(
        self, storage: Storage, bounds: QueueBounds, **values: Unpack[JobFields]
    ) -> JobRecord:
        """Store a job if there is room in the queue."""
        record = job(**values)
        await storage.commit(commit(create=[(record, [NewEvent("job.created")])], queue_bounds=bounds))
        return record

    @pytest.mark.parametrize(
        ("bounds", "accepted"), [(QueueBounds(per_scope=5), 10), (QueueBounds(total=7), 7), (QueueBounds(total=9, per_scope=5), 9)]
    )  # fmt: skip
    async def test_many_submitters_together_keep_to_a_bound(
        self, storage: Storage, bounds: QueueBounds, accepted: int
    ) -> None:
        scopes = ["a", "b"] * 10
        outcomes = await asyncio.gather(
            *(self.submitted(storage, bounds, scope_id=scope) for scope in scopes), return_exceptions=True
        )
        refusals = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(refusal) for refusal in refusals} == {QueueFull}
        assert len(outcomes) - len(refusals) == accepted
        assert await storage.count_jobs(JobFilter()) == accepted

    async def test_only_jobs_that_wait_for_a_worker_are_counted(self, storage: Storage) -> None:
        await self.running(storage, scope_id="a")
        suspended = await self.running(storage, scope_id="a")
        await self.released(storage, suspended, JobStatus.WAITING)
        await self.queued(storage, scope_id="a", operator=None)
        await self.queued(storage, scope_id="b")
        await self.submitted(storage, QueueBounds(per_scope=1), scope_id="a")
        with pytest.raises(QueueFull) as refused:
            await self.submitted(storage, QueueBounds(per_scope=1), scope_id="a")
        assert (refused.value.scope_id, refused.value.limit) == ("a", 1)
        with pytest.raises(QueueFull) as refused:
            await self.submitted(storage, QueueBounds(total=2), scope_id="c")
        assert (refused.value.scope_id, refused.value.limit) == (None, 2)

    async def test_what_waits_in_a_scope_is_counted_up_to_a_bound(self, storage: Storage) -> None:
        await self.running(storage, scope_id="a")
        suspended = await self.running(storage, scope_id="a")
        await self.released(storage, suspended, JobStatus.WAITING)
        await self.queued(storage, scope_id="a", operator=None)
        await self.queued(storage, scope_id="b")
        for queue in ("default", "default", "other"):
            await self.queued(storage, scope_id="a", queue=queue)
        found = [
            await storage.count_waiting(scope, most=most)
            for scope, most in (("a", 9), ("a", 2), ("b", 9), ("c", 9))
        ]
        assert found == [3, 2, 1, 0]

    async def test_a_key_that_exists_is_told_before_the_queue_is_full(self, storage: Storage) -> None:
        bounds = QueueBounds(total=1, per_scope=1)
        first = await self.submitted(storage, bounds, idempotency_key="k", request_hash="h")
        with pytest.raises(DuplicateJob) as caught:
            await self.submitted(storage, bounds, idempotency_key="k", request_hash="h")
        assert caught.value.job_id == first.job_id
        with pytest.raises(IdempotencyConflict):
            await self.submitted(storage, bounds, idempotency_key="k", request_hash="other")

    async def test_without_a_bound_nothing_is_refused(self, storage: Storage) -> None:
        await self.submitted(storage, QueueBounds(total=1))
        await self.queued(storage)
        assert await storage.count_jobs(JobFilter()) == 2
