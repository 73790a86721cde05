"""`agent-runtime logs`, on a SQLite file with jobs in it: a planner that loops, a child of its, and models without a price."""

import asyncio
import contextlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from agent_runtime import ErasureSubject, ExecutionRequest, OperatorContext
from agent_runtime.cli.commands.costs import costs
from agent_runtime.cli.commands.jobs import jobs
from agent_runtime.cli.commands.logs import logs
from agent_runtime.observability.sql.database import database_of
from agent_runtime.observability.sql.ids import new_row
from agent_runtime.observability.sql.tables import llm_call_logs
from agent_runtime.observability.sql.writing import Change
from agent_runtime.storage.sqlite import SQLiteStorage
from llm_client import (
    Agent,
    ExecutionEngine,
    FunctionProvider,
    ModelPrices,
    PriceBook,
    ProviderUnavailable,
    RequestSpec,
    RetryConfig,
)
from support.kernels import kernel

PRICED = PriceBook({"desk:big-model": ModelPrices.of(input=1000, output=1000)})


def desk(model: str, answer: Any = "so be it") -> Agent:
    provider = FunctionProvider(
        lambda spec: answer(spec) if callable(answer) else answer, name="desk", model=model
    )
    engine = ExecutionEngine(provider, prices=PRICED, retry=RetryConfig(attempts=1))
    return Agent(engine=engine, use_middleware=False)


async def planner(context: OperatorContext, given: int) -> str:
    """Look something up, and ask so many times."""
    await context.step(str, given, effect="read")
    for number in range(given):
        await desk("big-model").run(f"{number}?")
    if given > 1:
        await context.child("reader", 1)
    return "planned"


async def reader(context: OperatorContext, given: int) -> str:
    """Ask a model that has no price."""
    return (await desk("new-model").run("read")).content


async def unlucky(context: OperatorContext, given: int) -> str:
    """Ask a model that is not there."""

    def down(spec: RequestSpec) -> str:
        raise ProviderUnavailable("the desk is closed", status=503)

    with contextlib.suppress(ProviderUnavailable):
        await desk("big-model", down).run("?")
    return "no"


class Scene(NamedTuple):
    path: Path
    short: str
    long: str
    unlucky: str


def run(*arguments: str | Path, group: Any = logs) -> Result:
    return CliRunner().invoke(group, [str(one) for one in arguments], catch_exceptions=True)


async def fill(path: Path) -> list[str]:
    storage, ids = SQLiteStorage(path), []
    async with kernel(storage, operators=[planner, reader, unlucky]) as k:
        for operator, given, who in (("planner", 5, "ann"), ("unlucky", 1, "bob"), ("planner", 1, "bob")):
            handle = await k.execute(
                ExecutionRequest(operator=operator, input=given, principal_id=who, session_id=f"{who}-s")
            )
            await handle.result()
            ids.append(handle.job_id)
    await storage.aclose()
    return ids


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    path = tmp_path / "runs.db"
    long, without, short = asyncio.run(fill(path))
    return Scene(path, short, long, without)


def said(scene: Scene, *arguments: str, group: Any = logs) -> str:
    ended = run(*arguments, "--db", scene.path, group=group)
    assert ended.exit_code == 0, ended.output
    return ended.output


def cells(text: str, beginning: str) -> list[str]:
    """Return the cells of the row of a table that begins with a text."""
    (row,) = [line for line in text.splitlines() if line.startswith(beginning)]
    return re.split(r"  +", row.strip())


def column(text: str, name: str) -> list[str]:
    """Return what stands in a column, by its place: cells may be empty."""
    header, *rows = text.splitlines()
    end = header.index(name) + len(name)
    return [row[:end].rpartition("  ")[2].strip() for row in rows]


def test_an_unknown_price_is_no_price_everywhere(scene: Scene) -> None:
    by_cost = said(scene, "--by", "model", group=costs)
    used = said(scene, "usage", "--by", "model")
    for table in (by_cost, used):
        assert "no price" in cells(table, "desk:new-model")
        assert any(cell.startswith("≥ $") for cell in cells(table, "total"))
    total = next(cell for cell in cells(used, "total") if cell.startswith("≥"))
    assert total == next(cell for cell in cells(by_cost, "total") if cell.startswith("≥"))
    summary = said(scene, "summary")
    assert cells(summary, "  cost")[1] == total
    assert cells(summary, "  saved by caches")[1] == "–"
    listed = said(scene, "list", "--agent", "reader")
    assert "no price" in listed
    assert "≥ $" in said(scene, "show", scene.long)
    told = json.loads(said(scene, "summary", "--json"))["llm_call_analytics"]
    assert told["unpriced_by_model"] == {"new-model": 1, "big-model": 0}
    assert told["unpriced_by_provider"] == {"desk": 1}


