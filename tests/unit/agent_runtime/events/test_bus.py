"""The bus never slows who sends, and never hides what it dropped."""

import asyncio

import pytest

from agent_runtime import InMemoryEventBus, RuntimeEvent, RuntimeEventType


def event(type_: str = "custom.x", **values: object) -> RuntimeEvent:
    return RuntimeEvent(type=type_, **values)  # type: ignore[arg-type]


async def test_the_documented_subscription_receives_what_it_asked_for() -> None:
    bus, seen, got = InMemoryEventBus(), [], asyncio.Event()

    async def handler(received: RuntimeEvent) -> None:
        seen.append(received.type)
        got.set()

    subscription = await bus.subscribe(handler, event_types={RuntimeEventType.JOB_STARTED})
    await bus.publish(event("custom.other"))
    await bus.publish(RuntimeEvent(type=RuntimeEventType.JOB_STARTED, job_id="job-123"))
    await asyncio.wait_for(got.wait(), 5)
    await subscription.unsubscribe()
    await bus.publish(RuntimeEvent(type=RuntimeEventType.JOB_STARTED, job_id="job-123"))
    await asyncio.sleep(0)
    assert seen == ["job.started"]


async def test_subscriptions_are_filtered_by_job_and_scope() -> None:
    bus = InMemoryEventBus()
    by_job, by_scope = bus.stream(job_id="a"), bus.stream(scope_id="s")
    for job_id in "ab":
        for scope_id in "st":
            await bus.publish(event(job_id=job_id, scope_id=scope_id))
    assert [(await anext(by_job)).scope_id for _ in range(2)] == ["s", "t"]
    assert [(await anext(by_scope)).job_id for _ in range(2)] == ["a", "b"]


async def test_a_handler_that_raises_stays_subscribed(caplog: pytest.LogCaptureFixture) -> None:
    bus, seen, done = InMemoryEventBus(), [], asyncio.Event()

    async def handler(received: RuntimeEvent) -> None:
        seen.append(received.type)
        if len(seen) == 1:
            raise RuntimeError("handler broke")
        done.set()

    await bus.subscribe(handler)
    await bus.publish(event("custom.1"))
    await bus.publish(event("custom.2"))
    await asyncio.wait_for(done.wait(), 5)
    await bus.aclose()
    assert seen == ["custom.1", "custom.2"]
    assert "handler broke" in caplog.text


async def test_a_slow_reader_is_told_what_it_missed_and_never_loses_an_end() -> None:
    bus = InMemoryEventBus()
    slow = bus.stream(queue_size=3)
    await bus.publish(event("job.succeeded"))
    for number in range(10):
        await bus.publish(event(f"custom.{number}"))
    received = [await anext(slow) for _ in range(4)]
    assert (received[0].type, received[0].data) == ("gap", {"missed": 8})
    assert [one.type for one in received[1:]] == ["job.succeeded", "custom.8", "custom.9"]
    assert slow.dropped == 8


async def test_ending_a_subscription_ends_its_reader_even_with_a_full_queue() -> None:
    bus = InMemoryEventBus()
    stream = bus.stream(queue_size=2)
    for number in range(5):
        await bus.publish(event(f"custom.{number}"))

    async def read_all() -> list[str]:
        return [one.type async for one in stream]

    reader = asyncio.ensure_future(read_all())
    await asyncio.sleep(0)
    await stream.unsubscribe()
    assert await asyncio.wait_for(reader, 5) == ["gap", "custom.3", "custom.4"]
    assert not bus.has_listeners("any")


async def test_cancelling_a_reader_is_not_swallowed() -> None:
    stream = InMemoryEventBus().stream()
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
