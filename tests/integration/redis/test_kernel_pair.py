"""Two kernels on one Postgres database that hear of each other through Redis, and only through Redis.

Nobody looks for what was not announced within the time of a test, so what is seen here was announced.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    JobCancelled,
    OperatorContext,
    RedisChangeNotifier,
    Runtime,
    RuntimeKernel,
    Settings,
)
from agent_runtime.storage.postgres import PostgresStorage
from support.kernels import BOUND, QUICK, pending, status_becomes
from support.redis_clients import client_of, unique

NEVER = 600.0
PATIENT = replace(QUICK, sweep_interval=NEVER, suspend_after=NEVER)

Pair = tuple[RuntimeKernel, RuntimeKernel]


async def ask(context: OperatorContext, question: str) -> str:
    answer = await context.action(ActionSpec(type="input", payload={"question": question}))
    return f"{answer.resolved_by} said {(answer.resolution or {})['value']}"


async def wait(context: OperatorContext, given: object) -> None:
    await context.sleep(NEVER)


@pytest.fixture
def channel() -> str:
    return unique("changes")


@pytest.fixture
async def pair(database: str, redis_url: str, channel: str) -> AsyncIterator[Pair]:
    """A worker that keeps its jobs in memory, and a process that only submits and follows."""
    storages = [
        PostgresStorage(database, notifier=RedisChangeNotifier(redis_url, channel=channel)) for _ in range(2)
    ]
    worker = RuntimeKernel(storage=storages[0], operators=[ask, wait], options=PATIENT)
    front = RuntimeKernel(storage=storages[1], operators=[ask, wait], options=PATIENT, worker=False)
    async with worker, front:
        async with asyncio.timeout(BOUND):
            for storage in storages:
                await storage._notifier.listening.wait()
        yield worker, front
    for storage in storages:
        await storage.aclose()


async def test_events_questions_answers_and_results_cross_processes(pair: Pair) -> None:
    worker, front = pair
    handle = await front.execute(ExecutionRequest(operator="ask", input="why?"))
    seen = []
    async with asyncio.timeout(BOUND):
        async for event in handle.events():
            seen.append(str(event.type))
            if event.type == "action.required":
                await status_becomes(handle, "running")
                await handle.resolve_action(event.data["action_id"], {"value": "because"}, resolved_by="ann")
        assert (await handle.result()).content == "ann said because"
    assert seen[0] == "job.created"
    assert seen[-1] == "job.succeeded"
    assert worker.executes
    assert not front.executes


async def test_who_waits_for_an_answer_in_another_process_gets_it(pair: Pair) -> None:
    worker, front = pair
    handle = await front.execute(ExecutionRequest(operator="ask", input="why?"))
    action = await pending(handle)
    waiting = asyncio.ensure_future(front.actions.wait_for_resolution(action.action_id, timeout=BOUND))
    await worker.actions.resolve_by_id(action.action_id, {"value": 1}, resolved_by="bob")
    assert (await waiting).resolved_by == "bob"
    assert (await handle.result(timeout=BOUND)).content == "bob said 1"


async def test_a_job_is_cancelled_from_another_process(pair: Pair) -> None:
    _, front = pair
    handle = await front.execute(ExecutionRequest(operator="wait"))
    await status_becomes(handle, "running")
    await handle.cancel("enough")
    with pytest.raises(JobCancelled, match="enough"):
        await handle.result(timeout=BOUND)


async def test_messages_say_which_job_has_changed_and_nothing_else(
    pair: Pair, redis_url: str, channel: str
) -> None:
    _, front = pair
    async with client_of(redis_url) as client, client.pubsub() as ear:
        await ear.subscribe(channel)
        handle = await front.execute(
            ExecutionRequest(
                operator="ask", input="a private question", scope_id="tenant-7", principal_id="ann"
            )
        )
        await handle.resolve_action((await pending(handle)).action_id, {"value": "a private answer"})
        await handle.result(timeout=BOUND)
        said = b""
        async with asyncio.timeout(BOUND):
            while f"e{handle.job_id}".encode() not in said:
                message = await ear.get_message(timeout=BOUND)
                if message is not None and message["type"] == "message":
                    said += message["data"] + b"\n"
    assert b"private" not in said
    assert b"tenant" not in said
    assert b"ann" not in said
    assert await _keys(redis_url, channel) == []


async def _keys(url: str, channel: str) -> list[bytes]:
    async with client_of(url) as client:
        return [key async for key in client.scan_iter(match=f"{channel}*")]


@pytest.fixture
def settings(database: str, redis_url: str) -> Settings:
    return Settings(storage=database, redis_url=redis_url)


async def test_a_process_with_the_setting_and_one_with_the_code_hear_each_other(
    settings: Settings, database: str, redis_url: str
) -> None:
    by_code = PostgresStorage(database, notifier=RedisChangeNotifier(redis_url))
    patient = settings.model_copy(update={"sweep_interval": NEVER, "suspend_after": NEVER})
    async with (
        Runtime(patient, operators=[ask]) as runtime,
        RuntimeKernel(storage=by_code, options=PATIENT, worker=False) as front,
    ):
        async with asyncio.timeout(BOUND):
            for storage in (runtime.kernel.storage, by_code):
                assert isinstance(storage, PostgresStorage)
                await storage._notifier.listening.wait()
        handle = await runtime.kernel.execute(ExecutionRequest(operator="ask", input="?"))
        action = await pending(handle)
        await front.actions.resolve_by_id(action.action_id, {"value": 3}, resolved_by="eve")
        assert (await handle.result(timeout=BOUND)).content == "eve said 3"
    await by_code.aclose()


async def test_an_application_uses_redis_when_its_settings_name_one(
    settings: Settings, redis_url: str
) -> None:
    assert redis_url not in repr(settings)
    async with (
        Runtime(settings, operators=[ask]) as runtime,
        Runtime(settings.model_copy(), worker=False) as front,
    ):
        async with asyncio.timeout(BOUND):
            for one in (runtime, front):
                assert isinstance(one.kernel.storage, PostgresStorage)
                assert isinstance(one.kernel.storage._notifier, RedisChangeNotifier)
                await one.kernel.storage._notifier.listening.wait()
        handle = await runtime.kernel.execute(ExecutionRequest(operator="ask", input="?"))
        followed = front.kernel.handle(handle.job_id)
        await followed.resolve_action((await pending(followed)).action_id, {"value": 2}, resolved_by="bob")
        assert (await followed.result(timeout=BOUND)).content == "bob said 2"
