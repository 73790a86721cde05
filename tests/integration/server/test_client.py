"""The client against the service: every operation has a method, and what it says and raises is what the runtime itself would."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

import httpx2
import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    IdempotencyConflict,
    InvalidInput,
    JobCancelled,
    JobFailed,
    KernelOptions,
    OperatorContext,
    QueueFull,
    Role,
    RuntimeKernel,
    ServiceError,
    Timing,
    UnknownAction,
    UnknownExecution,
    UnknownJob,
    UnknownSchedule,
)
from agent_runtime.client import (
    AnswerTexts,
    AsyncClient,
    Client,
    async_client,
    key_models,
    models,
    schedule_models,
)
from agent_runtime.client.blocking import Blocking
from agent_runtime.client.jobs import JobFields
from agent_runtime.client.resource import Resource
from agent_runtime.server import create_app
from agent_runtime.server.running import serving
from llm_client import ExecutionEngine, FunctionProvider
from support.log_rows import documented_plan
from support.service import Service, served

WORDS = [f"word{number} " for number in range(40)]
CLIENT = Path(async_client.__file__).parent
OF_STREAMS = {"last-event-id", "accept"}
"""Headers that every stream has."""


OF_BROWSERS = {"POST /v1/ag-ui/{operator}", "POST /v1/session", "DELETE /v1/session"}
"""Cookies, which programs have no use for: they send their key; and runs of pages."""


async def write(spec: Any) -> AsyncIterator[str]:
    for word in WORDS:
        await asyncio.sleep(0.005)
        yield word


async def echo(context: OperatorContext, given: Any) -> Any:
    return {"got": given}


async def fail(context: OperatorContext, given: Any) -> Any:
    raise ValueError("not today")


async def ask(context: OperatorContext, given: Any) -> Any:
    return await context.action(ActionSpec(type="confirm", payload={"message": "go on?"}))


released: list[asyncio.Event] = []
"""What the jobs of this test wait for in the middle."""


async def counts(context: OperatorContext, given: int) -> int:
    for number in range(given):
        await context.emit("custom.step", {"number": number})
        if number == given // 2:
            await released[-1].wait()
    return given


OPERATORS = {"echo": echo, "fail": fail, "ask": ask}


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    kernel = RuntimeKernel(engine=ExecutionEngine(FunctionProvider(write)), operators=OPERATORS)
    async with served(kernel) as service:
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(service.url, await service.key(Role.ADMIN)) as client:
        yield client


# Nothing of the service is left out


def calls_of(module: Path) -> list[tuple[str, set[str]]]:
    """Return the operations that a module of the client asks for, each with the names of its parameters."""
    found = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        texts = [
            arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
        ]
        route = next((text for text in texts if text.startswith("/")), None)
        if route is None:
            continue
        method = next((text for text in texts if text.isupper()), "GET")
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        names = {
            ast.literal_eval(key).lower()
            for told in (given.get("query"), given.get("headers"))
            if isinstance(told, ast.Dict)
            for key in told.keys
            if key is not None
        }
        names |= set(re.findall(r"{(\w+)}", route))
        if "pages" in ast.unparse(node.func):
            names.add(ast.literal_eval(given["cursor"]) if "cursor" in given else "cursor")
        found.append((f"{method} {route}", names))
    return found


def test_every_operation_and_every_parameter_of_the_service_has_its_place_in_the_client() -> None:
    asked: dict[str, set[str]] = {}
    for module in CLIENT.glob("*.py"):
        for name, parameters in calls_of(module):
            asked.setdefault(name, set()).update(parameters)
    told = {
        f"{method.upper()} {path}": {
            one["name"].lower()
            for one in operation.get("parameters", ())
            if one["name"].lower() not in OF_STREAMS
        }
        for path, item in create_app(RuntimeKernel()).openapi()["paths"].items()
        for method, operation in item.items()
    }
    assert asked == {name: parameters for name, parameters in told.items() if name not in OF_BROWSERS}


def parts(client: type) -> dict[str, type]:
    return {
        name: type(value)
        for name, value in vars(client("http://service")).items()
        if isinstance(value, Resource | Blocking)
    }


def test_the_client_for_ordinary_code_has_every_method_of_the_other_one() -> None:
    pairs = [(AsyncClient, Client)]
    asynchronous, ordinary = parts(AsyncClient), parts(Client)
    assert asynchronous.keys() == ordinary.keys() - {"_part"}
    pairs += [(asynchronous[name], ordinary[name]) for name in asynchronous]
    for theirs, ours in pairs:
        names = {name for name in vars(theirs) if not name.startswith("_")}
        renamed = {"aclose": "close"}
        for name in names:
            method = getattr(ours, renamed.get(name, name))
            assert inspect.signature(method) == inspect.signature(getattr(theirs, name)), name
            assert method.__doc__ == getattr(theirs, name).__doc__


def test_a_job_is_submitted_with_every_field_that_there_is() -> None:
    fields = {name for name in models.NewJob.model_fields if name != "idempotency_key"}
    assert set(get_type_hints(JobFields)) == fields


def test_the_client_needs_nothing_of_the_service() -> None:
    code = (
        "import sys, agent_runtime.client as client\n"
        "client.Client, client.AsyncClient\n"
        "print({'fastapi', 'starlette', 'uvicorn', 'sqlalchemy', 'sqlite3', 'agent_runtime.kernel'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# It does what the runtime does


async def test_jobs_are_submitted_found_followed_and_waited_for(client: AsyncClient) -> None:
    made = [
        await client.jobs.submit(operator="echo", input=number, tags={"n": str(number % 2)})
        for number in range(5)
    ]
    result = await client.jobs.result(made[3].job_id, timeout=20)
    assert (result.status, result.output) == ("succeeded", {"got": 3})

    listed = [job.job_id async for job in client.jobs.list(limit=2)]
    assert listed == [job.job_id for job in reversed(made)]
    odd = [
        job.job_id async for job in client.jobs.list(tags={"n": "1"}, since=datetime(2020, 1, 1, tzinfo=UTC))
    ]
    assert odd == [made[3].job_id, made[1].job_id]
    history = [event async for event in client.jobs.history(made[3].job_id, limit=1)]
    followed = [event async for event in client.jobs.events(made[3].job_id)]
    assert history == followed
    assert (await client.jobs.get(made[3].job_id)).last_seq == history[-1].seq
    assert (await client.overview()).jobs["succeeded"] >= 1


async def test_texts_are_joined_while_they_are_written(client: AsyncClient) -> None:
    job = await client.jobs.submit(prompt="Tell me.")
    texts, begun = AnswerTexts(), list[str]()
    async for event in client.jobs.events(job.job_id):
        if (text := texts.add(event)) is not None:
            begun.append(text)
    result = await client.jobs.result(job.job_id)
    assert list(texts.values()) == [result.content] == ["".join(WORDS)]
    assert len(begun) > 1
    (run,) = (await client.execution_logs.executions(execution_step="run", include_llm_calls=True)).executions
    assert run.llm_calls is not None
    whole = await client.execution_logs.llm_call(run.llm_calls[0].id)
    assert whole.response == result.content


async def test_a_reader_whose_connections_are_cut_has_every_event_once(
    service: Service, client: AsyncClient
) -> None:
    cuts, chance = {"count": 0}, random.Random(3)

    class Cutting(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            response = await super().handle_async_request(request)
            if request.url.path.endswith("/events"):
                response.stream = Cut(response.stream)
            return response

    class Cut(httpx2.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = chance.randint(2, 6)
            async for chunk in self._stream:
                left -= 1
                if not left:
                    cuts["count"] += 1
                    yield chunk[: len(chunk) // 2]
                    raise httpx2.ReadError("cut")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    job = await client.jobs.submit(prompt="Tell me.")
    key = await service.key()

    async def read() -> tuple[list[int], set[str]]:
        texts, seen = AnswerTexts(), list[int]()
        async with AsyncClient(service.url, key, transport=Cutting()) as unlucky:
            async for event in unlucky.jobs.events(job.job_id):
                texts.add(event)
                if event.seq is not None:
                    seen.append(event.seq)
        return seen, set(texts.values())

    found = await asyncio.gather(*(read() for _ in range(5)))
    assert cuts["count"] > 4
    stored = list(range(1, (await client.jobs.get(job.job_id)).last_seq + 1))
    for seen, texts in found:
        assert seen == stored
        assert texts <= {"".join(WORDS)}


async def test_a_service_that_is_restarted_is_followed_on(database: str) -> None:
    """As in a deployment: the job is executed elsewhere, and the service ends in the middle and is there again."""
    released.append(asyncio.Event())

    def serving_only() -> Any:
        return create_app(RuntimeKernel(storage=database, worker=False))

    async with RuntimeKernel(storage=database, operators={"counts": counts}) as worker:
        _, key = await worker.keys.create(name="x", role=Role.ADMIN, scope_id="acme")
        seen: list[int | None] = []
        async with serving(serving_only()) as url:
            client = AsyncClient(url, key)
            job = await client.jobs.submit(operator="counts", input=20)
            reading = asyncio.ensure_future(_read(client, job.job_id, seen))
            waiting = asyncio.ensure_future(client.jobs.result(job.job_id, timeout=30))
            await until(lambda: len(seen) > 10)
        released[-1].set()
        async with serving(serving_only(), port=int(url.rpartition(":")[2])):
            await asyncio.wait_for(reading, 30)
            assert (await waiting).output == 20
            assert seen == list(range(1, (await client.jobs.get(job.job_id)).last_seq + 1))
            await client.aclose()


async def _read(client: AsyncClient, job_id: str, seen: list[int | None]) -> None:
    async for event in client.jobs.events(job_id):
        seen.append(event.seq)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_goes_wrong_is_raised_as_in_the_process(service: Service, client: AsyncClient) -> None:
    failed = await client.jobs.submit(operator="fail")
    with pytest.raises(JobFailed, match="not today") as raised:
        await client.jobs.result(failed.job_id)
    assert raised.value.job_id == failed.job_id
    asking = await client.jobs.submit(operator="ask")
    with pytest.raises(TimeoutError):
        await client.jobs.result(asking.job_id, timeout=0.1)
    await client.jobs.cancel(asking.job_id, reason="no more")
    with pytest.raises(JobCancelled):
        await client.jobs.result(asking.job_id)

    await client.jobs.submit(operator="echo", input=1, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        await client.jobs.submit(operator="echo", input=2, idempotency_key="k")
    with pytest.raises(UnknownJob):
        await client.jobs.get("nobody's")
    with pytest.raises(UnknownAction):
        await client.actions.get("nobody's")
    with pytest.raises(UnknownExecution):
        await client.execution_logs.delete("nobody's")
    with pytest.raises(ServiceError) as refused:
        await client.workers()
    assert (refused.value.status, refused.value.code) == (403, "FORBIDDEN")
    async with AsyncClient(service.url, "ark_x_y") as stranger:
        with pytest.raises(ServiceError) as unknown:
            await stranger.jobs.get("x")
        assert unknown.value.code == "UNAUTHORIZED"
        assert await stranger.is_live()


async def test_a_full_queue_is_told_with_its_wait() -> None:
    kernel = RuntimeKernel(operators={"ask": ask}, worker=False, options=KernelOptions(max_queued=1))
    async with served(kernel) as service, AsyncClient(service.url, await service.key(), tries=1) as client:
        await client.jobs.submit(operator="ask")
        with pytest.raises(QueueFull, match="wait for a worker already") as raised:
            await client.jobs.submit(operator="ask")
        assert raised.value.retry_after > 0


async def test_questions_budgets_keys_rules_and_costs(service: Service) -> None:
    async with AsyncClient(service.url, await service.key(Role.ADMIN, None)) as client:
        job = await client.jobs.submit(operator="ask", scope_id="acme")
        question = await first(lambda: client.actions.list(job_id=job.job_id))
        answered = await client.actions.resolve(question.action_id, {"confirmed": True})
        assert answered.status == "resolved"
        assert (await client.jobs.result(job.job_id)).output["resolution"]["confirmed"] is True
        assert [one.action_id async for one in client.actions.list(status=None)] == [question.action_id]

        saved = await client.budgets.save(models.NewBudget(scope_id="acme", max_cost_daily=Decimal("1.5")))
        assert [one.budget_id async for one in client.budgets.list(scope_id="acme")] == [saved.budget_id]
        await client.budgets.delete(saved.budget_id)
        assert [one async for one in client.budgets.list()] == []

        made = await client.keys.create(key_models.NewKey(name="shop", role=Role.VIEWER, scope_id="acme"))
        rotated = await client.keys.rotate(made.key_id)
        assert (await client.keys.revoke(rotated.key_id)).revoked_at is not None
        assert {made.key_id, rotated.key_id} <= {one.key_id async for one in client.keys.list()}

        told = await client.policies.explain(
            models.PolicyQuestion(action="tool", name="mail", scope_id="acme")
        )
        assert told.decision["effect" if "effect" in told.decision else "decision"]
        written = await client.jobs.submit(prompt="x", scope_id="acme")
        await client.jobs.result(written.job_id)
        entries = [one async for one in client.ledger.entries(job_id=written.job_id)]
        costs = await client.ledger.costs("agent", job_id=written.job_id)
        assert (len(entries), costs.total.entries) == (1, 1)
        assert (await client.messages.send("somebody", {"a": 1}, scope_id="acme")).message_id
        assert [worker.worker_id for worker in await client.workers()]
        assert await client.is_ready()
        assert (await client.whoami()).scope_id is None
        assert "agent_runtime" in await client.metrics()


async def first(listed: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        while True:
            async for one in listed():
                return one
            await asyncio.sleep(0.01)


async def test_schedules_are_put_looked_at_paused_and_removed(service: Service) -> None:
    hourly = schedule_models.NewSchedule(
        timing=schedule_models.ScheduleTiming(cron="30 9 * * *", timezone="Europe/Berlin"),
        rules=schedule_models.ScheduleRules(max_per_day=40),
        job=schedule_models.ScheduledJob(operator="echo", input={"secret": "sauce"}, tags={"a": "b"}),
    )
    once = schedule_models.NewSchedule(
        timing=schedule_models.ScheduleTiming(at=datetime.now(UTC) + timedelta(seconds=0.3)),
        message=schedule_models.ScheduledMessage(to="desk", message={"tick": 1}),
    )
    async with AsyncClient(service.url, await service.key(Role.ADMIN, None)) as client:
        put = await client.schedules.put("sweep", hourly, scope_id="acme")
        assert (put.operator, put.rules, put.tags) == ("echo", {"max_per_day": 40}, {"a": "b"})
        assert await client.schedules.put("sweep", hourly, scope_id="acme") == put
        await client.schedules.put("tick", once, scope_id="acme")
        listed = [one async for one in client.schedules.list(limit=1)]
        assert [(one.schedule_id, one.content, one.to) for one in listed] == [
            ("sweep", None, None),
            ("tick", None, "desk"),
        ]
        shown = [one.content async for one in client.schedules.list(scope_id="acme", content=True)]
        assert shown == [{"secret": "sauce"}, {"tick": 1}]

        fire = await first(lambda: client.schedules.fires("tick", scope_id="acme"))
        assert fire.count == 1
        paused = await client.schedules.pause("sweep", scope_id="acme")
        assert paused.paused_at is not None
        assert (await client.schedules.get("sweep", scope_id="acme")).upcoming == []
        assert await client.schedules.resume_all(scope_id="acme") == 1
        assert await client.schedules.pause_all(scope_id="rival") == 0
        found = await client.schedules.get("sweep", scope_id="acme", upcoming=3, content=True)
        assert found.upcoming is not None
        assert (len(found.upcoming), found.upcoming[0]) == (3, found.next_due)
        assert found.content == {"secret": "sauce"}

        await client.schedules.delete("sweep", scope_id="acme")
        for ask in (client.schedules.get, client.schedules.pause, client.schedules.delete):
            with pytest.raises(UnknownSchedule):
                await ask("sweep", scope_id="acme")
        with pytest.raises(InvalidInput, match="exactly one"):
            await client.schedules.put("x", schedule_models.NewSchedule(timing=hourly.timing))


async def test_a_page_of_schedules_is_short_however_long_their_inputs_are(service: Service) -> None:
    for number in range(20):
        request = ExecutionRequest(operator="echo", input=os.urandom(100_000).hex())
        await service.kernel.schedules.put(f"long-{number:02}", request, Timing(cron="@yearly"))
    async with (
        service.client(await service.key(Role.VIEWER, "default")) as raw,
        AsyncClient(service.url, await service.key(Role.VIEWER, "default")) as client,
    ):
        for content in (False, True):
            page = await raw.get("/v1/schedules", params={"content": content, "limit": 500})
            assert len(page.content) < 100_000
            names = [one.schedule_id async for one in client.schedules.list(content=content, limit=500)]
            assert names == [f"long-{number:02}" for number in range(20)]
        assert page.json()["items"][0]["left_out"] == ["content"]
        for cursor in ("x", "[1, 2]", '["a"]', '["a", "\\u0000"]'):
            assert (await raw.get("/v1/schedules", params={"cursor": cursor})).status_code == 422


async def test_logs_are_read_added_up_and_deleted(service: Service, client: AsyncClient) -> None:
    await documented_plan(service.kernel.storage)
    page = await client.execution_logs.executions(agent_type="planner", status="completed", limit=1)
    assert (page.total, page.executions[0].execution_id) == (1, "exec_abc123_1704067200")
    found = await client.execution_logs.execution("exec_abc123_1704067200")
    assert found.executions[0].input_data == {"prompt": "Create a sales dashboard", "schemas": "..."}
    calls = await client.execution_logs.llm_calls(end_date=datetime(2025, 1, 1, tzinfo=UTC))
    assert calls.llm_calls[0].total_cost == 0.045
    summary = await client.execution_logs.summary(start_date=datetime(2024, 1, 1, tzinfo=UTC))
    assert summary.execution_analytics.total_executions == 1
    assert (await client.execution_logs.delete("exec_abc123_1704067200")).llm_calls == 1


async def test_the_events_of_many_jobs_are_one_stream(service: Service, client: AsyncClient) -> None:
    jobs = [(await client.jobs.submit(operator="echo", input=n)).job_id for n in range(3)]
    for job in jobs:
        await client.jobs.result(job)
    ended = set()
    async with asyncio.timeout(20):
        async for event in client.events(after=0, types=["job.succeeded"]):
            assert event is not None
            ended.add(event.job_id)
            if len(ended) == 3:
                break
    assert ended == set(jobs)


async def test_ordinary_code_waits_for_the_same(service: Service) -> None:
    key = await service.key()

    def program() -> tuple[Any, list[str], int]:
        with Client(service.url, key) as client:
            job = client.jobs.submit(operator="echo", input=[1])
            result = client.jobs.result(job.job_id, timeout=20)
            types = [event.type for event in client.jobs.events(job.job_id)]
            with pytest.raises(UnknownJob):
                client.jobs.get("nobody's")
            events = client.jobs.history(job.job_id)
            next(events)
            events.close()  # in the middle
            return result.output, types, len(list(client.jobs.list(limit=1)))

    output, types, count = await asyncio.to_thread(program)
    assert (output, types[-1], count) == ({"got": [1]}, "job.succeeded", 1)
    with pytest.raises(Exception, match="inside a running event loop"):
        Client(service.url, key).jobs.get("x")
