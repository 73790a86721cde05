"""A call that is made again, or asked about: always with the arguments that it was made with, under a name of its own."""

import asyncio
from typing import Any

import pytest

from agent_runtime import (
    ExecutionHandle,
    ExecutionRequest,
    InvalidInput,
    JobCancelled,
    JobFailed,
    JobFilter,
    OperatorContext,
    PolicyEngine,
    PolicyRule,
    RuntimeKernel,
    ToolPolicy,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury
from agent_runtime.values.policy import Approval, PolicyAction, PolicyDecision
from llm_client import Agent, ScriptedProvider, ToolContext, tool
from llm_client.messages import ToolCall
from llm_client.tools.tool import Reconciliation, Tool
from support.kernels import BOUND, DOOMED, journal, kernel, pending, types, until

pytestmark = pytest.mark.timeout(BOUND * 3)

YES = {"approved": True}
ASKED = {"to": "mallory", "amount": 5_000}
EDITED = {"to": "ann", "amount": 100}


class Till:
    """Pays, and remembers who was paid under which key; may kill its process when it does so first."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.dying = DyingStorage(self.storage, lambda commit: False)
        self.paid: list[tuple[str, int]] = []
        self.keys: list[str] = []
        self.begun = asyncio.Event()
        self.is_deadly = False
        self.hangs = False

    async def take(self, to: str, amount: int, key: str) -> str:
        """Pay, and die of it where it was told to."""
        self.paid.append((to, amount))
        self.keys.append(key)
        self.begun.set()
        if self.is_deadly and len(self.paid) == 1:
            self.dying.die()
            await asyncio.Event().wait()
        if self.hangs:
            await asyncio.Event().wait()
        return f"paid {amount} to {to}"

    def tool(self, default: int = 7, **options: Any) -> Tool:
        """Return the tool that pays."""
        till = self

        @tool(**options)
        async def pay(to: str, ctx: ToolContext, amount: int = default) -> str:
            """Pay somebody."""
            return await till.take(to, amount, ctx.idempotency_key)

        return pay

    async def die_of(self, operator: Any, tools: list[Tool], edit: Any = None) -> ExecutionHandle:
        """Run a job until the first payment has killed its process."""
        self.is_deadly = True
        doomed = kernel(self.dying, operators={"run": operator}, tools=tools, options=DOOMED)
        handle = await doomed.execute(ExecutionRequest(operator="run"))
        if edit is not None:
            question = await pending(handle)
            await doomed.actions.resolve_by_id(question.action_id, {**YES, "arguments": edit})
        async with asyncio.timeout(BOUND):
            await self.dying.died.wait()
        await bury(doomed, self.dying, self.storage)
        return handle


async def answered(handle: ExecutionHandle, kind: str, answer: Any) -> dict[str, Any]:
    """Answer the one question that is open, of this kind; return what it showed."""
    question = await pending(handle)
    assert question.type == kind
    await handle.resolve_action(question.action_id, answer)

    async def gone() -> bool:
        return question.action_id not in {one.action_id for one in await handle.get_pending_actions()}

    await until(gone)
    return dict(question.payload)


async def failed(k: RuntimeKernel, handle: ExecutionHandle) -> None:
    """Wait until a job has failed."""
    with pytest.raises(JobFailed):
        await handle.result(timeout=BOUND)


def calling(**arguments: Any) -> Any:
    async def run(context: OperatorContext, given: Any) -> Any:
        return await context.tool("pay", **arguments)

    return run


@pytest.mark.parametrize(
    "edited_and_default",
    [(EDITED, 7), (None, 9_999), ({"to": "ann"}, 9_999), (None, 7)],
    ids=["edited", "completed, another default now", "both", "completed"],
)
async def test_what_became_of_a_call_is_asked_with_what_it_was_made_with_and_retry_makes_that(
    edited_and_default: tuple[Any, int],
) -> None:
    """Also by another version of the tool, which would fill in something else."""
    edit, default = edited_and_default
    till = Till()
    asks = edit is not None
    run = calling(**(ASKED if asks else {"to": "ann"}))
    handle = await till.die_of(run, [till.tool(effect="unsafe", requires_approval=asks)], edit)
    now = till.tool(default, effect="unsafe", requires_approval=asks)
    async with kernel(till.storage, operators={"run": run}, tools=[now]) as k:
        handle = k.handle(handle.job_id)
        asked = await answered(handle, "reconcile", {"outcome": "retry"})
        await handle.result(timeout=BOUND)
        assert (await types(handle)).count("action.required") == 1 + asks
    made = {"to": "ann", "amount": 100 if edit == EDITED else 7}
    assert asked["arguments"] == made
    assert "retry_arguments" not in asked
    assert till.paid == [("ann", made["amount"])] * 2
    assert len(set(till.keys)) == 1


async def test_a_call_whose_tool_is_gone_is_asked_about_with_what_it_was_made_with() -> None:
    till = Till()

    def agent(tools: list[Tool], *replies: Any) -> Any:
        async def run(context: OperatorContext, given: Any) -> str:
            return (await Agent(provider=ScriptedProvider(replies), tools=tools).run("Pay.")).content

        return run

    tools = [till.tool(effect="unsafe", requires_approval=True)]
    handle = await till.die_of(agent(tools, ToolCall("1", "pay", ASKED)), [], EDITED)
    async with kernel(till.storage, operators={"run": agent([], "ok")}) as k:
        handle = k.handle(handle.job_id)
        asked = await answered(handle, "reconcile", {"outcome": "done", "result": "paid"})
        assert (await handle.result(timeout=BOUND)).content == "ok"
    assert asked["arguments"] == EDITED


async def test_a_question_that_outlives_its_job_shows_what_was_under_way_and_a_retry_makes_that() -> None:
    till = Till()
    till.hangs = True
    tools = [till.tool(effect="unsafe", requires_approval=True)]
    async with kernel(operators={"run": calling(**ASKED)}, tools=tools) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        await answered(handle, "approval", {**YES, "arguments": EDITED})
        await till.begun.wait()
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        till.hangs = False
        retry = await k.retry(handle.job_id)
        asked = await answered(retry, "reconcile", {"outcome": "retry"})
        await retry.result(timeout=BOUND)
    assert asked["arguments"] == EDITED
    assert till.paid == [("ann", 100)] * 2
    assert len(set(till.keys)) == 1


async def test_a_step_that_is_called_with_something_else_by_now_shows_both() -> None:
    till = Till()

    def run(amount: int) -> Any:
        async def operator(context: OperatorContext, given: Any) -> Any:
            return await context.step(till.take, "ann", amount, "", name="pay")

        return operator

    handle = await till.die_of(run(100), [])
    async with kernel(till.storage, operators={"run": run(200)}) as k:
        handle = k.handle(handle.job_id)
        asked = await answered(handle, "reconcile", {"outcome": "retry"})
        await handle.result(timeout=BOUND)
    assert "100" in str(asked["arguments"])
    assert "200" in str(asked["retry_arguments"])
    assert till.paid == [("ann", 100), ("ann", 200)]


class Shop:
    """A job that pays between two steps, of which those in `broken` fail."""

    def __init__(self, till: Till, *broken: str, **arguments: Any) -> None:
        self.till = till
        self.broken = set(broken)
        self.arguments = arguments or ASKED

    def act(self, what: str) -> str:
        """Do something, unless it is broken."""
        if what in self.broken:
            raise ValueError(f"{what} is broken")
        return what

    async def run(self, context: OperatorContext, given: Any) -> Any:
        """Look, pay, ship."""
        await context.step(self.act, "look", name="look", effect="read")
        paid = await context.tool("pay", **self.arguments)
        await context.step(self.act, "ship", name="ship", effect="read")
        return paid


async def paid_and_failed(k: RuntimeKernel) -> ExecutionHandle:
    """Run a job whose payment is edited and made, and which fails later."""
    handle = await k.execute(ExecutionRequest(operator="run"))
    await answered(handle, "approval", {**YES, "arguments": EDITED})
    await failed(k, handle)
    return handle


OTHER = {"to": "bob", "amount": 1}


@pytest.mark.parametrize(
    "asked_and_edited",
    [(ASKED, None), (ASKED, EDITED), (ASKED, OTHER), (OTHER, None), (OTHER, EDITED), (EDITED, None)],
)
async def test_only_the_call_that_was_made_has_its_key_when_it_is_done_anew(
    asked_and_edited: tuple[dict[str, Any], dict[str, Any] | None],
) -> None:
    asked, edit = asked_and_edited
    till = Till()
    shop = Shop(till, "ship")
    tools = [till.tool(effect="idempotent", requires_approval=True)]
    async with kernel(operators={"run": shop.run}, tools=tools) as k:
        handle = await paid_and_failed(k)
        shop.broken.clear()
        shop.arguments = asked
        retry = await k.retry(handle.job_id, from_step="look")
        shown = await answered(retry, "approval", YES if edit is None else {**YES, "arguments": edit})
        await retry.result(timeout=BOUND)
        assert shown["arguments"] == asked
        assert (await types(retry)).count("action.required") == 1
    made = asked if edit is None else edit
    assert till.paid == [("ann", 100), (made["to"], made["amount"])]
    assert (till.keys[0] == till.keys[1]) is (made == EDITED)


@pytest.mark.parametrize("asked", [ASKED, EDITED], ids=["as it was asked", "as it was made"])
async def test_before_an_edited_call_is_repeated_somebody_is_asked_about_what_was_made(asked: Any) -> None:
    """Their `retry` makes that one: what they are asked to agree to then cannot be edited into another."""
    till = Till()
    shop = Shop(till, "ship")
    tools = [till.tool(effect="unsafe", requires_approval=True)]
    async with kernel(operators={"run": shop.run}, tools=tools) as k:
        handle = await paid_and_failed(k)
        shop.broken.clear()
        shop.arguments = asked
        retry = await k.retry(handle.job_id, from_step="look")
        if asked == EDITED:
            await answered(retry, "approval", YES)
        shown = await answered(retry, "reconcile", {"outcome": "retry"})
        if asked != EDITED:
            question = await pending(retry)
            assert (question.type, question.payload["arguments"]) == ("approval", EDITED)
            assert question.argument_schema == {"type": "object", "maxProperties": 0}
            await answered(retry, "approval", YES)
        await retry.result(timeout=BOUND)
    assert shown["arguments"] == EDITED
    assert till.paid == [("ann", 100)] * 2
    assert len(set(till.keys)) == 1


async def test_a_call_that_happened_is_asked_about_by_the_retry_that_comes_to_it() -> None:
    """The first retry fails before it gets there."""
    till = Till()
    shop = Shop(till, "ship")
    tools = [till.tool(effect="unsafe")]
    async with kernel(operators={"run": shop.run}, tools=tools) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        await failed(k, handle)
        shop.broken = {"look"}
        retry = await k.retry(handle.job_id, from_step="look")
        await failed(k, retry)
        shop.broken.clear()
        retry = await k.retry(retry.job_id)
        shown = await answered(retry, "reconcile", {"outcome": "done", "result": "paid before"})
        assert (await retry.result(timeout=BOUND)).output == "paid before"
    assert shown["arguments"] == ASKED
    assert till.paid == [("mallory", 5_000)]


@pytest.mark.parametrize("how", ["other arguments", "new keys"])
async def test_what_a_retry_did_under_a_name_of_its_own_is_recalled_by_the_next(how: str) -> None:
    till = Till()
    shop = Shop(till, "ship")
    tools = [till.tool(effect="idempotent")]
    async with kernel(operators={"run": shop.run}, tools=tools) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        await failed(k, handle)
        shop.arguments = {"to": "bob", "amount": 1}
        retry = await k.retry(handle.job_id, from_step="look", new_keys=how == "new keys")
        await failed(k, retry)
        shop.broken.clear()
        retry = await k.retry(retry.job_id)
        assert (await retry.result(timeout=BOUND)).output == "paid 1 to bob"
        assert "tool.started" in [event.type for event in await journal(retry)]
    assert till.paid == [("mallory", 5_000), ("bob", 1)]
    assert len(set(till.keys)) == 2


async def test_what_people_said_had_happened_keeps_its_key_from_another_call() -> None:
    """Lost after an edit, said to be done, and retried from before it with what the model had asked for."""
    till = Till()
    shop = Shop(till, "ship")
    tools = [till.tool(effect="unsafe", requires_approval=True)]
    handle = await till.die_of(shop.run, tools, EDITED)
    async with kernel(till.storage, operators={"run": shop.run}, tools=tools) as k:
        handle = k.handle(handle.job_id)
        await answered(handle, "reconcile", {"outcome": "done", "result": "paid"})
        await failed(k, handle)
        shop.broken.clear()
        retry = await k.retry(handle.job_id, from_step="look")
        shown = await answered(retry, "reconcile", {"outcome": "done", "result": "paid"})
        assert (await retry.result(timeout=BOUND)).output == "paid"
    assert shown["arguments"] == EDITED
    assert till.paid == [("ann", 100)]


async def lost(k: RuntimeKernel, till: Till) -> ExecutionHandle:
    """Run a job that is cancelled while it pays: nobody knows what became of that."""
    till.hangs = True
    handle = await k.execute(ExecutionRequest(operator="run"))
    await till.begun.wait()
    await handle.cancel()
    with pytest.raises(JobCancelled):
        await handle.result(timeout=BOUND)
    till.hangs = False
    return handle


@pytest.mark.parametrize(
    "from_step_and_answer",
    [("pay", "retry"), ("look", "done"), ("look", "retry"), ("look", "fail"), ("pay", "done")],
)
async def test_what_became_of_a_lost_call_is_asked_by_a_retry_from_before_it(
    from_step_and_answer: tuple[str, str],
) -> None:
    """It was made again without a word, and the question about it stayed open for a job that had ended."""
    from_step, answer = from_step_and_answer
    till = Till()
    shop = Shop(till)
    async with kernel(operators={"run": shop.run}, tools=[till.tool(effect="unsafe")]) as k:
        handle = await lost(k, till)
        (before,) = await handle.get_pending_actions()
        retry = await k.retry(handle.job_id, from_step=from_step)
        assert (await k.actions.get(before.action_id)).status == "cancelled"
        said = {"outcome": answer} | ({"result": "paid"} if answer == "done" else {})
        shown = await answered(retry, "reconcile", said)
        assert (shown["arguments"], shown["operation_id"]) == (ASKED, before.payload["operation_id"])
        if answer == "fail":
            await failed(k, retry)
        else:
            wanted = "paid" if answer == "done" else "paid 5000 to mallory"
            assert (await retry.result(timeout=BOUND)).output == wanted
    assert till.paid == [("mallory", 5_000)] * (2 if answer == "retry" else 1)
    assert len(set(till.keys)) == 1


@pytest.mark.parametrize("said", ["done", "retry", "fail"])
async def test_what_people_have_said_of_it_since_is_not_asked_again_unless_it_happened(said: str) -> None:
    till = Till()
    shop = Shop(till)
    async with kernel(operators={"run": shop.run}, tools=[till.tool(effect="unsafe")]) as k:
        handle = await lost(k, till)
        told = {"outcome": said} | ({"result": "paid"} if said == "done" else {})
        await answered(handle, "reconcile", told)
        retry = await k.retry(handle.job_id, from_step="look")
        if said == "done":
            await answered(retry, "reconcile", {"outcome": "done", "result": "paid before"})
        output = (await retry.result(timeout=BOUND)).output
        asked = (await types(retry)).count("action.required")
    assert (output, asked) == (("paid before", 1) if said == "done" else ("paid 5000 to mallory", 0))
    assert len(till.paid) == (1 if said == "done" else 2)


@pytest.mark.parametrize("how", ["lost, new keys", "happened, new keys", "lost", "happened"])
async def test_a_tool_is_asked_about_a_call_under_the_name_that_the_call_had(how: str) -> None:
    """With new keys it was asked about a name that no service has heard of, and the call was made again."""
    new_keys = how.endswith("new keys")
    till = Till()
    asked: list[str] = []

    async def look_up(operation_id: str) -> Reconciliation:
        asked.append(operation_id)
        known = operation_id in till.keys
        return Reconciliation(outcome="happened" if known else "did_not_happen", result="paid before")

    shop = Shop(till, "ship")
    tools = [till.tool(effect="reconcilable", reconcile=look_up)]
    async with kernel(operators={"run": shop.run}, tools=tools) as k:
        if how.startswith("lost"):
            handle = await lost(k, till)
        else:
            handle = await k.execute(ExecutionRequest(operator="run"))
            await failed(k, handle)
        shop.broken.clear()
        retry = await k.retry(handle.job_id, from_step="look", new_keys=new_keys)
        assert (await retry.result(timeout=BOUND)).output == "paid before"
    assert set(asked) == set(till.keys)
    assert till.paid == [("mallory", 5_000)]


@pytest.mark.parametrize("begin", ["pack", "pay"])
async def test_who_had_to_agree_to_a_call_says_whether_a_retry_from_before_it_makes_it_again(
    begin: str,
) -> None:
    till, broken = Till(), ["ship"]

    def act(what: str) -> str:
        if what in broken:
            raise ValueError(f"{what} is broken")
        return what

    async def operator(context: OperatorContext, given: Any) -> Any:
        await context.step(act, "pack", name="pack", effect="read")
        paid = await context.tool("pay", to="ann")
        await context.step(act, "ship", name="ship", effect="read")
        return paid

    boss = PolicyEngine([ToolPolicy(tool_patterns="pay", require_approval=True, approvers=["boss"])])
    async with kernel(operators={"run": operator}, tools=[till.tool()], policy_engine=boss) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        await handle.resolve_action((await pending(handle)).action_id, YES, resolved_by="boss")
        with pytest.raises(JobFailed, match="ship is broken"):
            await handle.result(timeout=BOUND)
        broken.clear()
        retry = await k.retry(handle.job_id, from_step=begin)
        question = await pending(retry)
        assert (question.type, question.approvers) == ("reconcile", ("boss",))
        with pytest.raises(InvalidInput, match="eve is not an approver"):
            await retry.resolve_action(question.action_id, {"outcome": "done"}, resolved_by="eve")
        done = {"outcome": "done", "result": "paid before"}
        await retry.resolve_action(question.action_id, done, resolved_by="boss")
        assert (await retry.result(timeout=BOUND)).output == "paid before"
    assert till.paid == [("ann", 7)]


HANGING: list[str] = []
"""What does not end, until it is taken out."""


async def act() -> str:
    """Do something, which may not end."""
    if HANGING:
        await asyncio.Event().wait()
    return "done"


async def going_on(context: OperatorContext, given: Any) -> Any:
    """Act as another job."""
    if given is None:
        context.continue_as_new("again")
    return await context.step(act)


async def acting(context: OperatorContext, given: Any) -> Any:
    """Act."""
    return await context.step(act)


async def with_a_child(context: OperatorContext, given: Any) -> Any:
    """Have a child act."""
    return (await context.child("acting")).content


@pytest.mark.parametrize("operator", ["going_on", "with_a_child"])
async def test_who_had_to_agree_to_a_job_says_what_became_of_what_was_done_for_it(operator: str) -> None:
    storage, operators = MemoryStorage(), [going_on, acting, with_a_child]
    rule = PolicyRule(
        name="r",
        action=PolicyAction.JOB,
        names=operator,
        decision=PolicyDecision.REQUIRE_APPROVAL,
        approval=Approval(approvers=("boss",)),
    )
    HANGING[:] = ["act"]
    doomed = kernel(storage, operators=operators, policy_engine=PolicyEngine([rule]), options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator=operator))
    await handle.resolve_action((await pending(handle)).action_id, YES, resolved_by="boss")

    async def is_begun() -> bool:
        jobs = await storage.list_jobs(JobFilter())
        journals = [await storage.events(job.job_id) for job in jobs]
        return any(event.type == "step.started" for events in journals for event in events)

    await until(is_begun)
    await doomed.aclose()
    HANGING.clear()
    async with kernel(storage, operators=operators, policy_engine=PolicyEngine([rule])) as k:
        (question,) = await until(k.actions.list_pending)
        assert (question.type, question.approvers) == ("reconcile", ("boss",))
        with pytest.raises(InvalidInput, match="eve is not an approver"):
            await k.actions.resolve_by_id(question.action_id, {"outcome": "retry"}, resolved_by="eve")
        await k.actions.resolve_by_id(question.action_id, {"outcome": "retry"}, resolved_by="boss")
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).content == "done"
