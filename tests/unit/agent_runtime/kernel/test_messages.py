"""Messages to identities: sent, received once and in order, and never lost between a look and a wait."""

import asyncio
import contextlib
import itertools
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionHandle,
    ExecutionRequest,
    InvalidInput,
    JobCancelled,
    JobFailed,
    OperatorContext,
    RetryRefused,
    RuntimeKernel,
    current_context,
)
from agent_runtime.errors import ContentTooLarge, InboxFull, ResultNotSerializable, UnknownMessage
from agent_runtime.execution.options import KernelOptions
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from agent_runtime.values.message import MAX_MESSAGE_BYTES
from llm_client import tool
from support.hooked_storage import HookedStorage
from support.kernels import BOUND, DOOMED, journal, kernel, pending, status_becomes, types, until

pytestmark = pytest.mark.timeout(BOUND * 3)


async def clerk(context: OperatorContext, given: int) -> list[Any]:
    """Receive so many messages."""
    return [(await context.receive("desk")).body for _ in range(given)]


async def started(k: RuntimeKernel, operator: str, given: Any = None, **request: Any) -> ExecutionHandle:
    return await k.execute(ExecutionRequest(operator=operator, input=given, **request))


async def output(handle: ExecutionHandle) -> Any:
    return (await handle.result(timeout=BOUND)).output


async def waiting(k: RuntimeKernel, identity: str = "desk", **scope: str) -> list[Any]:
    """Return what waits for an identity."""
    return [message.body for message in await k.inbox.list_waiting(identity, **scope)]


async def test_messages_are_received_in_the_order_of_their_sending_before_and_after_the_wait() -> None:
    async with kernel(operators=[clerk]) as k:
        first = await k.send("desk", {"id": 1})
        handle = await started(k, "clerk", 3)
        await status_becomes(handle, "waiting")
        second, third = await k.send("desk", {"id": 2}), await k.send("desk", {"id": 3})
        assert await output(handle) == [{"id": 1}, {"id": 2}, {"id": 3}]
        assert [one.position for one in (first, second, third)] == [1, 2, 3]
        assert await k.inbox.count("desk") == 0
        received = await k.inbox.get(second.message_id)
        assert (received.claimed_by, received.body) == (handle.job_id, None)


async def test_a_message_with_a_known_key_is_the_one_that_was_sent_before() -> None:
    async with kernel(operators=[clerk]) as k:
        first = await k.send("desk", "once", dedupe_key="k")
        assert await k.send("desk", "twice", dedupe_key="k") == first
        handle = await started(k, "clerk", 1)
        assert await output(handle) == ["once"]
        again = await k.send("desk", "later", dedupe_key="k")
        assert (again.message_id, again.claimed_by) == (first.message_id, handle.job_id)
        assert await waiting(k) == []
        assert (await k.send("desk", "other", dedupe_key="k", scope_id="acme")).position == 1


async def test_a_full_inbox_refuses_the_sender_and_what_cannot_be_a_message_is_named() -> None:
    async with kernel(operators=[clerk], options=KernelOptions(max_inbox=2)) as k:
        await k.send("desk", 1)
        await k.send("desk", 2)
        with pytest.raises(InboxFull, match="max_inbox is 2"):
            await k.send("desk", 3)
        await k.send("door", 3)
        with pytest.raises(ContentTooLarge):
            await k.send("lobby", "x" * MAX_MESSAGE_BYTES)
        with pytest.raises(ResultNotSerializable):
            await k.send("lobby", {1, 2})
        secret = "sk-" + "proj-" + "a1B2c3D4e5F6g7H8i9J0" * 2
        for name in ("", "a\nb", "x" * 600, secret, 7):
            with pytest.raises(InvalidInput):
                await k.send(name, 1)  # type: ignore[arg-type]  # it is refused
        with pytest.raises(InvalidInput):
            await k.send("lobby", 1, dedupe_key="")
        with pytest.raises(UnknownMessage):
            await k.inbox.get("message-1")
        assert await k.inbox.count("lobby") == 0


async def test_a_received_message_is_recalled_and_not_received_again() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        first = await context.receive("desk")
        second = await context.receive("desk")
        return [first.body, first.message_id, second.body]

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator]) as k:
        sent = await k.send("desk", "first")
        handle = await started(k, "operator")
        await status_becomes(handle, "waiting")
    async with kernel(storage, operators=[operator]) as k:
        await k.send("desk", "second")
        assert await output(k.handle(handle.job_id)) == ["first", sent.message_id, "second"]


