"""Projections: handed every entry of every job, by one process at a time, from where the last one was."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from agent_runtime import (
    ExecutionRequest,
    FeedEntry,
    OperatorContext,
    RuntimeEvent,
    RuntimeKernel,
    StorageError,
)
from agent_runtime.errors import ConfigurationError
from agent_runtime.ports.clock import SystemClock
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.worker.projectors import Projector
from support.kernels import BOUND, QUICK, kernel, opened, until

pytestmark = pytest.mark.timeout(BOUND * 3)


class Recording:
    """A projection that remembers what it was handed."""

    def __init__(self, name: str = "recording", begin: Literal["first", "now"] = "first") -> None:
        self.name = name
        self.begin = begin
        self.entries: list[FeedEntry] = []
        self.fails = 0
        self.takes = 0.0
        self.calls = 0

    async def project(self, entries: Sequence[FeedEntry]) -> None:
        self.calls += 1
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the index is away")
        if self.takes:
            await asyncio.sleep(self.takes)
        self.entries.extend(entries)

    @property
    def events(self) -> list[RuntimeEvent]:
        return [event for _, event in self.entries]

    def types_of(self, job_id: str) -> list[str]:
        return [event.type for event in self.events if event.job_id == job_id]


async def work(context: OperatorContext, number: int) -> int:
    return await context.step(double, number)


async def double(number: int) -> int:
    return number * 2


def projecting(storage: Storage, *projections: Recording, **options: Any) -> RuntimeKernel:
    return kernel(storage, operators=[work], projections=projections, **options)


async def run(k: RuntimeKernel, number: int = 1) -> str:
    handle = await k.execute(ExecutionRequest(operator="work", input=number))
    await handle.result()
    return handle.job_id


@pytest.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(request.param, tmp_path) as storage:
        yield storage


async def caught_up(storage: Storage, *projections: Recording) -> None:
    """Wait until the stored cursors are where the feed ends."""

    async def reached() -> bool:
        end = await storage.feed_end()
        found = {cursor.name: cursor.position for cursor in await storage.cursors()}
        return all(found.get(one.name) == end for one in projections)

    await until(reached)


async def test_a_projection_is_handed_every_entry_of_every_job(storage: Storage) -> None:
    recording = Recording()
    async with projecting(storage, recording) as k:
        jobs = await asyncio.gather(*(run(k, n) for n in range(10)))
        await caught_up(storage, recording)
        for job_id in jobs:
            assert [event for event in recording.events if event.job_id == job_id] == list(
                await storage.events(job_id)
            )
    positions = [position for position, _ in recording.entries]
    assert positions == sorted(set(positions))


async def test_the_next_process_goes_on_where_the_last_one_was(storage: Storage) -> None:
    first, second = Recording(), Recording()
    async with projecting(storage, first) as k:
        before = await run(k)
        await caught_up(storage, first)
    async with projecting(storage, second) as k:
        after = await run(k)
        await caught_up(storage, second)
    assert first.types_of(before)[-1] == "job.succeeded"
    assert {event.job_id for event in second.events} == {after}


async def test_one_that_begins_now_is_not_handed_what_was(storage: Storage) -> None:
    async with projecting(storage) as k:
        await run(k)
    recording = Recording(begin="now")
    async with projecting(storage, recording) as k:
        await until(storage.cursors)
        job_id = await run(k)
        await caught_up(storage, recording)
    assert {event.job_id for event in recording.events} == {job_id}


async def test_a_projection_that_fails_is_given_the_same_again_and_holds_no_job_up(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent_runtime.worker.projectors.RETRY_SECONDS", 0.01)
    failing, other = Recording("failing"), Recording("other")
    failing.fails = 2
    async with projecting(storage, failing, other) as k:
        job_id = await run(k)
        await caught_up(storage, failing, other)
    assert failing.types_of(job_id) == other.types_of(job_id)
    assert "projecting failing failed" in caplog.text
    assert "projecting other" not in caplog.text


async def test_a_projection_that_ends_the_process_ends_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_runtime.worker.projectors.RETRY_SECONDS", 0.01)

    class Exiting(Recording):
        async def project(self, entries: Sequence[FeedEntry]) -> None:
            if not self.calls:
                self.calls += 1
                raise SystemExit(3)
            await super().project(entries)

    exiting = Exiting()
    async with projecting(storage, exiting) as k:
        job_id = await run(k)
        await caught_up(storage, exiting)
    assert exiting.types_of(job_id)[-1] == "job.succeeded"


async def test_a_storage_that_is_away_for_a_while_loses_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_runtime.worker.projectors.RETRY_SECONDS", 0.01)
    async with opened("sqlite", tmp_path) as inner:
        away = {"feed": 2, "move_cursor": 2, "feed_end": 2}

        class Away:
            def __getattr__(self, name: str) -> object:
                if away.get(name):
                    away[name] -= 1
                    raise StorageError("away")
                return getattr(inner, name)

        recording = Recording()
        async with projecting(Away(), recording) as k:  # type: ignore[arg-type] -- answers as a storage does
            job_id = await run(k)
            await caught_up(inner, recording)
        assert away == {"feed": 0, "move_cursor": 0, "feed_end": 0}
        assert list(dict.fromkeys(recording.types_of(job_id)))[-1] == "job.succeeded"


async def test_one_process_at_a_time_follows_and_the_next_takes_over_when_it_is_gone(
    storage: Storage,
) -> None:
    """Two kernels over one storage, as two workers are."""
    first, second = Recording(), Recording()
    async with projecting(storage, first) as one:
        await run(one)
        await caught_up(storage, first)
        async with projecting(storage, second) as two:
            await run(two)
            await caught_up(storage, first)
            assert second.calls == 0
            await one.aclose()
            job_id = await run(two)
            await caught_up(storage, second)
    assert second.types_of(job_id)[-1] == "job.succeeded"
    assert job_id not in {event.job_id for event in first.events}


async def test_a_long_projection_keeps_its_cursor(storage: Storage) -> None:
    quick = replace(QUICK, heartbeat_interval=0.05, worker_timeout=0.15)
    slow, other = Recording(), Recording()
    slow.takes = 0.6
    async with projecting(storage, slow, options=quick) as one, projecting(storage, other, options=quick):
        job_id = await run(one)
        await caught_up(storage, slow)
        assert other.calls == 0
    assert slow.types_of(job_id)[-1] == "job.succeeded"


async def test_names_are_told_apart_before_anything_begins(storage: Storage) -> None:
    with pytest.raises(ConfigurationError, match="two projections called 'recording'"):
        projecting(storage, Recording(), Recording())
    with pytest.raises(ConfigurationError, match="cannot be called ''"):
        projecting(storage, Recording(""))


async def test_a_process_that_stops_while_it_stores_how_far_it_is_gives_the_cursor_up(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The position may be stored, and the answer cut off: what is given up then must not stand before it."""
    move, stored = type(storage).move_cursor, asyncio.Event()

    async def moved(self: Storage, name: str, **to: Any) -> bool:
        is_ours = await move(self, name, **to)
        if to["until"] is not None and to["position"] > 0:
            stored.set()
            await asyncio.Event().wait()
        return is_ours

    monkeypatch.setattr(type(storage), "move_cursor", moved)
    async with projecting(storage, Recording()) as k:
        await run(k)
        await stored.wait()
    (cursor,) = await storage.cursors()
    assert cursor.held_until is None
    assert cursor.position > 0


async def test_who_waits_for_the_cursor_has_prepared_once() -> None:
    """And again only when it has failed: it asks for the cursor every few seconds."""

    class Prepared(Recording):
        tries = 0

        async def prepare(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise StorageError("away")

    storage, clock, projection = MemoryStorage(), SystemClock(), Prepared()
    until_then = clock.now() + timedelta(hours=1)
    await storage.take_cursor(projection.name, holder="another", at=clock.now(), until=until_then)
    asked = 0
    take = storage.take_cursor

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return await take(*arguments, **options)

    storage.take_cursor = counted  # type: ignore[method-assign]
    projector = Projector(projection, storage, clock, holder="me", interval=0.01, held_for=0.03)
    projector.start()
    async with asyncio.timeout(BOUND):
        while asked < 4:
            await asyncio.sleep(0.01)
    await projector.stop()
    assert projection.tries == 2
