"""What is added up equals what the rows say, whatever is written, changed and taken away; and is read right at the edges of a period."""

import asyncio
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from agent_runtime.errors import InvalidInput
from agent_runtime.observability import LogStore
from agent_runtime.observability.sql import rollups
from agent_runtime.observability.sql.database import database_of
from agent_runtime.observability.sql.ids import new_row
from agent_runtime.observability.sql.tables import execution_logs, llm_call_logs, metadata
from agent_runtime.observability.sql.writing import Change
from agent_runtime.ports.storage import Storage
from support.logs import recounted, sums

START = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
SECONDS = st.integers(0, 4 * 3600)
MILLISECONDS = st.none() | st.integers(0, 10**7)
NAMES = st.sampled_from(["a", "b"])
STATUS = st.sampled_from(["started", "completed", "failed", "cancelled"])
IDS = [new_row() for _ in range(6)]


def moments(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


EXECUTIONS = st.fixed_dictionaries(
    {"start_time": SECONDS.map(moments), "status": STATUS},
    optional={
        "scope_id": NAMES,
        "agent_type": NAMES,
        "execution_step": st.sampled_from(["run", "tool"]),
        "duration_ms": MILLISECONDS,
    },
)
CALLS = st.fixed_dictionaries(
    {"start_time": SECONDS.map(moments), "status": STATUS},
    optional={
        "scope_id": NAMES,
        "agent": NAMES,
        "provider": NAMES,
        "model_id": NAMES,
        "duration_ms": MILLISECONDS,
        "first_token_ms": MILLISECONDS,
        "input_tokens": st.none() | st.integers(0, 10**6),
        "output_tokens": st.none() | st.integers(0, 10**6),
        "cached_tokens": st.none() | st.integers(0, 10**6),
        "total_cost_units": st.none() | st.integers(0, 10**12),
        "saved_cost_units": st.none() | st.integers(0, 10**12),
        "uncertain": st.booleans(),
    },
)
WRITES = st.lists(
    st.tuples(st.just(execution_logs), st.sampled_from(IDS), EXECUTIONS)
    | st.tuples(st.just(llm_call_logs), st.sampled_from(IDS), CALLS),
    max_size=6,
)
STEPS = st.lists(WRITES | SECONDS.map(moments), min_size=1, max_size=8)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_sums_equal_a_recount_whatever_happens(steps: list[Any]) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    logs, database = LogStore(engine), database_of(engine)
    for step in steps:
        if isinstance(step, datetime):
            await logs.forget(before=step)
        elif step:
            await database.write([Change(table, id_, dict(values)) for table, id_, values in step])
        assert await sums(logs) == await recounted(logs)
    await logs.aclose()
    engine.dispose()


@pytest.mark.parametrize("closed", ["sqlite", "postgres"], indirect=True)
async def test_sums_equal_a_recount_when_several_write_the_same_rows_at_once(
    storage: Storage, logs: LogStore
) -> None:
    """Each of them has connections of its own, and what it writes are beginnings and ends of rows that are there or not."""
    chance = random.Random(5)
    where = getattr(storage, "dsn", None) or getattr(storage, "path", None)
    copies = [type(storage)(where) for _ in range(3)]  # type: ignore[call-arg]  # all but the memory's take a place
    ids = [new_row() for _ in range(60)]

    def some() -> list[Change]:
        table = chance.choice([execution_logs, llm_call_logs])
        return [
            Change(
                table,
                id_,
                {
                    "start_time": START,
                    "status": chance.choice(["started", "completed"]),
                    "duration_ms": chance.choice([None, 1, 100]),
                },
            )
            for id_ in chance.sample(ids, 20)
        ]

    async def write(copy: Storage) -> None:
        database = database_of(copy)
        for _ in range(25):
            await database.write(some())
        await database.aclose()
        await copy.aclose()

    await asyncio.gather(*map(write, copies))
    assert await logs.count_executions() == await logs.count_llm_calls() == len(ids)
    assert await sums(logs) == await recounted(logs)


async def test_times_of_a_clock_in_another_zone_are_those_of_utc(storage: Storage, logs: LogStore) -> None:
    there = timezone(timedelta(hours=5, minutes=45))
    start = datetime(2026, 3, 2, 3, 15, tzinfo=there)  # the day before, in UTC
    await database_of(storage).write([Change(execution_logs, new_row(), {"start_time": start})])
    (row,) = await logs.executions()
    assert row.start_time == start
    assert await sums(logs) == await recounted(logs)


async def filled(storage: Storage, number: int = 400, *, seed: int = 7) -> LogStore:
    """Write so many calls and executions, over two days."""
    rng = random.Random(seed)
    changes = []
    for _ in range(number):
        at = START + timedelta(seconds=rng.uniform(0, 2 * 86400))
        changes.append(
            Change(
                llm_call_logs,
                new_row(),
                {
                    "start_time": at,
                    "status": rng.choice(["completed", "completed", "failed"]),
                    "scope_id": rng.choice("xy"),
                    "agent": rng.choice("ab"),
                    "provider": "p",
                    "model_id": rng.choice("mn"),
                    "report_id": rng.choice(["r", None]),
                    "input_tokens": rng.randrange(1000),
                    "output_tokens": rng.randrange(1000),
                    "total_cost_units": rng.randrange(10**9),
                    "duration_ms": round(rng.lognormvariate(7, 1.5)),
                },
            )
        )
        changes.append(
            Change(
                execution_logs,
                new_row(),
                {
                    "execution_id": "e",
                    "start_time": at,
                    "status": rng.choice(["completed", "failed", "started"]),
                    "scope_id": rng.choice("xy"),
                    "agent_type": rng.choice("ab"),
                    "execution_step": rng.choice(["run", "tool"]),
                    "report_id": rng.choice(["r", None]),
                    "duration_ms": rng.randrange(10_000),
                },
            )
        )
    await database_of(storage).write(changes)
    return LogStore(storage)


@pytest.fixture
async def full(storage: Storage) -> LogStore:
    return await filled(storage)


PERIODS = [
    (timedelta(0), timedelta(days=3)),
    (timedelta(minutes=7), timedelta(hours=30, minutes=11)),
    (timedelta(minutes=30), timedelta(hours=5, minutes=30)),
    (timedelta(minutes=1), timedelta(minutes=29)),
    (timedelta(minutes=10), timedelta(minutes=50)),
    (timedelta(hours=2, seconds=1), timedelta(hours=2, seconds=1)),
]


async def test_a_period_counts_what_began_in_it(full: LogStore) -> None:
    for (first, last), scope in product(PERIODS, (None, "x")):
        await look_at(full, START + first, START + last, scope)


async def look_at(full: LogStore, start: datetime, end: datetime, scope: str | None) -> None:
    calls = await every(full.llm_calls, start_date=start, end_date=end, scope_id=scope)
    executions = await every(full.executions, start_date=start, end_date=end, scope_id=scope)
    summary = await full.summary(start_date=start, end_date=end, scope_id=scope)
    told = summary["llm_call_analytics"]
    assert told["total_calls"] == len(calls)
    assert told["token_stats"]["total_tokens"] == sum(call.total_tokens for call in calls)
    assert told["token_stats"]["total_cost"] == sum((call.total_cost for call in calls), Decimal(0))
    assert sum(told["cost_by_model"].values()) == told["token_stats"]["total_cost"]
    told = summary["execution_analytics"]
    assert told["total_executions"] == len(executions) == sum(told["status_counts"].values())
    durations = [one.duration_ms for one in executions]
    assert told["duration_stats"]["min_duration_ms"] == min(durations, default=None)
    assert told["duration_stats"]["max_duration_ms"] == max(durations, default=None)
    by_day = await full.usage("day", "model", start_date=start, end_date=end, scope_id=scope)
    assert sum(one.calls for one in by_day.values()) == len(calls)
    assert {day for day, _ in by_day} == {call.start_time.strftime("%Y-%m-%d") for call in calls}


async def every(page: Callable[..., Any], **filters: Any) -> list[Any]:
    found: list[Any] = []
    while some := await page(limit=500, before=found[-1].id if found else None, **filters):
        found += some
    return found


async def test_a_report_is_added_up_from_its_rows(full: LogStore) -> None:
    summary = await full.summary(start_date=START, end_date=START + timedelta(days=3), report_id="r")
    calls = await every(full.llm_calls, report_id="r")
    assert summary["llm_call_analytics"]["total_calls"] == len(calls) > 0
    assert summary["execution_analytics"]["total_executions"] == len(
        await every(full.executions, report_id="r")
    )


async def test_the_summary_has_the_documented_shape(full: LogStore) -> None:
    summary = await full.summary(start_date=START, end_date=START + timedelta(days=3))
    assert list(summary) == ["date_range", "execution_analytics", "llm_call_analytics"]
    assert set(summary["date_range"]) == {"start_date", "end_date"}
    executions, calls = summary["execution_analytics"], summary["llm_call_analytics"]
    assert {"total_executions", "status_counts", "agent_type_counts", "duration_stats"} <= set(executions)
    assert set(executions["duration_stats"]) == {"avg_duration_ms", "min_duration_ms", "max_duration_ms"}
    assert {"total_calls", "provider_counts", "model_counts", "token_stats"} <= set(calls)
    tokens = {"total_input_tokens", "total_output_tokens", "total_tokens", "total_cost"}
    assert tokens <= set(calls["token_stats"])
    ended = sum(executions["status_counts"][status] for status in ("completed", "failed"))
    assert executions["success_rate"] == round(100 * executions["status_counts"]["completed"] / ended, 2)


async def test_nothing_adds_up_to_nothing(logs: LogStore) -> None:
    summary = await logs.summary()
    assert summary["execution_analytics"]["total_executions"] == 0
    assert summary["execution_analytics"]["success_rate"] is None
    assert summary["llm_call_analytics"]["token_stats"]["total_cost"] == 0
    assert await logs.latency() == {}
    for start, end in ((datetime(2026, 1, 1), None), (START, START - timedelta(1))):  # noqa: DTZ001
        with pytest.raises(InvalidInput):
            await logs.summary(start_date=start, end_date=end)


def near(milliseconds: int) -> Any:
    """Return what a percentile equals that is as near as is promised, and rounded."""
    return pytest.approx(milliseconds, abs=milliseconds * rollups.ACCURACY + 0.06)


async def test_percentiles_are_near_the_true_ones(storage: Storage) -> None:
    full = await filled(storage, 2000, seed=11)
    end = START + timedelta(days=3)
    for by, groups in ((None, {"all"}), ("agent", {"a", "b"}), ("model", {"m", "n"}), ("scope", {"x", "y"})):
        told = await full.latency(by=by, start_date=START, end_date=end)
        assert set(told) == groups
        for group, percentiles in told.items():
            column = {"agent": "agent", "model": "model_id", "scope": "scope_id"}.get(by or "")
            calls = await every(full.llm_calls, **({column: group} if column else {}))
            durations = sorted(call.duration_ms for call in calls)
            assert percentiles["count"] == len(durations)
            for percent in (50, 90, 95, 99):
                true = durations[math.ceil(percent * len(durations) / 100) - 1]  # the nearest rank
                assert percentiles[f"p{percent}_ms"] == near(true)


@pytest.mark.parametrize(
    ("durations", "of_percent"),
    [
        ([13, 13, 13, 14, 14, 14, 14, 14, 64, 404], {50: 14, 90: 64, 95: 404, 99: 404}),
        ([700, 1000, 1000, 17_900], {50: 1000, 90: 17_900, 99: 17_900}),
        ([5], {50: 5, 99: 5}),
        (list(range(1, 101)), {50: 50, 90: 90, 95: 95, 99: 99}),
    ],
)
async def test_percentiles_of_few_do_not_hide_the_slowest(
    storage: Storage, logs: LogStore, durations: list[int], of_percent: dict[int, int]
) -> None:
    rows = [{"start_time": START, "provider": "p", "model_id": "m", "duration_ms": one} for one in durations]
    await database_of(storage).write([Change(llm_call_logs, new_row(), row) for row in rows])
    told = (await logs.latency(start_date=START, end_date=START + timedelta(days=1)))["all"]
    for percent, true in of_percent.items():
        assert told[f"p{percent}_ms"] == near(true)


async def test_executions_have_no_model(logs: LogStore) -> None:
    with pytest.raises(InvalidInput, match="by agent or scope"):
        await logs.latency("execution", by="model")


@given(milliseconds=st.integers(1, 10**12))
def test_a_bucket_stands_for_what_is_in_it(milliseconds: int) -> None:
    middle = rollups.middle_of(rollups.bucket_of(milliseconds))
    assert middle == pytest.approx(milliseconds, rel=rollups.ACCURACY * 1.001)


async def test_texts_go_and_numbers_stay(storage: Storage) -> None:
    from agent_runtime.observability import ExecutionLogger, LLMCallLogger

    async with (
        ExecutionLogger(storage).log_execution("a", "run", input_data={"a": 1}),
        LLMCallLogger(storage).log_llm_call("p", "m", "?") as call,
    ):
        call.response = "!"
    logs = LogStore(storage)
    before = await sums(logs)
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await logs.forget(before=START, only_content=True) == (0, 0)
    assert await logs.forget(before=later, scope_id="another") == (0, 0)
    assert await logs.forget(before=later, only_content=True) == (1, 1)
    assert await logs.forget(before=later, only_content=True) == (0, 0)
    (call_row,) = await logs.llm_calls()
    whole = await logs.llm_call(call_row.id)
    assert whole is not None
    assert whole.prompt is whole.response is None
    assert await sums(logs) == before == await recounted(logs)
    (execution,) = await logs.executions()
    assert await logs.delete_execution(execution.execution_id, scope_id="another") == (0, 0)
    assert await logs.delete_execution(execution.execution_id) == (1, 1)
    assert not any(map(len, (await sums(logs)).values()))
