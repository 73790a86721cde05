"""Execution logs over HTTP: found by every documented filter, with true totals, added up, deleted, and nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from agent_runtime import (
    OperatorContext,
    PostgresActionStore,
    PostgresJobStore,
    PostgresLedgerWriter,
    Role,
    RuntimeKernel,
)
from llm_client import Agent, ScriptedProvider
from support.kernels import opened
from support.log_rows import NEW_YEAR, call, execution, write
from support.service import Service, problem_in, service_of

PAGE_BYTES = 200 * 1024
LISTS = ("/execution-logs/executions", "/execution-logs/llm-calls")


async def work(context: OperatorContext, given: Any) -> Any:
    return {"answer": (await context.agent.run("Well?")).content}


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def service(place: str, tmp_path: Path) -> AsyncIterator[Service]:
    agent = Agent(provider=ScriptedProvider(["Yes."] * 10), system_message="Be brief.")
    async with opened(place, tmp_path) as storage:
        kernel = RuntimeKernel(storage=storage, agent=agent)
        async with service_of(kernel) as service:
            yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    async with service.client(await service.key(Role.ADMIN)) as client:
        yield client


async def told(client: httpx2.AsyncClient, path: str, **params: Any) -> Any:
    response = await client.get(f"/execution-logs/{path}", params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_database_without_logs_has_empty_lists(client: httpx2.AsyncClient) -> None:
    assert await told(client, "executions") == {"executions": [], "total": 0, "limit": 50, "offset": 0}
    assert await told(client, "llm-calls") == {"llm_calls": [], "total": 0, "limit": 50, "offset": 0}
    summary = await told(client, "analytics/summary")
    assert summary["execution_analytics"]["total_executions"] == 0
    assert summary["llm_call_analytics"]["token_stats"]["total_cost"] == 0


async def test_a_job_is_in_the_logs_when_it_has_ended(client: httpx2.AsyncClient) -> None:
    submitted = await client.post("/v1/jobs", json={"prompt": "I am Ada.", "metadata": {"report_id": "r"}})
    job_id = submitted.json()["job_id"]
    await client.get(f"/v1/jobs/{job_id}/result", params={"wait": 20})

    listed = await told(client, "executions", report_id="r", execution_step="run", include_llm_calls=True)
    (run,) = listed["executions"]
    assert (run["execution_id"], run["status"], listed["total"]) == (job_id, "completed", 1)
    assert (run["llm_call_count"], len(run["llm_calls"])) == (1, 1)
    assert "input_data" not in run
    assert run["start_time"].endswith("Z")

    whole = await told(client, f"llm-calls/{run['llm_calls'][0]['id']}")
    assert (whole["prompt"], whole["response"]) == ("system: Be brief.\n\nuser: I am Ada.", "Yes.")


async def test_every_documented_filter_narrows(service: Service, client: httpx2.AsyncClient) -> None:
    day = timedelta(days=1)
    one = {
        "report_id": "r",
        "agent_type": "designer",
        "execution_step": "observe",
        "action_type": "draw",
        "status": "failed",
        "external_platform": "slack",
    }
    rows = [execution(execution_id=f"other{n}") for n in range(3)]
    await write(
        service.kernel.storage, [*rows, execution(execution_id="one", start_time=NEW_YEAR + day, **one)]
    )

    moments = {"start_date": (NEW_YEAR + day).isoformat(), "end_date": (NEW_YEAR + day).isoformat()}
    for name, value in one.items():
        found = await told(client, "executions", **{name: value})
        assert ([row["execution_id"] for row in found["executions"]], found["total"]) == (["one"], 1), name
    assert (await told(client, "executions", start_date=moments["start_date"]))["total"] == 1
    assert (await told(client, "executions", end_date=moments["end_date"]))["total"] == 3
    assert (await told(client, "executions", agent_type="designer", status="completed"))["total"] == 0
    refused = await client.get("/execution-logs/executions", params={"status": "succeeded"})
    assert problem_in(refused, 422)["errors"][0]["place"] == "query.status"
    no_zone = await client.get("/execution-logs/executions", params={"start_date": "2024-01-01T00:00:00"})
    assert problem_in(no_zone, 422)["errors"][0]["place"] == "query.start_date"


async def test_calls_are_listed_by_every_documented_filter(
    service: Service, client: httpx2.AsyncClient
) -> None:
    day = timedelta(days=1)
    one = {
        "provider": "google",
        "model_id": "gemini-pro",
        "call_type": "embedding",
        "status": "cancelled",
        "report_id": "r",
        "execution_log_id": "x",
    }
    rows = [call("0.25") for _ in range(3)]
    await write(service.kernel.storage, [*rows, call(start_time=NEW_YEAR + day, **one)])

    for name, value in [*one.items(), ("model_id", "google:gemini-pro")]:
        found = await told(client, "llm-calls", **{name: value})
        assert ([row["model_id"] for row in found["llm_calls"]], found["total"]) == (["gemini-pro"], 1), name
    assert (await told(client, "llm-calls", start_date=(NEW_YEAR + day).isoformat()))["total"] == 1
    first = await told(client, "llm-calls", end_date=(NEW_YEAR + day).isoformat(), limit=1)
    assert (first["total"], first["llm_calls"][0]["total_cost"]) == (3, 0.25)
    assert found["llm_calls"][0]["total_cost"] is None


@pytest.mark.parametrize("path", LISTS)
async def test_pages_have_the_total_of_the_whole_list_also_behind_its_end(
    service: Service, client: httpx2.AsyncClient, path: str
) -> None:
    rows = [make(start_time=NEW_YEAR + timedelta(seconds=n)) for n in range(7) for make in (execution, call)]
    await write(service.kernel.storage, rows)
    seen: list[str] = []
    for offset in (0, 3, 6, 9):
        page = (await client.get(path, params={"limit": 3, "offset": offset})).json()
        items = page["executions" if path == LISTS[0] else "llm_calls"]
        assert (page["total"], page["limit"], page["offset"]) == (7, 3, offset)
        seen += [item["start_time"] for item in items]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 7
    for name, value in (("limit", 501), ("limit", 0), ("offset", 100_001), ("offset", -1)):
        assert problem_in(await client.get(path, params={name: value}), 422)["code"] == "INVALID_INPUT"
    assert (await client.get(path, params={"limit": 500, "offset": 100_000})).json()["total"] == 7


async def test_one_execution_is_told_with_its_texts_and_calls(
    service: Service, client: httpx2.AsyncClient
) -> None:
    run = execution(execution_id="e", input_data={"n": 1}, output_data=["a"], metadata={"k": "v"})
    step = execution(execution_id="e", parent_id=run.id, start_time=NEW_YEAR + timedelta(seconds=1))
    await write(service.kernel.storage, [run, step, call("0.5", execution_log_id=run.id)])

    found = await told(client, "executions/e")
    assert (found["execution_id"], found["total"], found["next_offset"]) == ("e", 2, None)
    first, second = found["executions"]
    assert (first["input_data"], first["output_data"], first["metadata"]) == ({"n": 1}, ["a"], {"k": "v"})
    assert [one["total_cost"] for one in first["llm_calls"]] == [0.5]
    assert (second["parent_id"], second["llm_calls"]) == (run.id, [])
    assert (await told(client, f"executions/{step.id}"))["execution_id"] == "e"
    (bare, _) = (await told(client, "executions/e", include_llm_calls=False))["executions"]
    assert (bare["llm_calls"], bare["llm_call_count"]) == (None, None)
    for path in ("executions/nobody", "llm-calls/6a1f2f5e-7b3c-5d8e-9f10-111213141516"):
        missing = await client.get(f"/execution-logs/{path}")
        assert problem_in(missing, 404)["code"] == "UNKNOWN_EXECUTION"


async def test_a_run_of_ten_thousand_steps_is_told_in_small_answers(
    service: Service, client: httpx2.AsyncClient
) -> None:
    run = execution(execution_id="long", execution_step="run", start_time=NEW_YEAR - timedelta(seconds=1))
    steps = [
        execution(
            execution_id="long",
            execution_step="tool",
            parent_id=run.id,
            start_time=NEW_YEAR + timedelta(milliseconds=n),
            output_data="x" * 3000,
        )
        for n in range(10_000)
    ]
    calls = [call("0.1", execution_log_id=run.id) for _ in range(700)]
    await write(service.kernel.storage, [run, *steps, *calls])

    for params in ({}, {"include_llm_calls": True}, {"execution_step": "run", "include_llm_calls": True}):
        listed = await client.get("/execution-logs/executions", params=params)
        assert len(listed.content) <= PAGE_BYTES, params
    assert listed.json()["executions"][0]["llm_call_count"] == 700
    assert len(listed.json()["executions"][0]["llm_calls"]) == 500
    whole = await client.get("/execution-logs/executions/long", params={"include_llm_calls": False})
    assert len(whole.content) <= PAGE_BYTES + 1024
    assert whole.json()["total"] == 10_001
    rest = await client.get(
        "/execution-logs/executions/long", params={"offset": whole.json()["next_offset"], "limit": 1}
    )
    assert rest.json()["executions"][0]["start_time"] > whole.json()["executions"][-1]["start_time"]


async def test_calls_of_a_page_are_each_executions_first(
    service: Service, client: httpx2.AsyncClient
) -> None:
    rows = [execution(execution_id=f"e{n}") for n in range(3)]
    calls = [
        call(execution_log_id=row.id, start_time=NEW_YEAR + timedelta(seconds=second))
        for row, count in zip(rows, (600, 2, 0), strict=True)
        for second in range(count)
    ]
    await write(service.kernel.storage, [*rows, *calls])
    page = await told(client, "executions", include_llm_calls=True)
    counts = {
        one["execution_id"]: (len(one["llm_calls"]), one["llm_call_count"]) for one in page["executions"]
    }
    assert counts == {"e0": (498, 600), "e1": (2, 2), "e2": (0, 0)}


async def test_a_period_is_added_up(service: Service, client: httpx2.AsyncClient) -> None:
    run = execution(duration_ms=40, report_id="r")
    failed = execution(status="failed", agent_type="coder")
    calls = [call("0.045", input_tokens=3, output_tokens=2, report_id="r"), call(provider="mine")]
    await write(service.kernel.storage, [run, failed, *calls])

    asked = {"start_date": "2024-01-01T00:00:00Z", "end_date": "2024-01-31T23:59:59Z"}
    found = await told(client, "analytics/summary", **asked)
    assert found["date_range"] == asked
    assert found["execution_analytics"]["status_counts"] == {"completed": 1, "failed": 1}
    assert found["execution_analytics"]["success_rate"] == 50.0
    assert found["llm_call_analytics"]["token_stats"]["total_cost"] == 0.045
    assert found["llm_call_analytics"]["unpriced_by_provider"] == {"mine": 1, "openai": 0}
    of_report = await told(client, "analytics/summary", report_id="r", **asked)
    assert of_report["execution_analytics"]["total_executions"] == 1
    backwards = {"start_date": asked["end_date"], "end_date": asked["start_date"]}
    refused = await client.get("/execution-logs/analytics/summary", params=backwards)
    assert problem_in(refused, 422)["code"] == "INVALID_INPUT"
    assert (await told(client, "analytics/summary"))["execution_analytics"]["total_executions"] == 0


async def test_a_key_sees_its_own_scope_alone(service: Service, client: httpx2.AsyncClient) -> None:
    theirs = execution(execution_id="theirs", scope_id="rival")
    ours = execution(execution_id="ours")
    intruding = call(scope_id="rival", execution_log_id=ours.id)
    await write(service.kernel.storage, [theirs, ours, intruding])

    assert (await told(client, "executions"))["total"] == 1
    assert (await told(client, "llm-calls"))["total"] == 0
    page = await told(client, "executions", include_llm_calls=True)
    assert page["executions"][0]["llm_call_count"] == 0
    summary = await told(client, "analytics/summary", start_date="2023-12-31T00:00:00Z")
    assert summary["execution_analytics"]["total_executions"] == 1
    for method, path in (
        ("GET", "executions/theirs"),
        ("GET", f"executions/{theirs.id}"),
        ("GET", f"llm-calls/{intruding.id}"),
        ("DELETE", "executions/theirs"),
    ):
        problem_in(await client.request(method, f"/execution-logs/{path}"), 404)
    for path in ("executions", "executions/theirs", "llm-calls", "analytics/summary"):
        problem_in(await client.get(f"/execution-logs/{path}", params={"scope_id": "rival"}), 403)
    async with service.client(await service.key(Role.ADMIN, scope_id=None)) as everywhere:
        assert (await told(everywhere, "executions"))["total"] == 2
        assert (await told(everywhere, "executions", scope_id="rival"))["total"] == 1


async def test_who_deletes_logs_stands_in_the_trail(service: Service, client: httpx2.AsyncClient) -> None:
    row = execution(execution_id="e")
    await write(service.kernel.storage, [row, call(execution_log_id=row.id), execution(execution_id="kept")])
    async with service.client(await service.key(Role.APPROVER)) as approver:
        problem_in(await approver.delete("/execution-logs/executions/e"), 403)
    assert (await told(client, "executions"))["total"] == 2

    response = await client.delete("/execution-logs/executions/e")
    assert response.json() == {"execution_id": "e", "executions": 1, "llm_calls": 1}
    found = await told(client, "executions")
    assert [one["execution_id"] for one in found["executions"]] == ["kept"]
    assert (await told(client, "llm-calls"))["total"] == 0
    problem_in(await client.delete("/execution-logs/executions/e"), 404)
    (note,) = [one for one in await service.kernel.storage.trail("acme") if one.kind == "logs.deleted"]
    assert note.data["execution_id"] == "e"
    assert str(note.data["by"]).startswith("key:")


async def test_a_storage_on_its_callers_connections_has_empty_logs(database: str) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=5)
    kernel = RuntimeKernel(
        job_store=PostgresJobStore(pool),
        action_store=PostgresActionStore(pool),
        ledger_writer=PostgresLedgerWriter(pool),
    )
    async with service_of(kernel) as service, service.client(await service.key()) as client:
        assert (await told(client, "executions"))["total"] == 0
        assert (await told(client, "analytics/summary"))["llm_call_analytics"]["total_calls"] == 0
        problem_in(await client.get("/execution-logs/executions/e"), 404)
    await pool.close()
