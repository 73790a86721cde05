"""What every `Storage` must do. Subclass `StorageContract` and supply a `storage` fixture that yields an open one.

The same suite judges memory, SQLite and Postgres.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Unpack

import pytest

from agent_runtime.errors import (
    DuplicateJob,
    FenceLost,
    IdempotencyConflict,
    InvalidInput,
    InvalidTransition,
    SignalsPending,
    UnknownAction,
    UnknownJob,
)
from agent_runtime.ports.commit import ActionChange, Commit, JobChange, NewEvent, Signal, Timer
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.ports.storage import Storage
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.testing.ability_contract import AbilityContract
from agent_runtime.testing.agents_contract import AgentsContract
from agent_runtime.testing.audit_contract import AuditContract
from agent_runtime.testing.capacity_contract import CapacityContract
from agent_runtime.testing.chain_contract import ChainContract
from agent_runtime.testing.deaths_contract import DeathsContract
from agent_runtime.testing.erasure_contract import ErasureContract
from agent_runtime.testing.examples import NOW, JobFields, action, commit, job, pairs
from agent_runtime.testing.families_contract import FamiliesContract
from agent_runtime.testing.feed_contract import FeedContract
from agent_runtime.testing.inbox_contract import InboxContract
from agent_runtime.testing.keys_contract import KeysContract
from agent_runtime.testing.money_contract import MoneyContract
from agent_runtime.testing.parts_contract import PartsContract
from agent_runtime.testing.refusals_contract import RefusalsContract
from agent_runtime.testing.schedules_contract import SchedulesContract
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import Amount, Charge, LedgerEntry, LedgerFilter
from agent_runtime.values.context import BudgetSpec, PolicyRef, RunVersions
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import InheritedBudget, JobFilter, JobRecord, JobStatus


class Recorder:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.types: list[tuple[str, int]] = []

    def committed(self, commit: Commit, first_seq: int) -> None:
        """Remember the commit's events with their places."""
        self.types.extend((event.type, seq) for seq, event in enumerate(commit.events, first_seq))

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """Remember the entries of drained signals."""
        self.types.extend((event.type, event.seq or 0) for event in events if event.job_id == job_id)

    def mailed(self, job_ids: Sequence[str]) -> None:
        """Nothing to remember."""

    def agents_changed(self, changes: Sequence[tuple[str, str]]) -> None:
        """Nothing to remember."""

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        """Nothing to remember."""


