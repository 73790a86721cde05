"""What every `ActionStorage` must do. Subclass `ActionsContract` and supply a `storage` fixture that yields an open one.

The same suite judges Redis and, as a part of the storage contract, memory, SQLite and Postgres.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from agent_runtime.actions.manager import ActionManager
from agent_runtime.actions.store import ActionStorage
from agent_runtime.errors import ActionAlreadyResolved, ActionExpired, InvalidInput, UnknownAction
from agent_runtime.ports.clock import SystemClock
from agent_runtime.ports.journal import ActionChange, Commit
from agent_runtime.testing.examples import NOW, action, commit
from agent_runtime.values.action import ActionSpec, ActionStatus


@dataclass(frozen=True, slots=True)
class Store:
    """A view of a storage, for a manager."""

    storage: ActionStorage


class SetClock(SystemClock):
    """Says what a test has set."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        """Return the moment that was set."""
        return self.moment


class ActionsContract:
    """The suite."""

    @pytest.fixture
    def clock(self) -> SetClock:
        """Time, for managers."""
        return SetClock()

    @pytest.fixture
    def manager(self, storage: ActionStorage, clock: SetClock) -> ActionManager:
        """A manager that stands alone, as the documents show it."""
        return ActionManager(Store(storage), clock=clock)

    async def test_an_action_comes_back_as_it_was_written_but_for_its_token(
        self, storage: ActionStorage
    ) -> None:
        asked = action(
            "job-1",
            scope_id="tenant",
            operation_id="job-1:2",
            argument_hash="h",
            payload={"q": "?"},
            expires_at=NOW + timedelta(seconds=1),
            default_resolution={"approved": False},
            approvers=("ann", "bob"),
            quorum=2,
            metadata={"k": 1},
            resume_token="secret",  # noqa: S106 -- a test value
        )
        await storage.commit(commit(new_actions=[asked]))
        found = await storage.get_action(asked.action_id)
        assert found is not None
        assert found.resume_token is None
        assert await storage.find_action(asked.token_hash) == found
        assert (found.payload, found.approvers, found.quorum) == (asked.payload, asked.approvers, 2)
        assert found.expires_at == asked.expires_at
        assert await storage.get_action(asked.action_id, scope_id="other") is None

    async def test_of_many_resolvers_one_wins(self, storage: ActionStorage) -> None:
        asked = action()
        await storage.commit(commit(new_actions=[asked]))

        def resolve(n: int) -> Commit:
            change = ActionChange(
                action_id=asked.action_id,
                status=ActionStatus.RESOLVED,
                resolution={"n": n},
                resolved_by=f"p{n}",
            )
            return commit(action_changes=[change])

        outcomes = await asyncio.gather(
            *(storage.commit(resolve(n)) for n in range(50)), return_exceptions=True
        )
        losers = [outcome for outcome in outcomes if isinstance(outcome, ActionAlreadyResolved)]
        assert len(losers) == 49
        found = await storage.get_action(asked.action_id)
        assert found is not None
        assert found.resolution is not None
        assert found.resolved_by == f"p{found.resolution['n']}"
        assert found.resolved_at == NOW

    async def test_votes_are_counted_one_after_the_other(self, storage: ActionStorage) -> None:
        asked = action(quorum=2)
        await storage.commit(commit(new_actions=[asked]))
        vote = ActionChange(action_id=asked.action_id, status=ActionStatus.PENDING, votes=({"by": "a"},))
        await storage.commit(commit(action_changes=[vote]))
        with pytest.raises(ActionAlreadyResolved):
            await storage.commit(commit(action_changes=[vote]))
        found = await storage.get_action(asked.action_id)
        assert found is not None
        assert found.votes == ({"by": "a"},)
        assert found.is_pending

    async def test_actions_are_listed_newest_first_and_by_page(self, storage: ActionStorage) -> None:
        asked = [action(scope_id="a") for _ in range(5)]
        await storage.commit(commit(new_actions=[*asked, action(scope_id="b")]))
        ids = sorted((one.action_id for one in asked), reverse=True)
        page = await storage.list_actions(scope_id="a", limit=2)
        assert [one.action_id for one in page] == ids[:2]
        rest = await storage.list_actions(scope_id="a", before=ids[1])
        assert [one.action_id for one in rest] == ids[2:]

    async def test_a_commit_that_is_refused_changes_nothing(self, storage: ActionStorage) -> None:
        open_one, closed = action(), action()
        await storage.commit(commit(new_actions=[open_one, closed]))
        end = ActionChange(action_id=closed.action_id, status=ActionStatus.CANCELLED)
        await storage.commit(commit(action_changes=[end]))
        answer = ActionChange(action_id=open_one.action_id, status=ActionStatus.RESOLVED, resolution={"n": 1})
        late = action()
        with pytest.raises(ActionAlreadyResolved):
            await storage.commit(commit(new_actions=[late], action_changes=[answer, end]))
        lost = ActionChange(action_id="act-none", status=ActionStatus.CANCELLED)
        with pytest.raises(UnknownAction):
            await storage.commit(commit(new_actions=[late], action_changes=[answer, lost]))
        assert await storage.get_action(late.action_id) is None
        assert await storage.find_action(late.token_hash) is None
        found = await storage.get_action(open_one.action_id)
        assert found is not None
        assert (found.is_pending, found.resolution) == (True, None)

    async def test_actions_are_listed_by_status_job_and_scope(self, storage: ActionStorage) -> None:
        mine, answered = action("job-1", scope_id="a"), action("job-1", scope_id="a")
        other, foreign = action("job-2", scope_id="a"), action("job-1", scope_id="b")
        await storage.commit(commit(new_actions=[mine, answered, other, foreign]))
        change = ActionChange(action_id=answered.action_id, status=ActionStatus.RESOLVED, resolution={})
        await storage.commit(commit(action_changes=[change]))

        async def ids(**asked: object) -> set[str]:
            return {one.action_id for one in await storage.list_actions(**asked)}  # type: ignore[arg-type]  # as given

        assert await ids(job_id="job-1", scope_id="a") == {mine.action_id, answered.action_id}
        assert await ids(job_id="job-1", status=ActionStatus.PENDING) == {mine.action_id, foreign.action_id}
        assert await ids(scope_id="a", status=ActionStatus.PENDING) == {mine.action_id, other.action_id}
        assert await ids(status=ActionStatus.RESOLVED) == {answered.action_id}
        assert await ids(scope_id="a:pending") == set()
        assert await ids(scope_id="none") == set()
        assert await storage.list_actions(limit=0) == []
        everything = {mine.action_id, answered.action_id, other.action_id, foreign.action_id}
        assert await ids() == everything

    # -- through a manager ---------------------------------------------------------------------------------------

    async def test_two_hundred_resolvers_have_one_winner_and_what_is_kept_is_its_answer(
        self, manager: ActionManager
    ) -> None:
        asked = await manager.require_action(ActionSpec(type="input"))
        outcomes = await asyncio.gather(
            *(manager.resolve(asked.resume_token or "", {"value": n}, f"p{n}") for n in range(200)),
            return_exceptions=True,
        )
        losers = [outcome for outcome in outcomes if isinstance(outcome, ActionAlreadyResolved)]
        assert len(losers) == 199
        kept = await manager.get(asked.action_id)
        assert kept.resolution is not None
        assert kept.resolved_by == f"p{kept.resolution['value']}"

    async def test_of_a_quorum_every_vote_counts_once(self, manager: ActionManager) -> None:
        asked = await manager.require_action(
            ActionSpec(type="approval", quorum=20, approvers=[f"p{n}" for n in range(20)])
        )

        async def vote(n: int) -> None:
            await manager.resolve(asked.resume_token or "", {"approved": True}, f"p{n}")

        await asyncio.gather(*(vote(n) for n in range(19)))
        assert (await manager.get(asked.action_id)).is_pending
        with pytest.raises(InvalidInput):
            await vote(3)
        with pytest.raises(InvalidInput):
            await manager.resolve(asked.resume_token or "", {"approved": True}, "a stranger")
        await vote(19)
        done = await manager.get(asked.action_id)
        assert done.status is ActionStatus.RESOLVED
        assert {one["by"] for one in done.votes} == {f"p{n}" for n in range(20)}

    async def test_a_token_answers_once_and_opens_nothing_else(self, manager: ActionManager) -> None:
        asked = await manager.require_action(ActionSpec(type="input", scope_id="a"))
        with pytest.raises(UnknownAction):
            await manager.resolve(asked.token_hash, {"value": 1})
        with pytest.raises(UnknownAction):
            await manager.resolve_by_id(asked.action_id, {"value": 1}, scope_id="b")
        await manager.resolve(asked.resume_token or "", {"value": 1})
        with pytest.raises(ActionAlreadyResolved):
            await manager.resolve(asked.resume_token or "", {"value": 2})
        assert (await manager.get(asked.action_id)).resume_token is None

    async def test_what_nobody_answers_expires(
        self, manager: ActionManager, clock: SetClock, storage: ActionStorage
    ) -> None:
        plain = await manager.require_action(ActionSpec(type="input", timeout_seconds=60))
        default = await manager.require_action(
            ActionSpec(type="confirm", timeout_seconds=90, default_resolution={"confirmed": False})
        )
        for_ever = await manager.require_action(ActionSpec(type="input"))
        clock.moment = NOW + timedelta(seconds=59)
        assert await manager.expire_due() == 0
        clock.moment = NOW + timedelta(seconds=60)
        with pytest.raises(ActionAlreadyResolved, match="expired"):
            await manager.resolve(plain.resume_token or "", {"value": 1})
        assert await manager.expire_due() == 1
        assert (await manager.get(plain.action_id)).status is ActionStatus.EXPIRED
        clock.moment = NOW + timedelta(seconds=90)
        assert (await manager.wait_for_resolution(default.action_id)).resolved_by == "default"
        with pytest.raises(ActionExpired):
            await manager.wait_for_resolution(plain.action_id)
        assert await manager.expire_due() == 0
        assert [one.action_id for one in await manager.list_pending()] == [for_ever.action_id]
        assert await storage.due_timers(NOW + timedelta(days=1)) == []

    async def test_who_waits_gets_the_answer(self, manager: ActionManager) -> None:
        asked = await manager.require_action(ActionSpec(type="input", timeout_seconds=60))
        waiting = asyncio.ensure_future(manager.wait_for_resolution(asked.action_id, timeout=20))
        await manager.resolve(asked.resume_token or "", {"value": "ü \x00"}, "ann")
        assert (await waiting).resolution == {"value": "ü \x00"}
        withdrawn = await manager.require_action(ActionSpec(type="input"))
        await manager.cancel(withdrawn.action_id)
        with pytest.raises(ActionExpired):
            await manager.wait_for_resolution(withdrawn.action_id)
