"""Policies inside a kernel: at admission, before models and tools, for children; recorded, recalled, pinned."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ChildFailed,
    ConstraintPolicy,
    DataAccessPolicy,
    ExecutionRequest,
    InvalidInput,
    ModelPolicy,
    OperatorContext,
    PolicyDenied,
    PolicyEngine,
    PolicyRef,
    PolicyRule,
    RedactionPolicy,
    StepFailed,
    ToolPolicy,
    UnknownPolicy,
    When,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from llm_client import Agent, ExecutionEngine, FunctionProvider, Message, RequestSpec, ScriptedProvider, tool
from llm_client.engine.retry import RetryConfig
from llm_client.engine.router import StaticRouter
from llm_client.errors import RateLimited
from llm_client.messages import ToolCall
from support.kernels import BOUND, DOOMED, journal, kernel, opened, pending, status_becomes, types

pytestmark = pytest.mark.timeout(BOUND * 3)


def asking(text: str = "?", **values: Any) -> RequestSpec:
    return RequestSpec(messages=[Message.user(text)], **values)


async def ask(context: OperatorContext, given: Any) -> str:
    """Ask the kernel's model."""
    return (await context.model(asking(str(given)))).content


class Seen:
    """A model that remembers what it was asked."""

    def __init__(self, model: str = "big", reply: Any = "answer") -> None:
        self.specs: list[RequestSpec] = []
        self.reply = reply
        self.provider = FunctionProvider(self._answer, model=model)

    async def _answer(self, spec: RequestSpec) -> Any:
        self.specs.append(spec)
        return self.reply

    @property
    def engine(self) -> ExecutionEngine:
        return ExecutionEngine(self.provider)


def decisions(events: list[Any]) -> list[tuple[str, str, str, str | None]]:
    return [
        (event.data["action"], event.data["name"], event.data["decision"], event.data.get("rule"))
        for event in events
        if event.type == "policy.decided"
    ]


# -- admission ---------------------------------------------------------------------------------------------------


def only_for(operator: str, **values: Any) -> PolicyRule:
    return PolicyRule(**{"name": "jobs", "action": "job", "names": [operator], **values})


async def test_a_job_that_is_refused_ends_at_once_with_the_rule_and_costs_nothing() -> None:
    ran: list[Any] = []

    async def forbidden(context: OperatorContext, given: Any) -> None:
        ran.append(given)

    engine = PolicyEngine([only_for("forbidden", decision="deny", reason="closed on Sundays")])
    async with kernel(operators={"forbidden": forbidden}, policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="forbidden", idempotency_key="k"))
        with pytest.raises(PolicyDenied, match="policy 'default', rule 'jobs': closed on Sundays"):
            await handle.result()
        assert await types(handle) == ["job.created", "policy.decided", "job.failed"]
        assert [event.type async for event in handle.events()][-1] == "job.failed"
        again = await k.execute(ExecutionRequest(operator="forbidden", idempotency_key="k"))
        assert again.job_id == handle.job_id
        assert await k.ledger.entries(job_id=handle.job_id) == []
    assert ran == []


RAN: list[Any] = []


async def careful(context: OperatorContext, given: Any) -> str:
    """Remember that it ran."""
    RAN.append(given)
    return "done"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_job_that_needs_a_yes_waits_for_it_as_a_row(kind: str, tmp_path: Path) -> None:
    RAN.clear()
    operators = {"careful": careful}
    async with opened(kind, tmp_path) as storage:
        engine = PolicyEngine([only_for("careful", decision="require_approval")])
        async with kernel(storage, operators=operators, policy_engine=engine) as k:
            yes = await k.execute(ExecutionRequest(operator="careful", input=1, principal_id="eve"))
            no = await k.execute(ExecutionRequest(operator="careful", input=2))
            assert (await yes.job()).status == "waiting_action"
            question = await pending(yes)
            assert question.type == "approval"
            assert question.payload == {
                "message": "May this job begin?",
                "operator": "careful",
                "principal": "eve",
                "reason": question.payload["reason"],
                "input": 1,
            }
        async with kernel(storage, operators=operators, policy_engine=engine) as k:
            await k.handle(yes.job_id).resolve_action(question.action_id, {"approved": True})
            refused = await pending(k.handle(no.job_id))
            answer = {"approved": False, "reason": "not today"}
            await k.actions.resolve_by_id(refused.action_id, answer, resolved_by="ann")
            assert (await k.handle(yes.job_id).result()).content == "done"
            with pytest.raises(PolicyDenied, match="ann refused this job: not today"):
                await k.handle(no.job_id).result()
    assert RAN == [1]


