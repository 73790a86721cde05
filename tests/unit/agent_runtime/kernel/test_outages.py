"""Failures that are not the job's: outages are waited out, what somebody has to mend blocks, the rest fails."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent_runtime import (
    ExecutionRequest,
    JobBlocked,
    JobCancelled,
    JobFailed,
    Operator,
    OperatorContext,
    QueueFull,
    RetryPolicy,
    RuntimeKernel,
)
from agent_runtime.storage.memory import MemoryStorage
from llm_client import (
    Agent,
    AuthenticationError,
    CircuitOpen,
    ExecutionEngine,
    InvalidRequest,
    ProviderUnavailable,
    RateLimited,
    RetryConfig,
    ScriptedProvider,
)
from llm_client.errors import LLMClientError, MissingDependency, QuotaExceeded
from support.kernels import BOUND, journal, kernel, pending, status_becomes, types, until
from support.operators import asking, identity

pytestmark = pytest.mark.timeout(BOUND * 3)

AT_ONCE = RetryPolicy(backoff=0.001, max_backoff=0.001)
LATER = RetryPolicy(backoff=1000, max_backoff=1000)
DOWN = ProviderUnavailable("down", status=503)


def engine(*replies: Any) -> tuple[ExecutionEngine, ScriptedProvider]:
    """Return an engine that does not try again by itself."""
    provider = ScriptedProvider(list(replies))
    return ExecutionEngine(provider, retry=RetryConfig(attempts=1)), provider


def with_steps(*replies: Any, **options: Any) -> tuple[RuntimeKernel, ScriptedProvider]:
    made, provider = engine(*replies)
    return kernel(engine=made, operators=[careful], **{"retry": AT_ONCE, **options}), provider


sent: list[str] = []


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    sent.clear()


def send(text: str) -> str:
    sent.append(text)
    return text


async def careful(context: OperatorContext, given: Any) -> Any:
    """Send, ask, send."""
    await context.step(send, "before")
    answer = await context.model(asking())
    return await context.step(send, answer.content)


@pytest.mark.parametrize(
    "outage", [DOWN, RateLimited("slow down", status=429), CircuitOpen("open", retry_after=0.001)]
)
async def test_an_outage_that_leaves_the_operator_is_waited_out(outage: LLMClientError) -> None:
    """What was done is not done again, and what failed is: as often as it takes, each attempt billed once."""
    sent.clear()
    k, provider = with_steps(outage, outage, "after")
    async with k:
        handle = await k.execute(ExecutionRequest(operator="careful"))
        assert (await handle.result(timeout=BOUND)).output == "after"
        assert sent == ["before", "after"]
        entries = await k.ledger.entries(job_id=handle.job_id)
        assert len({entry.entry_id for entry in entries}) == len(entries) == len(provider.requests) == 3
        retried = [event for event in await journal(handle) if event.type == "job.retried"]
        assert [event.data["reopens"] for event in retried] == [[f"{handle.job_id}:2"]] * 2
        assert [event.data["waits"] for event in retried] == [1, 2]
        assert retried[0].data["error_code"] == outage.code


async def test_a_job_that_waits_is_waiting_and_says_until_when() -> None:
    k, _ = with_steps(DOWN, retry=LATER)
    async with k:
        handle = await k.execute(ExecutionRequest(operator="careful"))
        await status_becomes(handle, "waiting")
        last, suspended = (await journal(handle))[-2:]
        assert (last.type, suspended.type) == ("job.retried", "job.suspended")
        assert suspended.data == {"waits": ["retry"]}
        timer = await k.storage.get_timer(handle.job_id, "retry")
        assert timer is not None
        assert last.data["due_at"] == timer.due_at.isoformat()
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        assert await k.storage.next_timer() is None


async def test_a_restart_goes_on_waiting() -> None:
    storage = MemoryStorage()
    made, _ = engine(DOWN)
    async with kernel(storage, engine=made, operators=[careful], retry=LATER) as k:
        handle = await k.execute(ExecutionRequest(operator="careful"))
        await status_becomes(handle, "waiting")
    made, provider = engine("after")
    async with kernel(storage, engine=made, operators=[careful]) as k:
        handle = k.handle(handle.job_id)
        assert await handle.status() == "waiting"
        timer = await k.storage.get_timer(handle.job_id, "retry")
        assert timer is not None
        await k.jobs.resume(handle.job_id)  # a person does not wait for the timer
        assert (await handle.result(timeout=BOUND)).output == "after"
    assert sent == ["before", "after"]
    assert len(provider.requests) == 1


async def test_the_error_reaches_the_code_first() -> None:
    async def resourceful(context: OperatorContext, given: Any) -> str:
        try:
            return (await context.model(asking())).content
        except ProviderUnavailable:
            return "without a model"

    made, provider = engine(DOWN)
    async with kernel(engine=made, operators=[resourceful]) as k:
        handle = await k.execute(ExecutionRequest(operator="resourceful"))
        assert (await handle.result(timeout=BOUND)).output == "without a model"
        assert "job.retried" not in await types(handle)
    assert len(provider.requests) == 1


async def test_an_agent_that_is_the_operator_waits_for_its_model() -> None:
    made, provider = engine(DOWN, "after")
    async with kernel(agent=Agent(engine=made), retry=AT_ONCE) as k:
        handle = await k.execute(ExecutionRequest(prompt="Hi"))
        assert (await handle.result(timeout=BOUND)).content == "after"
    assert len(provider.requests) == 2


async def test_an_outage_as_a_cause_is_one_and_beside_a_failure_it_is_none() -> None:
    async def wrapping(context: OperatorContext, given: Any) -> Any:
        try:
            return (await context.model(asking())).content
        except ProviderUnavailable as error:
            raise ValueError("no answer") from (error if given else None)

    made, _ = engine(DOWN, "after", DOWN)
    async with kernel(engine=made, operators=[wrapping], retry=AT_ONCE) as k:
        handle = await k.execute(ExecutionRequest(operator="wrapping", input=True))
        assert (await handle.result(timeout=BOUND)).output == "after"
        handle = await k.execute(ExecutionRequest(operator="wrapping", input=False))
        with pytest.raises(JobFailed, match="no answer"):
            await handle.result(timeout=BOUND)


async def test_an_effect_that_followed_the_failure_forbids_to_do_it_anew() -> None:
    """The refund has happened on the way that the failure led to; an answer now would lead another way."""

    async def refunding(context: OperatorContext, given: Any) -> Any:
        try:
            return (await context.model(asking())).content
        except ProviderUnavailable:
            await context.step(send, "refund", effect=given)
            raise

    for effect, ends in (("unsafe", True), ("idempotent", True), ("read", False)):
        made, _ = engine(DOWN, "after")
        async with kernel(engine=made, operators=[refunding], retry=AT_ONCE) as k:
            handle = await k.execute(ExecutionRequest(operator="refunding", input=effect))
            if ends:
                with pytest.raises(JobFailed, match="down"):
                    await handle.result(timeout=BOUND)
                assert (await journal(handle))[-1].data["failed_at"] == f"{handle.job_id}:1"
            else:
                assert (await handle.result(timeout=BOUND)).output == "after"


async def test_what_is_the_jobs_own_failure_fails_and_names_where() -> None:
    k, _ = with_steps(InvalidRequest("no such thing", status=400))
    async with k:
        handle = await k.execute(ExecutionRequest(operator="careful"))
        with pytest.raises(JobFailed, match="no such thing"):
            await handle.result(timeout=BOUND)
        assert (await journal(handle))[-1].data["failed_at"] == f"{handle.job_id}:2"


async def test_an_outage_that_lasts_too_long_fails_the_job() -> None:
    k, provider = with_steps(*[DOWN] * 3, retry=RetryPolicy(max_attempts=3, backoff=0.001))
    async with k:
        handle = await k.execute(ExecutionRequest(operator="careful"))
        with pytest.raises(JobFailed, match="down") as failed:
            await handle.result(timeout=BOUND)
        assert failed.value.error_code == "PROVIDER_UNAVAILABLE"
    assert len(provider.requests) == 3


@pytest.mark.parametrize("where", ["request", "operator", "kernel"])
async def test_a_request_an_operator_and_a_kernel_have_policies_of_their_own(where: str) -> None:
    class Asking(Operator):
        name = "asking"
        retry = RetryPolicy.none() if where != "request" else AT_ONCE

        async def execute(self, input_data: Any, context: OperatorContext) -> Any:
            return (await context.model(asking())).content

    if where == "kernel":
        Asking.retry = None
    made, provider = engine(DOWN, "after")
    of_kernel = RetryPolicy.none() if where == "kernel" else AT_ONCE
    async with kernel(engine=made, operators=[Asking()], retry=of_kernel) as k:
        request = ExecutionRequest(
            operator="asking", retry=RetryPolicy.none() if where == "request" else None
        )
        with pytest.raises(JobFailed, match="down"):
            await (await k.execute(request)).result(timeout=BOUND)
    assert len(provider.requests) == 1


async def test_a_child_has_the_policy_of_its_parents_request() -> None:
    async def parent(context: OperatorContext, given: Any) -> Any:
        await context.child("careful")
        return "both"

    made, _ = engine(DOWN, "after")
    async with kernel(engine=made, operators=[careful, parent], retry=RetryPolicy.none()) as k:
        handle = await k.execute(ExecutionRequest(operator="parent", retry=AT_ONCE))
        assert (await handle.result(timeout=BOUND)).output == "both"
    assert sent == ["before", "after"]


async def test_a_step_may_be_waited_for_too_when_its_error_is_named() -> None:
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionRefusedError("nobody listens")
        return "up"

    async def stepping(context: OperatorContext, given: Any) -> Any:
        await context.step(send, "before")
        return await context.step(flaky, effect="idempotent")

    retry = RetryPolicy(backoff=0.001, max_backoff=0.001, retry_on=[ConnectionRefusedError])
    async with kernel(operators=[stepping]) as k:
        handle = await k.execute(ExecutionRequest(operator="stepping", retry=retry))
        assert (await handle.result(timeout=BOUND)).output == "up"
        tries.clear()
        handle = await k.execute(ExecutionRequest(operator="stepping"))
        with pytest.raises(JobFailed, match="nobody listens"):
            await handle.result(timeout=BOUND)


Break = Callable[[OperatorContext], Awaitable[Any]]


async def _without_a_key(context: OperatorContext) -> Any:
    return (await context.model(asking())).content


async def _without_a_module(context: OperatorContext) -> Any:
    import a_module_that_is_not_installed  # type: ignore[import-not-found]  # on purpose

    return a_module_that_is_not_installed


async def _without_a_module_in_a_step(context: OperatorContext) -> Any:
    return await context.step(_importing, effect="read")


def _importing() -> Any:
    import a_module_that_is_not_installed

    return a_module_that_is_not_installed


async def _without_an_extra(context: OperatorContext) -> Any:
    raise MissingDependency("redis", "redis")


async def _without_a_childs_operator(context: OperatorContext) -> Any:
    return await context.child("nobody")


@pytest.mark.parametrize(
    ("breaks", "reply", "code"),
    [
        (_without_a_key, AuthenticationError("OPENAI_API_KEY is not set"), "AUTHENTICATION_ERROR"),
        (_without_a_key, QuotaExceeded("no credit", status=429), "QUOTA_EXCEEDED"),
        (_without_a_module, None, "MODULE_NOT_FOUND"),
        (_without_a_module_in_a_step, None, "MODULE_NOT_FOUND"),
        (_without_an_extra, None, "MISSING_DEPENDENCY"),
        (_without_a_childs_operator, None, "OPERATOR_NOT_FOUND"),
    ],
)
async def test_what_a_person_or_a_deploy_must_mend_blocks_the_job_and_it_goes_on_when_mended(
    breaks: Break, reply: Any, code: str
) -> None:
    is_mended = asyncio.Event()

    async def broken(context: OperatorContext, given: Any) -> Any:
        await context.step(send, "before")
        if is_mended.is_set() and reply is None:
            return "mended"
        return await breaks(context)

    made, _ = engine(reply, "mended")
    async with kernel(engine=made, operators=[broken]) as k:
        handle = await k.execute(ExecutionRequest(operator="broken"))
        with pytest.raises(JobBlocked) as blocked:
            await handle.result(timeout=BOUND)
        assert blocked.value.code == code
        assert await handle.status() == "blocked"
        is_mended.set()
        await k.jobs.resume(handle.job_id)
        assert (await handle.result(timeout=BOUND)).output == "mended"
    assert sent == ["before"]


async def test_a_request_to_stop_that_comes_while_the_outage_is_written_counts() -> None:
    made, provider = engine(*[DOWN] * 50)
    async with kernel(engine=made, operators=[careful], retry=AT_ONCE) as k:
        handle = await k.execute(ExecutionRequest(operator="careful"))

        async def has_been_asked() -> bool:
            return len(provider.requests) >= 3

        await until(has_been_asked)
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)


async def test_a_step_after_the_answer_is_a_step_of_the_way_that_it_leads() -> None:
    """What was recalled before the failure keeps its values, and what follows the answer is new."""

    async def walking(context: OperatorContext, given: Any) -> Any:
        first = str(context.uuid())
        await context.step(identity, first, effect="read")
        answer = (await context.model(asking())).content
        return [first == str(given or first), answer, await context.step(identity, "last", effect="read")]

    made, _ = engine(DOWN, "after")
    async with kernel(engine=made, operators=[walking], retry=AT_ONCE) as k:
        handle = await k.execute(ExecutionRequest(operator="walking"))
        assert (await handle.result(timeout=BOUND)).output == [True, "after", "last"]


async def test_branches_that_an_outage_ended_go_on_with_their_sleeps_and_children() -> None:
    begun = asyncio.Event()

    async def begin() -> None:
        sent.append("begin")
        begun.set()

    async def child(context: OperatorContext, given: Any) -> Any:
        await context.step(begin)
        await context.sleep(0.3)

    async def answering(context: OperatorContext) -> Any:
        await context.step(begun.wait, effect="read")
        return (await context.model(asking())).content

    async def operator(context: OperatorContext, given: Any) -> Any:
        gathered = await context.gather(answering(context), context.sleep(0.3), context.child("child"))
        return gathered[0]

    sent.clear()
    made, _ = engine(DOWN, "after")
    async with kernel(engine=made, operators=[operator, child], retry=AT_ONCE) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await handle.result(timeout=BOUND)).output == "after"
        assert (await types(handle)).count("timer.set") == 1  # the same sleep goes on
        assert (await types(handle)).count("timer.fired") == 1
        assert (await types(handle)).count("child.started") == 2  # the second is a retry of the first
    assert sent == ["begin"]


async def test_a_queue_that_is_full_is_waited_out() -> None:
    tries: list[int] = []

    async def operator(context: OperatorContext, given: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise QueueFull(limit=1)
        return "in"

    async with kernel(operators=[operator], retry=AT_ONCE) as k:
        handle = await k.execute(ExecutionRequest(operator="operator", retry=RetryPolicy(backoff=0.001)))
        assert (await handle.result(timeout=BOUND)).output == "in"


@pytest.mark.parametrize("second", ["lost", "done"])
async def test_a_retry_knows_the_last_of_a_step_that_an_outage_had_failed_before(second: str) -> None:
    """It had failed, was done again when the outage was over, and nobody knew what became of it: the retry took it for failed."""
    runs: list[int] = []
    begun, is_broken = asyncio.Event(), [True]

    async def pay() -> str:
        runs.append(len(runs))
        if len(runs) == 1:
            raise ProviderUnavailable("down", status=503)
        if second == "lost":
            begun.set()
            await asyncio.Event().wait()
        return "paid"

    async def operator(context: OperatorContext, given: Any) -> Any:
        paid = await context.step(pay)
        if is_broken[0]:
            raise ValueError("broken")
        return paid

    async with kernel(operators={"op": operator}, retry=AT_ONCE) as k:
        handle = await k.execute(ExecutionRequest(operator="op"))
        if second == "lost":
            async with asyncio.timeout(BOUND):
                await begun.wait()
            await handle.cancel()
        with pytest.raises(JobCancelled if second == "lost" else JobFailed):
            await handle.result(timeout=BOUND)
        is_broken.clear()
        is_broken.append(False)
        retry = await k.retry(handle.job_id)
        if second == "lost":
            question = await pending(retry)
            assert question.type == "reconcile"
            await retry.resolve_action(question.action_id, {"outcome": "done", "result": "paid"})
        assert (await retry.result(timeout=BOUND)).output == "paid"
        assert "step.failed" not in await types(retry)
    assert runs == [0, 1]
