"""Logging by hand: executions, model calls and streams, in every kind of database, with a database that fails, and in an application's own."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from agent_runtime import ExecutionRequest, RuntimeKernel
from agent_runtime.errors import ConfigurationError, InvalidInput, StorageError
from agent_runtime.observability import ExecutionLogger, LLMCallLogger, LoggedAgent, LogStore, update_logs
from agent_runtime.observability.sql import patience
from agent_runtime.observability.sql.database import StorageDatabase, database_of
from agent_runtime.observability.sql.writing import Change
from agent_runtime.ports.storage import Storage
from agent_runtime.runner import AgentSpec, AsyncAgentRunner
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from llm_client import LLM, Agent, Chunks, FunctionProvider, ScriptedProvider, Usage
from llm_client.errors import ProviderUnavailable
from support.logs import everything, recounted, sums
from support.prompt_packs import prompt_pack
from support.services import Postgres


async def test_what_is_done_inside_belongs_to_what_is_done_around_it(
    storage: Storage, logs: LogStore
) -> None:
    executions = ExecutionLogger(storage, scope_id="shop", principal_id="ann")
    calls = LLMCallLogger(storage, scope_id="shop")
    async with executions.log_execution("planner", "plan", input_data={"a": 1}, report_id="r1") as outer:
        outer.output_data = {"plan": [1]}
        outer.metadata = {"more": True}
        async with executions.log_execution("coder", "execute", action_type="write"):
            llm = LLM(ScriptedProvider(["Yes."]), llm_call_logger=calls)
            assert await llm.inference_async("Well?") == "Yes."
    plan, execute = await logs.execution(outer.log.execution_id, scope_id="shop")
    assert (plan.agent_type, plan.status, plan.output_data) == ("planner", "completed", {"plan": [1]})
    assert (plan.metadata, plan.parent_id, plan.principal_id) == ({"more": True}, None, "ann")
    assert (execute.parent_id, execute.action_type, execute.status) == (plan.id, "write", "completed")
    (call,) = execute.llm_calls
    assert (call.agent, call.status, call.scope_id) == ("coder", "completed", "shop")
    whole = await logs.llm_call(call.id)
    assert whole is not None
    assert (whole.prompt, whole.response) == ("Well?", "Yes.")
    assert await logs.executions(scope_id="another") == []
    assert await logs.llm_call(call.id, scope_id="another") is None
    assert await sums(logs) == await recounted(logs)


async def test_failures_and_cancellations_are_told(storage: Storage, logs: LogStore) -> None:
    executions = ExecutionLogger(storage)
    with pytest.raises(ValueError, match="no"):
        async with executions.log_execution("a", "run"):
            raise ValueError("no")
    entered = asyncio.Event()

    async def wait() -> None:
        async with executions.log_execution("b", "run"):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await entered.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    rows = {one.agent_type: one for one in (await everything(logs))[0]}
    assert (rows["a"].status, rows["a"].error_message) == ("failed", "no")
    assert "ValueError: no" in rows["a"].metadata["stack_trace"]
    assert rows["b"].status == "cancelled"


async def test_streams_are_counted_and_what_is_left_early_is_cancelled(
    storage: Storage, logs: LogStore
) -> None:
    calls = LLMCallLogger(storage)
    llm = LLM(ScriptedProvider([Chunks(["a", "b", "c"]), Chunks(["a", "b"])]), llm_call_logger=calls)
    assert [chunk async for chunk in llm.inference_stream("Go.")] == ["a", "b", "c"]

    async def pieces() -> AsyncIterator[str]:
        yield "x"
        yield "y"

    stream = calls.log_stream(pieces(), provider="mine", model_id="m", prompt="?")
    assert await anext(stream) == "x"
    await stream.aclose()
    with pytest.raises(ProviderUnavailable):
        async for _ in calls.log_stream(failing(), provider="mine", model_id="m"):
            pass
    failed, left, whole = (await logs.llm_calls())[:3]
    assert (whole.is_streaming, whole.chunks_count, whole.status) == (True, 3, "completed")
    assert whole.first_token_ms is not None
    assert (left.chunks_count, left.status, left.call_type) == (1, "cancelled", "inference_stream")
    assert (failed.status, failed.chunks_count) == ("failed", 1)
    assert await sums(logs) == await recounted(logs)


async def failing() -> AsyncIterator[str]:
    yield "x"
    raise ProviderUnavailable("gone")


async def test_prices_are_per_thousand_tokens_and_have_a_history(storage: Storage, logs: LogStore) -> None:
    calls = LLMCallLogger(storage)
    calls.token_prices = {"m": {"input": 0.03, "output": 0.06, "cached": 0.003}}
    usage = Usage(input_tokens=2000, output_tokens=500, cache_read_tokens=1000, requests=1)
    async with calls.log_llm_call("mine", "m", "?") as call:
        call.usage = usage
    async with calls.log_llm_call("mine", "unknown", "?") as call:
        call.input_tokens, call.output_tokens = 10, 5
    unknown, known = await logs.llm_calls()
    assert (known.input_cost, known.output_cost) == (Decimal("0.033"), Decimal("0.03"))
    assert (known.total_cost, known.saved_cost) == (Decimal("0.063"), Decimal("0.027"))
    assert (unknown.total_cost, unknown.total_tokens) == (None, 15)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    calls.token_prices["m"] = [
        {"input": 0.01, "output": 0.01},
        {"valid_from": tomorrow, "input": 5, "output": 5},
    ]
    span = {"start_date": datetime(2026, 1, 1, tzinfo=UTC), "end_date": tomorrow}
    assert await calls.recompute_costs(**span) == 1
    assert await calls.recompute_costs(**span) == 0
    assert (await logs.llm_calls(model_id="m"))[0].total_cost == Decimal("0.025")
    assert await sums(logs) == await recounted(logs)
    calls.token_prices["m"] = {"input": "many", "output": 1}
    with pytest.raises(ConfigurationError, match="dollars for 1,000 tokens"):
        await calls.recompute_costs(**span)
    async with calls.log_llm_call("mine", "m", "?") as call:  # the call itself is not touched
        call.usage = usage
    assert (await logs.llm_calls(model_id="m"))[0].total_cost is None


async def test_an_agent_logs_its_runs_and_calls(storage: Storage, logs: LogStore) -> None:
    agent = LoggedAgent(
        db=storage, provider=ScriptedProvider(["Yes.", "No."]), name="planner", scope_id="shop"
    )
    assert (await agent.run("Well?")).content == "Yes."
    async for _ in agent.stream("And?"):
        pass
    second, first = await logs.executions(include_llm_calls=True)
    assert (first.agent_type, first.execution_step, first.status) == ("planner", "run", "completed")
    assert [call.call_type for call in (*first.llm_calls, *second.llm_calls)] == [
        "inference",
        "inference_stream",
    ]
    await agent.aclose()


class Plan(BaseModel):
    steps: list[str]


async def test_a_runner_logs_to_the_same_rows(storage: Storage, logs: LogStore, tmp_path: Path) -> None:
    calls = LLMCallLogger(storage)
    runner = AsyncAgentRunner(ScriptedProvider(['{"steps": ["pack"]}']), prompt_pack(tmp_path), calls)
    spec = AgentSpec(name="planner", response_model=Plan)
    assert (await runner.run(spec, {"goal": "a trip"})).success
    (call,) = await logs.llm_calls()  # the program may end after it
    assert not (await runner.run(spec, {"goal": "a trip"})).success  # the script has ended
    assert await logs.count_llm_calls(status="failed") == 1
    assert (call.agent, call.status) == ("planner", "completed")
    whole = await logs.llm_call(call.id)
    assert whole is not None
    assert whole.response == '{"steps": ["pack"]}'


async def test_a_database_that_fails_is_told_and_touches_nobody(caplog: pytest.LogCaptureFixture) -> None:
    engine = create_engine("sqlite:////nowhere/at/all.db")
    executions, calls = ExecutionLogger(engine), LLMCallLogger(engine)
    with caplog.at_level(logging.WARNING):
        async with executions.log_execution("a", "run", input_data={"secret": "hush"}) as log:
            log.output_data = 1
        assert await LLM(ScriptedProvider(["Yes."]), llm_call_logger=calls).inference_async("?") == "Yes."
    assert "was not written" in caplog.text
    assert "hush" not in caplog.text
    engine.dispose()


async def test_one_row_that_a_database_refuses_takes_no_other_with_it(
    storage: Storage, logs: LogStore
) -> None:
    executions = ExecutionLogger(storage)

    async def one(number: int) -> None:
        async with executions.log_execution("a", "run", input_data={"n": number, "\x00": "\x00"}):
            pass

    await asyncio.gather(*map(one, range(50)))
    assert await logs.count_executions(status="completed") == 50


async def test_values_of_any_kind_are_kept_as_json(storage: Storage, logs: LogStore) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError

    executions = ExecutionLogger(storage)
    async with executions.log_execution(
        "a", "run", input_data={"when": datetime.now(UTC), "it": {1, 2}}
    ) as log:
        log.output_data = Unprintable()
    (row,) = (await everything(logs))[0]
    assert row.input_data["it"] is not None
    assert row.output_data == "<cannot be written>"


async def test_ordinary_code_can_ask_and_log(storage: Storage, logs: LogStore) -> None:
    llm = LLM(FunctionProvider(lambda spec: "Yes."), llm_call_logger=LLMCallLogger(storage))
    assert await asyncio.to_thread(llm.inference, "Well?") == "Yes."
    assert await logs.count_llm_calls(status="completed") == 1


HOSTILE = ["' OR '1'='1", "'; DROP TABLE execution_logs; --", "%", "\\", '"', "1) OR (1=1", "\u2019 OR 1=1"]


@pytest.mark.parametrize("value", HOSTILE)
async def test_filters_are_values(storage: Storage, logs: LogStore, value: str) -> None:
    async with (
        ExecutionLogger(storage).log_execution("planner", "plan"),
        LLMCallLogger(storage).log_llm_call("mine", "m"),
    ):
        pass
    for name in [
        "scope_id",
        "principal_id",
        "session_id",
        "execution_id",
        "report_id",
        "agent_type",
        "execution_step",
        "action_type",
        "external_platform",
        "external_user_id",
    ]:
        assert await logs.executions(**{name: value}) == []
        assert await logs.count_executions(**{name: value}) == 0
    for name in [
        "scope_id",
        "execution_log_id",
        "job_id",
        "report_id",
        "agent",
        "provider",
        "model_id",
        "call_type",
    ]:
        assert await logs.llm_calls(**{name: value}) == []
    assert await logs.execution(value) == []
    assert (await logs.delete_execution(value)) == (0, 0)
    assert (await logs.summary(scope_id=value, report_id=value))["llm_call_analytics"]["total_calls"] == 0
    with pytest.raises(InvalidInput):
        await logs.llm_call(value)
    with pytest.raises(InvalidInput):
        await logs.executions(before=value)
    with pytest.raises(InvalidInput):
        await logs.usage(value)
    for status in (logs.executions, logs.llm_calls, logs.count_executions, logs.count_llm_calls):
        with pytest.raises(InvalidInput, match="started, completed, failed, cancelled"):
            await status(status=value)  # type: ignore[operator]
    assert await logs.count_executions() == 1


FAR = [
    datetime.max.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
]


@pytest.mark.parametrize("end", [None, *FAR])
async def test_times_at_the_ends_of_the_calendar(logs: LogStore, end: datetime | None) -> None:
    for start in (None, *FAR):
        for asked in (logs.summary, logs.usage, logs.latency, logs.executions, logs.count_llm_calls):
            with contextlib.suppress(InvalidInput):  # and nothing else is raised
                await asked(start_date=start, end_date=end)  # type: ignore[operator]
    with contextlib.suppress(InvalidInput):
        await logs.forget(before=end or FAR[0])


@pytest.mark.parametrize("name", ["\ud800", "a\x00b", "\udfff" * 600])
async def test_names_that_no_database_takes_are_refused_everywhere(logs: LogStore, name: str) -> None:
    for asked in (
        logs.summary(scope_id=name),
        logs.summary(report_id=name),
        logs.usage(scope_id=name),
        logs.latency(scope_id=name),
        logs.executions(agent_type=name),
        logs.llm_calls(principal_id=name),
        logs.execution(name),
        logs.execution("x", scope_id=name),
        logs.llm_call("5f2d9c1e-6b0a-5a5e-9d3b-7f2c0f4f6a11", scope_id=name),
        logs.delete_execution(name),
    ):
        with pytest.raises(InvalidInput):
            await asked


@pytest.mark.parametrize("status", ["success", "succeeded"])
async def test_what_is_no_filter_is_refused_with_those_that_are(logs: LogStore, status: str) -> None:
    unknown: dict[str, Any] = {"agent": "a"}
    with pytest.raises(InvalidInput, match=r"no filter 'agent': .*agent_type"):
        await logs.executions(**unknown)
    with pytest.raises(InvalidInput, match=r"no filter 'agent': .*agent_type"):
        await logs.count_executions(**unknown)
    unknown = {"agent_type": "a"}
    with pytest.raises(
        InvalidInput, match=r"no filter 'agent_type': agent|no filter 'agent_type': there are agent,"
    ):
        await logs.llm_calls(**unknown)
    with pytest.raises(InvalidInput, match=f"no status '{status}': .*completed"):
        await logs.executions(status=status)
    with pytest.raises(InvalidInput, match="agent is given twice"):
        await logs.usage("agent", "agent")
    with pytest.raises(InvalidInput, match="no group 'model': there are day, scope, agent"):
        await logs.runs("model")
    with pytest.raises(InvalidInput, match="duration, calls, cost"):
        await logs.executions(sort="size")
    with pytest.raises(InvalidInput, match="sorted by time"):
        await logs.executions(sort="cost", before="x")


async def test_a_model_is_found_by_its_name_with_and_without_its_providers(
    storage: Storage, logs: LogStore
) -> None:
    calls = LLMCallLogger(storage)
    for provider, model in (("mine", "llama:8b"), ("yours", "llama:8b"), ("llama", "8b")):
        async with calls.log_llm_call(provider, model):
            pass
    for name, count in (("llama:8b", 3), ("mine:llama:8b", 1), ("8b", 1), ("yours:8b", 0)):
        assert await logs.count_llm_calls(model_id=name) == count


async def test_what_is_done_for_an_execution_is_added_up_with_it(storage: Storage, logs: LogStore) -> None:
    executions, calls = ExecutionLogger(storage, scope_id="acme"), LLMCallLogger(storage, scope_id="acme")
    stranger = LLMCallLogger(storage, scope_id="other")
    async with executions.log_execution("planner", "run") as begun:
        one = begun.log
        async with calls.log_llm_call("p", "m") as call:
            call.usage = Usage(input_tokens=1, cost=Decimal(2), requests=1)
        async with calls.log_llm_call("p", "m"):
            pass
        async with stranger.log_llm_call("p", "m", execution_log_id=one.id):
            pass
        child = await executions.start_execution("reader", "run", execution_id="child")
    await executions.end_execution(child)
    found = await logs.executions(sort="cost")
    assert found == await logs.executions(sort="calls")
    assert found[0].agent_type == "planner"
    sums = await logs.usage_of(found)
    assert (sums[found[0].id].calls, sums[found[0].id].cost, sums[found[0].id].unpriced) == (2, 2, 1)
    assert await logs.execution_ids([one.id, "no id"]) == {one.id: one.execution_id}
    assert await logs.runs("agent", "scope") == {("planner", "acme"): 1, ("reader", "acme"): 1}
    (whole, *_) = await logs.execution(one.id)
    assert whole.execution_id == one.execution_id
    assert await logs.execution(one.id, scope_id="other") == []
    (below,) = await logs.descendants(one.execution_id, scope_id="acme")
    assert (below.execution_id, below.parent_id) == ("child", one.id)
    assert await logs.descendants(one.execution_id, scope_id="other") == []


async def test_bounds_of_pages(storage: Storage, logs: LogStore) -> None:
    for bad in ({"limit": 0}, {"limit": 501}, {"offset": -1}, {"start_date": datetime(2026, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(InvalidInput):
            await logs.executions(**bad)
    executions = ExecutionLogger(storage)
    for number in range(7):
        async with executions.log_execution("a", str(number)):
            pass
    first = await logs.executions(limit=3)
    second = await logs.executions(limit=3, before=first[-1].id)
    third = await logs.executions(limit=3, before=second[-1].id)
    assert [one.execution_step for one in (*first, *second, *third)] == list("6543210")
    assert await logs.executions(limit=3, offset=3) == second


async def test_an_applications_own_session(database: str) -> None:
    """Its transaction is neither joined nor ended."""
    engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"))
    async with AsyncSession(engine) as session:
        await session.execute(text("CREATE TABLE mine (n INT)"))
        executions, calls = ExecutionLogger(session), LLMCallLogger(session)
        async with (
            executions.log_execution("planner", "plan"),
            calls.log_llm_call("mine", "m", "?") as call,
        ):
            call.response = "!"
        await session.rollback()
    logs = LogStore(engine)
    ((execution,), (logged,)) = await everything(logs)
    assert (execution.status, logged.response, logged.execution_log_id) == ("completed", "!", execution.id)
    assert await sums(logs) == await recounted(logs)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT to_regclass('mine')"))).scalar_one() is None
    await engine.dispose()


async def test_a_session_that_is_bound_to_a_connection_takes_the_rows_with_it(database: str) -> None:
    engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        async with AsyncSession(connection) as session:
            async with ExecutionLogger(session).log_execution("planner", "plan"):
                pass
            assert await LogStore(session).count_executions() == 1
        await connection.rollback()
    assert await LogStore(engine).count_executions() == 0
    await engine.dispose()


async def test_in_a_callers_transaction_nothing_is_written_while_the_caller_does_something_else(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is refused would take back what was said on the connection meanwhile."""
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0)
    engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection, AsyncSession(connection) as session:
        await session.execute(text("CREATE TABLE mine (n INT)"))
        calls = LLMCallLogger(session)
        statements: list[str] = []
        event.listen(
            connection.sync_connection,
            "before_cursor_execute",
            lambda *given: statements.append(str(given[2])),
        )
        for number in range(20):
            statements.clear()
            began = await calls.start_llm_call(provider="p", model_id="m")
            await calls.end_llm_call(began, input_tokens=2**70, output_tokens=1)  # which is refused
            said = len(statements)
            await asyncio.sleep(0.001)
            assert len(statements) == said
            await session.execute(text("INSERT INTO mine VALUES (:n)"), {"n": number})
        provider = ScriptedProvider(['{"steps": ["pack"]}'])
        runner = AsyncAgentRunner(provider, prompt_pack(tmp_path), calls)
        await runner.run(AgentSpec(name="planner", response_model=Plan), {"goal": "a trip"})
        statements.clear()
        await asyncio.sleep(0.01)
        assert statements == []
        await calls.flush_async()
        assert await LogStore(session).count_llm_calls(agent="planner") == 1
        await session.commit()
        assert (await session.execute(text("SELECT count(*) FROM mine"))).scalar_one() == 20
    await engine.dispose()