async def test_an_approval_of_a_job_that_nobody_gives_ends_it() -> None:
    engine = PolicyEngine.from_dict(
        {"rules": [{"name": "r", "job": "*", "decision": "require_approval", "timeout_seconds": 0.02}]}
    )
    async with kernel(operators={"ask": ask}, policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(PolicyDenied, match="nobody approved this job in time"):
            await handle.result(timeout=BOUND)


async def test_a_job_waiting_for_its_approval_can_be_cancelled_and_times_out() -> None:
    engine = PolicyEngine([only_for("ask", decision="require_approval")])
    async with kernel(operators={"ask": ask}, policy_engine=engine) as k:
        cancelled = await k.execute(ExecutionRequest(operator="ask"))
        late = await k.execute(ExecutionRequest(operator="ask", deadline_seconds=0.02))
        await cancelled.cancel("no longer needed")
        await status_becomes(cancelled, "cancelled")
        await status_becomes(late, "timed_out")
        assert await k.actions.list_pending() == []


async def test_children_are_admitted_like_any_other_job() -> None:
    async def parent(context: OperatorContext, given: Any) -> str:
        try:
            await context.child("ask", "x")
        except ChildFailed as error:
            return f"{error.error_code}: {error}"
        return "allowed"

    engine = PolicyEngine([ConstraintPolicy(max_depth=0, when=When(tags={}))])
    async with kernel(
        operators={"parent": parent, "ask": ask}, policy_engine=engine, engine=Seen().engine
    ) as k:
        handle = await k.execute(ExecutionRequest(operator="parent"))
        content = (await handle.result(timeout=BOUND)).content
        assert content.startswith("POLICY_DENIED: child job")
        assert "max_depth is 0" in content
        (child_id,) = [
            event.data["child_job_id"] for event in await journal(handle) if event.type == "child.started"
        ]
        assert await types(k.handle(child_id)) == ["job.created", "policy.decided", "job.failed"]


async def test_a_child_that_needs_a_yes_holds_its_parent_up_until_it_has_one() -> None:
    async def parent(context: OperatorContext, given: Any) -> str:
        return (await context.child("ask", "x")).content

    engine = PolicyEngine([only_for("ask", decision="require_approval")])
    async with kernel(
        operators={"parent": parent, "ask": ask}, policy_engine=engine, engine=Seen().engine
    ) as k:
        handle = await k.execute(ExecutionRequest(operator="parent"))
        await status_becomes(handle, "waiting")
        (question,) = await k.actions.list_pending()
        await k.actions.resolve_by_id(question.action_id, {"approved": True})
        assert (await handle.result(timeout=BOUND)).content == "answer"


# -- models ------------------------------------------------------------------------------------------------------


async def test_a_refused_model_is_never_asked_and_ends_the_run() -> None:
    seen = Seen("gpt-4o")
    engine = PolicyEngine([ModelPolicy(model_patterns="gpt-4*", decision="deny", reason="too old")])
    async with kernel(operators={"ask": ask}, policy_engine=engine, engine=seen.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(PolicyDenied, match=r"model 'gpt-4o': .* too old"):
            await handle.result()
        assert decisions(await journal(handle)) == [("model", "gpt-4o", "deny", "model gpt-4*: deny")]
        assert await k.ledger.entries() == []
    assert seen.specs == []


async def test_a_model_call_is_bounded_redirected_and_relieved_of_tools() -> None:
    @tool
    async def shell_run(command: str) -> str:
        """Run a command."""
        raise AssertionError("was dropped")

    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    specs: list[RequestSpec] = []

    async def answer(spec: RequestSpec) -> Any:
        specs.append(spec)
        calls = [ToolCall("1", "shell_run", {"command": "ls"}), ToolCall("2", "look", {})]
        return calls if len(specs) == 1 else "done"

    agent = Agent(engine=ExecutionEngine(FunctionProvider(answer, model="big")), tools=[shell_run, look])
    engine = PolicyEngine(
        [ModelPolicy(model_patterns="big", max_tokens=50, force_model="small", drop_tools="shell_*")]
    )
    async with kernel(agent=agent, policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        assert (await handle.result()).content == "done"
        events = await journal(handle)
    assert [(spec.model, spec.max_tokens, [t.name for t in spec.tools]) for spec in specs] == [
        ("small", 50, ["look"])
    ] * 2
    assert specs[1].messages[-2].text == "Error: this tool may not be used here"
    assert [e.data["model"] for e in events if e.type == "model.started"] == ["small", "small"]
    assert [d[:3] for d in decisions(events)][:2] == [
        ("model", "big", "constrain"),
        ("model", "small", "allow"),
    ]


async def test_a_dropped_tool_stays_dropped_when_the_job_is_run_again() -> None:
    storage = MemoryStorage()
    ran: list[str] = []

    @tool(effect="read")
    async def peek() -> str:
        """Peek."""
        ran.append("peek")
        return "secret"

    def operators(*replies: Any) -> Any:
        agent = Agent(provider=ScriptedProvider(replies, model="m"), tools=[peek])

        async def run(context: OperatorContext, given: Any) -> str:
            return (await agent.run("go")).content

        return {"run": run}

    engine = PolicyEngine([ModelPolicy(model_patterns="m", drop_tools="peek")])
    dying = DyingStorage(storage, commit_of("model.completed"))
    doomed = kernel(
        dying, operators=operators(ToolCall("1", "peek", {})), policy_engine=engine, options=DOOMED
    )
    handle = await doomed.execute(ExecutionRequest(operator="run"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators=operators("done"), policy_engine=engine) as k:
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).content == "done"
    assert ran == []


async def test_a_fallback_is_asked_about_like_the_first_choice() -> None:
    first = ScriptedProvider([RateLimited("slow down")], model="first")
    seen = Seen("second")
    router = StaticRouter([first, seen.provider])
    model_engine = ExecutionEngine(router=router, retry=RetryConfig(attempts=1))
    rules = [
        ModelPolicy(model_patterns="second", decision="deny"),
        ModelPolicy(model_patterns="first", max_tokens=7),
    ]
    async with kernel(operators={"ask": ask}, policy_engine=PolicyEngine(rules), engine=model_engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(PolicyDenied, match="'second'"):
            await handle.result()
        assert [d[:3] for d in decisions(await journal(handle))] == [
            ("model", "first", "constrain"),
            ("model", "second", "deny"),
        ]
    assert seen.specs == []


@pytest.mark.parametrize("decision", ["deny", "require_approval"])
async def test_a_yes_to_a_model_is_none_to_another_vendors_model_of_the_same_name(decision: str) -> None:
    first = ScriptedProvider([RateLimited("slow down")], name="near", model="same")
    second = ScriptedProvider(["answer"], name="far", model="same")
    model_engine = ExecutionEngine(router=StaticRouter([first, second]), retry=RetryConfig(attempts=1))
    rules = [
        PolicyRule(name="near", action="model", names="near:*", decision="require_approval"),
        PolicyRule(name="far", action="model", names="far:*", decision=decision),
    ]
    async with kernel(operators={"ask": ask}, policy_engine=PolicyEngine(rules), engine=model_engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        asked = await pending(handle)
        await handle.resolve_action(asked.action_id, {"approved": True})
        if decision == "require_approval":
            again = await pending(handle)
            assert (asked.payload["provider"], again.payload["provider"]) == ("near", "far")
            await handle.resolve_action(again.action_id, {"approved": False})
        with pytest.raises(PolicyDenied, match="'same'"):
            await handle.result(timeout=BOUND)
    assert second.requests == []


async def test_a_model_may_need_a_yes_before_anything_goes_out() -> None:
    seen = Seen("dear")
    engine = PolicyEngine([ModelPolicy(model_patterns="dear", require_approval=True, approvers=["ann"])])
    async with kernel(operators={"ask": ask}, policy_engine=engine, engine=seen.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        await status_becomes(handle, "waiting_action")
        assert "model.started" not in await types(handle)
        question = await pending(handle)
        with pytest.raises(InvalidInput, match="not an approver"):
            await k.actions.resolve_by_id(question.action_id, {"approved": True}, resolved_by="bob")
        await k.actions.resolve_by_id(question.action_id, {"approved": True}, resolved_by="ann")
        assert (await handle.result(timeout=BOUND)).content == "answer"
        refused = await k.execute(ExecutionRequest(operator="ask"))
        question = await pending(refused)
        await k.actions.resolve_by_id(question.action_id, {"approved": False}, resolved_by="ann")
        with pytest.raises(PolicyDenied, match="ann refused model 'dear'"):
            await refused.result(timeout=BOUND)
    assert len(seen.specs) == 1


async def test_models_forced_in_a_circle_are_refused() -> None:
    engine = PolicyEngine(
        [
            ModelPolicy(model_patterns="big", force_model="small"),
            ModelPolicy(model_patterns="small", force_model="big"),
        ]
    )
    async with kernel(operators={"ask": ask}, policy_engine=engine, engine=Seen().engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(PolicyDenied, match="circle: big → small → big"):
            await handle.result()


async def test_turns_and_spend_of_a_job_are_bounded() -> None:
    async def talk(context: OperatorContext, given: Any) -> int:
        for turn in range(10):
            try:
                await context.model(asking())
            except PolicyDenied:
                return turn
        return 10

    async def crowd(context: OperatorContext, given: Any) -> int:
        results = await context.gather(
            *(context.model(asking(str(n))) for n in range(6)), return_exceptions=True
        )
        return sum(not isinstance(result, PolicyDenied) for result in results)

    engine = PolicyEngine([ConstraintPolicy(max_turns=3)])
    async with kernel(
        operators={"talk": talk, "crowd": crowd}, policy_engine=engine, engine=Seen().engine
    ) as k:
        assert (await (await k.execute(ExecutionRequest(operator="talk"))).result()).output == 3
        assert (await (await k.execute(ExecutionRequest(operator="crowd"))).result()).output == 3


async def test_what_a_model_reads_is_redacted_before_it_leaves_and_in_the_journal() -> None:
    seen = Seen()
    secret = "sk-" + "proj-" + "a1B2c3D4" * 6
    engine = PolicyEngine([RedactionPolicy()])
    async with kernel(operators={"ask": ask}, policy_engine=engine, engine=seen.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask", input=f"key {secret} of ann@example.com"))
        await handle.result()
        (intent,) = [event for event in await journal(handle) if event.type == "model.started"]
    (spec,) = seen.specs
    for text in (spec.messages[0].text, str(intent.body())):
        assert secret not in text
        assert "ann@example.com" not in text
        assert "<REDACTED:email>" in text


# -- tools -------------------------------------------------------------------------------------------------------


PAID: list[tuple[int, str]] = []


@tool(connectors=["bank"])
async def pay(amount: int, to: str = "ann") -> str:
    """Pay somebody."""
    PAID.append((amount, to))
    return f"paid {amount} to {to}@example.com"


@pytest.fixture(autouse=True)
def nothing_paid() -> None:
    PAID.clear()


async def buy(context: OperatorContext, given: Any) -> str:
    """Pay what was given."""
    try:
        return str(await context.tool("pay", **given))
    except StepFailed as error:
        return f"failed: {error}"


async def test_a_refused_tool_never_runs_and_the_caller_reads_why() -> None:
    rules = [
        ToolPolicy(
            tool_patterns="pay",
            arguments={"amount": {">": 10}},
            decision="deny",
            name="cap",
            reason="too much",
        )
    ]
    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=PolicyEngine(rules)) as k:
        small = await k.execute(ExecutionRequest(operator="buy", input={"amount": 5}))
        large = await k.execute(ExecutionRequest(operator="buy", input={"amount": 50}))
        assert (await small.result()).content == "paid 5 to ann@example.com"
        assert (await large.result()).content == "failed: policy 'default', rule 'cap': too much"
        assert decisions(await journal(small)) == [("tool", "pay", "allow", None)]
        assert decisions(await journal(large)) == [("tool", "pay", "deny", "cap")]
        assert [t for t in await types(large) if t.startswith("tool")] == ["tool.failed"]
    assert PAID == [(5, "ann")]


async def test_a_tool_whose_data_is_out_of_reach_does_not_run() -> None:
    rules = [DataAccessPolicy(connector_patterns="bank", allowed_scopes=["finance"])]
    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=PolicyEngine(rules)) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 5}))
        assert "connector 'bank'" in (await handle.result()).content
        allowed = await k.execute(ExecutionRequest(operator="buy", input={"amount": 6}, scope_id="finance"))
        await allowed.result()
    assert PAID == [(6, "ann")]


LARGE = ToolPolicy(tool_patterns="pay", arguments={"amount": {">": 10}}, require_approval=True, name="large")


async def test_an_approval_may_change_the_arguments_and_the_policy_sees_them_again() -> None:
    rules = [LARGE, ToolPolicy(tool_patterns="pay", arguments={"to": "eve"}, decision="deny", name="not eve")]
    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=PolicyEngine(rules)) as k:

        async def answered(resolution: dict[str, Any]) -> str:
            handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 50}))
            question = await pending(handle)
            assert question.payload["arguments"] == {"amount": 50, "to": "ann"}  # as it will be run
            assert "rule 'large'" in question.payload["reason"]
            await handle.resolve_action(question.action_id, resolution, resolved_by="ann")
            return (await handle.result(timeout=BOUND)).content

        assert await answered({"approved": True}) == "paid 50 to ann@example.com"
        assert await answered({"approved": True, "arguments": {"amount": 20}}) == "paid 20 to ann@example.com"
        assert "rule 'not eve'" in await answered({"approved": True, "arguments": {"amount": 1, "to": "eve"}})
        with pytest.raises(InvalidInput, match="do not match the tool's schema: amount: not of type integer"):
            await answered({"approved": True, "arguments": {"amount": "lots"}})
        assert await answered({"approved": False, "reason": "no"}) == "failed: ann refused this call: no"
    assert PAID == [(50, "ann"), (20, "ann")]


