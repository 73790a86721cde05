"""One call for all who ask the same thing under the same key."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from llm_client import (
    Chunks,
    ExecutionEngine,
    FunctionProvider,
    HookEvent,
    IdempotencyConflict,
    IdempotencyTracker,
    MemoryOutcomeStore,
    Message,
    ProviderUnavailable,
    RequestContext,
    RequestSpec,
    RetryConfig,
    ScriptedProvider,
    StreamEvent,
)
from llm_client.engine.outcomes import MAX_EVENTS, Claim, Outcome
from llm_client.messages import CompletionResult
from llm_client.testing.cache_contract import FakeTime

SPEC = RequestSpec(messages=[Message.user("hi")])
BOUND = 5.0


class Gate:
    """A model that answers when it is told to, and counts what it was asked."""

    def __init__(self, answer: str = "answer") -> None:
        self.asked = 0
        self.cancelled = 0
        self.started = asyncio.Event()
        self.open = asyncio.Event()
        self.answer = answer

    async def __call__(self, _spec: RequestSpec) -> str:
        self.asked += 1
        self.started.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.answer


def names(log: list[HookEvent]) -> list[str]:
    return [event.name for event in log if event.name.startswith("idempotency")]


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_duplicate_of_a_running_call_joins_it() -> None:
    gate = Gate()
    log: list[HookEvent] = []
    engine = ExecutionEngine(FunctionProvider(gate), hooks=[log.append])
    calls = [asyncio.create_task(engine.complete(SPEC, idempotency_key="k")) for _ in range(5)]
    await gate.started.wait()
    gate.open.set()
    results = await asyncio.gather(*calls)

    assert gate.asked == 1
    assert all(result is results[0] for result in results)
    assert sorted(names(log)) == ["idempotency.complete", *["idempotency.hit"] * 4, "idempotency.start"]


async def test_a_duplicate_of_a_finished_call_gets_its_result() -> None:
    provider = ScriptedProvider(["once"])
    engine = ExecutionEngine(provider)
    first = await engine.complete(SPEC, idempotency_key="k")
    second = await engine.complete(SPEC, idempotency_key="k")

    assert first == second
    provider.assert_complete()


async def test_another_request_under_the_same_key_is_refused_while_running_and_after() -> None:
    gate = Gate()
    log: list[HookEvent] = []
    engine = ExecutionEngine(FunctionProvider(gate), hooks=[log.append])
    running = asyncio.create_task(engine.complete(SPEC, idempotency_key="k"))
    await gate.started.wait()
    with pytest.raises(IdempotencyConflict):
        await engine.complete(SPEC.evolve(temperature=1.0), idempotency_key="k")
    gate.open.set()
    await running
    with pytest.raises(IdempotencyConflict):
        await engine.complete(SPEC.evolve(temperature=1.0), idempotency_key="k")

    assert gate.asked == 1
    assert names(log).count("idempotency.conflict") == 2
    assert [event.name for event in log].count("request.end") == 3


async def test_a_time_out_is_not_part_of_the_request() -> None:
    engine = ExecutionEngine(ScriptedProvider(["once"]))
    await engine.complete(SPEC.evolve(timeout=5), idempotency_key="k")

    assert (await engine.complete(SPEC.evolve(timeout=9), idempotency_key="k")).content == "once"


async def test_tenants_do_not_share_keys() -> None:
    engine = ExecutionEngine(ScriptedProvider(["for a", "for b"]))
    first = await engine.complete(SPEC, idempotency_key="k", context=RequestContext(tenant_id="a"))
    second = await engine.complete(SPEC, idempotency_key="k", context=RequestContext(tenant_id="b"))

    assert (first.content, second.content) == ("for a", "for b")


async def test_a_failed_call_leaves_the_key_free() -> None:
    log: list[HookEvent] = []
    provider = ScriptedProvider([ProviderUnavailable(), "second"])
    engine = ExecutionEngine(provider, retry=RetryConfig(attempts=1), hooks=[log.append])
    with pytest.raises(ProviderUnavailable):
        await engine.complete(SPEC, idempotency_key="k")

    assert (await engine.complete(SPEC, idempotency_key="k")).content == "second"
    assert names(log) == [
        "idempotency.start",
        "idempotency.fail",
        "idempotency.start",
        "idempotency.complete",
    ]


async def test_a_shared_call_goes_on_while_one_of_its_callers_is_left() -> None:
    gate = Gate()
    engine = ExecutionEngine(FunctionProvider(gate))
    first = asyncio.create_task(engine.complete(SPEC, idempotency_key="k"))
    await gate.started.wait()
    second = asyncio.create_task(engine.complete(SPEC, idempotency_key="k"))
    await settle()
    first.cancel()
    await asyncio.wait((first,))
    gate.open.set()

    assert first.cancelled()
    assert (await second).content == "answer"
    assert (gate.asked, gate.cancelled) == (1, 0)


async def test_the_last_caller_to_leave_cancels_the_call_and_frees_the_key() -> None:
    gate = Gate()
    tracker = IdempotencyTracker()
    engine = ExecutionEngine(FunctionProvider(gate), idempotency_tracker=tracker)
    calls = [asyncio.create_task(engine.complete(SPEC, idempotency_key="k")) for _ in range(3)]
    await gate.started.wait()
    await settle()
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    gone = (gate.cancelled, tracker.pending_count)
    gate.open.set()

    assert gone == (1, 0)
    assert (await engine.complete(SPEC, idempotency_key="k")).content == "answer"


async def test_who_comes_while_the_call_is_being_cancelled_gets_a_call_of_their_own() -> None:
    release = asyncio.Event()
    started = asyncio.Event()
    asked = 0

    async def slow_to_die(_spec: RequestSpec) -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            return "fresh"
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()
        return "never"

    engine = ExecutionEngine(FunctionProvider(slow_to_die))
    first = asyncio.create_task(engine.complete(SPEC, idempotency_key="k"))
    await started.wait()
    first.cancel()
    await settle()
    second = asyncio.create_task(engine.complete(SPEC, idempotency_key="k"))
    await settle()
    release.set()

    assert (await asyncio.wait_for(second, BOUND)).content == "fresh"
    assert first.cancelled()


async def collect(stream: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    return [event async for event in stream]


async def test_a_late_duplicate_of_a_finished_stream_gets_its_events_again() -> None:
    engine = ExecutionEngine(ScriptedProvider([Chunks(["a", "b", "c"])]))
    first = await collect(engine.stream(SPEC, idempotency_key="k"))
    second = await collect(engine.stream(SPEC, idempotency_key="k"))

    assert first == second
    assert [event.text for event in first if event.type == "token"] == ["a", "b", "c"]


async def test_who_joins_a_running_stream_gets_all_of_its_events() -> None:
    halfway, go_on = asyncio.Event(), asyncio.Event()

    async def text(_spec: RequestSpec) -> AsyncIterator[str]:
        yield "a"
        halfway.set()
        await go_on.wait()
        yield "b"

    def write(spec: RequestSpec) -> AsyncIterator[str]:
        return text(spec)

    engine = ExecutionEngine(FunctionProvider(write))
    first = asyncio.create_task(collect(engine.stream(SPEC, idempotency_key="k")))
    await halfway.wait()
    second = asyncio.create_task(collect(engine.stream(SPEC, idempotency_key="k")))
    third = asyncio.create_task(engine.complete(SPEC, idempotency_key="k"))
    await settle()
    go_on.set()
    streams = await asyncio.gather(first, second)

    assert streams[0] == streams[1]
    assert (await third).content == "ab"


async def test_a_stream_of_a_call_that_was_not_streamed_gets_events_made_from_its_result() -> None:
    engine = ExecutionEngine(ScriptedProvider(["whole text"]))
    await engine.complete(SPEC, idempotency_key="k")
    events = await collect(engine.stream(SPEC, idempotency_key="k"))

    assert [(event.type, event.text) for event in events] == [
        ("token", "whole text"),
        ("usage", ""),
        ("done", ""),
    ]


async def test_results_expire() -> None:
    time = FakeTime()
    tracker = IdempotencyTracker(result_ttl=60, store=MemoryOutcomeStore(clock=time))
    engine = ExecutionEngine(ScriptedProvider(["first", "second"]), idempotency_tracker=tracker)
    await engine.complete(SPEC, idempotency_key="k")
    time.now += 61

    assert (await engine.complete(SPEC, idempotency_key="k")).content == "second"


async def test_results_are_bounded_in_number() -> None:
    store = MemoryOutcomeStore(max_results=3)
    engine = ExecutionEngine(
        FunctionProvider(lambda _: "x"), idempotency_tracker=IdempotencyTracker(store=store)
    )
    for number in range(10):
        await engine.complete(SPEC, idempotency_key=str(number))

    assert len(store) == 3


async def test_stored_events_are_bounded_and_results_outlive_them() -> None:
    store = MemoryOutcomeStore()
    events = tuple(StreamEvent(type="token", text="x") for _ in range(MAX_EVENTS // 4))
    for key in "abcdef":
        await store.claim(key, "digest", owner=key, lease=60)
        outcome = Outcome(result=CompletionResult(content=key), events=events)
        await store.complete(key, "digest", owner=key, outcome=outcome, ttl=60)
    kept = [(await store.claim(key, "digest", owner="z", lease=60)).outcome for key in "abcdef"]

    assert [outcome.result.content for outcome in kept if outcome] == list("abcdef")
    assert kept[0] is not None
    assert kept[-1] is not None
    assert kept[0].events == ()
    assert kept[-1].events == events
    assert sum(len(outcome.events) for outcome in kept if outcome) <= MAX_EVENTS


async def test_processes_that_share_a_store_do_not_repeat_each_other() -> None:
    store = MemoryOutcomeStore()
    gate = Gate()
    engines = [
        ExecutionEngine(FunctionProvider(gate), idempotency_tracker=IdempotencyTracker(store=store))
        for _ in range(2)
    ]
    calls = [asyncio.create_task(engine.complete(SPEC, idempotency_key="k")) for engine in engines]
    await gate.started.wait()
    await settle()
    gate.open.set()
    results = await asyncio.wait_for(asyncio.gather(*calls), BOUND)

    assert gate.asked == 1
    assert results[0] == results[1]


class BrokenStore(MemoryOutcomeStore):
    """A store that cannot be written."""

    async def complete(self, key: str, digest: str, *, owner: str, outcome: Outcome, ttl: float) -> None:
        raise OSError("disk full")


async def test_a_result_that_cannot_be_stored_is_still_returned(caplog: pytest.LogCaptureFixture) -> None:
    tracker = IdempotencyTracker(store=BrokenStore())
    engine = ExecutionEngine(ScriptedProvider(["paid for"]), idempotency_tracker=tracker)

    assert (await engine.complete(SPEC, idempotency_key="k")).content == "paid for"
    assert "could not be stored" in caplog.text


async def test_a_claim_is_renewed_while_its_call_runs() -> None:
    claims: list[str] = []

    class Watched(MemoryOutcomeStore):
        async def claim(self, key: str, digest: str, *, owner: str, lease: float) -> Claim:
            claims.append(owner)
            if len(claims) == 3:
                gate.open.set()
            return await super().claim(key, digest, owner=owner, lease=lease)

    gate = Gate()
    tracker = IdempotencyTracker(request_timeout=0.03, store=Watched())
    engine = ExecutionEngine(FunctionProvider(gate), idempotency_tracker=tracker)
    await asyncio.wait_for(engine.complete(SPEC, idempotency_key="k"), BOUND)

    assert len(set(claims)) == 1


async def test_a_request_without_a_key_is_never_joined() -> None:
    asked: list[RequestSpec] = []
    note: Callable[[RequestSpec], str] = lambda spec: asked.append(spec) or "x"  # noqa: E731
    engine = ExecutionEngine(FunctionProvider(note))
    await asyncio.gather(engine.complete(SPEC), engine.complete(SPEC))

    assert len(asked) == 2