@pytest.mark.parametrize("kind", ["storage", "engine"])
async def test_what_waits_for_a_database_that_stands_still_has_a_bound(
    kind: str, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0)
    monkeypatch.setattr(patience, "MOST_WAITING", 1_000_000)
    engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"))
    where: Any = MemoryStorage() if kind == "storage" else engine
    calls, logs = LLMCallLogger(where), LogStore(where)
    await logs.count_llm_calls()
    stands, goes_on = database_of(where), asyncio.Event()
    write, waiting = stands.write, 0

    async def slowly(changes: Sequence[Change]) -> None:
        nonlocal waiting
        waiting += 1
        await goes_on.wait()
        await write(changes)

    monkeypatch.setattr(stands, "write", slowly)
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            await calls.start_llm_call(provider="p", model_id="m", prompt="x" * 100_000)
        await asyncio.sleep(0)
    assert waiting == 9
    assert "too much waits" in caplog.text
    goes_on.set()
    async with asyncio.timeout(10):
        while await logs.count_llm_calls() < 9:
            await asyncio.sleep(0.01)
        while (await calls.start_llm_call(provider="p", model_id="m")) and waiting == 9:
            await asyncio.sleep(0.01)
    await calls.aclose()
    await engine.dispose()


async def test_what_is_given_while_a_database_is_opened_is_written_in_its_order(
    storage: Storage, logs: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0)
    opened, times = StorageDatabase._open, iter([0.3])

    def slow_at_first(database: StorageDatabase) -> None:
        opened(database)
        time.sleep(next(times, 0))

    monkeypatch.setattr(StorageDatabase, "_open", slow_at_first)
    async with ExecutionLogger(storage).log_execution("a", "run"):
        pass
    async with asyncio.timeout(20):
        while not await logs.count_executions():
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    assert await logs.count_executions(status="completed") == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_victim_of_a_deadlock_tries_again(is_async: bool, database: str) -> None:
    dialect = "asyncpg" if is_async else "psycopg"
    url = database.replace("postgresql://", f"postgresql+{dialect}://")
    engine: Any = create_async_engine(url) if is_async else create_engine(url)
    tries: list[int] = []

    class Deadlocked(Exception):
        sqlstate = "40P01"

    def work(connection: Connection) -> int:
        tries.append(connection.execute(text("SELECT 1")).scalar_one())
        if len(tries) < 3:
            raise OperationalError("UPDATE", None, Deadlocked())
        return len(tries)

    assert await database_of(engine).run(work) == 3
    with pytest.raises(StorageError):
        await database_of(engine).run(lambda _: work_of_nobody())
    await (engine.dispose() if is_async else asyncio.to_thread(engine.dispose))