async def test_the_arguments_that_were_approved_are_those_in_the_journal() -> None:
    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=PolicyEngine([LARGE])) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 50}))
        edited = {"approved": True, "arguments": {"amount": 20}}
        await handle.resolve_action((await pending(handle)).action_id, edited)
        await handle.result(timeout=BOUND)
        (intent,) = [event for event in await journal(handle) if event.type == "tool.started"]
        assert intent.body() == {"amount": 20, "to": "ann"}


async def test_an_approval_is_not_spent_on_other_arguments() -> None:
    """New code asks for another amount at the same place: the old yes does not count for it."""
    storage = MemoryStorage()

    def buying(amount: int) -> Any:
        async def run(context: OperatorContext, given: Any) -> str:
            return str(await context.tool("pay", amount=amount))

        return {"run": run}

    options: dict[str, Any] = {"tools": [pay], "policy_engine": PolicyEngine([LARGE])}
    async with kernel(storage, operators=buying(50), **options) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        first = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=buying(5000), worker=False, **options) as k:
        await k.actions.resolve_by_id(first.action_id, {"approved": True})
    async with kernel(storage, operators=buying(5000), **options) as k:
        handle = k.handle(handle.job_id)
        second = await pending(handle)
        assert second.payload["arguments"] == {"amount": 5000, "to": "ann"}
        assert PAID == []
        await handle.resolve_action(second.action_id, {"approved": False})
        await status_becomes(handle, "failed")
    assert PAID == []


