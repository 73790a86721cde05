"""What every `ActionStorage` must do. Subclass `ActionsContract` and supply a `storage` fixture that yields an open one.

The same suite judges Redis and, as a part of the storage contract, memory, SQLite and Postgres.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from agent_runtime.actions.manager import ActionManager
from agent_runtime.actions.records import draw_tokens
from agent_runtime.actions.store import ActionStorage
from agent_runtime.errors import (
    ActionAlreadyResolved,
    ActionExpired,
    InvalidInput,
    ResultNotSerializable,
    UnknownAction,
)
from agent_runtime.ports.commit import ActionChange, Commit
from agent_runtime.testing.clock import FakeClock
from agent_runtime.testing.examples import NOW, action, commit
from agent_runtime.values.action import ActionRecord, ActionSpec, ActionStatus, ActionToken

PAYLOAD = {
    "arguments": {"amount": 10, "to": "acme"},
    "choices": ["a", 1, True],
    "packages": {"orjson": "MIT"},
}
SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "maximum": 100}, "to": {"$ref": "#/$defs/name"}},
    "required": ["amount", "to"],
    "additionalProperties": False,
    "$defs": {"name": {"type": "string", "minLength": 1}},
}
WRONG: list[tuple[str, Any]] = [
    ("approval", []),
    ("approval", "yes"),
    ("approval", {}),
    ("approval", {"approved": "yes"}),
    ("approval", {"approved": 1}),
    ("approval", {"approved": True, "confirmed": False}),
    ("approval", {"approved": True, "argument": {"amount": 1, "to": "acme"}}),
    ("approval", {"approved": True, "reason": 7}),
    ("approval", {"approved": True, "arguments": "amount=1"}),
    ("approval", {"approved": True, "arguments": "[1]"}),
    ("approval", {"approved": True, "arguments": '{"amount": 1, "to": "acme", "amount": 99}'}),
    ("approval", {"approved": True, "arguments": '{"amount": NaN, "to": "acme"}'}),
    ("approval", {"approved": True, "arguments": [1]}),
    ("approval", {"approved": True, "arguments": 7}),
    ("approval", {"approved": True, "arguments": {"amount": 1}}),
    ("approval", {"approved": True, "arguments": {"amount": 1, "too": "acme"}}),
    ("approval", {"approved": True, "arguments": {"amount": "lots", "to": "acme"}}),
    ("approval", {"approved": True, "arguments": {"amount": True, "to": "acme"}}),
    ("approval", {"approved": True, "arguments": {"amount": 101, "to": "acme"}}),
    ("approval", {"approved": True, "arguments": {"amount": 1, "to": ""}}),
    ("approval", {"approved": True, "arguments": {"amount": 1, "to": object()}}),
    ("confirm", {"ok": True}),
    ("confirm", {"confirmed": True, "decision": {}}),
    ("confirm", {"confirmed": True, "decisions": {"orjson": ["accept"]}}),
    ("confirm", {"confirmed": True, "decisions": {"orjsen": "reject"}}),
    ("choose", {}),
    ("choose", {"choise": "a"}),
    ("choose", {"choice": "b"}),
    ("choose", {"choice": False}),
    ("choose", {"choice": "a", "value": "b"}),
    ("choose", {"choice": ["a"]}),
    ("input", {"text": "x"}),
    ("input", {"value": object()}),
    ("input", {"value": 1, "valeu": 2}),
    ("reconcile", {"outcome": "maybe"}),
    ("reconcile", {"outcome": ["done"]}),
    ("reconcile", {"outcome": "done", "results": 1}),
    ("reconcile", {"outcome": "retry", "result": 1}),
    ("reconcile", {"outcome": "fail", "error": 7}),
    ("custom", [1]),
    ("custom", {7: 1}),
    ("custom", {"x": object()}),
]
"""Types of questions, and answers to none of them."""
READ: list[tuple[str, Any, Any]] = [
    ("approval", {"confirmed": True}, {"approved": True}),
    ("approval", {"approved": True, "reason": None}, {"approved": True}),
    (
        "approval",
        {"approved": True, "arguments": ' {"amount": 5, "to": "acme"} '},
        {"approved": True, "arguments": {"amount": 5, "to": "acme"}},
    ),
    ("approval", {"approved": False, "arguments": "as they were"}, {"approved": False}),
    ("confirm", {"approved": True}, {"approved": True, "confirmed": True}),
    ("choose", {"choice": 1.0}, {"choice": 1}),
    ("choose", {"choice": True}, {"choice": True}),
    ("reconcile", {"outcome": "done", "result": None}, {"outcome": "done"}),
    ("upload", {"anything": [1]}, {"anything": [1]}),
]
"""Types of questions, answers, and as what they are kept."""


@dataclass(frozen=True, slots=True)
class Store:
    """A view of a storage, for a manager."""

    storage: ActionStorage


class ActionsContract:
    """The suite."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Time, for managers."""
        return FakeClock(NOW)

    @pytest.fixture
    def manager(self, storage: ActionStorage, clock: FakeClock) -> ActionManager:
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
            argument_schema={"type": "object"},
            metadata={"k": 1},
            resume_token="secret",  # noqa: S106 -- a test value
            resume_tokens={"ann": "secret"},
        )
        await storage.commit(commit(new_actions=[asked]))
        found = await storage.get_action(asked.action_id)
        assert found is not None
        assert (found.resume_token, found.resume_tokens, found.token_of) == (None, {}, None)
        assert found.argument_schema == asked.argument_schema
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
            await manager.resolve(asked.resume_tokens[f"p{n}"], {"approved": True}, f"p{n}")

        await asyncio.gather(*(vote(n) for n in range(19)))
        assert (await manager.get(asked.action_id)).is_pending
        with pytest.raises(InvalidInput, match="answered already"):
            await vote(3)
        with pytest.raises(InvalidInput, match="not an approver"):
            await manager.resolve_by_id(asked.action_id, {"approved": True}, resolved_by="a stranger")
        await vote(19)
        done = await manager.get(asked.action_id)
        assert done.status is ActionStatus.RESOLVED
        assert {one["by"] for one in done.votes} == {f"p{n}" for n in range(20)}

    async def test_a_vote_is_for_what_shall_be_done(self, manager: ActionManager) -> None:
        """The second yes is for something else: it must not be paid in the name of the first."""
        asked = await self._payment(manager)
        theft = {"approved": True, "arguments": {"amount": 1_000_000, "to": "mallory"}}
        await manager.resolve_by_id(asked.action_id, {"approved": True}, resolved_by="ann")
        assert (await manager.resolve_by_id(asked.action_id, theft, resolved_by="bob")).is_pending
        same = {"approved": True, "reason": "fine", "arguments": {"to": "acme", "amount": 10}}
        done = await manager.resolve_by_id(asked.action_id, same, resolved_by="eve")
        assert (done.status, done.resolved_by) == (ActionStatus.RESOLVED, "eve")
        assert done.resolution == same

    async def test_the_first_edit_that_enough_people_want_wins(self, manager: ActionManager) -> None:
        asked = await self._payment(manager)
        less = {"approved": True, "arguments": {"amount": 5, "to": "acme"}}
        await manager.resolve_by_id(asked.action_id, less, resolved_by="ann")
        assert (
            await manager.resolve_by_id(asked.action_id, {"approved": True}, resolved_by="bob")
        ).is_pending
        done = await manager.resolve_by_id(asked.action_id, less, resolved_by="eve")
        assert done.resolution == less

    async def test_who_votes_again_replaces_the_earlier_vote(self, manager: ActionManager) -> None:
        asked = await self._payment(manager)
        less = {"approved": True, "arguments": {"amount": 5, "to": "acme"}}
        await manager.resolve_by_id(asked.action_id, {"approved": True}, resolved_by="ann")
        await manager.resolve_by_id(asked.action_id, less, resolved_by="ann")
        assert (
            await manager.resolve_by_id(asked.action_id, {"approved": True}, resolved_by="bob")
        ).is_pending
        done = await manager.resolve_by_id(asked.action_id, less, resolved_by="bob")
        assert (done.status, done.resolution) == (ActionStatus.RESOLVED, less)

    async def test_what_one_person_answers_fills_no_question(self, manager: ActionManager) -> None:
        asked = await self._payment(manager)
        for number in range(2):
            told = {"approved": True, "arguments": {"amount": number, "to": "acme"}, "reason": "x" * 100_000}
            await manager.resolve_by_id(asked.action_id, told, resolved_by="ann")
        with pytest.raises(InvalidInput, match="bytes at most"):
            await manager.resolve_by_id(
                asked.action_id, {"approved": True, "reason": "x" * 100_000}, resolved_by="ann"
            )
        told = {"approved": True, "reason": "x" * 10_000}
        assert (await manager.resolve_by_id(asked.action_id, told, resolved_by="bob")).is_pending
        done = await manager.resolve_by_id(asked.action_id, {"approved": True}, resolved_by="ann")
        assert done.status is ActionStatus.RESOLVED

    async def test_whoever_races_for_a_quorum_never_gets_what_too_few_want(
        self, manager: ActionManager
    ) -> None:
        approvers = [f"p{n}" for n in range(12)]
        asked = await manager.require_action(ActionSpec(type="choose", quorum=5, approvers=approvers))
        outcomes = await asyncio.gather(
            *(
                manager.resolve(asked.resume_tokens[name], {"choice": number % 3})
                for number, name in enumerate(approvers)
            )
        )
        assert all(one.is_pending for one in outcomes)
        done = await manager.resolve(asked.resume_tokens["p0"], {"choice": 1})
        assert (done.status, done.resolution) == (ActionStatus.RESOLVED, {"choice": 1})

    async def test_a_token_votes_for_the_one_it_was_drawn_for(self, manager: ActionManager) -> None:
        asked = await self._payment(manager)
        assert asked.resume_token is None
        assert list(asked.resume_tokens) == ["ann", "bob", "eve"]
        tokens = asked.resume_tokens
        with pytest.raises(InvalidInput, match="not bob's"):
            await manager.resolve(tokens["ann"], {"approved": True}, "bob")
        await manager.resolve(tokens["ann"], {"approved": True})
        with pytest.raises(InvalidInput, match="not bob's"):
            await manager.resolve(tokens["ann"], {"approved": True}, "bob")
        with pytest.raises(InvalidInput, match="ann has answered already"):
            await manager.resolve(tokens["ann"], {"approved": True}, "ANN")
        assert (await manager.get(asked.action_id)).is_pending
        done = await manager.resolve(tokens["bob"], {"approved": True})
        assert [one["by"] for one in done.votes] == ["ann", "bob"]
        with pytest.raises(ActionAlreadyResolved):
            await manager.resolve(tokens["eve"], {"approved": False})

    async def test_a_further_token_belongs_to_the_same_approver_and_the_first_one_stays_valid(
        self, manager: ActionManager, storage: ActionStorage
    ) -> None:
        asked = await self._payment(manager)
        again, tokens = draw_tokens(await manager.get(asked.action_id))
        await storage.commit(commit(new_tokens=tokens))
        assert not set(again.resume_tokens.values()) & set(asked.resume_tokens.values())
        await manager.resolve(again.resume_tokens["ann"], {"approved": True})
        with pytest.raises(InvalidInput, match="ann has answered already"):
            await manager.resolve(asked.resume_tokens["ann"], {"approved": True})
        done = await manager.resolve(asked.resume_tokens["bob"], {"approved": True})
        assert done.status is ActionStatus.RESOLVED
        with pytest.raises(ActionAlreadyResolved):
            await manager.resolve(again.resume_tokens["bob"], {"approved": True})
        lost = ActionToken("h", "act-none", None)
        with pytest.raises(UnknownAction):
            await storage.commit(commit(new_tokens=[lost]))

    async def test_names_that_mean_one_person_have_one_vote(self, manager: ActionManager) -> None:
        spec = ActionSpec(type="approval", quorum=2, approvers=["Ann", "Straße", "ann"])
        assert spec.approvers == ("Ann", "Straße")
        asked = await manager.require_action(spec)
        for name in ("ann", "\uff21nn ", "ANN"):
            with contextlib.suppress(InvalidInput):
                await manager.resolve_by_id(asked.action_id, {"approved": True}, resolved_by=name)
        assert [one["by"] for one in (await manager.get(asked.action_id)).votes] == ["Ann"]
        done = await manager.resolve_by_id(asked.action_id, {"approved": True}, resolved_by="STRASSE")
        assert (done.status, done.resolved_by) == (ActionStatus.RESOLVED, "Straße")

    @pytest.mark.parametrize(
        "name", ["", " ", "\u200b", "x" * 5000, "a\x00b", "a\nb", "\ud800", 7, ["ann"], True]
    )
    async def test_what_is_no_name_is_refused_and_the_question_stays_open(
        self, manager: ActionManager, name: Any
    ) -> None:
        asked = await manager.require_action(ActionSpec(type="input"))
        with pytest.raises(InvalidInput, match="resolved_by"):
            await manager.resolve_by_id(asked.action_id, {"value": 1}, resolved_by=name)
        with pytest.raises(InvalidInput, match="resolved_by"):
            await manager.resolve(asked.resume_token or "", {"value": 1}, name)
        assert (await manager.get(asked.action_id)).is_pending

    @pytest.mark.parametrize(("quorum", "approvers"), [(2, None), (1, []), (2, ["ann"]), (2, ["Ann", "ann"])])
    async def test_a_quorum_needs_people_who_can_make_it(
        self, manager: ActionManager, quorum: int, approvers: list[str] | None
    ) -> None:
        with pytest.raises(InvalidInput, match="approvers"):
            await manager.require_action(ActionSpec(type="approval", quorum=quorum, approvers=approvers))
        assert await manager.list_pending() == []

    @pytest.mark.parametrize(("type_", "answer"), WRONG)
    async def test_an_answer_that_does_not_fit_is_refused_with_the_reason_and_the_question_stays_open(
        self, manager: ActionManager, type_: str, answer: Any
    ) -> None:
        asked = await manager.require_action(ActionSpec(type=type_, payload=PAYLOAD, argument_schema=SCHEMA))
        with pytest.raises(InvalidInput) as refused:
            await manager.resolve(asked.resume_token or "", answer)
        assert len(str(refused.value)) > 10
        kept = await manager.get(asked.action_id)
        assert (kept.is_pending, kept.resolution, kept.votes) == (True, None, ())

    @pytest.mark.parametrize(("type_", "answer"), WRONG)
    async def test_a_default_that_does_not_fit_is_refused_when_the_question_is_asked(
        self, manager: ActionManager, type_: str, answer: Any
    ) -> None:
        with pytest.raises((InvalidInput, ResultNotSerializable)):
            await manager.require_action(
                ActionSpec(type=type_, payload=PAYLOAD, argument_schema=SCHEMA, default_resolution=answer)
            )
        assert await manager.list_pending() == []

    @pytest.mark.parametrize(("type_", "answer", "read"), READ)
    async def test_an_answer_is_read_as_it_is_meant(
        self, manager: ActionManager, type_: str, answer: Any, read: Any
    ) -> None:
        asked = await manager.require_action(ActionSpec(type=type_, payload=PAYLOAD, argument_schema=SCHEMA))
        done = await manager.resolve(asked.resume_token or "", answer)
        assert done.resolution == read
        assert type((done.resolution or {}).get("choice")) is type(read.get("choice"))

    async def _payment(self, manager: ActionManager) -> ActionRecord:
        """Ask two of three people about a payment."""
        return await manager.require_action(
            ActionSpec(
                type="approval",
                payload={"arguments": {"amount": 10, "to": "acme"}},
                approvers=["ann", "bob", "eve"],
                quorum=2,
            )
        )

    async def test_a_token_answers_once_and_opens_nothing_else(self, manager: ActionManager) -> None:
        asked = await manager.require_action(ActionSpec(type="input", scope_id="a"))
        with pytest.raises(UnknownAction):
            await manager.resolve(asked.token_hash or "", {"value": 1})
        with pytest.raises(UnknownAction):
            await manager.resolve_by_id(asked.action_id, {"value": 1}, scope_id="b")
        await manager.resolve(asked.resume_token or "", {"value": 1})
        with pytest.raises(ActionAlreadyResolved):
            await manager.resolve(asked.resume_token or "", {"value": 2})
        assert (await manager.get(asked.action_id)).resume_token is None

    async def test_what_nobody_answers_expires(
        self, manager: ActionManager, clock: FakeClock, storage: ActionStorage
    ) -> None:
        plain = await manager.require_action(ActionSpec(type="input", timeout_seconds=60))
        default = await manager.require_action(
            ActionSpec(type="confirm", timeout_seconds=90, default_resolution={"confirmed": False})
        )
        for_ever = await manager.require_action(ActionSpec(type="input"))
        clock.move(seconds=59)
        assert await manager.expire_due() == 0
        clock.move(seconds=1)
        with pytest.raises(ActionAlreadyResolved, match="expired"):
            await manager.resolve(plain.resume_token or "", {"value": 1})
        assert await manager.expire_due() == 1
        assert (await manager.get(plain.action_id)).status is ActionStatus.EXPIRED
        clock.move(seconds=30)
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