def work_of_nobody() -> None:
    raise OperationalError("UPDATE", None, Exception("gone"))


async def test_tables_in_a_database_of_its_own(tmp_path: object) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/logs.db")
    logs = LogStore(engine)
    await logs.create_tables()
    async with ExecutionLogger(engine).log_execution("planner", "plan"):
        pass
    assert await logs.count_executions() == 1
    await logs.aclose()
    engine.dispose()
    with pytest.raises(ConfigurationError, match="not in a str"):
        LogStore("sqlite:///logs.db")


async def keep_logs_first(engine: Engine) -> None:
    """Do what an application does that keeps logs, and has no jobs yet."""
    logs = LogStore(engine)
    await logs.create_tables()
    async with ExecutionLogger(engine).log_execution("planner", "plan"):
        pass
    await logs.aclose()
    engine.dispose()


async def check_that_jobs_come(storage: Storage) -> None:
    await storage.open()
    logs = LogStore(storage)
    async with RuntimeKernel(storage=storage, agent=Agent(provider=ScriptedProvider(["Yes."]))) as k:
        await (await k.execute(ExecutionRequest(prompt="Well?"))).result()
    assert await update_logs(storage) == 0
    assert await logs.count_executions(status="completed") == 2
    await logs.aclose()
    await storage.aclose()