async def test_a_quorum_that_a_policy_asks_for_needs_different_people() -> None:
    rules = [
        ToolPolicy(tool_patterns="pay", require_approval=True, approvers=["ann", "bob", "eve"], quorum=2)
    ]
    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=PolicyEngine(rules)) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 5}))
        question = await pending(handle)
        first = await k.actions.resolve_by_id(question.action_id, {"approved": True}, resolved_by="ann")
        assert first.is_pending
        with pytest.raises(InvalidInput, match="answered already"):
            await k.actions.resolve_by_id(question.action_id, {"approved": True}, resolved_by="ann")
        assert PAID == []
        await k.actions.resolve_by_id(question.action_id, {"approved": True}, resolved_by="bob")
        await handle.result(timeout=BOUND)
    assert PAID == [(5, "ann")]


async def test_a_waiting_job_sees_who_has_voted() -> None:
    async def ask(context: OperatorContext, given: object) -> list[Any]:
        answered = await context.action(ActionSpec(type="approval", quorum=2, approvers=["ann", "bob"]))
        return [dict(vote) for vote in answered.votes]

    async with kernel(operators=[ask]) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        question = await pending(handle)
        for name in ("ann", "bob"):
            answer = {"approved": True, "reason": "private"}
            await k.actions.resolve_by_id(question.action_id, answer, resolved_by=name)
        agreed = {"approved": True}
        assert (await handle.result(timeout=BOUND)).output == [
            {"by": "ann", "resolution": agreed},
            {"by": "bob", "resolution": agreed},
        ]


