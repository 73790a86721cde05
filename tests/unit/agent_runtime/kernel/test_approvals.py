"""Approvals under schedules that would let the wrong people decide: edits, lost effects, changed code, silence."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from agent_runtime import (
    ActionRecord,
    ActionSpec,
    ExecutionHandle,
    ExecutionRequest,
    InvalidInput,
    JobCancelled,
    OperatorContext,
    PolicyContext,
    PolicyEngine,
    StepFailed,
    ToolPolicy,
    current_context,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury
from llm_client import Agent, ScriptedProvider, tool
from llm_client.messages import ToolCall
from llm_client.tools.tool import Reconciliation, Tool
from support.kernels import BOUND, DOOMED, journal, kernel, pending, status_becomes, types, until

pytestmark = pytest.mark.timeout(BOUND * 3)

YES = {"approved": True}
CLERKS = ToolPolicy(
    tool_patterns="pay",
    arguments={"amount": {"<=": 10_000}},
    require_approval=True,
    approvers=["clerk"],
    name="small",
)
BOSS = ToolPolicy(
    tool_patterns="pay",
    arguments={"amount": {">": 10_000}},
    require_approval=True,
    approvers=["boss"],
    name="large",
)
TWO = ToolPolicy(tool_patterns="pay", require_approval=True, approvers=["ann", "bob", "eve"], quorum=2)


class Till:
    """Pays, and remembers what was paid."""

    def __init__(self, **options: Any) -> None:
        self.paid: list[tuple[int, str]] = []
        till = self

        @tool(**options)
        async def pay(amount: int, to: str = "acme") -> str:
            """Pay somebody."""
            till.paid.append((amount, to))
            return f"paid {amount} to {to}"

        self.pay: Tool = pay


async def buy(context: OperatorContext, given: Any) -> str:
    """Pay, and tell how that went."""
    try:
        return str(await context.tool("pay", **given))
    except StepFailed as error:
        return f"failed: {error}"


async def answer(handle: ExecutionHandle, by: str, **answer: Any) -> ActionRecord:
    """Answer the one question that is open."""
    (question,) = await until(handle.get_pending_actions)
    return await handle.resolve_action(question.action_id, {**YES, **answer}, resolved_by=by)


async def next_question(handle: ExecutionHandle, before: ActionRecord) -> ActionRecord:
    """Wait for the question after another one."""

    async def asked() -> list[ActionRecord]:
        return [one for one in await handle.get_pending_actions() if one.action_id != before.action_id]

    (found,) = await until(asked)
    return found  # type: ignore[no-any-return]  # what `asked` gave


async def test_one_approver_alone_cannot_edit_what_another_has_approved() -> None:
    till = Till()
    async with kernel(operators={"buy": buy}, tools=[till.pay], policy_engine=PolicyEngine([TWO])) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 10}))
        await answer(handle, "ann")
        theft = {"amount": 1_000_000, "to": "mallory"}
        assert (await answer(handle, "bob", arguments=theft)).is_pending
        assert till.paid == []
        await answer(handle, "eve")
        assert (await handle.result(timeout=BOUND)).content == "paid 10 to acme"
    assert till.paid == [(10, "acme")]


async def test_a_clerk_who_edits_beyond_what_clerks_may_approve_has_asked_the_boss() -> None:
    till = Till()
    engine = PolicyEngine([CLERKS, BOSS])
    async with kernel(operators={"buy": buy}, tools=[till.pay], policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 100}))
        small = await answer(handle, "clerk", arguments={"amount": 5_000_000})
        large = await next_question(handle, small)
        assert (large.payload["arguments"], large.approvers) == (
            {"amount": 5_000_000, "to": "acme"},
            ("boss",),
        )
        with pytest.raises(InvalidInput, match="not an approver"):
            await answer(handle, "clerk")
        assert till.paid == []
        await answer(handle, "boss", arguments={"amount": 9_000})
        again = await next_question(handle, large)
        assert (again.payload["arguments"], again.approvers) == ({"amount": 9_000, "to": "acme"}, ("clerk",))
        await answer(handle, "clerk", arguments={"amount": 8_000})
        assert (await handle.result(timeout=BOUND)).content == "paid 8000 to acme"
        (intent,) = [event for event in await journal(handle) if event.type == "tool.started"]
        assert intent.body() == {"amount": 8_000, "to": "acme"}
    assert till.paid == [(8_000, "acme")]


async def test_whoever_says_to_be_the_boss_where_nobody_is_named_has_asked_the_boss() -> None:
    """Anybody may answer such a question, under any name: that name gave the boss's yes to the edit."""
    till = Till(requires_approval=True)
    async with kernel(operators={"buy": buy}, tools=[till.pay], policy_engine=PolicyEngine([BOSS])) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 100}))
        anybodys = await answer(handle, "boss", arguments={"amount": 5_000_000})
        assert (anybodys.approvers, anybodys.resolved_by) == (None, "boss")
        large = await next_question(handle, anybodys)
        assert large.approvers == ("boss",)
        assert till.paid == []
        await answer(handle, "boss", arguments={"amount": 9_000})
        assert (await handle.result(timeout=BOUND)).content == "paid 9000 to acme"
    assert till.paid == [(9_000, "acme")]