async def test_jobs_come_to_a_file_in_which_an_application_has_kept_logs(tmp_path: Path) -> None:
    await keep_logs_first(create_engine(f"sqlite:///{tmp_path}/app.db"))
    await check_that_jobs_come(SQLiteStorage(tmp_path / "app.db"))


async def test_jobs_come_to_a_postgres_database_in_which_an_application_has_kept_logs(
    postgres: Postgres,
) -> None:
    name = f"app_{secrets.token_hex(6)}"
    await asyncio.to_thread(postgres.execute, f"CREATE DATABASE {name}")
    dsn = postgres.dsn(name)
    await keep_logs_first(create_engine(make_url(dsn).set(drivername="postgresql+psycopg")))
    await PostgresStorage(dsn).setup()
    await check_that_jobs_come(PostgresStorage(dsn))
    await asyncio.to_thread(postgres.execute, f"DROP DATABASE {name} WITH (FORCE)")


async def test_one_who_closes_leaves_an_engine_to_its_other_users(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/logs.db")
    logs, executions = LogStore(engine), ExecutionLogger(engine)
    await logs.create_tables()
    await logs.aclose()
    async with executions.log_execution("planner", "plan"):
        pass
    assert await LogStore(engine).count_executions(status="completed") == 1
    engine.dispose()


async def test_a_closed_store_opens_again(storage: Storage, logs: LogStore) -> None:
    executions = ExecutionLogger(storage)
    await logs.aclose()
    async with executions.log_execution("planner", "plan"):
        pass
    assert await logs.count_executions(status="completed") == 1


async def test_an_error_whose_text_cannot_be_read_is_logged_and_stays_the_callers(
    storage: Storage, logs: LogStore
) -> None:
    class Unreadable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(Unreadable):
        async with (
            ExecutionLogger(storage).log_execution("planner", "plan"),
            LLMCallLogger(storage).log_llm_call("mine", "m"),
        ):
            raise Unreadable
    ((execution,), (call,)) = await everything(logs)
    for row in (execution, call):
        assert (row.status, row.error_message) == ("failed", "Unreadable, whose text cannot be read")