async def test_results_are_redacted_before_anybody_reads_them() -> None:
    engine = PolicyEngine([RedactionPolicy(model_patterns=())])
    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 5}))
        assert (await handle.result()).content == "paid 5 to <REDACTED:email>"
        (outcome,) = [event for event in await journal(handle) if event.type == "tool.completed"]
        assert "example.com" not in str(outcome.body())


async def test_tool_calls_of_a_job_are_bounded_even_when_they_come_at_once() -> None:
    async def shop(context: OperatorContext, given: Any) -> int:
        results = await context.gather(
            *(context.tool("pay", amount=n) for n in range(5)), return_exceptions=True
        )
        return sum(not isinstance(result, StepFailed) for result in results)

    engine = PolicyEngine([ConstraintPolicy(max_tool_calls=2)])
    async with kernel(operators={"shop": shop}, tools=[pay], policy_engine=engine) as k:
        assert (await (await k.execute(ExecutionRequest(operator="shop"))).result()).output == 2
    assert len(PAID) == 2


# -- versions ----------------------------------------------------------------------------------------------------


async def twice(context: OperatorContext, given: Any) -> str:
    """Sleep, then pay."""
    await context.sleep(0.05)
    return str(await context.tool("pay", amount=5))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_job_keeps_the_version_it_was_admitted_under(kind: str, tmp_path: Path) -> None:
    lenient = PolicyEngine([ToolPolicy(tool_patterns="other", decision="deny")])
    strict = PolicyEngine([ToolPolicy(tool_patterns="*", decision="deny")])
    async with opened(kind, tmp_path) as storage:
        options: dict[str, Any] = {"operators": {"twice": twice}, "tools": [pay]}
        async with kernel(storage, policy_engine=lenient, **options) as k:
            handle = await k.execute(ExecutionRequest(operator="twice"))
            assert (await handle.job()).policy_ref == lenient.policy.ref
            await status_becomes(handle, "sleeping", "succeeded")
        async with kernel(storage, policy_engine=strict, **options) as k:
            assert (
                await k.handle(handle.job_id).result(timeout=BOUND)
            ).content == "paid 5 to ann@example.com"
            new = await k.execute(ExecutionRequest(operator="twice"))
            with pytest.raises(Exception, match="policy 'default'"):
                await new.result(timeout=BOUND)
    assert PAID == [(5, "ann")]