@pytest.mark.parametrize(
    "point",
    [
        (type_, moment)
        for type_ in ("message.received", "message.awaited", "job.suspended")
        for moment in ("before", "after")
    ],
)
async def test_a_crash_around_a_receive_neither_loses_nor_repeats_a_message(point: Any) -> None:
    type_, moment = point
    storage = MemoryStorage()
    dying = DyingStorage(storage, commit_of(type_), moment=moment)
    doomed = kernel(dying, operators=[clerk], options=DOOMED)
    handle = await started(doomed, "clerk", 3)
    async with asyncio.timeout(BOUND):
        if type_ != "message.awaited":
            await status_becomes(handle, "waiting", "running")
            await kernel(storage, worker=False).inbox.send("desk", 1)
        await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators=[clerk]) as k:
        for number in (2, 3) if type_ != "message.awaited" else (1, 2, 3):
            await k.send("desk", number)
        assert await output(k.handle(handle.job_id)) == [1, 2, 3]
        assert await waiting(k) == []


async def test_a_message_that_is_sent_while_its_receiver_is_being_suspended_wakes_it() -> None:
    storage = MemoryStorage()

    async def send() -> None:
        await kernel(storage, worker=False).inbox.send("desk", "just now")

    hooked = HookedStorage(storage, commit_of("job.suspended"), send)
    async with kernel(hooked, operators=[clerk]) as k:
        handle = await started(k, "clerk", 1)
        assert await output(handle) == ["just now"]
        assert hooked.called
        assert "job.suspended" not in await types(handle)


async def test_of_many_who_wait_for_one_identity_each_message_reaches_one() -> None:
    async with kernel(operators=[clerk]) as k:
        handles = [await started(k, "clerk", 1) for _ in range(4)]
        for handle in handles:
            await status_becomes(handle, "waiting")
        await k.send("desk", 0)

        async def ended() -> list[ExecutionHandle]:
            return [one for one in handles if await one.status() == "succeeded"]

        assert len(await until(ended)) == 1
        for number in (1, 2, 3):
            await k.send("desk", number)
        assert sorted([await output(handle) for handle in handles]) == [[0], [1], [2], [3]]
        assert await waiting(k) == []


async def test_a_wait_that_another_one_beats_takes_no_message() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        first = await context.wait_any(context.receive("desk"), context.sleep(0.03))
        await context.open_action(ActionSpec(type="input"))
        both = await context.wait_any(context.receive("door"), context.receive("desk"))
        return [first.winner, both.winner, both.value.body]

    async with kernel(operators=[operator]) as k:
        handle = await started(k, "operator")
        await pending(handle)
        await k.send("desk", "late")
        assert await output(handle) == [1, 1, "late"]
        handle = await started(k, "operator")
        await pending(handle)
        await status_becomes(handle, "waiting")
        await k.send("door", "knock")
        assert await output(handle) == [1, 0, "knock"]
        await k.send("desk", "kept")
        assert await waiting(k) == ["kept"]


async def test_of_two_messages_that_are_there_the_first_wait_takes_one_and_the_other_stays() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        won = await context.wait_any(context.receive("door"), context.receive("desk"))
        await context.sleep(0.02)
        return [won.winner, won.value.body]

    async with kernel(operators=[operator]) as k:
        await k.send("desk", "paper")
        await k.send("door", "knock")
        handle = await started(k, "operator")
        assert await output(handle) == [0, "knock"]
        assert (await waiting(k), await waiting(k, "door")) == (["paper"], [])
        assert (await types(handle)).count("message.received") == 1


async def test_messages_and_other_waits_are_gathered() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        first, second, _, third = await context.gather(
            context.receive("desk"), context.receive("desk"), context.sleep(0.01), context.receive("door")
        )
        return [first.body, second.body, third.body]

    async with kernel(operators=[operator]) as k:
        handle = await started(k, "operator")
        await status_becomes(handle, "waiting")
        for name in ("desk", "door", "desk"):
            await k.send(name, name)
        assert await output(handle) == ["desk", "desk", "door"]


async def test_a_message_reaches_a_branch_while_another_one_is_at_work() -> None:
    go_on = asyncio.Event()

    async def work() -> str:
        async with asyncio.timeout(BOUND):
            await go_on.wait()
        return "done"

    async def operator(context: OperatorContext, given: object) -> list[Any]:
        async def note() -> Any:
            message = await context.receive("desk")
            await context.emit("custom.noted", {"body": message.body})
            return message.body

        return await context.gather(note(), context.step(work))

    async with kernel(operators=[operator]) as k:
        handle = await started(k, "operator")

        async def seen(type_: str) -> bool:
            return type_ in await types(handle)

        await until(lambda: seen("step.started"))
        await k.send("desk", 1)
        await until(lambda: seen("custom.noted"))
        go_on.set()
        assert await output(handle) == [1, "done"]


