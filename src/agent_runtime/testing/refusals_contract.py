"""What every `Storage` must refuse, in which order, and what a commit finds of itself. A part of `StorageContract`.

A commit may touch one thing more than once, and may have more than one reason to be refused. Every storage must find
the same: its parts happen one after the other, and of several refusals the first in the order of
`agent_runtime.storage.rules` is told.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Unpack

import pytest

from agent_runtime.errors import (
    ActionAlreadyResolved,
    AlreadySettled,
    BudgetRejected,
    DuplicateJob,
    DuplicateMessage,
    FenceLost,
    IdempotencyConflict,
    QueueFull,
    StorageError,
    UnknownAction,
)
from agent_runtime.ports.commit import ActionChange, JobChange, NewEvent, Timer
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, JobFields, action, commit, job
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import Amount, Charge, Counters, LedgerEntry, Limits
from agent_runtime.values.capacity import QueueBounds
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from agent_runtime.values.message import Address, InboxMessage, Receiver
from agent_runtime.values.opening import Floor
from agent_runtime.values.waits import WaitSet

DESK = Address("default", "refusals")
TIGHT = Charge(budget_id="tight", settle=Amount(tokens=10), limits=Limits(tokens=5))
"""Never fits."""


def _message(**values: Any) -> InboxMessage:
    fields = {"message_id": new_id("message"), "sent_at": NOW, "content": b'"x"', **DESK._asdict()}
    return InboxMessage(**{**fields, **values})


class RefusalsContract:
    """The part of the suite that puts refusals side by side."""

    async def owned(self, storage: Storage, **values: Unpack[JobFields]) -> JobRecord:
        """Store a job and claim it."""
        record = job(**values)
        await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
        claim = await storage.claim(record.job_id, owner="w", at=NOW)
        assert claim is not None
        return claim.job

    # -- which refusal is told -----------------------------------------------------------------------------------

    async def test_a_lost_fence_is_told_before_everything_else(self, storage: Storage) -> None:
        owned = await self.owned(storage)
        with pytest.raises(FenceLost):
            await storage.commit(
                commit(job_id=owned.job_id, fence=7, charges=[TIGHT], create=[(replace(owned), [])])
            )

    async def test_a_key_conflict_is_told_before_a_budget_with_nothing_left(self, storage: Storage) -> None:
        await storage.commit(commit(create=[(job(idempotency_key="k", request_hash="1"), [])]))
        other = job(idempotency_key="k", request_hash="2")
        with pytest.raises(IdempotencyConflict):
            await storage.commit(commit(create=[(other, [])], charges=[TIGHT]))

    async def test_a_full_queue_is_told_before_an_answered_question(self, storage: Storage) -> None:
        change = ActionChange(action_id="act-none", status=ActionStatus.RESOLVED)
        with pytest.raises(QueueFull):
            await storage.commit(
                commit(create=[(job(), [])], queue_bounds=QueueBounds(total=0), action_changes=[change])
            )

    async def test_an_answered_question_is_told_before_a_timer_that_is_gone(self, storage: Storage) -> None:
        change = ActionChange(action_id="act-none", status=ActionStatus.RESOLVED)
        with pytest.raises(UnknownAction):
            await storage.commit(commit(action_changes=[change], take_timers=[("job-none", "t")]))

    async def test_a_timer_that_is_gone_is_told_before_a_known_message(self, storage: Storage) -> None:
        sent = _message(dedupe_key="k")
        await storage.commit(commit(messages=[sent]))
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(take_timers=[("job-none", "t")], messages=[_message(dedupe_key="k")]))

    async def test_a_known_message_is_told_before_a_budget_with_nothing_left(self, storage: Storage) -> None:
        await storage.commit(commit(messages=[_message(dedupe_key="k")]))
        with pytest.raises(DuplicateMessage):
            await storage.commit(commit(messages=[_message(dedupe_key="k")], charges=[TIGHT]))

    async def test_a_message_somebody_else_has_is_told_before_a_known_one(self, storage: Storage) -> None:
        sent = _message(dedupe_key="k")
        await storage.commit(commit(messages=[sent]))
        taken = MessageChange(sent.message_id, DESK, "job-other", None)
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(message_changes=[taken], messages=[_message(dedupe_key="k")]))

    # -- what a commit finds of itself ---------------------------------------------------------------------------

    async def test_the_jobs_of_one_commit_count_for_the_queue_together(self, storage: Storage) -> None:
        for bounds in (QueueBounds(total=1), QueueBounds(per_scope=1)):
            with pytest.raises(QueueFull):
                await storage.commit(commit(create=[(job(), []), (job(), [])], queue_bounds=bounds))
        assert await storage.count_jobs(JobFilter()) == 0
        a, b = (job(scope_id=scope) for scope in "ab")
        await storage.commit(commit(create=[(a, []), (b, [])], queue_bounds=QueueBounds(per_scope=1)))

    async def test_a_job_that_waits_for_no_worker_needs_no_place_in_the_queue(self, storage: Storage) -> None:
        await storage.commit(commit(create=[(job(), []), (job(), [])]))
        by_hand = job(operator=None)
        await storage.commit(commit(create=[(by_hand, [])], queue_bounds=QueueBounds(total=1, per_scope=1)))
        assert await storage.get_job(by_hand.job_id) == by_hand

    async def test_the_charges_of_one_commit_are_checked_one_after_the_other(self, storage: Storage) -> None:
        free = Charge(budget_id="b", settle=Amount(tokens=10))
        within = free._replace(limits=Limits(tokens=15))
        with pytest.raises(BudgetRejected) as refused:
            await storage.commit(commit(charges=[free, within]))
        assert refused.value.settled == Amount(tokens=10)
        assert (await storage.counters([("b", "")]))[0].settled == Amount()
        await storage.commit(commit(charges=[within, free]))
        assert (await storage.counters([("b", "")]))[0].settled == Amount(tokens=20)

    async def test_two_jobs_of_one_commit_cannot_have_one_key(self, storage: Storage) -> None:
        first, same = (job(idempotency_key="k", request_hash="h") for _ in range(2))
        other = job(idempotency_key="k", request_hash="other")
        with pytest.raises(DuplicateJob) as refused:
            await storage.commit(commit(create=[(first, []), (same, [])]))
        assert refused.value.job_id == first.job_id
        with pytest.raises(IdempotencyConflict):
            await storage.commit(commit(create=[(first, []), (other, [])]))
        assert await storage.count_jobs(JobFilter()) == 0

    async def test_two_jobs_of_one_commit_cannot_have_one_id(self, storage: Storage) -> None:
        first = job()
        with pytest.raises(DuplicateJob):
            await storage.commit(commit(create=[(first, []), (replace(first, priority=1), [])]))

    async def test_two_jobs_of_one_commit_cannot_go_on_in_one_place(self, storage: Storage) -> None:
        ended = job(status=JobStatus.SUCCEEDED)
        await storage.commit(commit(create=[(ended, [])]))
        first, second = (job(predecessor_id=ended.job_id, chain_id=ended.job_id) for _ in range(2))
        with pytest.raises(DuplicateJob) as refused:
            await storage.commit(commit(create=[(first, []), (second, [])]))
        assert refused.value.job_id == first.job_id

    async def test_a_key_that_a_successor_does_not_take_over_is_free(self, storage: Storage) -> None:
        ended = job(status=JobStatus.SUCCEEDED, idempotency_key="k", request_hash="h")
        await storage.commit(commit(create=[(ended, [])]))
        after = job(predecessor_id=ended.job_id, chain_id=ended.job_id)
        await storage.commit(commit(create=[(after, [])]))
        another = job(idempotency_key="k", request_hash="other")
        await storage.commit(commit(create=[(another, [])]))
        assert await storage.get_job(another.job_id) == another

    async def test_a_question_is_answered_once_in_a_commit(self, storage: Storage) -> None:
        asked = action()
        await storage.commit(commit(new_actions=[asked]))
        change = ActionChange(action_id=asked.action_id, status=ActionStatus.RESOLVED, resolved_by="a")
        with pytest.raises(ActionAlreadyResolved):
            await storage.commit(commit(action_changes=[change, replace(change, resolved_by="b")]))
        vote = replace(change, status=ActionStatus.PENDING, votes=({"by": "a"},), resolved_by=None)
        await storage.commit(commit(action_changes=[vote, replace(change, votes_before=1)]))
        kept = await storage.get_action(asked.action_id)
        assert kept is not None
        assert (kept.status, len(kept.votes)) == (ActionStatus.RESOLVED, 1)

    async def test_a_question_can_be_answered_by_the_commit_that_asks_it(self, storage: Storage) -> None:
        asked = action()
        change = ActionChange(action_id=asked.action_id, status=ActionStatus.RESOLVED, resolved_by="a")
        await storage.commit(commit(new_actions=[asked], action_changes=[change]))
        kept = await storage.get_action(asked.action_id)
        assert kept is not None
        assert kept.resolved_by == "a"

    async def test_a_question_is_asked_once(self, storage: Storage) -> None:
        asked = action()
        await storage.commit(commit(new_actions=[asked]))
        with pytest.raises(StorageError):
            await storage.commit(commit(new_actions=[replace(asked, type="input")]))
        assert (await storage.list_actions())[0].type == asked.type

    async def test_a_timer_is_taken_once_and_may_be_set_again_with_it(self, storage: Storage) -> None:
        timer = Timer("job-none", "t", NOW, "timer.fired")
        key = (timer.job_id, timer.key)
        await storage.commit(commit(set_timers=[timer]))
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(take_timers=[key, key]))
        later = timer._replace(due_at=NOW + timedelta(hours=1))
        await storage.commit(commit(take_timers=[key], set_timers=[later]))
        assert await storage.next_timer() == later.due_at
        await storage.commit(commit(set_timers=[timer], clear_timers=[key]))
        assert await storage.next_timer() is None

    async def test_a_unique_entry_is_not_twice_in_its_own_commit(self, storage: Storage) -> None:
        entry = LedgerEntry(entry_id="e", type="tool_usage", timestamp=NOW)
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(ledger=[entry, entry], unique_ledger=True))

    async def test_two_messages_of_one_commit_cannot_have_one_key(self, storage: Storage) -> None:
        first, second = _message(dedupe_key="k"), _message(dedupe_key="k")
        with pytest.raises(DuplicateMessage) as refused:
            await storage.commit(commit(messages=[first, second]))
        assert refused.value.message_id == first.message_id
        assert await storage.count_messages(DESK) == 0

    async def test_a_message_changes_hands_once_in_a_commit(self, storage: Storage) -> None:
        sent = _message()
        await storage.commit(commit(messages=[sent]))
        take = MessageChange(sent.message_id, DESK, None, "job-a")
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(message_changes=[take, take._replace(after="job-b")]))
        assert await storage.count_messages(DESK) == 1
        back = MessageChange(sent.message_id, DESK, "job-a", None, b'"back"')
        await storage.commit(commit(message_changes=[take, back]))
        kept = await storage.next_message(DESK)
        assert kept is not None
        assert kept.content == b'"back"'

    async def test_a_message_of_another_inbox_is_not_taken(self, storage: Storage) -> None:
        sent = _message(scope_id="tenant")
        await storage.commit(commit(messages=[sent, _message()]))
        take = MessageChange(sent.message_id, DESK, None, "job-a")
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(message_changes=[take]))
        assert await storage.count_messages(DESK) == 1
        assert await storage.count_messages(sent.address) == 1

    async def test_an_operation_waits_at_one_inbox(self, storage: Storage) -> None:
        owned = await self.owned(storage)
        first = Receiver(owned.job_id, "op-1", DESK)
        await storage.commit(commit(receivers=[first]))
        await storage.commit(commit(receivers=[first._replace(address=Address("default", "elsewhere"))]))
        await storage.commit(commit(messages=[_message(identity="elsewhere")]))
        assert await storage.jobs_with_signals("w") == []
        await storage.commit(commit(drop_receivers=[first._replace(address=Address("default", "elsewhere"))]))
        await storage.commit(commit(messages=[_message()]))
        assert await storage.jobs_with_signals("w") == []

    # -- what is written -----------------------------------------------------------------------------------------

    async def test_a_job_that_is_to_be_kept_is_not_told_of_its_parents_end(self, storage: Storage) -> None:
        parent = await self.owned(storage)
        kept, told = (job(parent_job_id=parent.job_id, on_parent_end=end) for end in ("keep", "cancel"))
        ends = JobChange(status=JobStatus.SUCCEEDED, completed_at=NOW, release=True)
        await storage.commit(
            commit(
                job_id=parent.job_id,
                fence=1,
                job=ends,
                create=[(kept, []), (told, [])],
                cancel_children_of=parent.job_id,
            )
        )
        claims = [await storage.claim(one.job_id, owner="w", at=NOW) for one in (kept, told)]
        types = [[event.type for event in claim.events] for claim in claims if claim is not None]
        assert types == [["job.started"], ["job.started", "job.cancel_requested"]]

    async def test_a_job_is_born_with_the_request_to_stop_that_its_parent_was_born_with(
        self, storage: Storage
    ) -> None:
        ended = job(status=JobStatus.SUCCEEDED)
        await storage.commit(commit(create=[(ended, [])]))
        parent = job(parent_job_id=ended.job_id)
        child = job(parent_job_id=parent.job_id)
        await storage.commit(commit(create=[(parent, []), (child, [])]))
        claim = await storage.claim(child.job_id, owner="w", at=NOW)
        assert claim is not None
        assert [event.type for event in claim.events] == ["job.started", "job.cancel_requested"]

    async def test_a_job_starts_once(self, storage: Storage) -> None:
        owned = await self.owned(storage)
        again = JobChange(status=JobStatus.RUNNING, started_at=NOW + timedelta(hours=1))
        await storage.commit(commit(job_id=owned.job_id, fence=1, job=again))
        kept = await storage.get_job(owned.job_id)
        assert kept is not None
        assert kept.started_at == NOW

    async def test_only_a_job_that_is_given_up_waits(self, storage: Storage) -> None:
        owned = await self.owned(storage)
        waits = [WaitSet(operation_ids=("op-1",))]
        change = JobChange(status=JobStatus.RUNNING)
        for _ in range(2):
            await storage.commit(commit(job_id=owned.job_id, fence=1, job=change, waits=waits))
        gives_up = JobChange(status=JobStatus.WAITING, release=True)
        for _ in range(2):  # once more, by a writer that has not noticed that it was heard
            await storage.commit(commit(job_id=owned.job_id, fence=1, job=gives_up, waits=waits))
        assert await storage.due_jobs() == []

    async def test_a_window_that_a_commit_still_counts_in_is_not_forgotten_by_it(
        self, storage: Storage
    ) -> None:
        late = Charge(budget_id="b", window="day:01", reserve=Amount(tokens=5))
        new = Charge(budget_id="b", window="day:02", settle=Amount(tokens=1), forget_before="day:02")
        for charges in ([late, new], [new._replace(window="day:03", forget_before="day:03"), late]):
            await storage.commit(commit(charges=charges))
        (kept,) = await storage.counters([("b", "day:01")])
        assert kept.reserved == Amount(tokens=10)

    async def test_a_refused_commit_begins_no_window(self, storage: Storage) -> None:
        await storage.commit(commit(charges=[Charge("b", "day:01", settle=Amount(tokens=7))]))
        tight = Charge("b", "day:02", settle=Amount(tokens=7), limits=Limits(tokens=5))
        made = [commit(charges=[charge]) for charge in (tight, Charge("other", "day:01"))]
        told = await asyncio.gather(*(storage.commit(one) for one in made), return_exceptions=True)
        assert isinstance(told[0], BudgetRejected)
        begins = Charge("b", "day:02", settle=Amount(tokens=1), forget_before="day:02")
        await storage.commit(commit(charges=[begins]))
        assert (await storage.counters([("b", "day:01")]))[0] == Counters()

    async def test_a_window_begins_once_and_anew_after_it_was_forgotten(self, storage: Storage) -> None:
        async def count(*windows: str, before: str = "") -> None:
            made = [
                Charge("b", window, settle=Amount(tokens=7), forget_before=before and window)
                for window in windows
            ]
            await asyncio.gather(*(storage.commit(commit(charges=[charge])) for charge in made))

        await count("day:01")
        await count("day:01", "day:03", "day:01", "day:03", before="own")
        assert (await storage.counters([("b", "day:01")]))[0].settled == Amount(tokens=7)
        await count("day:02")
        await count("day:03", "day:04", before="own")
        assert await storage.counters([("b", "day:02"), ("b", "day:03")]) == [Counters()] * 2
        await count("day:02")
        await count("day:03", before="own")
        assert (await storage.counters([("b", "day:02")]))[0] == Counters()

    async def test_counters_settle_at_least_the_highest_of_their_floors(self, storage: Storage) -> None:
        floors = [Floor("b", "day", Amount(tokens=tokens)) for tokens in (30, 25)]
        await storage.commit(commit(charges=[Charge("b", "day", settle=Amount(tokens=10))], floors=floors))
        assert (await storage.counters([("b", "day")]))[0].settled == Amount(tokens=30)
