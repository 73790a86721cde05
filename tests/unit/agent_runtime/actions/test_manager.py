"""`ActionManager` on its own, as the documents show it."""

import asyncio
from typing import Any

import pytest

from agent_runtime import (
    ActionAlreadyResolved,
    ActionExpired,
    ActionManager,
    ActionSpec,
    ActionStatus,
    InMemoryActionStore,
    InvalidInput,
    UnknownAction,
)


@pytest.fixture
def store() -> InMemoryActionStore:
    return InMemoryActionStore()


@pytest.fixture
def manager(store: InMemoryActionStore) -> ActionManager:
    return ActionManager(store)


async def test_a_question_is_asked_answered_and_read(manager: ActionManager) -> None:
    action = await manager.require_action(
        ActionSpec(job_id="job-123", type="confirm", payload={"message": "Proceed?"}, timeout_seconds=300)
    )
    assert action.resume_token
    waiting = asyncio.ensure_future(manager.wait_for_resolution(action.action_id))
    resolved = await manager.resolve(action.resume_token, resolution={"confirmed": True}, resolved_by="ann")
    assert (resolved.status, resolved.resolved_by) == (ActionStatus.RESOLVED, "ann")
    answered = await waiting
    assert answered.resolution == {"confirmed": True, "approved": True}


async def test_the_token_is_returned_once_stored_hashed_and_never_shown(
    manager: ActionManager, store: InMemoryActionStore
) -> None:
    action = await manager.require_action(ActionSpec(type="input"))
    token = action.resume_token or ""
    assert len(token) >= 43
    assert token not in repr(action)
    (listed,) = await manager.list_pending()
    assert listed.resume_token is None
    assert token not in repr(store.storage.__dict__["_state"])
    with pytest.raises(UnknownAction):
        await manager.resolve(token[:-1] + ("a" if token[-1] != "a" else "b"), {"value": 1})


async def test_two_hundred_resolvers_and_one_winner(manager: ActionManager) -> None:
    action = await manager.require_action(ActionSpec(type="input"))
    outcomes = await asyncio.gather(
        *(manager.resolve(action.resume_token or "", {"value": n}, f"p{n}") for n in range(200)),
        return_exceptions=True,
    )
    winners = [outcome for outcome in outcomes if not isinstance(outcome, ActionAlreadyResolved)]
    assert len(winners) == 1
    assert (await manager.get(action.action_id)).resolution == winners[0].resolution
    with pytest.raises(ActionAlreadyResolved, match=rf"is resolved by '{winners[0].resolved_by}'$"):
        await manager.resolve(action.resume_token or "", {"value": 1}, "late")


async def test_an_expired_action_answers_with_its_default_or_fails_the_wait(manager: ActionManager) -> None:
    plain = await manager.require_action(ActionSpec(type="confirm", timeout_seconds=0.01))
    default = {"approved": False}
    kind = await manager.require_action(
        ActionSpec(type="approval", timeout_seconds=0.01, default_resolution=default)
    )
    with pytest.raises(ActionExpired):
        await manager.wait_for_resolution(plain.action_id)
    assert (await manager.wait_for_resolution(kind.action_id)).resolution == default
    with pytest.raises(ActionAlreadyResolved):
        await manager.resolve(plain.resume_token or "", {"confirmed": True})


async def test_an_already_expired_action_does_not_wait_for_ever(manager: ActionManager) -> None:
    action = await manager.require_action(ActionSpec(type="confirm", timeout_seconds=0))
    with pytest.raises(ActionExpired):
        await manager.wait_for_resolution(action.action_id)


async def test_waiting_has_a_time_out_of_its_own(manager: ActionManager) -> None:
    action = await manager.require_action(ActionSpec(type="confirm"))
    with pytest.raises(TimeoutError):
        await manager.wait_for_resolution(action.action_id, timeout=0.01)
    assert (await manager.get(action.action_id)).is_pending


async def test_a_withdrawn_action_ends_its_wait(manager: ActionManager) -> None:
    action = await manager.require_action(ActionSpec(type="confirm"))
    await manager.cancel(action.action_id, "not needed")
    with pytest.raises(ActionExpired):
        await manager.wait_for_resolution(action.action_id)
    with pytest.raises(ActionAlreadyResolved):
        await manager.cancel(action.action_id)


async def test_only_named_approvers_may_answer(manager: ActionManager) -> None:
    action = await manager.require_action(ActionSpec(type="approval", approvers=["ann", "bob"]))
    for stranger in ("eve", None):
        with pytest.raises(InvalidInput, match="approver"):
            await manager.resolve_by_id(action.action_id, {"approved": True}, resolved_by=stranger)
    await manager.resolve_by_id(action.action_id, {"approved": True}, resolved_by="bob")


async def test_a_quorum_needs_different_people_and_one_no_decides(manager: ActionManager) -> None:
    spec = ActionSpec(type="approval", quorum=2, approvers=["ann", "bob"])
    action = await manager.require_action(spec)
    assert (await manager.resolve_by_id(action.action_id, {"approved": True}, resolved_by="ann")).is_pending
    with pytest.raises(InvalidInput, match="already"):
        await manager.resolve_by_id(action.action_id, {"approved": True}, resolved_by="ann")
    done = await manager.resolve_by_id(action.action_id, {"approved": True}, resolved_by="bob")
    assert [vote["by"] for vote in done.votes] == ["ann", "bob"]
    refused = await manager.require_action(spec)
    no = await manager.resolve_by_id(refused.action_id, {"approved": False}, resolved_by="ann")
    assert (no.status, no.resolution) == (ActionStatus.RESOLVED, {"approved": False})


async def test_concurrent_votes_of_a_quorum_are_all_counted(manager: ActionManager) -> None:
    action = await manager.require_action(
        ActionSpec(type="approval", quorum=20, approvers=[f"p{n}" for n in range(20)])
    )
    await asyncio.gather(
        *(manager.resolve_by_id(action.action_id, {"approved": True}, resolved_by=f"p{n}") for n in range(20))
    )
    done = await manager.get(action.action_id)
    assert done.status is ActionStatus.RESOLVED
    assert len(done.votes) == 20


@pytest.mark.parametrize(
    ("type_", "payload", "answer"),
    [
        ("approval", {}, {}),
        ("approval", {}, {"approved": "yes"}),
        ("confirm", {}, {"ok": True}),
        ("choose", {"choices": ["a", "b"]}, {"choice": "c"}),
        ("choose", {"choices": ["a", "b"]}, {}),
        ("input", {}, {"text": "x"}),
        ("reconcile", {}, {"outcome": "maybe"}),
        ("custom", {}, {"x": object()}),
    ],
)
async def test_an_answer_in_the_wrong_form_is_refused_and_the_question_stays(
    manager: ActionManager, type_: str, payload: dict[str, Any], answer: dict[str, Any]
) -> None:
    action = await manager.require_action(ActionSpec(type=type_, payload=payload))
    with pytest.raises(InvalidInput):
        await manager.resolve_by_id(action.action_id, answer)
    assert (await manager.get(action.action_id)).is_pending


async def test_another_scopes_action_is_unknown(manager: ActionManager) -> None:
    action = await manager.require_action(ActionSpec(type="input", scope_id="a"))
    with pytest.raises(UnknownAction):
        await manager.resolve_by_id(action.action_id, {"value": 1}, scope_id="b")
    assert await manager.list_pending(scope_id="b") == []