@pytest.mark.parametrize("together", [True, False])
async def test_what_was_received_for_waits_whose_time_is_up_goes_back(together: bool) -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        try:
            async with context.timeout(0.2):
                if together:
                    await context.wait_all(context.receive("desk"), context.receive("door"))
                else:
                    await context.gather(context.receive("desk"), context.action(ActionSpec(type="input")))
        except TimeoutError:
            pass
        await context.sleep(0.02)
        return [(await context.receive("desk")).body]

    async with kernel(operators=[operator, clerk]) as k:
        handle = await started(k, "operator")
        await until(lambda: seen_in(handle, "message.awaited"))
        await k.send("desk", "paper")
        assert await output(handle) == ["paper"]
        assert await waiting(k) == []


async def seen_in(handle: ExecutionHandle, type_: str) -> bool:
    return type_ in await types(handle)


async def test_a_branch_that_a_failure_ends_takes_nothing_and_a_gathered_message_goes_back() -> None:
    fail = asyncio.Event()

    async def broken() -> None:
        async with asyncio.timeout(BOUND):
            await fail.wait()
        raise ValueError("broken")

    async def operator(context: OperatorContext, given: object) -> list[Any]:
        try:
            await context.gather(context.receive("desk"), context.step(broken), context.receive("door"))
        except Exception:
            await context.sleep(0.02)
        return [(await context.receive("desk")).body]

    async with kernel(operators=[operator]) as k:
        handle = await started(k, "operator")
        await until(lambda: seen_in(handle, "message.awaited"))
        await k.send("desk", "paper")
        await until(lambda: seen_in(handle, "message.received"))
        fail.set()
        assert await output(handle) == ["paper"]
        await k.send("door", "knock")
        assert await waiting(k, "door") == ["knock"]


async def test_what_was_received_before_a_crash_goes_back_when_time_is_up_before_the_code_comes_to_it() -> (
    None
):
    passes = itertools.chain([True, False], itertools.repeat(True))

    async def operator(context: OperatorContext, given: object) -> Any:
        async def branch() -> None:
            if not next(passes):  # the run that follows the journal again is slow
                await asyncio.Event().wait()
            await context.receive("desk")

        with contextlib.suppress(TimeoutError):
            async with context.timeout(1.5):
                await context.gather(branch())
        await context.sleep(0.02)
        return (await context.receive("desk")).body

    storage = MemoryStorage()
    dying = DyingStorage(storage, commit_of("message.received"))
    doomed = kernel(dying, operators=[operator], options=DOOMED)
    await doomed.send("desk", "paper")
    handle = await started(doomed, "operator")
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators=[operator]) as k:
        assert await output(k.handle(handle.job_id)) == "paper"


async def test_a_job_that_ends_or_is_cancelled_takes_no_message_any_more() -> None:
    async def hasty(context: OperatorContext, given: object) -> Any:
        return (await context.wait_any(context.receive("desk"), context.sleep(0.01))).winner

    async with kernel(operators=[clerk, hasty]) as k:
        handle = await started(k, "clerk", 1)
        await status_becomes(handle, "waiting")
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        assert await output(await started(k, "hasty")) == 1
        await k.send("desk", "kept")
        assert await waiting(k) == ["kept"]
        assert await output(await started(k, "clerk", 1)) == ["kept"]


async def test_what_a_job_had_taken_and_not_seen_when_it_failed_goes_back_and_nobody_waits_for_it() -> None:
    """A plain time-out of asyncio is refused, which ends the job where it stands."""

    async def operator(context: OperatorContext, given: object) -> None:
        async with asyncio.timeout(0.3):
            await context.gather(context.receive("desk"), context.step(stay))

    async def stay() -> None:
        async with asyncio.timeout(BOUND):
            await asyncio.Event().wait()

    async with kernel(operators=[operator, clerk]) as k:
        handle = await started(k, "operator")
        await until(lambda: seen_in(handle, "message.awaited"))
        await k.send("desk", "paper")
        with pytest.raises(JobFailed):
            await handle.result(timeout=BOUND)
        assert await waiting(k) == ["paper"]
        again = await started(k, "clerk", 2)
        await k.send("desk", "pen")
        assert await output(again) == ["paper", "pen"]


