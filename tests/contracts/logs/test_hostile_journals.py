"""What people, models and vendors write never stops the logs of all, and what was erased does not come back."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent_runtime import ErasureSubject, ExecutionRequest, JobFailed, KernelOptions, RuntimeKernel
from agent_runtime.observability import JournalLogs, LogStore, update_logs
from agent_runtime.observability.sql.database import database_of
from agent_runtime.observability.sql.entries import EntryReader
from agent_runtime.observability.sql.ids import call_row, run_row
from agent_runtime.observability.sql.prompts import GONE
from agent_runtime.observability.sql.tables import llm_call_logs
from agent_runtime.observability.sql.writing import Change
from agent_runtime.ports.storage import Storage
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord
from agent_runtime.values.model_request import MAX_MESSAGES
from llm_client import (
    Agent,
    CompletionResult,
    ExecutionEngine,
    ScriptedProvider,
    ToolCall,
    Usage,
    tool,
)
from support.logs import everything, recounted, sums

LETTERS = "".join(chr(0x20000 + (7919 * n) % 40_000) for n in range(500))
"""Four bytes each, and none like another: no index makes them shorter."""


async def echo(context: Any, value: Any) -> Any:
    """Return what is given."""
    return value


async def fails(context: Any, value: Any) -> None:
    """Fail."""
    raise ValueError("no")


@tool(effect="pure")
async def say(value: object) -> object:
    """Say something."""
    return value


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


async def ask(storage: Storage, value: Any, *, projections: Sequence[JournalLogs] = ()) -> str:
    async with RuntimeKernel(storage=storage, operators=[echo], projections=projections) as k:
        handle = await k.execute(ExecutionRequest(operator="echo", input={"value": value}))
        await handle.result()
    return handle.job_id


@pytest.mark.parametrize(
    "value", [10**400, -(10**4_000), nested(240), "a\x00b", {"a\x00": 1.5e308}], ids=lambda one: str(one)[:12]
)
async def test_a_value_of_one_job_stops_no_other(storage: Storage, logs: LogStore, value: Any) -> None:
    first = await ask(storage, value)
    second = await ask(storage, "ok")
    await update_logs(storage)
    for job_id in (first, second):
        (row,) = await logs.execution(job_id)
        assert row.status == "completed"
        assert row.input_data is not None
    assert await sums(logs) == await recounted(logs)


@pytest.mark.parametrize("number", [10**400, 10**4_000])
async def test_a_number_that_a_model_writes_stops_nobody(
    storage: Storage, logs: LogStore, number: int
) -> None:
    engine = ExecutionEngine(ScriptedProvider([ToolCall("c", "say", {"value": number}), "Done."]))
    async with RuntimeKernel(storage=storage, agent=Agent(engine=engine, tools=[say])) as k:
        await (await k.execute(ExecutionRequest(prompt="?"))).result()
    await update_logs(storage)
    (asked, _) = (await everything(logs))[1]
    assert asked.tool_calls[0]["arguments"] == {"value": number}


async def test_a_name_that_a_vendor_answers_with_stops_nobody(storage: Storage, logs: LogStore) -> None:
    answer = CompletionResult(
        content="Yes.", usage=Usage(input_tokens=1, requests=1), model=LETTERS, provider=LETTERS[::-1]
    )
    engine = ExecutionEngine(ScriptedProvider([answer]))
    async with RuntimeKernel(storage=storage, agent=Agent(engine=engine)) as k:
        await (await k.execute(ExecutionRequest(prompt="?", scope_id=LETTERS[:128]))).result()
    await update_logs(storage)
    (call,) = await logs.llm_calls()
    assert call.status == "completed"
    assert len(call.model_id.encode()) <= 512
    assert await logs.count_llm_calls(model_id=LETTERS) == 1


async def test_a_row_that_a_database_refuses_costs_nothing_but_itself(
    storage: Storage, logs: LogStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = EntryReader.read

    def with_one_more(
        reader: EntryReader, event: RuntimeEvent, job: JobRecord, *, content: bool
    ) -> Change | None:
        change = read(reader, event, job, content=content)
        if event.type != "job.created":
            return change
        values = {"provider": "p", "model_id": "m", "start_time": event.timestamp, "input_tokens": 2**70}
        return Change(llm_call_logs, "5f2d9c1e-6b0a-5a5e-9d3b-7f2c0f4f6a12", values)

    monkeypatch.setattr(EntryReader, "read", with_one_more)
    job_ids = [await ask(storage, number) for number in range(3)]
    with caplog.at_level(logging.WARNING):
        await update_logs(storage)
    assert "a row of llm_call_logs was not written" in caplog.text
    assert await logs.count_llm_calls() == 0
    assert [len(await logs.execution(job_id)) for job_id in job_ids] == [1, 1, 1]


async def test_an_entry_that_cannot_be_read_is_told_without_its_texts(
    storage: Storage, logs: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = EntryReader.read

    def failing(reader: EntryReader, event: RuntimeEvent, job: JobRecord, *, content: bool) -> Change | None:
        if content and event.is_terminal:
            raise ValueError("what a result may be")
        if event.type == "job.started":
            raise KeyError("nothing of it can be told")
        return read(reader, event, job, content=content)

    monkeypatch.setattr(EntryReader, "read", failing)
    job_id = await ask(storage, "hello")
    await update_logs(storage)
    (row,) = await logs.execution(job_id)
    assert (row.status, row.input_data, row.output_data) == ("completed", {"value": "hello"}, None)


async def test_what_was_read_before_an_erasure_and_written_after_it_is_taken_away_again(
    storage: Storage, logs: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RuntimeKernel(storage=storage, operators=[echo]) as k:
        request = ExecutionRequest(
            operator="echo",
            input={"value": "zebedee is ill"},
            principal_id="zebedee",
            tags={"who": "zebedee"},
        )
        handle = await k.execute(request)
        await handle.result()
        database, read, erased = database_of(storage), asyncio.Event(), asyncio.Event()
        write = database.write

        async def late(changes: Sequence[Change]) -> None:
            if not read.is_set():
                read.set()
                await erased.wait()
            await write(changes)

        monkeypatch.setattr(database, "write", late)
        following = asyncio.create_task(update_logs(storage))
        await read.wait()
        report = await k.audit.erase(ErasureSubject(scope_id="default", principal_id="zebedee"), by="me")
        erased.set()
        await following
    ((row,), _) = await everything(logs)
    assert row.principal_id == report.pseudonym
    assert "zebedee" not in repr(row)


async def asked_by_hand(storage: Storage, requests: Sequence[Any]) -> str:
    """Write calls of a job by hand, each with what it asks; return the id of the last one's row."""
    at = datetime(2026, 11, 30, tzinfo=UTC)
    changes = [
        Change(
            llm_call_logs,
            call_row("job-x", f"job-x:{number}", 1),
            {
                "execution_log_id": run_row("job-x"),
                "job_id": "job-x",
                "operation_id": f"job-x:{number}",
                "attempt": 1,
                "request": request,
                "response": "Yes.",
                "status": "completed",
                "start_time": at + timedelta(seconds=number),
            },
        )
        for number, request in enumerate(requests)
    ]
    await database_of(storage).write(changes)
    return changes[-1].id


