"""The line of all jobs over a socket: each reader has its own scope's, once, in order, whoever executes, and however often it is lost."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import OperatorContext, Role, RuntimeKernel
from agent_runtime.server import tail
from support.kernels import opened
from support.service import BOUND, Service, frames, served


async def steps(context: OperatorContext, count: int) -> int:
    for number in range(count):
        await context.emit("custom.step", {"number": number})
        await context.sleep(0.001)
    return count


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


class Line:
    """What a reader of many jobs has."""

    def __init__(self, service: Service, key: str, **params: Any) -> None:
        self.client = service.client(key)
        self.params = params
        self.seen: list[tuple[int, str, int]] = []
        self.gaps = 0
        self.last_id: str | None = None
        self.connected = asyncio.Event()

    async def read(self, chance: random.Random | None = None) -> None:
        """Read for ever; with chance, losing the connection again and again."""
        while True:
            headers = {"Accept": "text/event-stream"}
            if self.last_id is not None:
                headers["Last-Event-ID"] = self.last_id
            try:
                async with (
                    asyncio.timeout(None if chance is None else chance.choice((0.02, 0.1, 0.3))),
                    self.client.stream("GET", "/v1/events", headers=headers, params=self.params) as response,
                ):
                    assert response.status_code == 200
                    async for frame in frames(response):
                        self.connected.set()
                        self.gaps += frame.event == "gap"
                        self.last_id = frame.id or self.last_id
                        if frame.id is not None and frame.data is not None:
                            self.seen.append((int(frame.id), frame.data["job_id"], frame.data["seq"]))
            except TimeoutError:
                continue

    async def has(self, wanted: list[Any]) -> None:
        async with asyncio.timeout(BOUND):
            while len(self.seen) < len(wanted):
                await asyncio.sleep(0.02)
        assert self.seen == wanted


@pytest.mark.timeout(120)
async def test_readers_of_many_jobs_have_each_event_of_their_scope_once(place: str, tmp_path: Path) -> None:
    chance = random.Random(3)
    async with opened(place, tmp_path) as storage:
        kernel = RuntimeKernel(storage=storage, operators={"steps": steps})
        async with served(kernel) as service:
            own = {scope: await service.key(Role.OPERATOR, scope) for scope in ("acme", "rival")}
            everything = await service.key(Role.ADMIN, None)
            lines = {
                None: Line(service, everything, after=0),
                "acme": Line(service, own["acme"], after=0),
                "rival": Line(service, own["rival"], after=0),
            }
            narrowed = Line(service, everything, after=0, type=["job"], scope_id="acme")
            reading = [asyncio.ensure_future(line.read(chance)) for line in (*lines.values(), narrowed)]
            jobs = []
            for number in range(12):
                async with service.client(own["acme" if number % 3 else "rival"]) as client:
                    job = (await client.post("/v1/jobs", json={"operator": "steps", "input": 12})).json()
                    jobs.append(job["job_id"])
            for job_id in jobs:
                await kernel.handle(job_id).result(timeout=BOUND)
            stored = await storage.feed(after=0, upto=await storage.feed_end(), limit=10_000)

            def of(scope: str | None, family: str = "") -> list[Any]:
                return [
                    (entry.position, entry.event.job_id, entry.event.seq)
                    for entry in stored
                    if scope in (None, entry.event.scope_id) and entry.event.type.startswith(family)
                ]

            for scope, line in lines.items():
                await line.has(of(scope))
            await narrowed.has(of("acme", "job."))
            for task in reading:
                task.cancel()
            await asyncio.wait(reading)


async def test_who_was_away_for_too_long_is_told_so(
    monkeypatch: pytest.MonkeyPatch, place: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(tail, "MAX_CATCH_UP", 10)
    monkeypatch.setattr(tail, "KEPT", 20)
    async with opened(place, tmp_path) as storage:
        kernel = RuntimeKernel(storage=storage, operators={"steps": steps})
        async with served(kernel) as service:
            key = await service.key(Role.OPERATOR)
            async with service.client(key) as client:
                for _ in range(2):
                    job = (await client.post("/v1/jobs", json={"operator": "steps", "input": 30})).json()
                    await kernel.handle(job["job_id"]).result(timeout=BOUND)
            stored = await storage.feed(after=0, upto=await storage.feed_end())
            last = [entry.position for entry in stored[-10:]]
            # before all that is kept, and beyond all that there is
            for position, told in ((0, last), (10**9, [])):
                late = Line(service, key, after=position)
                reading = asyncio.ensure_future(late.read())
                async with asyncio.timeout(BOUND):
                    while not late.gaps or len(late.seen) < len(told):
                        await asyncio.sleep(0.01)
                reading.cancel()
                await asyncio.wait([reading])
                assert ([position for position, *_ in late.seen], late.gaps) == (told, 1)


async def test_without_a_position_a_reader_hears_what_happens_from_now_on() -> None:
    kernel = RuntimeKernel(operators={"steps": steps})
    async with served(kernel) as service:
        key = await service.key(Role.OPERATOR)
        async with service.client(key) as client:
            before = (await client.post("/v1/jobs", json={"operator": "steps", "input": 1})).json()["job_id"]
            await kernel.handle(before).result(timeout=BOUND)
            line = Line(service, key)
            reading = asyncio.ensure_future(line.read())
            await line.connected.wait()
            after = (await client.post("/v1/jobs", json={"operator": "steps", "input": 1})).json()["job_id"]
            async with asyncio.timeout(BOUND):
                while not line.seen:
                    await asyncio.sleep(0.01)
            assert {job for _, job, _ in line.seen} == {after}
            reading.cancel()
            await asyncio.wait([reading])


async def test_a_reader_who_knows_a_place_that_is_not_there_any_more_goes_on_behind_it(
    place: str, tmp_path: Path
) -> None:
    async with opened(place, tmp_path) as storage:
        kernel = RuntimeKernel(storage=storage, operators={"steps": steps})
        async with served(kernel) as service:
            key = await service.key(Role.OPERATOR)
            async with service.client(key) as client:
                gone = (await client.post("/v1/jobs", json={"operator": "steps", "input": 3})).json()[
                    "job_id"
                ]
                await kernel.handle(gone).result(timeout=BOUND)
                before = kernel.clock.now() + timedelta(days=1)
                assert await storage.prune(before=before)
                line = Line(service, key, after=1)
                reading = asyncio.ensure_future(line.read())
                async with asyncio.timeout(BOUND):
                    while not len(service.app.state.service.readers):
                        await asyncio.sleep(0.01)
                job = (await client.post("/v1/jobs", json={"operator": "steps", "input": 1})).json()["job_id"]
                async with asyncio.timeout(BOUND):
                    while not line.seen:
                        await asyncio.sleep(0.01)
            assert {job_id for _, job_id, _ in line.seen} == {job}
            reading.cancel()
            await asyncio.wait([reading])


async def test_who_was_told_nothing_yet_comes_back_to_where_it_was() -> None:
    kernel = RuntimeKernel(operators={"steps": steps})
    async with served(kernel) as service:
        key = await service.key(Role.OPERATOR)
        async with service.client(key) as client:
            async with client.stream(
                "GET", "/v1/events", headers={"Accept": "text/event-stream"}
            ) as response:
                async for frame in frames(response):
                    if frame.id is not None:
                        break
            job = (await client.post("/v1/jobs", json={"operator": "steps", "input": 1})).json()["job_id"]
            await kernel.handle(job).result(timeout=BOUND)
            line = Line(service, key)
            line.last_id = frame.id
            reading = asyncio.ensure_future(line.read())
            await line.has(
                [
                    (entry.position, entry.event.job_id, entry.event.seq)
                    for entry in await kernel.storage.feed(after=0, upto=await kernel.storage.feed_end())
                ]
            )
            reading.cancel()
            await asyncio.wait([reading])