def test_a_model_is_named_in_one_way_and_found_by_two(scene: Scene) -> None:
    for command in (("calls",), ("usage",)):
        assert "desk:big-model" in said(scene, *command)
    assert "desk:big-model" in said(scene, "show", scene.short, group=jobs)
    short, long = (
        json.loads(said(scene, "calls", "--json", "--model", name))
        for name in ("big-model", "desk:big-model")
    )
    assert [one["id"] for one in short] == [one["id"] for one in long]
    assert len(short) == 7
    assert "no model calls" in said(scene, "calls", "--model", "shop:big-model")


def test_a_list_shows_runs_and_the_one_that_loops(scene: Scene) -> None:
    listed = said(scene, "list", "--agent", "planner")
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [scene.short, scene.long]
    assert column(listed, "calls") == ["1", "5"]
    assert [cells(listed, job)[1] for job in (scene.short, scene.long)] == ["bob", "ann"]
    assert "step" in said(scene, "list", "--agent", "planner", "--steps")
    assert len(said(scene, "list", "--step", "step").splitlines()) == 3
    for sort in ("calls", "cost"):
        first, *_ = said(scene, "list", "--sort", sort).splitlines()[1:]
        assert first.startswith(scene.long)
    durations = [
        one["duration_ms"] for one in json.loads(said(scene, "list", "--sort", "duration", "--json"))
    ]
    assert durations == sorted(durations, reverse=True)
    used = said(scene, "usage", "--by", "agent")
    assert cells(used, "planner")[1:4] == ["2", "6", "3.0"]


def test_usage_by_day_is_told_day_by_day_with_its_total(tmp_path: Path) -> None:
    async def fill_days() -> None:
        storage = SQLiteStorage(tmp_path / "runs.db")
        await storage.open()
        changes = [
            Change(
                llm_call_logs,
                new_row(),
                {
                    "start_time": datetime.now(UTC) - timedelta(days=days),
                    "status": "completed",
                    "provider": "p",
                    "model_id": "m",
                    "total_cost_units": cost * 10**10,
                },
            )
            for days, cost in ((3, 5), (2, 9), (1, 7))
        ]
        await database_of(storage).write(changes)
        await storage.aclose()

    asyncio.run(fill_days())
    ended = run("usage", "--by", "day", "--db", tmp_path / "runs.db")
    *rows, total = ended.output.splitlines()[1:]
    assert [row.split()[0] for row in rows] == sorted(row.split()[0] for row in rows)
    assert cells(ended.output, "total")[1] == "3"
    assert "$21.000000" in total


def test_lists_are_narrowed_by_person_and_session(scene: Scene) -> None:
    for option in (("--principal", "ann"), ("--session", "ann-s")):
        assert scene.short not in said(scene, "list", *option)
        assert scene.long in said(scene, "list", *option)
        assert len(json.loads(said(scene, "calls", "--json", *option))) == 6  # its child asks in its name
        listed = said(scene, "list", *option, group=jobs)
        assert scene.long in listed
        assert scene.short not in listed


def test_what_a_run_has_begun_is_named_and_added_up(scene: Scene) -> None:
    shown = said(scene, "show", scene.long)
    (child,) = [one for one in json.loads(said(scene, "list", "--json")) if one["agent_type"] == "reader"]
    assert child["parent_execution_id"] == scene.long
    assert cells(shown, f"  {child['execution_id']}")[1:] == [
        "reader",
        "completed",
        cells(shown, f"  {child['execution_id']}")[3],
        "1 model call, no price",
    ]
    assert "in all: 5 model calls, $" in shown
    assert "with its children: 6 model calls, ≥ $" in shown
    assert said(scene, "show", child["parent_id"]) == shown
    assert "children" not in said(scene, "show", scene.short)