async def test_an_edited_call_that_had_all_its_approvals_runs_once_after_a_resume() -> None:
    """The job leaves the memory between the clerk's edit and the boss's yes: the same way is followed again."""
    till, storage = Till(), MemoryStorage()
    options: dict[str, Any] = {"tools": [till.pay], "policy_engine": PolicyEngine([CLERKS, BOSS])}
    async with kernel(storage, operators={"buy": buy}, **options) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 100}))
        small = await answer(handle, "clerk", arguments={"amount": 20_000})
        await next_question(handle, small)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators={"buy": buy}, **options) as k:
        handle = k.handle(handle.job_id)
        await answer(handle, "boss")
        assert (await handle.result(timeout=BOUND)).content == "paid 20000 to acme"
        assert (await types(handle)).count("action.required") == 2
    assert till.paid == [(20_000, "acme")]


@pytest.mark.parametrize("asked", ["by both", "by both, with times"])
async def test_one_question_serves_the_tools_author_and_the_policy(asked: str) -> None:
    timed = asked.endswith("times")
    till = Till(requires_approval=True, approval_timeout=30 if timed else None)
    rule = ToolPolicy(
        tool_patterns="pay",
        require_approval=True,
        approvers=["ann", "bob"],
        quorum=2,
        approval_timeout_seconds=600 if timed else None,
    )
    async with kernel(operators={"buy": buy}, tools=[till.pay], policy_engine=PolicyEngine([rule])) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 10}))
        question = await pending(handle)
        waits = None if question.expires_at is None else (question.expires_at - question.created_at).seconds
        assert (question.approvers, question.quorum, waits) == (("ann", "bob"), 2, 600 if timed else None)
        await answer(handle, "ann")
        await answer(handle, "bob")
        assert (await handle.result(timeout=BOUND)).content == "paid 10 to acme"
        assert (await types(handle)).count("action.required") == 1


async def test_a_decision_about_other_arguments_is_not_recalled() -> None:
    """New code asks for another amount at the same place, where the policy has let a smaller one through."""
    till, storage = Till(requires_approval=True), MemoryStorage()
    engine = PolicyEngine(
        [ToolPolicy(tool_patterns="pay", arguments={"amount": {">": 100}}, decision="deny")]
    )

    def buying(amount: int) -> Callable[[OperatorContext, Any], Any]:
        async def run(context: OperatorContext, given: Any) -> str:
            return await buy(context, {"amount": amount})

        return run

    options: dict[str, Any] = {"tools": [till.pay], "policy_engine": engine}
    async with kernel(storage, operators={"run": buying(5)}, **options) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators={"run": buying(5_000)}, **options) as k:
        await k.actions.resolve_by_id(question.action_id, YES)
        assert "not allowed" in (await k.handle(handle.job_id).result(timeout=BOUND)).content
    assert till.paid == []


