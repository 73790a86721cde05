"""The logs that are filled from the journals of jobs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import (
    ErasureSubject,
    ExecutionRequest,
    FeedEntry,
    JobFailed,
    KernelOptions,
    OperatorContext,
    RuntimeKernel,
)
from agent_runtime.observability import JournalLogs, LogStore, update_logs
from agent_runtime.ports.storage import Storage
from agent_runtime.values.budget import LedgerFilter
from llm_client import (
    Agent,
    CompletionResult,
    ExecutionEngine,
    FunctionProvider,
    ModelPrices,
    PriceBook,
    RequestSpec,
    RetryConfig,
    ScriptedProvider,
    ToolCall,
    Usage,
    tool,
)
from llm_client.errors import ProviderUnavailable
from support.logs import everything, follow, recounted, sums

OPTIONS = KernelOptions(projection_interval=0.01)


@tool(effect="idempotent")
async def pay(amount: int) -> dict[str, int]:
    """Pay an amount."""
    return {"paid": amount}


@tool(effect="read")
async def look(at: str) -> str:
    """Look at something."""
    return at


def answer(text: str, cost: str) -> CompletionResult:
    usage = Usage(
        input_tokens=100,
        output_tokens=20,
        cache_read_tokens=40,
        cost=Decimal(cost),
        price_source="vendor",
        requests=1,
    )
    return CompletionResult(content=text, usage=usage, model="scripted", provider="scripted")


def agent(*script: object) -> Agent:
    engine = ExecutionEngine(ScriptedProvider(list(script)), retry=RetryConfig(attempts=2, backoff=0.001))
    return Agent(engine=engine, tools=[pay, look], system_message="Be brief.", name="planner")


async def test_a_job_is_an_execution_with_its_steps_and_calls(storage: Storage, logs: LogStore) -> None:
    script = [ProviderUnavailable("down"), ToolCall("c1", "pay", {"amount": 3}), answer("Paid.", "0.25")]
    async with RuntimeKernel(
        storage=storage, agent=agent(*script), projections=[JournalLogs(storage)], options=OPTIONS
    ) as k:
        request = ExecutionRequest(
            prompt="Pay 3.",
            scope_id="shop",
            principal_id="ann",
            session_id="s1",
            metadata={"report_id": "r1"},
        )
        handle = await k.execute(request)
        await handle.result()
        await follow(storage)
    run, step = await logs.execution(handle.job_id, scope_id="shop")
    assert (run.execution_id, run.agent_type, run.execution_step) == (handle.job_id, "agent", "run")
    assert (run.status, run.scope_id, run.principal_id, run.session_id) == ("completed", "shop", "ann", "s1")
    assert run.report_id == "r1"
    assert {call.report_id for call in run.llm_calls} == {"r1"}
    assert run.input_data == {"prompt": "Pay 3."}
    assert run.output_data["content"] == "Paid."
    assert run.duration_ms is not None
    assert (step.execution_step, step.action_type, step.status) == ("tool", "pay", "completed")
    assert (step.parent_id, step.input_data, step.output_data) == (
        run.id,
        {"amount": 3},
        {"value": {"paid": 3}},
    )
    assert [call.status for call in run.llm_calls] == ["failed", "completed", "completed"]
    lost, asked, last = run.llm_calls
    assert lost.uncertain
    assert (asked.attempt, last.attempt) == (2, 1)
    assert (last.total_cost, last.cached_tokens, last.total_tokens) == (Decimal("0.25"), 40, 120)
    assert last.response is None  # lists carry no texts
    whole = await logs.llm_call(last.id)
    assert whole is not None
    assert whole.response == "Paid."
    assert [message.role for message in whole.messages] == ["system", "user", "assistant", "tool"]
    assert whole.messages[3].text == '{"paid":3}'
    assert whole.prompt is not None
    assert whole.prompt.startswith("system: Be brief.\n\nuser: Pay 3.")
    first = await logs.llm_call(lost.id)
    again = await logs.llm_call(asked.id)
    assert first is not None
    assert again is not None
    assert first.messages == again.messages == whole.messages[:2]
    assert again.tool_calls == [{"id": "c1", "name": "pay", "arguments": {"amount": 3}}]


async def run(storage: Storage, *script: object, projection: JournalLogs | None = None) -> str:
    projections = [projection or JournalLogs(storage)]
    async with RuntimeKernel(
        storage=storage, agent=agent(*script), projections=projections, options=OPTIONS
    ) as k:
        handle = await k.execute(ExecutionRequest(prompt="Pay 3.", scope_id="shop"))
        with contextlib.suppress(JobFailed):
            await handle.result()
        await follow(storage)
    return handle.job_id


async def entries(storage: Storage) -> list[FeedEntry]:
    return list(await storage.feed(after=0, upto=await storage.feed_end()))


async def delegates(context: OperatorContext, given: str) -> str:
    return (await context.child("planner", {"prompt": given})).content


async def test_what_a_job_begins_belongs_to_what_the_job_belongs_to(storage: Storage, logs: LogStore) -> None:
    operators = {"delegates": delegates, "planner": agent(answer("Paid.", "0.25"))}
    async with RuntimeKernel(
        storage=storage, operators=operators, projections=[JournalLogs(storage)], options=OPTIONS
    ) as k:
        links = {"report_id": "r9", "external_platform": "slack", "other": "x"}
        request = ExecutionRequest(operator="delegates", input="Pay 3.", scope_id="shop", metadata=links)
        await (await k.execute(request)).result()
        await follow(storage)
    runs = await logs.executions(report_id="r9", execution_step="run")
    assert {run.agent_type for run in runs} == {"delegates", "planner"}
    assert {run.external_platform for run in runs} == {"slack"}
    summary = await logs.summary(report_id="r9")
    assert summary["llm_call_analytics"]["total_calls"] == 1
    before = await everything(logs)
    projection = JournalLogs(storage)
    await projection.begin_anew()
    for entry in await entries(storage):  # a process that sees the child first
        await JournalLogs(storage).project([entry])
    assert await everything(logs) == before


async def speak(spec: RequestSpec) -> AsyncIterator[str]:
    await asyncio.sleep(0.05)
    yield "once "
    await asyncio.sleep(0.05)
    yield "upon"


async def listens(context: OperatorContext, given: int) -> str:
    listener, heard = Agent(provider=FunctionProvider(speak)), ""
    async for event in listener.stream("go"):
        heard += event.text if event.type == "token" else ""
        if given and heard:
            break
    return heard


async def test_an_answer_that_was_read_as_it_came_tells_when_it_began_to(
    storage: Storage, logs: LogStore
) -> None:
    async with RuntimeKernel(
        storage=storage, operators=[listens], projections=[JournalLogs(storage)], options=OPTIONS
    ) as k:
        for given, said in enumerate(["once upon", "once "]):
            handle = await k.execute(ExecutionRequest(operator="listens", input=given))
            assert (await handle.result()).content == said
        await follow(storage)
    whole, left = sorted(await logs.llm_calls(), key=lambda call: call.start_time)
    assert (whole.status, left.status) == ("completed", "cancelled")
    assert whole.is_streaming
    assert whole.duration_ms is not None
    assert whole.first_token_ms is not None
    assert left.first_token_ms is not None
    assert 40 <= whole.first_token_ms <= whole.duration_ms - 40
    latency = await logs.latency("first_token")
    assert latency["all"]["count"] == 2


async def test_entries_that_come_again_change_nothing(storage: Storage, logs: LogStore) -> None:
    await run(storage, ToolCall("c1", "pay", {"amount": 3}), answer("Paid.", "0.25"))
    before = await everything(logs)
    projection = JournalLogs(storage)
    told = await entries(storage)
    await projection.project(told)
    for entry in told:  # one by one, as after crashes
        await JournalLogs(storage).project([entry])
    assert await everything(logs) == before
    assert await sums(logs) == await recounted(logs)


async def test_entries_that_come_late_change_nothing(storage: Storage, logs: LogStore) -> None:
    """A process that stood still hands them out when another has gone on in its place, and nobody hands out the later ones again."""
    await run(
        storage,
        ProviderUnavailable("down"),
        ToolCall("c1", "look", {"at": "it"}),
        ToolCall("c2", "pay", {"amount": 3}),
        answer("Paid.", "0.25"),
    )
    before, counted = await everything(logs), await sums(logs)
    (looked,) = [row for row in before[0] if row.action_type == "look"]
    assert (looked.status, looked.duration_ms) == ("completed", None)  # only its end is in the journal
    told = await entries(storage)
    for number in range(1, len(told)):
        await JournalLogs(storage).project(told[:number])
        assert await everything(logs) == before
        assert await sums(logs) == counted


async def test_they_are_written_anew_when_it_is_asked_for(storage: Storage, logs: LogStore) -> None:
    without = JournalLogs(storage, content=False)
    await run(storage, ToolCall("c1", "look", {"at": "it"}), answer("Seen.", "0.25"), projection=without)
    counted = await sums(logs)
    projection, told = JournalLogs(storage, content=True), await entries(storage)
    await projection.project(told)
    assert all(row.output_data is None for row in (await everything(logs))[0])
    await projection.begin_anew()
    await projection.project(told)
    assert all(row.output_data is not None for row in (await everything(logs))[0])
    assert await sums(logs) == counted == await recounted(logs)


async def test_they_are_the_same_when_they_are_made_anew(storage: Storage, logs: LogStore) -> None:
    for cost in ("0.25", "0.5"):
        await run(storage, ToolCall("c1", "pay", {"amount": 3}), answer("Paid.", cost))
    before, counted = await everything(logs), await sums(logs)
    await logs.forget(before=datetime(9000, 1, 1, tzinfo=UTC))
    assert await everything(logs) == ([], [])
    assert not any(map(len, (await sums(logs)).values()))
    await JournalLogs(storage).project(await entries(storage))
    assert await everything(logs) == before
    assert await sums(logs) == counted


async def test_a_retry_does_not_tell_again_what_was_told(storage: Storage, logs: LogStore) -> None:
    """The journal of a retry begins with copies; one that comes in pieces, to a process that has not seen its beginning, too."""
    failed = await run(storage, ToolCall("c1", "pay", {"amount": 3}))  # the script ends too early
    async with RuntimeKernel(storage=storage, agent=agent(answer("Paid.", "0.25")), options=OPTIONS) as k:
        again = await k.retry(failed)
        await again.result()
    for entry in await entries(storage):
        await JournalLogs(storage).project([entry])
    assert await logs.count_llm_calls() == 3
    assert [one.status for one in await logs.llm_calls(job_id=again.job_id)] == ["completed"]
    assert await logs.count_executions(execution_step="tool") == 1
    assert await sums(logs) == await recounted(logs)
    (call,) = await logs.llm_calls(job_id=again.job_id)
    whole = await logs.llm_call(call.id)
    assert whole is not None
    assert [message.role for message in whole.messages] == ["system", "user", "assistant", "tool"]
    assert whole.messages[3].text == '{"paid":3}'


async def retried(storage: Storage) -> list[FeedEntry]:
    """Have a job retried that has called a tool and gets no further; return what its logs are told, the copies with the rest."""
    failed = await run(storage, ToolCall("c1", "pay", {"amount": 3}))
    script = (ToolCall("c2", "pay", {"amount": 4}), answer("Paid.", "0.25"))
    async with RuntimeKernel(storage=storage, agent=agent(*script), options=OPTIONS) as k:
        await (await k.retry(failed)).result()
    return await entries(storage)


async def test_what_a_retry_copies_is_not_told_by_who_is_handed_it_again(
    storage: Storage, logs: LogStore
) -> None:
    """As after a write that failed: the portion comes again to the same process, which has seen how the retry's own work began."""
    told = await retried(storage)
    projection = JournalLogs(storage)
    await projection.project(told)
    before, counted = await everything(logs), await sums(logs)
    (first,) = [number for number, (_, event) in enumerate(told) if "retries" in event.data]
    for begun in range(first, len(told)):
        for end in (len(told) - 1, len(told)):  # the last one ends the job
            await projection.project(told[begun:end])
            await projection.project(told[begun : begun + 1])
            assert await everything(logs) == before
    assert await sums(logs) == counted == await recounted(logs)