class StorageContract(
    MoneyContract,
    CapacityContract,
    ChainContract,
    FamiliesContract,
    DeathsContract,
    AbilityContract,
    InboxContract,
    RefusalsContract,
    FeedContract,
    AuditContract,
    ErasureContract,
    KeysContract,
    SchedulesContract,
    AgentsContract,
    PartsContract,
):
    """The suite."""

    async def created(self, storage: Storage, **values: Unpack[JobFields]) -> JobRecord:
        """Store a job with its first event."""
        record = job(**values)
        await storage.commit(commit(create=[(record, [NewEvent("job.created", None, {"n": 1}, b'"input"')])]))
        return record

    async def claimed(self, storage: Storage, **values: Unpack[JobFields]) -> JobRecord:
        """Store a job and claim it."""
        record = await self.created(storage, **values)
        claim = await storage.claim(record.job_id, owner="w1", at=NOW)
        assert claim is not None
        return claim.job

    async def types(self, storage: Storage, job_id: str) -> list[str]:
        """Return the types of a journal's entries."""
        return [event.type for event in await storage.events(job_id)]

    # -- values survive ------------------------------------------------------------------------------------------

    async def test_a_job_comes_back_as_it_was_written(self, storage: Storage) -> None:
        record = job(
            scope_id="tenant",
            principal_id="p",
            session_id="s",
            run_id="r",
            parent_job_id="job-parent",
            parent_operation_id="job-parent:1",
            idempotency_key="k",
            request_hash="h",
            priority=3,
            depth=2,
            deadline=NOW + timedelta(hours=1),
            budgets=BudgetSpec(max_cost=Decimal("0.1"), max_tokens=5),
            inherited_budgets=(InheritedBudget(budget_id="run:x", spec=BudgetSpec(max_turns=3)),),
            policy_ref=PolicyRef(name="prod", version="2"),
            versions=RunVersions(operator_version="7"),
            metadata={"a": [1, None, "ü"]},
            tags={"team": "x"},
        )
        await storage.commit(commit(create=[(record, [])]))
        assert await storage.get_job(record.job_id) == record

    async def test_events_come_back_as_they_were_written(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        content = b"\x00\xff binary is fine"
        data = {"text": "nul \x00 and ünïcode", "list": [1, 2.5, None, True]}
        seq = await storage.commit(
            commit(job_id=owned.job_id, fence=1, events=[NewEvent("custom.x", "op-1", data, content)])
        )
        (event,) = await storage.events(owned.job_id, after_seq=seq - 1)
        assert (event.type, event.operation_id, event.data, event.content) == (
            "custom.x",
            "op-1",
            data,
            content,
        )
        assert (event.seq, event.timestamp, event.scope_id) == (seq, NOW, "default")
        assert event.event_id == f"{owned.job_id}:{seq}"

    # -- claims and fences ---------------------------------------------------------------------------------------

    async def test_claiming_a_queued_job_starts_it(self, storage: Storage) -> None:
        record = await self.created(storage)
        claim = await storage.claim(record.job_id, owner="w1", at=NOW)
        assert claim is not None
        assert (claim.job.status, claim.job.owner, claim.job.fence) == ("running", "w1", 1)
        assert [(event.type, event.seq) for event in claim.events] == [("job.created", 1), ("job.started", 2)]
        assert claim.job == await storage.get_job(record.job_id)

    async def test_a_claimant_whose_clock_is_behind_writes_nothing_earlier(self, storage: Storage) -> None:
        record = await self.created(storage)
        claim = await storage.claim(record.job_id, owner="w1", at=NOW - timedelta(hours=5))
        assert claim is not None
        assert [event.timestamp for event in claim.events] == [NOW, NOW]
        assert claim.job.updated_at == NOW
        assert claim.job.started_at is not None

    async def test_an_owned_job_cannot_be_claimed_again(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        assert await storage.claim(owned.job_id, owner="w2", at=NOW) is None

    async def test_of_many_claimants_one_wins(self, storage: Storage) -> None:
        record = await self.created(storage)
        claims = await asyncio.gather(
            *(storage.claim(record.job_id, owner=f"w{n}", at=NOW) for n in range(20))
        )
        assert len([claim for claim in claims if claim is not None]) == 1

    async def test_a_job_without_operator_is_never_claimed(self, storage: Storage) -> None:
        record = await self.created(storage, operator=None)
        assert await storage.claim(record.job_id, owner="w", at=NOW) is None

    async def test_an_ended_job_is_never_claimed(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        change = JobChange(status=JobStatus.SUCCEEDED, release=True, completed_at=NOW)
        await storage.commit(
            commit(job_id=owned.job_id, fence=1, events=[NewEvent("job.succeeded")], job=change)
        )
        assert await storage.claim(owned.job_id, owner="w2", at=NOW) is None

    async def test_a_stale_fence_cannot_write_anything(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        await storage.remove_worker("w1")
        assert await storage.claim(owned.job_id, owner="w2", at=NOW) is not None
        before = await storage.events(owned.job_id)
        entry = LedgerEntry(entry_id="e", type="model_usage", timestamp=NOW)
        with pytest.raises(FenceLost):
            await storage.commit(
                commit(
                    job_id=owned.job_id,
                    fence=1,
                    events=[NewEvent("x")],
                    ledger=[entry],
                    new_actions=[action()],
                )
            )
        with pytest.raises(FenceLost):
            await storage.drain_signals(owned.job_id, fence=1, at=NOW)
        assert await storage.events(owned.job_id) == before
        assert await storage.ledger_entries(LedgerFilter()) == []
        assert await storage.list_actions() == []

    async def test_a_journal_grows_only_under_a_fence(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        with pytest.raises(InvalidInput):
            await storage.commit(commit(job_id=owned.job_id, events=[NewEvent("x")]))

    async def test_an_unknown_job_is_said_to_be_unknown(self, storage: Storage) -> None:
        with pytest.raises(UnknownJob):
            await storage.commit(commit(job_id="job-none", fence=1, events=[NewEvent("x")]))

    # -- commits -------------------------------------------------------------------------------------------------

    async def test_a_refused_commit_changes_nothing(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        before = (await storage.get_job(owned.job_id), await storage.events(owned.job_id))
        child = job(parent_job_id=owned.job_id)
        with pytest.raises(UnknownAction):
            await storage.commit(
                commit(
                    job_id=owned.job_id,
                    fence=1,
                    events=[NewEvent("x")],
                    create=[(child, [NewEvent("job.created")])],
                    set_timers=[Timer(owned.job_id, "t", NOW, "timer.fired")],
                    charges=[Charge(budget_id="b", reserve=Amount(tokens=1))],
                    action_changes=[ActionChange(action_id="act-none", status=ActionStatus.RESOLVED)],
                )
            )
        assert (await storage.get_job(owned.job_id), await storage.events(owned.job_id)) == before
        assert await storage.get_job(child.job_id) is None
        assert await storage.next_timer() is None
        assert (await storage.counters([("b", "")]))[0].reserved == Amount()

    async def test_data_that_is_not_json_is_refused_with_all_that_belongs_to_it(
        self, storage: Storage
    ) -> None:
        owned, other = await self.claimed(storage), job()
        before = await storage.events(owned.job_id)
        bad: Any = {"value": object()}
        events = [NewEvent("custom.good"), NewEvent("custom.bad", None, bad)]
        with pytest.raises(TypeError):
            await storage.commit(commit(job_id=owned.job_id, fence=1, events=events, create=[(other, [])]))
        with pytest.raises(TypeError):
            await storage.commit(commit(create=[(other, events)]))
        with pytest.raises(TypeError):
            await storage.commit(commit(signals=[Signal("s", owned.job_id, "x", data=bad)]))
        assert await storage.events(owned.job_id) == before
        assert await storage.get_job(other.job_id) is None

    async def test_one_refused_commit_of_many_concurrent_ones_fails_alone(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        good = [commit(job_id=owned.job_id, fence=1, events=[NewEvent(f"custom.{n}")]) for n in range(50)]
        bad = commit(job_id=owned.job_id, fence=0, events=[NewEvent("custom.bad")])
        outcomes = await asyncio.gather(
            *(storage.commit(c) for c in [*good[:25], bad, *good[25:]]), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [type(failure) for failure in failures] == [FenceLost]
        places = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert sorted(places) == list(range(3, 53))
        assert [event.seq for event in await storage.events(owned.job_id)] == list(range(1, 53))

    async def test_a_repeated_commit_is_not_written_again(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        repeated = commit(
            job_id=owned.job_id,
            fence=1,
            events=[NewEvent("x"), NewEvent("y")],
            charges=[Charge(budget_id="b", settle=Amount(tokens=7))],
        )
        first = await storage.commit(repeated)
        await storage.commit(commit(job_id=owned.job_id, fence=1, events=[NewEvent("z")]))
        assert await storage.commit(repeated) == first
        assert (await self.types(storage, owned.job_id))[2:] == ["x", "y", "z"]
        assert (await storage.counters([("b", "")]))[0].settled == Amount(tokens=7)

    async def test_a_repeated_final_commit_is_recognised_after_the_job_has_moved_on(
        self, storage: Storage
    ) -> None:
        owned = await self.claimed(storage)
        change = JobChange(status=JobStatus.WAITING, release=True, expect=frozenset({JobStatus.RUNNING}))
        repeated = commit(job_id=owned.job_id, fence=1, events=[NewEvent("job.suspended")], job=change)
        first = await storage.commit(repeated)
        await storage.commit(commit(signals=[Signal("s", owned.job_id, "custom.wake")]))
        assert await storage.claim(owned.job_id, owner="w2", at=NOW) is not None
        assert await storage.commit(repeated) == first

    async def test_a_status_changes_only_from_what_is_expected(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        change = JobChange(status=JobStatus.RUNNING, expect=frozenset({JobStatus.QUEUED}))
        with pytest.raises(InvalidTransition):
            await storage.commit(commit(job_id=owned.job_id, fence=1, events=[NewEvent("x")], job=change))

    async def test_the_reason_of_a_status_is_forgotten_with_it(self, storage: Storage) -> None:
        record = await self.claimed(storage)
        waits = JobChange(status=JobStatus.WAITING, error="no answer", error_code="OUTAGE", release=True)
        await storage.commit(
            commit(job_id=record.job_id, fence=1, events=[NewEvent("job.retried")], job=waits)
        )
        kept = await storage.get_job(record.job_id)
        assert kept is not None
        assert (kept.error, kept.error_code) == ("no answer", "OUTAGE")
        await storage.commit(commit(signals=[Signal("s", record.job_id, "custom.wake")]))
        claim = await storage.claim(record.job_id, owner="w2", at=NOW)
        assert claim is not None
        ended = JobChange(status=JobStatus.SUCCEEDED, completed_at=NOW, release=True)
        await storage.commit(
            commit(job_id=record.job_id, fence=claim.job.fence, events=[NewEvent("job.succeeded")], job=ended)
        )
        kept = await storage.get_job(record.job_id)
        assert kept is not None
        assert (kept.error, kept.error_code) == (None, None)

    async def test_listeners_hear_every_event_in_order(self, storage: Storage) -> None:
        recorder = Recorder()
        owned = await self.created(storage)
        storage.listen(recorder)
        await storage.claim(owned.job_id, owner="w", at=NOW)
        for n in range(3):
            await storage.commit(commit(job_id=owned.job_id, fence=1, events=[NewEvent(f"custom.{n}")]))
        storage.unlisten(recorder)
        await storage.commit(commit(job_id=owned.job_id, fence=1, events=[NewEvent("custom.unheard")]))
        assert recorder.types == [("job.started", 2), ("custom.0", 3), ("custom.1", 4), ("custom.2", 5)]

    async def test_a_cancelled_writer_leaves_whole_commits_only(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        pair = [NewEvent("custom.a"), NewEvent("custom.b")]
        tasks = [
            asyncio.ensure_future(storage.commit(commit(job_id=owned.job_id, fence=1, events=pair)))
            for _ in range(20)
        ]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await storage.commit(commit(job_id=owned.job_id, fence=1, events=[NewEvent("custom.end")]))
        types = (await self.types(storage, owned.job_id))[2:-1]
        assert types == ["custom.a", "custom.b"] * (len(types) // 2)

    # -- idempotent creation -------------------------------------------------------------------------------------

    async def test_a_key_gives_one_job_per_scope(self, storage: Storage) -> None:
        first = await self.created(storage, scope_id="a", idempotency_key="k", request_hash="h")
        with pytest.raises(DuplicateJob) as caught:
            await self.created(storage, scope_id="a", idempotency_key="k", request_hash="h")
        assert caught.value.job_id == first.job_id
        with pytest.raises(IdempotencyConflict):
            await self.created(storage, scope_id="a", idempotency_key="k", request_hash="other")
        other = await self.created(storage, scope_id="b", idempotency_key="k", request_hash="h")
        assert await storage.find_job("b", "k") == await storage.get_job(other.job_id)
        assert await storage.find_job("c", "k") is None

    async def test_jobs_without_key_never_collide(self, storage: Storage) -> None:
        await asyncio.gather(*(self.created(storage) for _ in range(10)))
        assert await storage.count_jobs(JobFilter()) == 10

    # -- signals -------------------------------------------------------------------------------------------------

    async def test_a_signal_is_folded_once_into_its_owners_journal(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        signal = Signal("s1", owned.job_id, "action.resolved", "op-1", {"by": "me"}, b"{}")
        await storage.commit(commit(signals=[signal]))
        await storage.commit(commit(signals=[signal]))
        assert await storage.jobs_with_signals("w1") == [owned.job_id]
        (event,) = await storage.drain_signals(owned.job_id, fence=1, at=NOW)
        assert (event.type, event.operation_id, event.data, event.content) == signal[2:]
        assert event.seq == 3
        assert await storage.drain_signals(owned.job_id, fence=1, at=NOW) == []
        assert await storage.jobs_with_signals("w1") == []

    async def test_what_is_held_is_written_before_the_signals_that_are_folded_with_it(
        self, storage: Storage
    ) -> None:
        owned = await self.claimed(storage)
        await storage.commit(commit(signals=[Signal("s1", owned.job_id, "timer.fired")]))
        values = [NewEvent("value.recorded", f"op-{number}") for number in range(2)]
        charge = Charge("held", settle=Amount(tool_calls=1))
        held = commit(job_id=owned.job_id, fence=1, events=values, charges=[charge])
        for _ in range(2):  # asked again, since the first answer was lost: nothing is written twice
            (event,) = await storage.drain_signals(owned.job_id, fence=1, at=NOW, held=held)
            assert (event.type, event.seq) == ("timer.fired", 5)
        written = [event.type for event in await storage.events(owned.job_id, after_seq=2)]
        assert written == ["value.recorded", "value.recorded", "timer.fired"]
        (counters,) = await storage.counters([("held", "")])
        assert counters.settled.tool_calls == 1

    async def test_what_is_held_is_written_without_signals_too(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        held = commit(job_id=owned.job_id, fence=1, events=[NewEvent("value.recorded", "op")])
        assert await storage.drain_signals(owned.job_id, fence=1, at=NOW, held=held) == []
        (event,) = await storage.events(owned.job_id, after_seq=2)
        assert event.type == "value.recorded"

    async def test_a_stale_owner_neither_folds_nor_writes_what_it_holds(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        await storage.commit(commit(signals=[Signal("s1", owned.job_id, "timer.fired")]))
        held = commit(job_id=owned.job_id, fence=0, events=[NewEvent("value.recorded", "op")])
        with pytest.raises(FenceLost):
            await storage.drain_signals(owned.job_id, fence=0, at=NOW, held=held)
        assert len(await storage.events(owned.job_id)) == 2
        assert await storage.jobs_with_signals("w1") == [owned.job_id]

    async def test_a_suspend_is_refused_while_a_signal_waits(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        await storage.commit(commit(signals=[Signal("s", owned.job_id, "custom.s")]))
        change = JobChange(status=JobStatus.WAITING, release=True)
        suspend = commit(
            job_id=owned.job_id,
            fence=1,
            events=[NewEvent("job.suspended")],
            job=change,
            require_no_signals=True,
        )
        with pytest.raises(SignalsPending):
            await storage.commit(replace(suspend, commit_id=new_commit_id()))
        await storage.drain_signals(owned.job_id, fence=1, at=NOW)
        await storage.commit(replace(suspend, commit_id=new_commit_id()))
        found = await storage.get_job(owned.job_id)
        assert found is not None
        assert (found.status, found.owner) == (JobStatus.WAITING, None)

    async def test_a_suspended_job_is_due_only_when_a_signal_waits(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        change = JobChange(status=JobStatus.WAITING, release=True)
        await storage.commit(
            commit(job_id=owned.job_id, fence=1, events=[NewEvent("job.suspended")], job=change)
        )
        assert await storage.due_jobs() == []
        assert await storage.claim(owned.job_id, owner="w2", at=NOW) is None
        await storage.commit(commit(signals=[Signal("s", owned.job_id, "custom.s")]))
        assert pairs(await storage.due_jobs()) == [(owned.job_id, 0)]
        claim = await storage.claim(owned.job_id, owner="w2", at=NOW)
        assert claim is not None
        assert [event.type for event in claim.events][-2:] == ["job.resumed", "custom.s"]

    async def test_signals_for_ended_or_unknown_jobs_go_nowhere(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        change = JobChange(status=JobStatus.FAILED, release=True, completed_at=NOW)
        await storage.commit(
            commit(job_id=owned.job_id, fence=1, events=[NewEvent("job.failed")], job=change)
        )
        signals = [Signal("s", owned.job_id, "custom.s"), Signal("s", "job-none", "custom.s")]
        await storage.commit(commit(signals=signals))
        assert await storage.due_jobs() == []

    async def test_due_jobs_come_by_priority_then_age(self, storage: Storage) -> None:
        low, high, late = [await self.created(storage, priority=priority) for priority in (0, 5, 0)]
        assert [due.job_id for due in await storage.due_jobs()] == [high.job_id, low.job_id, late.job_id]

    # -- actions -------------------------------------------------------------------------------------------------

    async def test_a_jobs_end_cancels_its_questions_but_not_those_about_lost_effects(
        self, storage: Storage
    ) -> None:
        owned = await self.claimed(storage)
        question, lost = action(owned.job_id), action(owned.job_id, type="reconcile")
        await storage.commit(commit(new_actions=[question, lost]))
        await storage.commit(
            commit(job_id=owned.job_id, fence=1, events=[NewEvent("x")], cancel_actions_of=owned.job_id)
        )
        pending = await storage.list_actions(job_id=owned.job_id, status=ActionStatus.PENDING)
        assert [found.action_id for found in pending] == [lost.action_id]

    # -- timers --------------------------------------------------------------------------------------------------

    async def test_timers_fall_due_in_order_and_move_when_set_again(self, storage: Storage) -> None:
        def timer(key: str, seconds: int) -> Timer:
            return Timer(
                "job-1", key, NOW + timedelta(seconds=seconds), "timer.fired", f"op-{key}", {"key": key}
            )

        await storage.commit(commit(set_timers=[timer("a", 30), timer("b", 10), timer("c", 20)]))
        assert await storage.next_timer() == NOW + timedelta(seconds=10)
        await storage.commit(commit(set_timers=[timer("a", 5)]))
        due = await storage.due_timers(NOW + timedelta(seconds=10))
        assert due == [timer("a", 5), timer("b", 10)]
        await storage.commit(commit(clear_timers=[("job-1", "a")]))
        assert await storage.due_timers(NOW + timedelta(seconds=5)) == []
        outliving = Timer("job-1", "d", NOW, "action.expired", None, {"outlives": True})
        await storage.commit(commit(set_timers=[outliving]))
        await storage.commit(commit(clear_timers_of="job-1"))
        assert await storage.due_timers(NOW + timedelta(days=1)) == [outliving]

    # -- reading -------------------------------------------------------------------------------------------------

    async def test_events_are_read_by_cursor(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        for n in range(8):
            await storage.commit(commit(job_id=owned.job_id, fence=1, events=[NewEvent(f"custom.{n}")]))
        assert [event.seq for event in await storage.events(owned.job_id, after_seq=4, limit=3)] == [5, 6, 7]
        assert [event.seq for event in await storage.tail(owned.job_id, 2)] == [9, 10]
        assert await storage.events("job-none") == []
        for scope_id, seen in ((owned.scope_id, 10), ("somebody else's", 0)):
            assert len(await storage.events(owned.job_id, scope_id=scope_id)) == seen
            assert len(await storage.tail(owned.job_id, 50, scope_id=scope_id)) == seen

    async def test_jobs_are_listed_by_filter_and_page(self, storage: Storage) -> None:
        ours = [await self.created(storage, scope_id="a", principal_id=f"p{n % 2}") for n in range(6)]
        other = await self.created(storage, scope_id="b")
        ids = [one.job_id for one in ours][::-1]
        page = await storage.list_jobs(JobFilter(scope_id="a", limit=4))
        assert [one.job_id for one in page] == ids[:4]
        rest = await storage.list_jobs(JobFilter(scope_id="a", before=ids[3]))
        assert [one.job_id for one in rest] == ids[4:]
        assert await storage.count_jobs(JobFilter(scope_id="a", principal_id="p1", limit=1)) == 3
        assert await storage.count_jobs(JobFilter(status=frozenset({JobStatus.RUNNING}))) == 0
        assert await storage.get_job(other.job_id, scope_id="a") is None

    async def test_jobs_are_found_by_tags_and_by_when_they_were_made(self, storage: Storage) -> None:
        names: list[dict[str, str]] = [
            {},
            {"team": "a"},
            {"team": "a", "stage": "2"},
            {"team": "b"},
            {"$.x\"'{}": "%?{}", "0": "é\n", "\x1a": "\x1a0"},
        ]
        made = [
            await self.created(storage, tags=tags, created_at=NOW + timedelta(hours=hour))
            for hour, tags in enumerate(names)
        ]

        async def found(**wanted: Any) -> list[int]:
            ids = [one.job_id for one in await storage.list_jobs(JobFilter(**wanted))]
            assert await storage.count_jobs(JobFilter(**wanted)) == len(ids)
            return sorted([one.job_id for one in made].index(job_id) for job_id in ids)

        assert await found(tags={"team": "a"}) == [1, 2]
        assert await found(tags={"team": "a", "stage": "2"}) == [2]
        assert await found(tags={"team": ""}) == await found(tags={"stag": "2"}) == []
        assert await found(tags=names[4]) == await found(tags={"0": "é\n"}) == [4]
        assert await found(since=NOW + timedelta(hours=3)) == [3, 4]
        assert await found(since=NOW + timedelta(hours=2), tags={"team": "a"}, operator=made[0].operator) == [
            2
        ]
        assert await found(since=NOW + timedelta(hours=5)) == await found(status=frozenset()) == []

    async def test_many_readers_see_only_whole_commits(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set():
                types = (await self.types(storage, owned.job_id))[2:]
                assert types == ["custom.a", "custom.b"] * (len(types) // 2)
                await asyncio.sleep(0)

        readers = [asyncio.ensure_future(read()) for _ in range(4)]
        for _ in range(50):
            pair = [NewEvent("custom.a"), NewEvent("custom.b")]
            await storage.commit(commit(job_id=owned.job_id, fence=1, events=pair))
        done.set()
        await asyncio.gather(*readers)

    # -- retention -----------------------------------------------------------------------------------------------

    async def ended(self, storage: Storage, at: datetime, **values: Unpack[JobFields]) -> JobRecord:
        """Store a job that has ended."""
        owned = await self.claimed(storage, **values)
        change = JobChange(status=JobStatus.SUCCEEDED, release=True, completed_at=at)
        await storage.commit(
            commit(job_id=owned.job_id, fence=1, events=[NewEvent("job.succeeded")], job=change)
        )
        return owned

    async def test_jobs_that_ended_long_ago_are_pruned_but_not_what_they_cost(self, storage: Storage) -> None:
        old = await self.ended(storage, NOW, idempotency_key="k", request_hash="h")
        recent = await self.ended(storage, NOW + timedelta(days=2))
        lost = await self.ended(storage, NOW)
        entry = LedgerEntry(entry_id="e", type="model_usage", job_id=old.job_id, timestamp=NOW)
        await storage.commit(commit(new_actions=[action(lost.job_id, type="reconcile")], ledger=[entry]))
        assert await storage.prune(before=NOW + timedelta(days=1)) == 1
        assert await storage.prune(before=NOW + timedelta(days=1)) == 0
        assert await storage.get_job(old.job_id) is None
        assert await storage.events(old.job_id) == []
        assert await storage.ledger_entries(LedgerFilter(job_id=old.job_id)) == [entry]
        assert {one.job_id for one in await storage.list_jobs(JobFilter())} == {recent.job_id, lost.job_id}
        await self.created(storage, idempotency_key="k", request_hash="another")

    async def test_old_content_is_deleted_and_the_entries_stay(self, storage: Storage) -> None:
        old = await self.ended(storage, NOW, idempotency_key="k", request_hash="h")
        recent = await self.ended(storage, NOW + timedelta(days=2))
        asking = await self.ended(storage, NOW)
        running = await self.claimed(storage)
        entry = LedgerEntry(entry_id="e", type="model_usage", job_id=old.job_id, timestamp=NOW)
        question = action(asking.job_id, type="reconcile")
        answered = action(old.job_id, status=ActionStatus.RESOLVED)
        await storage.commit(commit(new_actions=[question, answered], ledger=[entry]))
        before = await storage.events(old.job_id)
        job_before = await storage.get_job(old.job_id)
        assert await storage.prune_content(before=NOW + timedelta(days=1)) == 1
        assert await storage.prune_content(before=NOW + timedelta(days=1)) == 0
        assert before[0].content == b'"input"'
        assert await storage.events(old.job_id) == [replace(event, content=None) for event in before]
        assert await storage.get_job(old.job_id) == job_before
        assert await storage.ledger_entries(LedgerFilter(job_id=old.job_id)) == [entry]
        assert len(await storage.list_actions(job_id=old.job_id)) == 1
        for kept in (recent, asking, running):
            assert (await storage.events(kept.job_id))[0].content == b'"input"'
        assert await storage.prune_content(before=NOW + timedelta(days=3)) == 1
        assert await storage.prune(before=NOW + timedelta(days=3)) == 2

    @pytest.mark.parametrize("method", ["prune", "prune_content"])
    async def test_retention_goes_in_bounded_batches_the_oldest_first(
        self, storage: Storage, method: str
    ) -> None:
        """Each journal has three entries."""
        jobs = [await self.ended(storage, NOW - timedelta(hours=n)) for n in range(7)]
        prune = getattr(storage, method)
        assert await prune(before=NOW, limit=2) == 2
        assert await prune(before=NOW, max_events=3) == 1
        assert await prune(before=NOW, max_events=1) == 1
        assert await prune(before=NOW, max_events=4) == 2
        assert await prune(before=NOW) == 0
        assert (await storage.events(jobs[0].job_id))[0].content == b'"input"'
        assert await prune(before=NOW + timedelta(hours=1)) == 1

    # -- workers -------------------------------------------------------------------------------------------------

    async def test_a_job_is_taken_from_the_owner_it_is_known_to_have(self, storage: Storage) -> None:
        owned = await self.claimed(storage)
        assert await storage.free_job(owned.job_id, fence=1)
        assert await storage.owned_jobs("w1") == []
        assert pairs(await storage.due_jobs()) == [(owned.job_id, 0)]

    async def test_a_removed_worker_frees_its_jobs(self, storage: Storage) -> None:
        worker = WorkerRecord(
            worker_id="w1", operators=("a", "b"), started_at=NOW, heartbeat_at=NOW, info={"pid": 1}
        )
        assert not await storage.register_worker(worker)
        assert await storage.register_worker(worker)
        assert await storage.list_workers() == [worker]
        owned = await self.claimed(storage)
        assert await storage.owned_jobs("w1") == [(owned.job_id, 1)]
        assert not await storage.free_job(owned.job_id, fence=0)
        assert await storage.due_jobs() == []
        await storage.remove_worker("w1")
        assert await storage.list_workers() == []
        assert not await storage.free_job(owned.job_id, fence=1)
        assert pairs(await storage.due_jobs()) == [(owned.job_id, 0)]
