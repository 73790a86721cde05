"""Processes that run jobs, and tell of them, are killed and stand still: the spans are those of a run in which nothing happened."""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_runtime import ExecutionRequest, JobFilter, RuntimeKernel, open_storage
from agent_runtime.storage.memory import MemoryStorage
from support.kernels import BOUND, until
from support.otlp import Received, Receiver, receiver
from support.projecting import workers
from support.tracing_child import OPTIONS, leg, trip

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 6)]
DEATHS, AT_ONCE = 4, 3
JOBS = DEATHS * AT_ONCE
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHILD = "support.tracing_child"
Shape = Counter[tuple[str, ...]]


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path / 'runs.db'}"


def shape(spans: dict[str, Received]) -> Shape:
    """Return what the spans are, without what is different for each job: the ids."""

    def told(span: Received | None) -> tuple[str, ...]:
        if span is None:
            return ("the caller",)
        place = str(span.attributes.get("agent.operation.id", "")).partition(":")[2]
        number = str(span.attributes.get("agent.run.segment", ""))
        return span.name, place, number, str(span.failed)

    for span in spans.values():
        assert span.parent_id in spans or span.parent_id == CALLER.split("-")[2], span
    return Counter((*told(span), *told(spans.get(span.parent_id))) for span in spans.values())


async def answer(k: RuntimeKernel) -> None:
    """Say yes to everything that jobs ask when they, and whoever waits for them, have left the memory."""
    while True:
        for action in await k.actions.list_pending():
            job = await k.jobs.get(action.job_id)
            above = None if job.parent_job_id is None else await k.jobs.get(job.parent_job_id)
            if job.status == "waiting_action" and (above is None or above.status == "waiting"):
                await k.handle(action.job_id).resolve_action(action.action_id, {"confirmed": True})
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def following(address: str) -> AsyncIterator[RuntimeKernel]:
    """A kernel that executes nothing, and answers what is asked."""
    storage = open_storage(address)
    await storage.open()
    async with RuntimeKernel(
        storage=storage, operators=[trip, leg], options=OPTIONS, dispatch="local", worker=False
    ) as k:
        answering = asyncio.create_task(answer(k))
        try:
            yield k
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
    await storage.aclose()


async def begun(k: RuntimeKernel, count: int) -> list[str]:
    """Begin some jobs."""
    asked = ExecutionRequest(operator="trip", traceparent=CALLER)
    return [(await k.execute(asked)).job_id for _ in range(count)]


async def one_runs(k: RuntimeKernel) -> None:
    """Wait until a job is being run, or all have ended."""

    async def runs() -> bool:
        found = await k.storage.list_jobs(JobFilter())
        return any(job.status == "running" and job.owner for job in found) or all(
            job.status.is_terminal for job in found
        )

    await until(runs)


async def told_of_all(k: RuntimeKernel, made: list[str], otlp: Receiver) -> None:
    """Wait until all jobs have ended, and their spans have arrived."""
    for job_id in made:
        assert (await k.wait_for_end(job_id)).type == "job.succeeded"

    async def told() -> bool:
        ended = {span.job_id for span in otlp.spans if span.name == "agent.job"}
        return len(ended) == JOBS * 2

    await until(told)


@pytest.fixture(scope="module")
def undisturbed() -> Shape:
    """The spans of jobs to which nothing has happened."""

    async def run() -> Shape:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from agent_runtime import OpenTelemetryAdapter

        storage = MemoryStorage()
        with receiver() as otlp:
            exporter = await asyncio.to_thread(OTLPSpanExporter, otlp.endpoint)
            adapter = OpenTelemetryAdapter(storage=storage, exporter=exporter)
            async with RuntimeKernel(
                storage=storage, operators=[trip, leg], projections=[adapter], options=OPTIONS
            ) as k:
                made = await begun(k, JOBS)
                answering = asyncio.create_task(answer(k))
                await told_of_all(k, made, otlp)
                answering.cancel()
                assert await adapter.flush()
            await asyncio.to_thread(exporter.shutdown)
            assert len(otlp.spans) == len(otlp.by_id())  # each was told once
            return shape(otlp.by_id())

    return asyncio.run(run())


async def test_killed_and_stopped_workers_neither_lose_nor_double_nor_change_a_span(
    address: str, undisturbed: Shape
) -> None:
    chance = random.Random(5)
    count = 1 if address.startswith("sqlite") else 2
    made: list[str] = []
    with receiver() as otlp:
        async with following(address) as k:
            for _ in range(DEATHS):
                async with workers(address, otlp.endpoint, count, CHILD) as children:
                    made += await begun(k, AT_ONCE)
                    await one_runs(k)
                    await asyncio.sleep(chance.uniform(0.0, 0.2))
                    still = children[0]
                    still.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(OPTIONS.worker_timeout * 1.5 if count > 1 else 0.01)
                    still.send_signal(signal.SIGCONT)
            async with workers(address, otlp.endpoint, count, CHILD):
                await told_of_all(k, made, otlp)
            assert len(await k.storage.list_jobs(JobFilter())) == JOBS * 2
        assert {span.trace_id for span in otlp.spans} == {CALLER.split("-")[1]}
        assert any("agent.run.taken_over" in span.events for span in otlp.spans)
        assert shape(otlp.by_id()) == undisturbed


async def test_a_receiver_that_is_away_and_refuses_while_workers_die_has_everything_in_the_end(
    address: str, undisturbed: Shape
) -> None:
    with receiver() as otlp:
        otlp.refuses = 3
        async with following(address) as k:
            async with workers(address, otlp.endpoint, 1, CHILD):
                made = await begun(k, JOBS)
                await asyncio.sleep(0.5)
                otlp.away = True
                await asyncio.sleep(0.5)
            otlp.away = False
            async with workers(address, otlp.endpoint, 1, CHILD):
                await told_of_all(k, made, otlp)
        assert shape(otlp.by_id()) == undisturbed
