"""A question waits for days, and the code changes meanwhile: an answer is for what people were asked, and for nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent_runtime import (
    ActionManager,
    ActionRecord,
    ActionSpec,
    ExecutionHandle,
    ExecutionRequest,
    NondeterminismError,
    OperatorContext,
    RuntimeKernel,
    current_context,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from llm_client import tool
from llm_client.tools.tool import Tool
from support.kernels import BOUND, DOOMED, journal, kernel, pending, status_becomes, until
from support.operators import identity

pytestmark = pytest.mark.timeout(BOUND * 3)

YES = {"confirmed": True}
APPROVED = {"approved": True}


async def next_question(handle: ExecutionHandle, before: ActionRecord) -> ActionRecord:
    """Wait for the question after another one."""

    async def asked() -> list[ActionRecord]:
        return [one for one in await handle.get_pending_actions() if one.action_id != before.action_id]

    (found,) = await until(asked)
    return found  # type: ignore[no-any-return]  # what `asked` gave


async def warnings_of(handle: ExecutionHandle) -> list[str]:
    return [event.data["warning"] for event in await journal(handle) if event.type == "job.warning"]


# -- a tool's approval ---------------------------------------------------------------------------------------------


def paying(name: str, effect: Any, paid: list[str]) -> Tool:
    @tool(name=name, effect=effect, requires_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(f"{name} {amount} {effect}")
        return name

    return pay


@pytest.mark.parametrize("changed", [("pay_all", "unsafe"), ("pay_small", "idempotent")])
async def test_a_yes_to_one_tools_call_runs_no_other_tool(changed: tuple[str, Any]) -> None:
    paid: list[str] = []

    def version(name: str, effect: Any) -> dict[str, Any]:
        async def run(context: OperatorContext, given: Any) -> str:
            return str(await context.tool(name, amount=5))

        return {"operators": {"run": run}, "tools": [paying(name, effect, paid)]}

    storage = MemoryStorage()
    async with kernel(storage, **version("pay_small", "unsafe")) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        small = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, **version(*changed)) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(small.action_id, APPROVED, resolved_by="ann")
        other = await next_question(handle, small)
        assert (other.payload["tool"], other.payload["effect"]) == changed
        assert other.payload["arguments"] == {"amount": 5}
        assert paid == []
        await handle.resolve_action(other.action_id, APPROVED, resolved_by="ann")
        assert (await handle.result(timeout=BOUND)).content == changed[0]
    assert paid == [f"{changed[0]} 5 {changed[1]}"]


async def test_a_yes_to_a_call_that_has_not_changed_is_recalled_by_the_next_version() -> None:
    paid: list[str] = []

    async def run(context: OperatorContext, given: Any) -> str:
        return str(await context.tool("pay", amount=5))

    storage = MemoryStorage()
    async with kernel(storage, operators={"run": run}, tools=[paying("pay", "unsafe", paid)]) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators={"run": run}, tools=[paying("pay", "unsafe", paid)]) as k:
        await k.handle(handle.job_id).resolve_action(question.action_id, APPROVED, resolved_by="ann")
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).content == "pay"
    assert paid == ["pay 5 unsafe"]


# -- an operator's own ---------------------------------------------------------------------------------------------

HARMLESS: dict[str, Any] = {"type": "confirm", "payload": {"message": "Delete the test data?"}}
CHANGES: dict[str, dict[str, Any]] = {
    "what is asked": {"payload": {"message": "Wire 1,000,000 to mallory?"}},
    "who answers": {"approvers": ["ann", "bob"]},
    "how many": {"approvers": ["ann", "bob"], "quorum": 2},
    "everything": {"payload": {"message": "Wire it?"}, "approvers": ["ann", "bob"], "quorum": 2},
    "the type": {"type": "approval"},
}


class Asking:
    """An operator that asks in some way, and does something after the answer; `then` it asks something else."""

    def __init__(self, way: str, changes: dict[str, Any], did: list[str], *, then: bool = False) -> None:
        self.way = way
        self.spec = ActionSpec(**{**HARMLESS, **changes})
        self.did = did
        self.then = then
        self.actions: ActionManager | None = None

    @asynccontextmanager
    async def kernel(self, storage: Any) -> AsyncIterator[RuntimeKernel]:
        """Open a kernel that runs it."""
        opened = kernel(storage, operators={"run": self.run})
        self.actions = opened.actions
        async with opened:
            yield opened

    async def run(self, context: OperatorContext, given: Any) -> str:
        await self.ask(context)
        await context.step(self.do, self.spec.payload["message"], effect="unsafe")
        if self.then:
            await context.action(ActionSpec(type="input", payload={"message": "And now?"}))
        return "done"

    async def do(self, what: str) -> None:
        self.did.append(what)

    async def ask(self, context: OperatorContext) -> None:
        match self.way:
            case "in a line":
                await context.action(self.spec)
            case "in a set":
                await context.wait_any(context.action(self.spec), context.sleep(86_400))
            case "in a step":
                await context.step(self.confirmed)
            case _:
                assert self.actions is not None
                question = await self.actions.require_action(self.spec)
                await context.step(identity, "its link", name="mail")
                await self.actions.wait_for_resolution(question.action_id)

    async def confirmed(self) -> bool:
        await current_context().action(self.spec)
        return True


WAYS = ("in a line", "in a set", "in a step", "held by the code")


@pytest.mark.parametrize("changed", [(way, what) for what in CHANGES for way in WAYS], ids="-".join)
async def test_an_answer_is_for_the_question_that_was_asked_and_another_stops_the_job(
    changed: tuple[str, str],
) -> None:
    way, what = changed
    did: list[str] = []
    storage = MemoryStorage()
    async with Asking(way, {}, did).kernel(storage) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with Asking(way, CHANGES[what], did).kernel(storage) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(question.action_id, YES, resolved_by="clerk")
        await status_becomes(handle, "blocked")
        job = await handle.job()
        assert job.error_code == NondeterminismError.code
        assert "context.patched" in str(job.error)
    assert did == []
    async with Asking(way, {}, did).kernel(storage) as k:  # the old code finishes it
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == "done"
    assert did == ["Delete the test data?"]


@pytest.mark.parametrize("way", ["in a line", "in a set", "in a step"])
async def test_a_question_that_the_job_has_gone_on_from_may_be_worded_otherwise_and_is_warned_of(
    way: str,
) -> None:
    did: list[str] = []
    storage = MemoryStorage()
    async with Asking(way, {}, did, then=True).kernel(storage) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        first = await pending(handle)
        await handle.resolve_action(first.action_id, YES)
        second = await next_question(handle, first)
        await status_becomes(handle, "waiting_action")
    changes = {"payload": {"message": "Delete the test data, really?"}}
    async with Asking(way, changes, did, then=True).kernel(storage) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(second.action_id, {"value": "that is all"})
        assert (await handle.result(timeout=BOUND)).output == "done"
        assert "changed_input" in await warnings_of(handle)
    assert did == ["Delete the test data?"]


async def test_a_change_that_is_guarded_lets_those_who_were_asked_answer_what_they_were_asked() -> None:
    did: list[str] = []

    async def guarded(context: OperatorContext, given: Any) -> str:
        more = CHANGES["everything"] if context.patched("two people") else {}
        answered = await context.action(ActionSpec(**{**HARMLESS, **more}))
        did.append(answered.payload["message"])
        return "done"

    storage = MemoryStorage()
    async with Asking("in a line", {}, did).kernel(storage) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators={"run": guarded}) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(question.action_id, YES, resolved_by="clerk")
        assert (await handle.result(timeout=BOUND)).output == "done"
        again = await k.execute(ExecutionRequest(operator="run"))
        assert (await pending(again)).approvers == ("ann", "bob")
    assert did == ["Delete the test data?"]


@pytest.mark.parametrize("way", WAYS)
async def test_the_same_question_in_other_words_of_python_is_the_same(way: str) -> None:
    """Another order of names, people in other cases, a link whose token is drawn anew: nothing of that is a change."""
    did: list[str] = []
    first = {"payload": {"message": "Go?", "of": (1, 2)}, "approvers": ["Ann", "bob"], "quorum": 1}
    again = {"payload": {"of": [1, 2], "message": "Go?"}, "approvers": ["BOB", "ann"], "quorum": 1}
    storage = MemoryStorage()
    async with Asking(way, first, did).kernel(storage) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with Asking(way, again, did).kernel(storage) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(question.action_id, YES, resolved_by="ann")
        assert (await handle.result(timeout=BOUND)).output == "done"
        assert await warnings_of(handle) == []
    assert did == ["Go?"]


async def test_a_question_that_shows_another_ones_token_is_the_same_in_every_run() -> None:
    """Tokens are drawn anew by a run that comes by a question again, as long as nobody has answered it."""
    managers: list[ActionManager] = []

    async def run(context: OperatorContext, given: Any) -> str:
        mailed = await managers[-1].require_action(ActionSpec(type="input"))
        shown = {
            "message": "Shall it be mailed?",
            "link": f"https://example.org/?token={mailed.resume_token}",
        }
        await context.action(ActionSpec(type="confirm", payload=shown))
        return "done"

    storage = MemoryStorage()
    first = kernel(storage, operators={"run": run})
    managers.append(first.actions)
    async with first:
        handle = await first.execute(ExecutionRequest(operator="run"))
        await status_becomes(handle, "waiting_action")
        (question,) = [one for one in await handle.get_pending_actions() if one.type == "confirm"]
    second = kernel(storage, operators={"run": run})
    managers.append(second.actions)
    async with second:
        handle = second.handle(handle.job_id)
        await handle.resolve_action(question.action_id, YES)
        assert (await handle.result(timeout=BOUND)).output == "done"
        assert await warnings_of(handle) == []


# -- what became of a lost step ------------------------------------------------------------------------------------


async def test_a_retry_of_a_lost_step_does_what_those_who_wanted_it_were_shown() -> None:
    sent: list[int] = []

    def version(amount: int) -> dict[str, Any]:
        async def run(context: OperatorContext, given: Any) -> str:
            await context.step(send, amount, name="send")
            return "done"

        return {"run": run}

    async def send(amount: int) -> None:
        sent.append(amount)

    storage = MemoryStorage()
    dying = DyingStorage(storage, commit_of("step.completed", "send"), moment="before")
    doomed = kernel(dying, operators=version(5), options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="run"))
    await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators=version(5)) as k:
        first = await pending(k.handle(handle.job_id))
        await status_becomes(k.handle(handle.job_id), "waiting_action")
    async with kernel(storage, operators=version(500_000)) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(first.action_id, {"outcome": "retry"})
        second = await next_question(handle, first)
        assert "500000" in str(second.payload["retry_arguments"])
        assert "something else" in second.payload["problem"]
        assert sent == [5]
        await handle.resolve_action(second.action_id, {"outcome": "retry"})
        assert (await handle.result(timeout=BOUND)).output == "done"
    assert sent == [5, 500_000]