async def test_what_a_retry_does_is_told_by_who_has_seen_its_copies_alone(
    storage: Storage, logs: LogStore
) -> None:
    """Another process was handed what followed, the beginning of the retry's own work with it, and then it is this one's turn again."""
    told = await retried(storage)
    await JournalLogs(storage).project(told)
    before = await everything(logs)
    (first,) = [number for number, (_, event) in enumerate(told) if "retries" in event.data]
    own = max(number for number, (_, event) in enumerate(told) if event.type == "job.started")
    assert own > first + 1
    for seen in range(first + 1, own + 1):
        for gone_on in range(seen, len(told)):
            await logs.forget(before=datetime(9000, 1, 1, tzinfo=UTC))
            projection = JournalLogs(storage)
            await projection.project(told[:seen])
            await JournalLogs(storage).project(told[seen:gone_on])
            await projection.project(told[gone_on:])
            assert await everything(logs) == before
            assert await sums(logs) == await recounted(logs)


async def test_a_cost_by_prices_of_ones_own_has_its_parts(storage: Storage, logs: LogStore) -> None:
    """Also for a process that writes the rows and has heard of no such prices."""
    usage = Usage(input_tokens=1000, output_tokens=20, cache_read_tokens=400, requests=1)
    said = CompletionResult(content="Well.", usage=usage, model="m", provider="scripted")
    prices = PriceBook({"scripted:*": ModelPrices.of(input=10, output=100, cache_read=1)})
    priced = ExecutionEngine(ScriptedProvider([said]))
    async with RuntimeKernel(
        storage=storage, agent=Agent(engine=priced), prices=prices, options=OPTIONS
    ) as k:
        await (await k.execute(ExecutionRequest(prompt="?"))).result()
    projection = JournalLogs(storage)
    await update_logs(storage, projection)
    (call,) = await logs.llm_calls()
    assert call.input_cost == Decimal("0.0064")  # 600 at 10 and 400 at 1 dollars for a million
    assert call.output_cost == Decimal("0.002")
    assert call.total_cost == Decimal("0.0084")
    assert call.saved_cost == Decimal("0.0036")
    await projection.aclose()