def test_content_that_has_gone_is_said_to_have_gone(scene: Scene) -> None:
    first = json.loads(said(scene, "calls", "--json", "--job", scene.short))[0]["id"]
    assert "content" not in said(scene, "call", first)

    async def erase() -> None:
        storage = SQLiteStorage(scene.path)
        async with kernel(storage) as k:
            await k.audit.erase(ErasureSubject(scope_id="default", job_id=scene.short), by="ops")
        await storage.aclose()

    asyncio.run(erase())
    for command in (("call", first), ("show", scene.short)):
        assert "its content was erased at 2" in said(scene, *command)

    other = json.loads(said(scene, "calls", "--json", "--job", scene.long))[0]["id"]
    said(scene, "forget", "--before", "0s", "--only-content")
    for command in (("call", other), ("show", scene.long)):
        assert "no content is there: it was deleted from the logs, or never kept" in said(scene, *command)


def test_costs_are_added_up_by_several_names(scene: Scene) -> None:
    by_both = json.loads(said(scene, "--by", "agent", "--by", "model", "--json", group=costs))
    assert {(one["agent"], one["model"]) for one in by_both} >= {
        ("planner", "desk:big-model"),
        ("reader", "desk:new-model"),
    }
    table = said(scene, "--by", "agent", "--by", "model", group=costs)
    assert table.splitlines()[0].split()[:2] == ["agent", "model"]
    assert cells(table, "total")[1] == "8"


def test_who_takes_one_id_for_another_is_told_where_it_belongs(scene: Scene) -> None:
    call = json.loads(said(scene, "calls", "--json", "--job", scene.short))[0]["id"]
    for command, way in (
        (("call", scene.short), f"logs show {scene.short}"),
        (("show", call), f"logs call {call}"),
    ):
        ended = run(*command, "--db", scene.path)
        assert way in str(ended.exception)
    ended = run("call", "nothing", "--db", scene.path)
    assert "'nothing' is not the id of a row" in str(ended.exception)


def test_a_page_says_how_the_next_one_is_asked_for(scene: Scene) -> None:
    for command in ("list", "calls"):
        ended = run(command, "--limit", "1", "--db", scene.path)
        (row,) = re.findall(r"more: --before (\S+)", ended.stderr)
        assert said(scene, command, "--limit", "1", "--before", row) != ended.stdout
    assert scene.long in said(scene, "list", "--before", scene.short)
    assert scene.short not in said(scene, "list", "--before", scene.short)


def test_lists_say_why_something_failed(scene: Scene) -> None:
    assert "the desk is closed" in said(scene, "calls", "--status", "failed")
    assert "reason" not in said(scene, "calls", "--status", "completed")


def test_a_summary_says_of_when_it_is_and_how_runs_ended(scene: Scene) -> None:
    summary = said(scene, "summary")
    assert cells(summary, "from")[1].startswith("2")
    assert cells(summary, "runs")[1] == "4"
    assert "100 %" in summary


def test_what_cannot_be_told_is_refused(scene: Scene) -> None:
    ended = run("latency", "--of", "execution", "--by", "model", "--db", scene.path)
    assert "executions have no model" in str(ended.exception)
    assert said(scene, "usage", "--by", "agent", "--by", "agent") == said(scene, "usage", "--by", "agent")


@pytest.mark.parametrize(
    ("command", "option", "wrong", "right"),
    [
        ("list", "--agent", "planer", "planner"),
        ("calls", "--agent", "planer", "planner"),
        ("calls", "--model", "big-modle", "big-model"),
    ],
)
def test_a_name_that_nothing_has_is_told_with_those_that_are_near(
    scene: Scene, command: str, option: str, wrong: str, right: str
) -> None:
    assert f"{wrong!r} is not logged, but {right!r}" in said(scene, command, option, wrong)


def test_who_deletes_an_executions_logs_stands_in_the_trail(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    async def prepare() -> str:
        async with kernel(SQLiteStorage(path, durability="process"), operators={"planner": planner}) as k:
            handle = await k.execute(ExecutionRequest(operator="planner", input=1, scope_id="acme"))
            await handle.result()
            return handle.job_id

    async def trail() -> list[tuple[str, object]]:
        async with kernel(SQLiteStorage(path, durability="process"), worker=False) as k:
            return [(one.kind, one.data.get("execution_id")) for one in await k.storage.trail("acme")]

    job_id = asyncio.run(prepare())
    delete = ["delete", job_id, "--db", str(path)]
    assert CliRunner().invoke(logs, delete).exit_code == 0
    assert ("logs.deleted", job_id) in asyncio.run(trail())
    assert CliRunner().invoke(logs, delete).exit_code != 0