FIRST = {"messages": [{"role": "user", "content": "hello"}]}


async def test_requests_that_refer_to_each_other_are_put_together(storage: Storage, logs: LogStore) -> None:
    further = [
        {**FIRST, "request": [[str(number), 0, 2 * number + 1], [str(number)], 1]} for number in range(300)
    ]
    call = await logs.llm_call(await asked_by_hand(storage, [FIRST, *further]))
    assert call is not None
    assert [message.text for message in call.messages] == [*["hello", "Yes."] * 300, "hello"]


async def test_requests_that_double_fill_no_memory(storage: Storage, logs: LogStore) -> None:
    doubled = [
        {"messages": [], "request": [[str(number), 0, 10**9], [str(number), 0, 10**9]]}
        for number in range(60)
    ]
    call = await logs.llm_call(await asked_by_hand(storage, [FIRST, *doubled]))
    assert call is not None
    assert len(call.messages) <= MAX_MESSAGES
    long = {"messages": [{"role": "user", "content": "x" * 1_000_000}]}
    call = await logs.llm_call(await asked_by_hand(storage, [long, *doubled[:10]]))
    assert call is not None
    assert [message.text for message in call.messages] == [GONE]


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": ["x"]},
        {"messages": 5},
        "cut",
        {"messages": [], "request": [["0", 0, 5]]},
        {"messages": [{"role": "user", "content": [{"type": "x"}]}]},
        {"messages": [], "request": [[["0"], 1, 2], [{}]]},
    ],
)
async def test_a_request_that_is_none_is_not_shown(storage: Storage, logs: LogStore, request_: Any) -> None:
    call = await logs.llm_call(await asked_by_hand(storage, [request_]))
    assert call is not None
    assert [message.text for message in call.messages] == [GONE]


async def test_a_process_that_begins_late_reads_no_more_of_a_retry_than_it_needs(
    storage: Storage, logs: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RuntimeKernel(storage=storage, operators=[fails], options=KernelOptions()) as k:
        before = await k.execute(ExecutionRequest(operator="fails", input={"value": 1}))
        with pytest.raises(JobFailed):
            await before.result()
        again = await k.retry(before.job_id)
        with pytest.raises(JobFailed):
            await again.result()
    told = [
        one
        for one in await storage.feed(after=0, upto=await storage.feed_end())
        if one[1].job_id == again.job_id
    ]
    asked: list[int] = []
    events = storage.events

    async def counted(job_id: str, **options: Any) -> Any:
        asked.append(options["limit"])
        return await events(job_id, **options)

    monkeypatch.setattr(storage, "events", counted)
    for entry in told:
        await JournalLogs(storage).project([entry])
    assert max(asked, default=0) <= 20
    (row,) = await logs.execution(again.job_id)
    assert row.status == "failed"