async def test_corrections_of_the_ledger_are_taken_over(storage: Storage, logs: LogStore) -> None:
    projection = JournalLogs(storage)
    job_id = await run(storage, ProviderUnavailable("lost"), answer("Yes.", "0.25"), projection=projection)
    (lost,) = await logs.llm_calls(job_id=job_id, status="failed")
    assert lost.uncertain
    (entry,) = [one for one in await storage.ledger_entries(LedgerFilter()) if one.uncertain]
    truth = Usage(input_tokens=7, output_tokens=5, cost=Decimal("0.5"), price_source="vendor", requests=1)
    async with RuntimeKernel(storage=storage, worker=False) as k:
        await k.ledger.reconcile(entry.entry_id, truth, scope_id="shop")
    await projection.correct()
    for made in (
        projection,
        JournalLogs(storage),
    ):  # one that comes later takes it over with the entry itself
        (known,) = await logs.llm_calls(job_id=job_id, status="failed")
        assert (known.total_cost, known.total_tokens, known.uncertain) == (Decimal("0.5"), 12, False)
        assert await sums(logs) == await recounted(logs)
        await made.project(await entries(storage))
    summary = await logs.summary(scope_id="shop")
    assert summary["llm_call_analytics"]["token_stats"]["total_cost"] == Decimal("0.75")


