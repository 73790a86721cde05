"""What every `Storage` must do about money: reservations, settlements, the ledger, and the rules people set."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agent_runtime.errors import AlreadySettled, BudgetRejected
from agent_runtime.ports.commit import ActionChange, Commit, CommitFields, NewEvent, StoredPolicy, Timer
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, JobFields, action, commit, job
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import Amount, Charge, LedgerEntry, LedgerFilter, Limits, run_budget_id
from agent_runtime.values.context import PolicyRef
from agent_runtime.values.job import JobStatus
from agent_runtime.values.money import to_dollars
from agent_runtime.values.opening import Floor, OpeningBalance
from agent_runtime.values.standing_budget import Budget


class MoneyContract:
    """A part of `StorageContract`."""

    async def test_reservations_never_pass_the_limit(self, storage: Storage) -> None:
        limits = Limits(tokens=1000, cost=50)

        def reserve(tokens: int) -> Commit:
            return commit(
                charges=[Charge(budget_id="b", window="w", reserve=Amount(tokens=tokens), limits=limits)]
            )

        outcomes = await asyncio.gather(
            *(storage.commit(reserve(30)) for _ in range(100)), return_exceptions=True
        )
        rejected = [outcome for outcome in outcomes if isinstance(outcome, BudgetRejected)]
        assert len(rejected) == 100 - 33
        assert rejected[-1].reserved == Amount(tokens=990)
        (counters,) = await storage.counters([("b", "w")])
        assert counters.reserved == Amount(tokens=990)

    async def test_settling_moves_what_was_reserved(self, storage: Storage) -> None:
        reserve = Charge(budget_id="b", reserve=Amount(tokens=10, cost=7), limits=Limits(tokens=10))
        settle = Charge(budget_id="b", reserve=-reserve.reserve, settle=Amount(tokens=3, cost=2, requests=1))
        await storage.commit(commit(charges=[reserve]))
        await storage.commit(commit(charges=[settle]))
        (counters,) = await storage.counters([("b", "")])
        assert (counters.settled, counters.reserved) == (Amount(tokens=3, cost=2, requests=1), Amount())

    async def test_two_budgets_are_reserved_together_or_not_at_all(self, storage: Storage) -> None:
        roomy = Charge(budget_id="a", reserve=Amount(cost=5), limits=Limits(cost=100))
        tight = Charge(budget_id="b", reserve=Amount(cost=5), limits=Limits(cost=4))
        with pytest.raises(BudgetRejected) as caught:
            await storage.commit(commit(charges=[roomy, tight]))
        assert caught.value.budget_id == "b"
        assert [counters.reserved for counters in await storage.counters([("a", ""), ("b", "")])] == [
            Amount()
        ] * 2

    async def test_a_ledger_entry_is_written_once(self, storage: Storage) -> None:
        entry = LedgerEntry(
            entry_id="e1",
            type="model_usage",
            job_id="j",
            scope_id="a",
            principal_id="p",
            model="m",
            provider="v",
            input_tokens=3,
            output_tokens=4,
            cost=None,
            uncertain=True,
            duration_ms=5,
            timestamp=NOW,
            metadata={"x": 1},
        )
        await storage.commit(commit(ledger=[entry]))
        await storage.commit(commit(ledger=[entry]))
        assert await storage.ledger_entries(LedgerFilter()) == [entry]

    async def test_ledger_entries_are_filtered_and_paged(self, storage: Storage) -> None:
        entries = [
            LedgerEntry(
                entry_id=f"e{n}",
                type="model_usage" if n % 2 else "tool_usage",
                scope_id="ab"[n % 2],
                principal_id="ann" if n == 2 else None,
                job_id="j" if n in (3, 4) else None,
                timestamp=NOW + timedelta(seconds=n),
            )
            for n in range(6)
        ]
        await storage.commit(commit(ledger=entries))

        async def found(**wanted: Any) -> list[str]:
            return [entry.entry_id for entry in await storage.ledger_entries(LedgerFilter(**wanted))]

        assert await found(scope_id="b") == ["e1", "e3", "e5"]
        assert await found(after=entries[3].key, limit=1) == ["e4"]
        assert await found(since=NOW + timedelta(seconds=2), until=NOW + timedelta(seconds=4)) == ["e2", "e3"]
        assert await found(type="tool_usage") == ["e0", "e2", "e4"]
        assert await found(principal_id="ann") == ["e2"]
        assert await found(job_id="j", scope_id="b") == ["e3"]

    async def test_entries_of_one_commit_are_read_in_its_order(self, storage: Storage) -> None:
        owner = job()
        await storage.commit(commit(create=[(owner, [])]))
        await storage.claim(owner.job_id, owner="w", at=NOW)
        for events in ([NewEvent("custom.a")], []):
            names = [f"{name}{len(events)}" for name in ("z", "a", "m")]
            entries = [
                LedgerEntry(entry_id=name, type="tool_usage", scope_id="a", timestamp=NOW) for name in names
            ]
            whose: dict[str, Any] = {"job_id": owner.job_id, "fence": 1} if events else {}
            await storage.commit(commit(**whose, events=events, ledger=entries))
        found = await storage.ledger_entries(LedgerFilter())
        assert [entry.entry_id for entry in found] == ["z1", "a1", "m1", "z0", "a0", "m0"]

    async def test_two_scopes_may_give_their_ledger_entries_the_same_id(self, storage: Storage) -> None:
        mine, theirs, later = (
            LedgerEntry(entry_id=name, type="model_usage", scope_id=scope, timestamp=NOW, cost=to_dollars(n))
            for n, (name, scope) in enumerate([("e", "a"), ("e", "b"), ("f", "a")])
        )
        for entry in (mine, theirs, later):
            await storage.commit(commit(ledger=[entry], unique_ledger=True))
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(ledger=[theirs], unique_ledger=True))
        assert [await storage.get_ledger_entry(scope, "e") for scope in "ab"] == [mine, theirs]
        assert await storage.get_ledger_entry("c", "e") is None
        assert await storage.ledger_entries(LedgerFilter(entry_id="e")) == [mine, theirs]
        for entry, rest in ((mine, [theirs, later]), (theirs, [later])):
            assert await storage.ledger_entries(LedgerFilter(after=entry.key)) == rest

    async def test_a_unique_ledger_entry_refuses_everything_with_it(self, storage: Storage) -> None:
        entry = LedgerEntry(entry_id="e1", type="model_usage", timestamp=NOW)
        other = LedgerEntry(entry_id="e2", type="model_usage", timestamp=NOW)
        spend = Charge(budget_id="b", settle=Amount(cost=1))
        await storage.commit(commit(ledger=[entry], charges=[spend], unique_ledger=True))
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(ledger=[other, entry], charges=[spend], unique_ledger=True))
        (counters,) = await storage.counters([("b", "")])
        assert counters.settled == Amount(cost=1)
        assert await storage.get_ledger_entry("default", "e1") == entry
        assert await storage.get_ledger_entry("default", "e2") is None

    async def test_a_timer_is_taken_by_one(self, storage: Storage) -> None:
        timer = Timer("", "r1", NOW, "budget.reservation_expired", None, {"n": 1})
        await storage.commit(commit(set_timers=[timer]))
        assert await storage.get_timer("", "r1") == timer
        take = [
            storage.commit(
                commit(take_timers=[("", "r1")], charges=[Charge(budget_id="b", settle=Amount(cost=1))])
            )
            for _ in range(5)
        ]
        outcomes = await asyncio.gather(*take, return_exceptions=True)
        assert sum(isinstance(outcome, AlreadySettled) for outcome in outcomes) == 4
        (counters,) = await storage.counters([("b", "")])
        assert counters.settled == Amount(cost=1)
        assert await storage.get_timer("", "r1") is None

    async def test_timers_of_a_key_are_found_whichever_jobs_they_are(self, storage: Storage) -> None:
        timers = [
            Timer(job_id, key, NOW + timedelta(days=days), "job.retry_requested", None, {"n": days})
            for job_id, key, days in (("j1", "budget", 3), ("j2", "budget", 1), ("j1", "other", 2))
        ]
        await storage.commit(commit(set_timers=timers))
        assert await storage.timers_named("budget") == [timers[1], timers[0]]
        assert await storage.timers_named("budget", limit=1) == [timers[1]]
        assert await storage.timers_named("none") == []
        first = timers[1]
        assert await storage.timers_named("budget", after=(first.due_at, first.job_id)) == [timers[0]]

    async def test_old_windows_without_reservations_are_forgotten_when_a_new_one_begins(
        self, storage: Storage
    ) -> None:
        one = Amount(requests=1)

        def spend(window: str, budget_id: str = "b", **more: Any) -> Charge:
            return Charge(budget_id=budget_id, window=window, settle=one, **more)

        await storage.commit(
            commit(
                charges=[
                    spend("minute:01"),
                    spend("minute:02", reserve=one),
                    spend("minute:03"),
                    spend("day:01"),
                    spend(""),
                    spend("minute:01", "other"),
                ]
            )
        )
        await storage.commit(commit(charges=[spend("minute:04", forget_before="minute:03")]))
        keys = [("b", "minute:01"), ("b", "minute:02"), ("b", "minute:03"), ("b", "day:01"), ("b", "")]
        counted = [c.settled.requests for c in await storage.counters([*keys, ("other", "minute:01")])]
        assert counted == [0, 1, 1, 1, 1, 1]

    async def test_a_window_that_is_forgotten_counts_what_comes_after(self, storage: Storage) -> None:
        """It may come in the same commit, or in one that the storage writes as one with it."""

        def count(window: str, number: int, **more: Any) -> Commit:
            settle = Amount(requests=number)
            return commit(charges=[Charge(budget_id="b", window=window, settle=settle, **more)])

        await storage.commit(count("day:01", 1))
        begins = count("day:03", 1, forget_before="day:03")
        floor = Floor("b", "day:02", Amount(requests=5))
        others = [commit(create=[(job(), [])]) for _ in range(3)]
        following = [
            count("day:01", 2),
            replace(begins, floors=[floor]),
            count("day:01", 4),
            count("day:02", 1),
        ]
        await asyncio.gather(*(storage.commit(each) for each in (*others, *following)))
        keys = [("b", f"day:0{number}") for number in (1, 2, 3)]
        assert [c.settled.requests for c in await storage.counters(keys)] == [4, 6, 1]

    async def test_standing_budgets_are_stored_replaced_and_dropped(self, storage: Storage) -> None:
        first = Budget(scope_id="a", max_cost_daily=Decimal("0.1"), timezone="Europe/Berlin")
        second = Budget(scope_id="a", max_cost_daily=Decimal("0.2"))
        other = Budget(model="gpt-*", max_tokens_per_request=5, mode="estimate")
        await storage.commit(commit(budgets=[first, other]))
        await storage.commit(commit(budgets=[second]))
        assert sorted(await storage.standing_budgets(), key=repr) == sorted([second, other], key=repr)
        await storage.commit(commit(drop_budgets=[second.budget_id, "budget:unknown"]))
        assert await storage.standing_budgets() == [other]

    async def test_a_budget_begins_with_what_the_ledger_has_since_its_window_began(
        self, storage: Storage
    ) -> None:
        def entry(entry_id: str, hours: int, **values: Any) -> LedgerEntry:
            about = {
                "type": "model_usage",
                "scope_id": "a",
                "principal_id": "ann",
                "model": "m",
                "provider": "v",
            }
            used = {"input_tokens": 10, "output_tokens": 5, "cost": to_dollars(7)}
            return LedgerEntry(
                entry_id=entry_id, timestamp=NOW + timedelta(hours=hours), **{**about, **used, **values}
            )

        nothing = {"input_tokens": 0, "output_tokens": 0, "cost": Decimal(0)}
        entries = [
            entry("early", -1),
            entry("early~truth", 1, status="adjusted", cost=to_dollars(-5), metadata={"corrects": "early"}),
            entry("first", 0),
            entry("unpriced", 1, cost=None),
            entry("lost", 1, uncertain=True, status="failed", cost=to_dollars(100)),
            entry("lost~truth", 2, status="adjusted", cost=to_dollars(-90), metadata={"corrects": "lost"}),
            entry("refused", 1, status="failed", **nothing),
            entry("billed", 1, status="failed"),
            entry("tool", 1, type="tool_usage", model=None, provider=None, **nothing),
            entry("vectors", 1, type="embedding_usage", input_tokens=30, output_tokens=0, cost=to_dollars(1)),
            entry("check", 1, type="budget_check", cost=Decimal(0)),
            entry("bob", 1, principal_id="bob"),
            entry("nobody", 1, principal_id=None),
            entry("elsewhere", 1, scope_id="b"),
            entry("other model", 1, model="x"),
        ]
        each = Budget(scope_id="a", principal_id="*", max_cost_daily=Decimal(1))
        some = Budget(scope_id="a", model="V:M", max_cost_total=Decimal(1))
        known = Charge(budget_id=each.counter_id("a", "bob", None) or "", window="day", settle=Amount(cost=1))
        await storage.commit(commit(ledger=entries, charges=[known]))

        begun = [
            OpeningBalance(budget=each, window="day", since=NOW),
            OpeningBalance(budget=some, window="", since=NOW - timedelta(days=1)),
        ]
        for _ in range(2):  # the second time everything is there
            await storage.commit(commit(budgets=[each, some], openings=begun))

        async def settled(budget: Budget, who: str | None, window: str) -> Amount:
            (counters,) = await storage.counters([(budget.counter_id("a", who, None) or "", window)])
            assert not counters.reserved
            return counters.settled

        assert await settled(each, "ann", "day") == Amount(
            tokens=15 * 8, cost=7 + 100 - 90 + 7 + 7 + 1, requests=6, tool_calls=1, turns=3
        )
        assert await settled(each, "bob", "day") == Amount(tokens=15, cost=7, requests=1, turns=1)
        assert await settled(each, None, "day") == Amount(tokens=15, cost=7, requests=1, turns=1)
        assert await settled(each, "carol", "day") == Amount()
        assert await settled(some, None, "") == Amount(
            tokens=15 * 11, cost=7 - 5 + 7 + 10 + 7 + 7 + 7 + 1, requests=8, turns=5
        )

    async def test_a_budget_that_begins_again_counts_what_was_spent_without_it(
        self, storage: Storage
    ) -> None:
        budget = Budget(scope_id="a", max_cost_daily=Decimal(1))
        key = (budget.budget_id, "day")
        begins: CommitFields = {
            "budgets": [budget],
            "openings": [OpeningBalance(budget=budget, window="day", since=NOW)],
        }

        def entry(entry_id: str, units: int) -> LedgerEntry:
            cost = to_dollars(units)
            return LedgerEntry(entry_id=entry_id, type="model_usage", scope_id="a", cost=cost, timestamp=NOW)

        async def counted() -> tuple[Amount, Amount]:
            (counters,) = await storage.counters([key])
            return counters.settled, counters.reserved

        first = Charge(budget_id=key[0], window="day", settle=Amount(cost=10, requests=1, turns=1))
        tools = Charge(budget_id=key[0], window="day", settle=Amount(tool_calls=3))
        held = Charge(budget_id=key[0], window="day", reserve=Amount(cost=5))
        await storage.commit(commit(**begins))
        await storage.commit(commit(charges=[first, tools, held], ledger=[entry("with it", 10)]))
        await storage.commit(commit(drop_budgets=[budget.budget_id]))
        await storage.commit(commit(ledger=[entry("without it", 1000)]))
        for _ in range(2):
            await storage.commit(commit(**begins))
            assert await counted() == (
                Amount(cost=1010, requests=2, tool_calls=3, turns=2),
                Amount(cost=5),
            )
        settlement = Charge(budget_id=key[0], window="day", reserve=Amount(cost=-5), settle=Amount(cost=4))
        await storage.commit(commit(charges=[settlement], ledger=[entry("held", 4)]))
        assert (await counted())[0].cost == 1014

    async def test_nothing_is_lost_or_counted_twice_while_a_budget_begins(self, storage: Storage) -> None:
        budget = Budget(scope_id="a", max_cost_daily=Decimal(1))
        opening = OpeningBalance(budget=budget, window="day", since=NOW)
        charge = Charge(budget_id=budget.budget_id, window="day", settle=Amount(cost=1, requests=1, turns=1))

        async def spend(worker: int) -> None:
            for number in range(20):
                made = LedgerEntry(
                    entry_id=f"{worker}:{number}",
                    type="model_usage",
                    scope_id="a",
                    cost=to_dollars(1),
                    timestamp=NOW,
                )
                await storage.commit(commit(charges=[charge], ledger=[made]))

        async def begin() -> None:
            for _ in range(10):
                await storage.commit(commit(budgets=[budget], openings=[opening]))

        await asyncio.gather(*(spend(worker) for worker in range(5)), begin())
        (counters,) = await storage.counters([(budget.budget_id, "day")])
        assert counters.settled == Amount(cost=100, requests=100, turns=100)

    async def test_old_ledger_entries_are_forgotten_with_their_corrections(self, storage: Storage) -> None:
        def entry(entry_id: str, days: int, **values: Any) -> LedgerEntry:
            at = NOW + timedelta(days=days)
            return LedgerEntry(entry_id=entry_id, type="model_usage", scope_id="a", timestamp=at, **values)

        entries = [
            entry("old", 0),
            entry("corrected", 0, uncertain=True),
            entry("corrected~truth", 9, status="adjusted", metadata={"corrects": "corrected"}),
            entry("older", -1),
            entry("new", 9),
        ]
        await storage.commit(commit(ledger=entries))
        before = NOW + timedelta(days=5)
        assert [await storage.forget("ledger", before=before, limit=1) for _ in range(3)] == [1, 1, 0]
        left = [one.entry_id for one in await storage.ledger_entries(LedgerFilter())]
        assert left == ["corrected", "corrected~truth", "new"]
        first, last = await storage.ledger_positions()
        spent = await storage.spent(NOW - timedelta(days=9), after=first - 1, upto=last)
        assert sum(one.amount.requests for one in spent) == 2

    async def test_answered_questions_and_policies_of_no_job_are_forgotten(self, storage: Storage) -> None:
        asked, answered, of_job = action(), action(), action("job-1")
        used = job(policy_ref=PolicyRef(name="p", version="2"))
        versions = [StoredPolicy("p", version, {"rules": []}) for version in "12"]
        await storage.commit(
            commit(new_actions=[asked, answered, of_job], create=[(used, [])], policies=versions)
        )
        done = [
            ActionChange(action_id=one.action_id, status=ActionStatus.RESOLVED) for one in (answered, of_job)
        ]
        await storage.commit(commit(action_changes=done))
        later = NOW + timedelta(days=1)
        assert await storage.forget("actions", before=NOW) == 0
        assert [await storage.forget("actions", before=later) for _ in range(2)] == [1, 0]
        assert await storage.get_action(answered.action_id) is None
        assert {one.action_id for one in await storage.list_actions()} == {asked.action_id, of_job.action_id}
        assert [await storage.forget("policies", before=later) for _ in range(2)] == [1, 0]
        assert await storage.get_policy("p", "1") is None
        assert await storage.get_policy("p", "2") is not None

    async def test_the_counters_of_a_runs_own_budget_go_with_its_chain(self, storage: Storage) -> None:
        ended: JobFields = {"scope_id": "a", "status": JobStatus.SUCCEEDED, "completed_at": NOW}
        alone, first = job(**ended), job(**ended)
        last = job(scope_id="a", chain_id=first.job_id, predecessor_id=first.job_id)
        keys = [(run_budget_id("a", one.job_id), "") for one in (alone, first)]
        keys.append((run_budget_id("b", alone.job_id), ""))
        charges = [Charge(budget_id=key[0], settle=Amount(cost=1)) for key in keys]
        await storage.commit(commit(create=[(one, []) for one in (alone, first)], charges=charges))
        await storage.commit(commit(create=[(last, [])]))
        assert await storage.prune(before=NOW + timedelta(days=1)) == 2
        assert [counted.settled.cost for counted in await storage.counters(keys)] == [0, 1, 1]

    async def test_a_version_of_a_policy_never_changes(self, storage: Storage) -> None:
        kept = StoredPolicy("p", "1", {"policy": "p", "rules": []})
        await storage.commit(commit(policies=[kept]))
        await storage.commit(commit(policies=[StoredPolicy("p", "1", {"rules": [1]})]))
        assert await storage.get_policy("p", "1") == kept
        assert await storage.get_policy("p", "2") is None
