"""Waiting for jobs that other processes end."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from agent_runtime.errors import InvalidInput
from agent_runtime.ports.commit import JobChange, NewEvent
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobStatus
from agent_runtime.worker.completion_waiters import CompletionWaiters

BOUND = 10


class Watched(MemoryStorage):
    """Remembers whose journals were read from their end."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.unexpected: list[str] = []

    async def tail(self, job_id: str, limit: int) -> Sequence[RuntimeEvent]:
        self.asked.append(job_id)
        if job_id in self.unexpected:
            raise RuntimeError("a row that cannot be read")
        return await super().tail(job_id, limit)


@pytest.fixture
async def storage() -> AsyncIterator[Watched]:
    watched = Watched()
    await watched.open()
    yield watched
    await watched.aclose()


@pytest.fixture
async def ends(storage: Watched) -> AsyncIterator[CompletionWaiters]:
    awaited = CompletionWaiters(storage)
    awaited.start()
    yield awaited
    await awaited.stop()


async def ended(storage: Watched) -> str:
    """Store a job that has ended."""
    record = job()
    await storage.commit(commit(create=[(record, [NewEvent(RuntimeEventType.JOB_CREATED)])]))
    assert await storage.claim(record.job_id, owner="w1", at=NOW) is not None
    await storage.commit(
        commit(
            job_id=record.job_id,
            fence=1,
            events=[NewEvent(RuntimeEventType.JOB_SUCCEEDED)],
            job=JobChange(status=JobStatus.SUCCEEDED, release=True),
        )
    )
    return record.job_id


async def test_of_many_awaited_jobs_only_the_ended_one_is_looked_at(
    ends: CompletionWaiters, storage: Watched
) -> None:
    others = [ends.end_of(f"job-{number}") for number in range(50)]
    job_id = await ended(storage)
    end = ends.end_of(job_id)

    ends.on_remote_change(job_id)

    async with asyncio.timeout(BOUND):
        assert (await end).type == RuntimeEventType.JOB_SUCCEEDED
    assert storage.asked == [job_id]
    assert not any(other.done() for other in others)


async def test_a_job_that_nobody_waits_for_is_not_looked_at(
    ends: CompletionWaiters, storage: Watched
) -> None:
    unawaited, awaited = await ended(storage), await ended(storage)
    end = ends.end_of(awaited)

    ends.on_remote_change(unawaited)
    ends.on_remote_change(awaited)

    async with asyncio.timeout(BOUND):
        await end
    assert storage.asked == [awaited]


async def test_a_look_finds_an_end_that_was_not_announced(ends: CompletionWaiters, storage: Watched) -> None:
    job_id = await ended(storage)
    end = ends.end_of(job_id)

    await ends.poll()

    assert end.done()
    assert job_id not in ends


async def test_who_still_waits_when_it_stops_is_told_that_the_job_goes_on(ends: CompletionWaiters) -> None:
    end = ends.end_of("job-1")

    await ends.stop()

    with pytest.raises(InvalidInput, match="goes on later"):
        await end


async def test_a_journal_that_cannot_be_read_does_not_keep_others_from_hearing_of_later_ends(
    ends: CompletionWaiters, storage: Watched
) -> None:
    bad, good = await ended(storage), await ended(storage)
    storage.unexpected.append(bad)
    lost, end = ends.end_of(bad), ends.end_of(good)

    ends.on_remote_change(bad)
    async with asyncio.timeout(BOUND):
        while bad not in storage.asked:
            await asyncio.sleep(0)
        ends.on_remote_change(good)
        assert (await end).type == RuntimeEventType.JOB_SUCCEEDED
    assert not lost.done()