async def test_content_is_kept_only_where_it_may_be(storage: Storage, logs: LogStore) -> None:
    projection = JournalLogs(storage, without_content=["shop"])
    job_id = await run(
        storage, ToolCall("c1", "pay", {"amount": 3}), answer("Paid.", "0.25"), projection=projection
    )
    for row in await logs.execution(job_id):
        assert row.input_data is row.output_data is None
        assert row.llm_calls or row.execution_step == "tool"
    for call in await logs.llm_calls():
        whole = await logs.llm_call(call.id)
        assert whole is not None
        assert whole.prompt is whole.response is whole.tool_calls is None
        assert whole.messages == ()
    assert (await logs.summary())["llm_call_analytics"]["token_stats"]["total_cost"] == Decimal("0.25")


async def test_no_secret_is_stored(storage: Storage, logs: LogStore) -> None:
    secret = "sk-" + "proj-" + "Ab3dEf6hIj9kLm2n" * 3
    await run(storage, answer(f"The key is {secret}", "0.1"))
    assert secret not in repr(await everything(logs))
    assert "REDACTED" in repr(await everything(logs))


async def test_texts_that_databases_do_not_take_are_kept_all_the_same(
    storage: Storage, logs: LogStore
) -> None:
    await run(storage, answer("a\x00b", "0.1"))
    (call,) = await logs.llm_calls()
    whole = await logs.llm_call(call.id)
    assert whole is not None
    assert whole.response is not None
    assert whole.response.startswith("a")