def even(amount: int) -> int:
    """Refuse odd amounts, which no schema can say."""
    if amount % 2:
        raise ValueError("not an even amount")
    return amount


async def test_an_edit_that_only_the_tool_can_refuse_is_asked_about_again() -> None:
    paid: list[int] = []

    @tool(requires_approval=True)
    async def pay(amount: Annotated[int, AfterValidator(even)]) -> str:
        """Pay."""
        paid.append(amount)
        return f"paid {amount}"

    async with kernel(operators={"buy": buy}, tools=[pay]) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 10}))
        for wrong in ("lots", [1], {"amount": "lots"}, {"amount": 2, "too": 1}, {}):
            with pytest.raises(InvalidInput, match="arguments"):
                await answer(handle, "ann", arguments=wrong)
        first = await answer(handle, "ann", arguments='{"amount": 7}')
        second = await next_question(handle, first)
        assert "not an even amount" in second.payload["problem"]
        assert second.payload["arguments"] == {"amount": 10}
        await answer(handle, "ann", arguments={"amount": 8})
        assert (await handle.result(timeout=BOUND)).content == "paid 8"
    assert paid == [8]


@pytest.mark.parametrize("about", ["job", "model"])
async def test_an_approval_without_arguments_cannot_be_answered_with_an_edit(about: str) -> None:
    engine = PolicyEngine.from_dict({"rules": [{"name": "r", about: "*", "decision": "require_approval"}]})
    agent = Agent(provider=ScriptedProvider(["hi"]))
    async with kernel(agent=agent, policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        await pending(handle)
        with pytest.raises(InvalidInput, match="no arguments"):
            await answer(handle, "ann", arguments={"model": "cheap"})
        await answer(handle, "ann")
        assert (await handle.result(timeout=BOUND)).content == "hi"


# -- the effect of an approved call is lost ------------------------------------------------------------------------


class Killed:
    """A storage that a tool or step can kill its process with, the first time it is called."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.dying = DyingStorage(self.storage, lambda commit: False)
        self.effects = 0

    async def effect(self) -> None:
        """Take effect, and die of it the first time."""
        self.effects += 1
        if self.effects == 1:
            self.dying.die()
            await asyncio.Event().wait()


async def lost(killed: Killed, operator: Any, answers: int, **options: Any) -> ExecutionHandle:
    """Run a job until its effect has killed the process."""
    doomed = kernel(killed.dying, operators={"run": operator}, options=DOOMED, **options)
    handle = await doomed.execute(ExecutionRequest(operator="run"))
    question = await pending(handle)
    for name in ("ann", "bob")[:answers]:
        await doomed.actions.resolve_by_id(question.action_id, YES, resolved_by=name)
    async with asyncio.timeout(BOUND):
        await killed.dying.died.wait()
    await bury(doomed, killed.dying, killed.storage)
    return handle


def operators_of(where: str, killed: Killed) -> tuple[Any, dict[str, Any]]:
    """Return an operator whose approved effect kills it, and what its kernel needs; approved in different places."""
    rule = ToolPolicy(tool_patterns="pay", require_approval=True, approvers=["ann", "bob"], quorum=2)
    asks = ActionSpec(type="approval", approvers=["ann", "bob"], quorum=2)

    async def send() -> str:
        await killed.effect()
        return "sent"

    @tool(effect="idempotent" if where == "around a step" else "unsafe")
    async def pay() -> str:
        """Pay."""
        if where == "inside the tool":
            await current_context().action(asks)
        if where == "around a step":
            return str(await current_context().step(send))
        await killed.effect()
        return "paid"

    async def run(context: OperatorContext, given: Any) -> str:
        if where == "of the job":
            return str(await context.step(send))
        return str(await context.tool("pay"))

    if where == "of the job":
        rules = {
            "name": "r",
            "job": "*",
            "decision": "require_approval",
            "approvers": ["ann", "bob"],
            "quorum": 2,
        }
        return run, {"policy_engine": PolicyEngine.from_dict({"rules": [rules]})}
    if where == "inside the tool":
        return run, {"tools": [pay]}
    return run, {"tools": [pay], "policy_engine": PolicyEngine([rule])}


@pytest.mark.parametrize("where", ["by a policy", "inside the tool", "around a step", "of the job"])
async def test_what_became_of_an_approved_effect_is_said_by_those_who_had_to_approve_it(where: str) -> None:
    killed = Killed()
    operator, options = operators_of(where, killed)
    handle = await lost(killed, operator, 2, **options)
    async with kernel(killed.storage, operators={"run": operator}, **options) as k:
        handle = k.handle(handle.job_id)
        question = await pending(handle)
        assert (question.type, question.approvers, question.quorum) == ("reconcile", ("ann", "bob"), 2)
        for stranger in ("mallory", None):
            with pytest.raises(InvalidInput, match="not an approver"):
                await handle.resolve_action(question.action_id, {"outcome": "retry"}, resolved_by=stranger)
        await handle.resolve_action(question.action_id, {"outcome": "retry"}, resolved_by="ann")
        await handle.resolve_action(question.action_id, {"outcome": "fail"}, resolved_by="bob")
        assert killed.effects == 1
        await handle.resolve_action(question.action_id, {"outcome": "retry"}, resolved_by="Bob")
        assert (await handle.result(timeout=BOUND)).content in ("paid", "sent")
    assert killed.effects == 2


async def test_the_question_that_outlives_a_cancelled_job_is_for_those_who_approved_its_effect() -> None:
    inside = asyncio.Event()

    @tool
    async def pay(amount: int) -> str:
        """Pay."""
        inside.set()
        await asyncio.Event().wait()
        return "paid"

    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=PolicyEngine([BOSS, CLERKS])) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 50}))
        await answer(handle, "clerk")
        await inside.wait()
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        (question,) = await handle.get_pending_actions()
        assert (question.type, question.approvers) == ("reconcile", ("clerk",))


@pytest.mark.parametrize("given", ["lots", 7.5, None, {"paid": 7}, True])
async def test_a_result_that_the_step_cannot_have_returned_is_asked_for_again(given: Any) -> None:
    killed = Killed()

    async def pay() -> int:
        await killed.effect()
        return 7

    async def run(context: OperatorContext, _: Any) -> str:
        await context.action(ActionSpec(type="confirm"))
        return f"paid {await context.step(pay)}"

    handle = await lost(killed, run, 1)
    async with kernel(killed.storage, operators={"run": run}) as k:
        handle = k.handle(handle.job_id)
        first = await pending(handle)
        said = {"outcome": "done"} if given is None else {"outcome": "done", "result": given}
        await handle.resolve_action(first.action_id, said)
        second = await next_question(handle, first)
        assert "does not fit" in second.payload["problem"]
        await handle.resolve_action(second.action_id, {"outcome": "done", "result": 7})
        assert (await handle.result(timeout=BOUND)).content == "paid 7"
    assert killed.effects == 1


async def test_a_result_of_a_reconcile_function_that_cannot_be_leaves_it_to_a_person() -> None:
    killed = Killed()

    async def pay() -> int:
        await killed.effect()
        return 7

    async def look(operation_id: str) -> Reconciliation:
        return Reconciliation(outcome="happened", result="seven")

    async def run(context: OperatorContext, _: Any) -> str:
        await context.action(ActionSpec(type="confirm"))
        return f"paid {await context.step(pay, effect='reconcilable', reconcile=look)}"

    handle = await lost(killed, run, 1)
    async with kernel(killed.storage, operators={"run": run}) as k:
        handle = k.handle(handle.job_id)
        question = await pending(handle)
        await handle.resolve_action(question.action_id, {"outcome": "done", "result": 7})
        assert (await handle.result(timeout=BOUND)).content == "paid 7"
    assert killed.effects == 1


# -- three reasons not to call ----------------------------------------------------------------------------------------


async def tried(context: OperatorContext, given: Any) -> list[str]:
    """Call a tool, and tell how that went, in this run and in every later one."""
    try:
        await context.tool("pay", **given)
    except StepFailed as error:
        told = [type(error).__name__, error.code, error.error_type]
        await context.action(ActionSpec(type="confirm"))
        return told
    return []


@pytest.mark.parametrize(
    ("given", "seconds", "told"),
    [
        ({"amount": 1}, None, ["CallRefused", "CALL_REFUSED", "refused"]),
        ({"amount": 1}, 0.05, ["CallExpired", "CALL_EXPIRED", "expired"]),
        ({"amount": "much"}, None, ["InvalidArguments", "INVALID_ARGUMENTS", "invalid_arguments"]),
        ({"amount": 99_999}, None, ["StepFailed", "STEP_FAILED", "denied"]),
    ],
)
async def test_an_operator_can_tell_why_a_tool_was_not_called(
    given: dict[str, Any], seconds: float | None, told: list[str]
) -> None:
    till = Till(requires_approval=True, approval_timeout=seconds)
    rules = [ToolPolicy(tool_patterns="pay", arguments={"amount": {">": 10_000}}, decision="deny")]
    storage = MemoryStorage()
    async with kernel(storage, operators=[tried], tools=[till.pay], policy_engine=PolicyEngine(rules)) as k:
        handle = await k.execute(ExecutionRequest(operator="tried", input=given))
        if told[0] == "CallRefused":
            await answer(handle, "ann", approved=False)
        question = await next_confirm(handle)
    async with kernel(
        storage, operators=[tried], tools=[till.pay], policy_engine=PolicyEngine(rules)
    ) as k:  # recalled, it is the same
        await k.actions.resolve_by_id(question, {"confirmed": True})
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == told
    assert till.paid == []


async def next_confirm(handle: ExecutionHandle) -> str:
    """Return the question that the operator itself has asked."""

    async def asked() -> str | None:
        found = [one for one in await handle.get_pending_actions() if one.type == "confirm"]
        return found[0].action_id if found else None

    return str(await until(asked))


# -- nobody answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", ["unsafe", "read", "idempotent"])
async def test_a_tool_whose_own_question_nobody_answers_has_failed_and_the_model_reads_it(
    effect: Any,
) -> None:
    asked: list[int] = []

    @tool(effect=effect)
    async def pay() -> str:
        """Pay."""
        asked.append(1)
        await current_context().action(ActionSpec(type="confirm", timeout_seconds=0.05))
        return "paid"

    provider = ScriptedProvider([ToolCall("1", "pay", {}), "I could not pay."])
    async with kernel(agent=Agent(provider=provider, tools=[pay])) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        assert (await handle.result(timeout=BOUND)).content == "I could not pay."
        (failed,) = [event for event in await journal(handle) if event.type == "tool.failed"]
        assert failed.data["error_type"] == "expired"
        assert "expired before anybody answered" in failed.data["error"]
        assert await handle.get_pending_actions() == []
    assert "expired before anybody answered" in provider.requests[1].messages[-1].text


async def test_a_step_whose_own_question_nobody_answers_has_failed() -> None:
    async def pay() -> str:
        await current_context().action(ActionSpec(type="confirm", timeout_seconds=0.05))
        return "paid"

    async def run(context: OperatorContext, _: Any) -> str:
        try:
            return str(await context.step(pay))
        except StepFailed as error:
            await context.action(ActionSpec(type="confirm"))
            return f"failed: {error.error_type}"

    async with kernel(operators=[run]) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))

        async def failed() -> bool:
            return "step.failed" in await types(handle)

        await until(failed)
        await status_becomes(handle, "waiting_action")
        await answer(handle, "ann")
        assert (await handle.result(timeout=BOUND)).content == "failed: ActionExpired"


@pytest.mark.parametrize("amount", ["inf", "-inf", "nan", "1e400"])
async def test_a_model_is_told_that_an_endless_number_is_none_and_nobody_is_asked(amount: str) -> None:
    paid: list[float] = []

    @tool(effect="unsafe")
    async def pay(amount: float) -> str:
        """Pay somebody."""
        paid.append(amount)
        return "paid"

    provider = ScriptedProvider([ToolCall("1", "pay", {"amount": amount}), "done"])
    asked = PolicyEngine([ToolPolicy(tool_patterns="pay", require_approval=True)])
    async with kernel(agent=Agent(provider=provider, tools=[pay]), policy_engine=asked) as k:
        handle = await k.execute(ExecutionRequest(prompt="pay"))
        assert (await handle.result(timeout=BOUND)).content == "done"

    assert not paid
    assert "amount" in provider.requests[-1].messages[-1].text


@pytest.mark.parametrize(
    "asked_by", ["the tool", "a rule of a document", "a rule in code", "the operator", "the job's rule"]
)
async def test_a_question_waits_for_ever_where_nobody_has_said_how_long(asked_by: str) -> None:
    """An answer that comes after a weekend is an answer: nothing in the product makes it expire by itself."""
    till, rules = Till(requires_approval=asked_by == "the tool"), []
    if asked_by == "a rule in code":
        rules = [ToolPolicy(tool_patterns="pay", require_approval=True)]
    elif asked_by in ("a rule of a document", "the job's rule"):
        about = "tool" if asked_by == "a rule of a document" else "job"
        document = {"rules": [{"name": "r", about: "*", "decision": "require_approval"}]}
        rules = list(PolicyEngine.from_dict(document).policy.rules)

    async def work(context: OperatorContext, given: Any) -> Any:
        if asked_by == "the operator":
            return (await context.action(ActionSpec(type="confirm"))).resolution
        return await buy(context, given)

    async with kernel(operators={"work": work}, tools=[till.pay], policy_engine=PolicyEngine(rules)) as k:
        handle = await k.execute(ExecutionRequest(operator="work", input={"amount": 10}))
        question = await pending(handle)
        assert question.expires_at is None
        await handle.cancel()


@pytest.mark.parametrize(
    ("of_tool", "of_rule", "wanted"), [(30, 600, 600), (600, 30, 30), (30, None, 30), (None, 30, 30)]
)
async def test_a_policys_time_wins_over_a_tools_and_explain_says_the_same(
    of_tool: float | None, of_rule: float | None, wanted: float
) -> None:
    till = Till(requires_approval=True, approval_timeout=of_tool)
    rule = {"name": "r", "tool": "pay", "decision": "require_approval"}
    engine = PolicyEngine.from_dict(
        {"rules": [rule if of_rule is None else {**rule, "timeout_seconds": of_rule}]}
    )
    told = engine.explain("tool", "pay", PolicyContext(scope_id="default"))
    assert told.result.approval is not None
    assert told.result.approval.timeout_seconds == of_rule
    waits = (
        "for ever unless the tool has an approval_timeout" if of_rule is None else f"for {of_rule} seconds"
    )
    assert f"  asks anybody, {waits}\n" in str(told)
    async with kernel(operators={"buy": buy}, tools=[till.pay], policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 10}))
        question = await pending(handle)
        assert question.expires_at is not None
        assert (question.expires_at - question.created_at).total_seconds() == wanted
        await handle.cancel()