async def test_a_changed_policy_never_changes_a_decision_that_was_made() -> None:
    """The call was allowed, its outcome is lost: it is settled by its effect class, not refused by the new rule."""
    storage = MemoryStorage()
    begun: list[str] = []

    @tool(effect="idempotent")
    async def save() -> str:
        """Save."""
        begun.append("save")
        if len(begun) == 1:
            dying.die()
            await asyncio.Event().wait()
        return "saved"

    async def run(context: OperatorContext, given: Any) -> str:
        return str(await context.tool("save"))

    def named(*rules: Any) -> PolicyEngine:
        return PolicyEngine(rules, version="1")  # somebody changes the rules, but not their version

    dying = DyingStorage(storage, lambda commit: False)
    allow = named(ToolPolicy(tool_patterns="save"))
    doomed = kernel(dying, operators={"run": run}, tools=[save], policy_engine=allow, options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="run"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    deny = named(ToolPolicy(tool_patterns="save", decision="deny"))
    async with kernel(storage, operators={"run": run}, tools=[save], policy_engine=deny) as k:
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).content == "saved"
        assert len(decisions(await journal(k.handle(handle.job_id)))) == 1
    assert begun == ["save", "save"]


async def test_a_request_chooses_a_policy_by_name_and_an_unknown_one_is_refused() -> None:
    soft = PolicyEngine([ToolPolicy(tool_patterns="x", decision="deny")], name="soft")
    hard = PolicyEngine([ToolPolicy(tool_patterns="*", decision="deny")], name="hard")
    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=[soft, hard]) as k:

        async def run(ref: PolicyRef | None) -> str:
            request = ExecutionRequest(operator="buy", input={"amount": 1}, policy_ref=ref)
            return (await (await k.execute(request)).result()).content

        assert await run(None) == await run(PolicyRef(name="soft")) == "paid 1 to ann@example.com"
        assert "policy 'hard'" in await run(PolicyRef(name="hard"))
        assert "policy 'hard'" in await run(hard.policy.ref)
        with pytest.raises(UnknownPolicy, match="known: hard, soft"):
            await run(PolicyRef(name="medium"))
        with pytest.raises(UnknownPolicy, match="version '9'"):
            await run(PolicyRef(name="hard", version="9"))