async def test_long_texts_are_cut(storage: Storage, logs: LogStore) -> None:
    await run(storage, answer("x" * 300_000, "0.1"))
    (call,) = await logs.llm_calls()
    whole = await logs.llm_call(call.id)
    assert whole is not None
    assert whole.response is not None
    assert len(whole.response) < 201_000
    assert whole.response.endswith("characters more)")


async def test_what_an_erasure_takes_from_the_journals_is_in_the_logs_before(
    storage: Storage, logs: LogStore
) -> None:
    script = (ToolCall("c1", "pay", {"amount": 3}), answer("Paid.", "0.25"))
    async with RuntimeKernel(storage=storage, agent=agent(*script), options=OPTIONS) as k:
        handle = await k.execute(ExecutionRequest(prompt="Pay 3.", scope_id="shop", principal_id="ann"))
        await handle.result()
        report = await k.audit.erase(ErasureSubject(scope_id="shop", principal_id="ann"), by="me")
        again = await k.audit.erase(ErasureSubject(scope_id="shop", job_id=handle.job_id), by="me")
    assert report.elsewhere == {"rows of logs": 4}
    assert again.jobs == 1
    assert await update_logs(storage) == 0
    run, step = await logs.execution(handle.job_id)
    assert (run.status, run.input_data) == ("completed", None)
    assert (run.principal_id or "").startswith("erased-")
    assert (step.status, step.output_data) == ("completed", None)
    assert [call.total_cost for call in run.llm_calls] == [None, Decimal("0.25")]
    (used,) = (await logs.usage()).values()
    assert (used.calls, used.cost) == (2, Decimal("0.25"))
    assert await sums(logs) == await recounted(logs)


@pytest.mark.parametrize("rule", [{"content": False}, {"without_content": ["shop"]}])
async def test_whose_texts_are_kept_is_known_to_other_processes(
    storage: Storage, logs: LogStore, rule: dict[str, Any]
) -> None:
    """A command that brings the logs up to date, say, before the process that follows has written anything."""
    async with RuntimeKernel(
        storage=storage, agent=agent(), projections=[JournalLogs(storage, **rule)], options=OPTIONS
    ) as k:
        await follow(storage)
        assert k.executes
    async with RuntimeKernel(storage=storage, agent=agent(answer("Paid.", "0.25")), options=OPTIONS) as k:
        await (await k.execute(ExecutionRequest(prompt="Pay 3.", scope_id="shop"))).result()
    assert await update_logs(storage) == 0
    executions, calls = await everything(logs)
    assert [row.input_data for row in executions] == [row.response for row in calls] == [None]
    projection = JournalLogs(storage, content=True)
    await projection.begin_anew()
    await projection.project(await entries(storage))
    assert (await everything(logs))[1][0].response == "Paid."


async def test_an_erasure_takes_the_texts_of_the_logs_too(storage: Storage, logs: LogStore) -> None:
    job_id = await run(storage, ToolCall("c1", "pay", {"amount": 3}), answer("Paid.", "0.25"))
    before = await sums(logs)
    async with RuntimeKernel(storage=storage, worker=False) as k:
        report = await k.audit.erase(ErasureSubject(scope_id="shop", job_id=job_id), by="me")
    assert report.elsewhere == {"rows of logs": 4}
    executions, calls = await everything(logs)
    for row in (*executions, *calls):
        assert (row.metadata, row.error_message, row.operation_id) == ({}, None, None)
    assert all(row.input_data is row.output_data is row.action_type is None for row in executions)
    assert all(row.prompt is row.response is row.tool_calls is None for row in calls)
    assert await sums(logs) == before == await recounted(logs)