async def test_a_chain_goes_on_where_its_last_link_stopped_under_one_identity() -> None:
    async def resident(context: OperatorContext, given: list[Any]) -> list[Any]:
        given = [*given, (await context.receive()).body]
        if len(given) < 6:
            context.continue_as_new(given)
        return given

    async with kernel(operators=[resident]) as k:
        named = await started(k, "resident", [], identity="duty")
        unnamed = await started(k, "resident", [])
        for number in range(6):
            await k.send("duty", number)
            await k.send(unnamed.job_id, -number)
        assert await output(named) == [0, 1, 2, 3, 4, 5]
        assert await output(unnamed) == [0, -1, -2, -3, -4, -5]
        assert [await k.inbox.count(name) for name in ("duty", unnamed.job_id)] == [0, 0]


async def test_scopes_share_no_inbox_and_a_job_sends_into_its_own() -> None:
    async with kernel(operators=[clerk]) as k:

        async def sender(context: OperatorContext, given: object) -> None:
            await context.step(lambda: None, name="before")
            await k.send("desk", "from within", dedupe_key="k")

        k.operators.add(sender)
        ours, theirs = await started(k, "clerk", 1), await started(k, "clerk", 1, scope_id="acme")
        await output(await started(k, "sender", scope_id="acme"))
        assert await output(theirs) == ["from within"]
        assert await waiting(k, scope_id="acme") == []
        await k.send("desk", "ours")
        assert await output(ours) == ["ours"]


async def test_a_retry_recalls_what_was_received_and_gives_back_what_it_does_anew() -> None:
    broken = {"is": True}

    def act(body: Any) -> Any:
        if broken["is"]:
            raise ValueError("broken")
        return body

    async def plain(context: OperatorContext, given: object) -> list[Any]:
        first = (await context.receive("desk")).body
        second = (await context.receive("desk")).body
        return [first, second, await context.step(act, second, effect="idempotent")]

    async with kernel(operators=[plain]) as k:
        for number in (1, 2, 3):
            await k.send("desk", number)
        handle = await started(k, "plain")
        with pytest.raises(JobFailed):
            await handle.result(timeout=BOUND)
        again = await k.retry(handle.job_id)
        with pytest.raises(JobFailed):
            await again.result(timeout=BOUND)
        assert await waiting(k) == [3]
        broken["is"] = False
        third = await k.retry(again.job_id, from_step="2")
        assert await output(third) == [1, 2, 2]
        assert await waiting(k) == [3]
        assert (await types(third)).count("message.received") == 2
        claimed = {(await k.inbox.get(one.data["message_id"])).claimed_by for one in await received(third)}
        assert claimed == {third.job_id}


async def received(handle: ExecutionHandle) -> list[Any]:
    return [event for event in await journal(handle) if event.type == "message.received"]


async def test_a_message_received_after_a_failure_forbids_to_do_that_anew_without_being_told_from_where() -> (
    None
):
    async def act() -> None:
        raise ValueError("broken")

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.step(act, effect="idempotent")
        except Exception as error:
            await context.receive("desk")
            raise error

    async with kernel(operators=[operator]) as k:
        await k.send("desk", 1)
        handle = await started(k, "operator")
        with pytest.raises(JobFailed):
            await handle.result(timeout=BOUND)
        with pytest.raises(RetryRefused, match="message 'desk'"):
            await k.retry(handle.job_id)
        await k.retry(handle.job_id, from_step="1")
        head = await k.jobs.head(handle.job_id)
        with pytest.raises(JobFailed):
            await k.handle(head.job_id).result(timeout=BOUND)
        assert (await received(k.handle(head.job_id)))[0].body() == 1


async def test_a_tool_may_wait_for_a_message_and_is_entered_again() -> None:
    entered: list[str] = []

    @tool(effect="unsafe")
    async def ask_desk(question: str) -> str:
        """Ask.

        Args:
            question: What.
        """
        entered.append(question)
        return str((await current_context().receive("desk")).body)

    async def operator(context: OperatorContext, given: object) -> Any:
        return await context.tool("ask_desk", question="why?")

    async with kernel(operators=[operator], tools=[ask_desk]) as k:
        handle = await started(k, "operator")
        await status_becomes(handle, "waiting")
        await k.send("desk", "because")
        assert await output(handle) == "because"
        assert entered == ["why?", "why?"]


async def test_a_bare_context_receives_nothing() -> None:
    with pytest.raises(InvalidInput, match="received by jobs"):
        await OperatorContext().receive("desk")


async def test_code_that_asks_for_another_identity_is_parked() -> None:
    names = iter(["desk", "door"])

    async def operator(context: OperatorContext, given: object) -> Any:
        return (await context.receive(next(names))).body

    async with kernel(operators=[operator]) as k:
        handle = await started(k, "operator")
        await status_becomes(handle, "waiting")
        await k.send("desk", 1)
        await status_becomes(handle, "blocked")
        assert await waiting(k) == [1]