async def test_a_policy_may_be_found_again_by_its_version() -> None:
    storage = MemoryStorage()
    old = PolicyEngine([ToolPolicy(tool_patterns="*", decision="deny")])
    new = PolicyEngine([ToolPolicy(tool_patterns="x", decision="deny")])
    async with kernel(storage, operators={"buy": buy}, tools=[pay], policy_engine=old) as k:
        await (await k.execute(ExecutionRequest(operator="buy", input={"amount": 1}))).result()
    async with kernel(storage, operators={"buy": buy}, tools=[pay], policy_engine=new) as k:
        request = ExecutionRequest(operator="buy", input={"amount": 1}, policy_ref=old.policy.ref)
        assert "policy 'default'" in (await (await k.execute(request)).result()).content


async def test_rules_may_be_added_while_the_kernel_runs() -> None:
    async with kernel(operators={"buy": buy}, tools=[pay]) as k:
        before = await k.execute(ExecutionRequest(operator="buy", input={"amount": 1}))
        assert (await before.result()).content == "paid 1 to ann@example.com"
        assert (await before.job()).policy_ref is None
        k.policy.add_rule(ToolPolicy(tool_patterns="pay", decision="deny"))
        after = await k.execute(ExecutionRequest(operator="buy", input={"amount": 1}))
        assert "rule 'tool pay: deny'" in (await after.result()).content


async def test_a_policy_that_only_watches_records_and_refuses_nothing() -> None:
    engine = PolicyEngine(
        [
            ToolPolicy(tool_patterns="pay", decision="deny"),
            only_for("buy", decision="deny"),
            RedactionPolicy(),
        ],
        dry_run=True,
    )
    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="buy", input={"amount": 1}))
        assert (await handle.result()).content == "paid 1 to ann@example.com"
        decided = [event.data for event in await journal(handle) if event.type == "policy.decided"]
        assert [(d["action"], d["decision"], d["dry_run"]) for d in decided] == [
            ("job", "deny", True),
            ("tool", "deny", True),
        ]
