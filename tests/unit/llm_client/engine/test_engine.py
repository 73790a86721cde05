"""The engine's path: order, retries, fallback, deadlines, cache, hooks, streams, batches, hosts."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest

from llm_client import (
    HOST,
    Chunks,
    CircuitBreakerConfig,
    CircuitOpen,
    CompletionResult,
    ConfigurationError,
    Delay,
    ExecutionEngine,
    FunctionProvider,
    HookEvent,
    Host,
    InvalidRequest,
    MemoryCache,
    Message,
    ModelAttempt,
    ModelCall,
    ModelMiddleware,
    ModelPrices,
    PriceBook,
    ProviderTimeout,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
    ReasoningPart,
    RequestContext,
    RequestSpec,
    RetryConfig,
    RunAborted,
    ScriptedProvider,
    StaticRouter,
    StreamEvent,
    StreamInterrupted,
    ToolCall,
    Usage,
    paused,
)
from llm_client.middleware import ProceedAttempt, ProceedCall

SPEC = RequestSpec(messages=[Message.user("hi")])
FAST = RetryConfig(backoff=0, jitter=0)
BOUND = 5.0


async def collect(stream: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    return [event async for event in stream]


def shape(events: list[StreamEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.text) for event in events]


# retries


async def test_a_transient_failure_is_repeated() -> None:
    provider = ScriptedProvider(
        [ProviderUnavailable(status=503), RateLimited(status=429), "third time lucky"]
    )

    result = await ExecutionEngine(provider, retry=FAST).complete(SPEC)

    assert result.content == "third time lucky"
    provider.assert_complete()


async def test_when_nothing_helps_the_last_failure_is_raised() -> None:
    last = ProviderUnavailable("the third", status=503)
    provider = ScriptedProvider([ProviderUnavailable(), ProviderUnavailable(), last])

    with pytest.raises(ProviderUnavailable) as caught:
        await ExecutionEngine(provider, retry=FAST).complete(SPEC)

    assert caught.value is last
    assert (last.provider, last.model) == ("scripted", "scripted")


async def test_a_refused_request_is_not_repeated() -> None:
    provider = ScriptedProvider([InvalidRequest(status=400), "never"])

    with pytest.raises(InvalidRequest):
        await ExecutionEngine(provider, retry=FAST).complete(SPEC)

    assert provider.remaining == 1


async def test_what_is_no_provider_error_is_not_repeated_and_not_wrapped() -> None:
    provider = ScriptedProvider([ValueError("a bug"), "never"])

    with pytest.raises(ValueError, match="a bug"):
        await ExecutionEngine(provider, retry=FAST).complete(SPEC)

    assert provider.remaining == 1


async def test_a_wait_that_the_deadline_does_not_allow_is_not_begun() -> None:
    provider = ScriptedProvider([RateLimited(status=429, retry_after=30), "never"])

    with pytest.raises(RateLimited):
        await ExecutionEngine(provider).complete(SPEC, timeout=20)


# deadline


async def test_one_deadline_covers_all_attempts() -> None:
    provider = ScriptedProvider([ProviderUnavailable(), Delay(60, "too late")])
    engine = ExecutionEngine(provider, retry=FAST)

    with pytest.raises(ProviderTimeout, match="2 attempts") as caught:
        await engine.complete(SPEC.evolve(timeout=0.05))

    assert isinstance(caught.value.__cause__, ProviderUnavailable)


async def test_a_provider_that_says_nothing_until_the_deadline_counts_as_failed() -> None:
    engine = ExecutionEngine(
        ScriptedProvider([Delay(60, "x")]), breaker_config=CircuitBreakerConfig(failure_threshold=1)
    )
    with pytest.raises(ProviderTimeout):
        await engine.complete(SPEC, timeout=0.01)

    with pytest.raises(CircuitOpen):
        await engine.complete(SPEC)


async def test_a_callers_own_time_out_is_not_the_providers_fault() -> None:
    engine = ExecutionEngine(
        ScriptedProvider([Delay(60, "x"), "fine"]), breaker_config=CircuitBreakerConfig(failure_threshold=1)
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await engine.complete(SPEC)

    assert (await engine.complete(SPEC)).content == "fine"


# breaker and fallback


async def test_an_open_circuit_refuses_without_asking() -> None:
    provider = ScriptedProvider([ProviderUnavailable()] * 2)
    log: list[HookEvent] = []
    engine = ExecutionEngine(
        provider,
        retry=RetryConfig(attempts=1),
        breaker_config=CircuitBreakerConfig(failure_threshold=2),
        hooks=[log.append],
    )
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            await engine.complete(SPEC)

    with pytest.raises(CircuitOpen):
        await engine.complete(SPEC)

    assert len(provider.requests) == 2
    assert "circuit.open" in [event.name for event in log]


async def test_a_circuit_that_opens_during_a_call_leaves_its_cause_as_the_error() -> None:
    engine = ExecutionEngine(
        ScriptedProvider([ProviderUnavailable("the cause")]),
        retry=FAST,
        breaker_config=CircuitBreakerConfig(failure_threshold=1),
    )

    with pytest.raises(ProviderUnavailable, match="the cause"):
        await engine.complete(SPEC)


async def test_the_next_provider_answers_when_the_first_is_down() -> None:
    first = ScriptedProvider([ProviderUnavailable()] * 3, model="first")
    second = ScriptedProvider(["from the second"], model="second")
    log: list[HookEvent] = []
    engine = ExecutionEngine(first, fallbacks=[second], retry=FAST, hooks=[log.append])

    result = await engine.complete(SPEC.evolve(model="first-large"))

    assert (result.content, result.model) == ("from the second", "second")
    assert second.requests[0].model is None
    assert [event.name for event in log].count("router.fallback") == 1


@pytest.mark.parametrize("error", [QuotaExceeded(status=429), RateLimited(status=429)])
async def test_a_provider_without_credit_or_capacity_is_left(error: Exception) -> None:
    engine = ExecutionEngine(
        ScriptedProvider([error]), fallbacks=[ScriptedProvider(["ok"])], retry=RetryConfig(attempts=1)
    )

    assert (await engine.complete(SPEC)).content == "ok"


async def test_a_refused_request_is_not_shown_to_another_provider() -> None:
    other = ScriptedProvider(["never"])
    engine = ExecutionEngine(ScriptedProvider([InvalidRequest(status=400)]), fallbacks=[other])

    with pytest.raises(InvalidRequest):
        await engine.complete(SPEC)

    assert other.requests == []


async def test_a_router_chooses_by_request() -> None:
    cheap, good = ScriptedProvider(["cheap"]), ScriptedProvider(["good"])

    class BySize:
        def select(self, spec: RequestSpec) -> list[ScriptedProvider]:
            return [good if spec.reasoning_effort == "high" else cheap]

    engine = ExecutionEngine(router=BySize())

    assert (await engine.complete(SPEC)).content == "cheap"
    assert (await engine.complete(SPEC.evolve(reasoning_effort="high"))).content == "good"


def test_an_engine_needs_exactly_one_source_of_providers() -> None:
    provider = ScriptedProvider([])
    with pytest.raises(ConfigurationError):
        ExecutionEngine()
    with pytest.raises(ConfigurationError):
        ExecutionEngine(provider, router=StaticRouter([provider]))


# concurrency


async def test_no_more_calls_run_at_once_than_allowed() -> None:
    running = most = 0

    async def answer(_spec: RequestSpec) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return "x"

    engine = ExecutionEngine(FunctionProvider(answer), max_concurrency=3)
    await asyncio.gather(*(engine.complete(SPEC) for _ in range(30)))

    assert most == 3


async def test_a_thousand_calls_at_once_all_get_their_answer() -> None:
    engine = ExecutionEngine(FunctionProvider(lambda spec: spec.messages[0].text), max_concurrency=50)
    specs = [RequestSpec(messages=[Message.user(str(number))]) for number in range(1000)]

    results = await asyncio.gather(*(engine.complete(spec) for spec in specs))

    assert [result.content for result in results] == [str(number) for number in range(1000)]


async def test_a_cancelled_call_gives_its_place_back() -> None:
    engine = ExecutionEngine(ScriptedProvider([Delay(60, "x"), "next"]), max_concurrency=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await engine.complete(SPEC)

    assert (await asyncio.wait_for(engine.complete(SPEC), BOUND)).content == "next"


async def test_an_attempt_that_waits_durably_occupies_no_place_and_no_time() -> None:
    waiting, go_on = asyncio.Event(), asyncio.Event()

    class Waits(Host):
        async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
            async with paused():
                waiting.set()
                await go_on.wait()
            return await proceed(attempt)

    engine = ExecutionEngine(FunctionProvider(lambda _: "x"), max_concurrency=1)
    token = HOST.set(Waits())
    blocked = asyncio.create_task(engine.complete(SPEC, timeout=0.02))
    HOST.reset(token)
    await waiting.wait()
    other = await asyncio.wait_for(engine.complete(SPEC), BOUND)
    asyncio.get_running_loop().call_later(0.06, go_on.set)  # well after the blocked call's time-out
    await go_on.wait()

    assert other.content == "x"
    assert (await blocked).content == "x"


# streams


async def test_a_stream_yields_tokens_and_ends_with_the_whole_result() -> None:
    events = await collect(ExecutionEngine(ScriptedProvider([Chunks(["a", "b"])])).stream(SPEC))

    assert shape(events) == [("token", "a"), ("token", "b"), ("usage", ""), ("done", "")]
    assert events[-1].result.content == "ab"


async def test_a_stream_that_fails_before_its_first_token_is_repeated() -> None:
    provider = ScriptedProvider([ProviderUnavailable(), Chunks([ProviderUnavailable()]), "ok"])

    events = await collect(ExecutionEngine(provider, retry=FAST).stream(SPEC))

    assert events[-1].result.content == "ok"


@pytest.mark.parametrize(
    "first",
    ["a", ToolCall("1", "f", {}), ReasoningPart(provider="x", text="hm")],
    ids=["token", "tool", "reasoning"],
)
async def test_nothing_is_repeated_or_failed_over_after_the_first_content(first: str) -> None:
    other = ScriptedProvider(["never"])
    provider = ScriptedProvider([Chunks([first, ProviderUnavailable("cut")]), "never"])
    engine = ExecutionEngine(provider, fallbacks=[other], retry=FAST)
    seen: list[StreamEvent] = []

    async def follow() -> None:
        async for event in engine.stream(SPEC):
            seen.append(event)

    with pytest.raises(ProviderUnavailable, match="cut"):
        await follow()

    assert seen
    assert (provider.remaining, len(other.requests)) == (1, 0)


async def test_closing_a_stream_cancels_its_call() -> None:
    cancelled = asyncio.Event()

    async def endless(_spec: RequestSpec) -> AsyncIterator[str]:
        try:
            while True:
                yield "more "
                await asyncio.sleep(0)
        finally:
            cancelled.set()

    engine = ExecutionEngine(FunctionProvider(endless), max_concurrency=1)
    stream = engine.stream(SPEC)
    async for _ in stream:
        break
    await stream.aclose()

    await asyncio.wait_for(cancelled.wait(), BOUND)
    assert engine._slots is not None
    assert engine._slots.free == 1


async def test_a_provider_that_forgets_its_end_is_interrupted() -> None:
    class Forgetful(FunctionProvider):
        async def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
            yield StreamEvent(type="token", text="half")

    with pytest.raises(StreamInterrupted):
        await collect(ExecutionEngine(Forgetful(lambda _: "x")).stream(SPEC))


async def test_the_usage_inside_a_stream_is_priced() -> None:
    prices = PriceBook({"*:scripted": ModelPrices.of(input=1, output=1)})
    events = await collect(ExecutionEngine(ScriptedProvider(["hello"]), prices=prices).stream(SPEC))

    assert [event.usage.cost for event in events if event.usage is not None] == [Decimal("0.000003")] * 2


# hosts and middleware


class Recorder(Host):
    """A host that notes what passes its gates."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self.attempts: list[ModelAttempt] = []

    async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
        self.calls.append(call)
        return await proceed(call)

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        self.attempts.append(attempt)
        return await proceed(attempt)


async def test_a_host_sees_a_call_once_and_every_attempt() -> None:
    host = Recorder()
    token = HOST.set(host)
    engine = ExecutionEngine(ScriptedProvider([RateLimited(status=429), "ok"]), retry=FAST)
    context = RequestContext(tenant_id="t")
    await engine.complete(SPEC, context=context)
    HOST.reset(token)

    assert [call.context for call in host.calls] == [context]
    assert [attempt.number for attempt in host.attempts] == [1, 2]


async def test_a_cache_hit_passes_the_call_gate_and_makes_no_attempt() -> None:
    engine = ExecutionEngine(ScriptedProvider(["once"]), cache=MemoryCache())
    await engine.complete(SPEC)
    host = Recorder()
    token = HOST.set(host)
    await engine.complete(SPEC)
    HOST.reset(token)

    assert (len(host.calls), len(host.attempts)) == (1, 0)


@pytest.mark.parametrize(
    ("options", "asked", "transformed"),
    [
        ({}, {}, False),
        ({"cache": MemoryCache()}, {}, True),
        ({"cache": MemoryCache()}, {"cache": "bypass"}, False),
        ({"middleware": [ModelMiddleware()]}, {}, True),
        ({}, {"idempotency_key": "k"}, True),
    ],
)
async def test_a_call_says_whether_something_may_stand_between_it_and_its_attempts(
    options: dict[str, object], asked: dict[str, object], transformed: bool
) -> None:
    host = Recorder()
    token = HOST.set(host)
    await ExecutionEngine(ScriptedProvider(["x"]), **options).complete(SPEC, **asked)  # type: ignore[arg-type]
    HOST.reset(token)

    assert host.calls[0].transformed is transformed


async def test_middleware_runs_in_order_around_calls_and_attempts_inside_the_host() -> None:
    trail: list[str] = []

    class Step(Host):
        def __init__(self, name: str) -> None:
            self.name = name

        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            trail.append(f"{self.name} call")
            return await proceed(call)

        async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
            trail.append(f"{self.name} attempt")
            return await proceed(attempt)

    engine = ExecutionEngine(ScriptedProvider(["x"]), middleware=[Step("outer"), Step("inner")])
    token = HOST.set(Step("host"))
    await engine.complete(SPEC)
    HOST.reset(token)

    assert trail == [
        "host call",
        "outer call",
        "inner call",
        "host attempt",
        "outer attempt",
        "inner attempt",
    ]


async def test_a_middleware_may_change_the_request() -> None:
    class Colder(ModelMiddleware):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            return await proceed(call.evolve(spec=call.spec.evolve(temperature=0.0)))

    provider = ScriptedProvider(["x"])
    await ExecutionEngine(provider, middleware=[Colder()]).complete(SPEC)

    assert provider.requests[0].temperature == 0.0


@pytest.mark.parametrize("gate", ["call", "attempt"])
async def test_an_aborted_run_is_neither_repeated_nor_counted(gate: str) -> None:
    class Aborts(Recorder):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            await super().call(call, proceed) if gate != "call" else None
            raise RunAborted("stop")

        async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
            self.attempts.append(attempt)
            raise RunAborted("stop")

    host = Aborts()
    other = ScriptedProvider(["never"])
    engine = ExecutionEngine(
        ScriptedProvider(["later"]),
        fallbacks=[other],
        breaker_config=CircuitBreakerConfig(failure_threshold=1),
        retry=FAST,
    )
    token = HOST.set(host)
    with pytest.raises(RunAborted):
        await engine.complete(SPEC)
    HOST.reset(token)

    assert len(host.attempts) == (0 if gate == "call" else 1)
    assert other.requests == []
    assert (await engine.complete(SPEC)).content == "later"


async def test_a_recorded_answer_of_a_host_is_streamed_as_events() -> None:
    recorded = CompletionResult(content="recorded", tool_calls=(ToolCall("1", "f", {"a": 1}),))

    class Recalls(Host):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            return recorded

    provider = ScriptedProvider([])
    token = HOST.set(Recalls())
    events = await collect(ExecutionEngine(provider).stream(SPEC))
    HOST.reset(token)

    assert [event.type for event in events] == [
        "token",
        "tool_call_start",
        "tool_call_delta",
        "tool_call_end",
        "usage",
        "done",
    ]
    assert events[-1].result is recorded
    assert provider.requests == []


async def test_a_host_may_listen_in() -> None:
    heard: list[str] = []

    class Listens(Host):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            emit = call.emit
            assert emit is not None

            def both(event: StreamEvent) -> None:
                heard.append(event.text)
                emit(event)

            return await proceed(call.evolve(emit=both))

    token = HOST.set(Listens())
    events = await collect(ExecutionEngine(ScriptedProvider([Chunks(["a", "b"])])).stream(SPEC))
    HOST.reset(token)

    assert heard == ["a", "b", ""]
    assert shape(events) == [("token", "a"), ("token", "b"), ("usage", ""), ("done", "")]


# cache


async def test_an_equal_request_is_answered_from_the_cache_and_costs_nothing() -> None:
    prices = PriceBook({"*:scripted": ModelPrices.of(input=100, output=100)})
    engine = ExecutionEngine(ScriptedProvider(["once"]), cache=MemoryCache(), prices=prices)
    first = await engine.complete(SPEC)
    second = await engine.complete(RequestSpec(messages=[Message.user("hi")]))

    assert (second.content, second.cached, second.usage.cost) == ("once", True, Decimal(0))
    assert second.usage.total_tokens == 0
    assert second.saved == first.usage
    assert second.saved is not None
    assert second.saved.cost == Decimal("0.0002")


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [Message.user("hi!")]},
        {"messages": [Message.system("hi")]},
        {"model": "other"},
        {"temperature": 0.1},
        {"max_tokens": 5},
        {"stop": ["x"]},
        {"seed": 1},
        {"reasoning_effort": "low"},
        {"extra": {"service_tier": "flex"}},
    ],
)
async def test_whatever_changes_the_answer_changes_the_key(change: dict[str, object]) -> None:
    engine = ExecutionEngine(ScriptedProvider(["first", "second"]), cache=MemoryCache())
    await engine.complete(SPEC)

    assert (await engine.complete(SPEC.evolve(**change))).content == "second"


async def test_tenants_do_not_share_answers() -> None:
    engine = ExecutionEngine(ScriptedProvider(["for a", "for b"]), cache=MemoryCache())
    await engine.complete(SPEC, context=RequestContext(tenant_id="a"))

    assert (await engine.complete(SPEC, context=RequestContext(tenant_id="b"))).content == "for b"


async def test_the_cache_can_be_passed_by_and_refreshed() -> None:
    engine = ExecutionEngine(ScriptedProvider(["one", "two", "three"]), cache=MemoryCache())
    contents = [
        (await engine.complete(SPEC)).content,
        (await engine.complete(SPEC, cache="bypass")).content,
        (await engine.complete(SPEC, cache="refresh")).content,
        (await engine.complete(SPEC)).content,
    ]

    assert contents == ["one", "two", "three", "three"]


async def test_the_answer_of_a_fallback_is_not_kept_as_the_first_choices() -> None:
    first = ScriptedProvider([ProviderUnavailable(), "from the first"])
    engine = ExecutionEngine(
        first, fallbacks=[ScriptedProvider(["stand-in"])], retry=RetryConfig(attempts=1), cache=MemoryCache()
    )
    await engine.complete(SPEC)

    assert (await engine.complete(SPEC)).content == "from the first"


async def test_a_filtered_answer_is_not_kept() -> None:
    filtered = CompletionResult(content="", finish_reason="content_filter")
    engine = ExecutionEngine(ScriptedProvider([filtered, "fine"]), cache=MemoryCache())
    await engine.complete(SPEC)

    assert (await engine.complete(SPEC)).content == "fine"


async def test_a_broken_cache_is_as_good_as_none(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryCache):
        async def get(self, key: str) -> CompletionResult | None:
            raise OSError("gone")

        async def put(self, key: str, result: CompletionResult) -> None:
            raise OSError("gone")

    log: list[HookEvent] = []
    engine = ExecutionEngine(ScriptedProvider(["ok"]), cache=Broken(), hooks=[log.append])

    assert (await engine.complete(SPEC)).content == "ok"
    assert [event.name for event in log].count("cache.error") == 2
    assert "could not be read" in caplog.text


# money


async def test_usage_is_priced_with_source_and_unknown_prices_are_flagged() -> None:
    prices = PriceBook({"openai:known": ModelPrices.of(input=1, output=2, source="our contract")})
    usage = Usage(input_tokens=1_000_000, output_tokens=500_000)
    known = ScriptedProvider(["x"], name="openai", model="known", usage=usage)
    unknown = ScriptedProvider(["x"], model="nobody-knows", usage=usage)

    priced = (await ExecutionEngine(known, prices=prices).complete(SPEC)).usage
    flagged = (await ExecutionEngine(unknown, prices=prices).complete(SPEC)).usage

    assert (priced.cost, priced.price_source, priced.is_partial_cost) == (Decimal(2), "our contract", False)
    assert (flagged.cost, flagged.price_source, flagged.is_partial_cost) == (None, None, True)


async def test_a_price_for_the_model_asked_holds_for_the_dated_name_that_answers() -> None:
    prices = PriceBook({"*:gpt": ModelPrices.of(input=1, output=1)})
    answer = CompletionResult(content="x", model="gpt-2026-01-01", usage=Usage(input_tokens=1_000_000))

    result = await ExecutionEngine(ScriptedProvider([answer], model="gpt"), prices=prices).complete(SPEC)

    assert result.usage.cost == Decimal(1)


async def test_what_was_billed_before_a_failure_is_priced_too() -> None:
    prices = PriceBook({"*:scripted": ModelPrices.of(input=1, output=1)})
    billed = Usage(input_tokens=1_000_000)
    cut = StreamInterrupted(usage=billed)
    cut.partial = CompletionResult(content="half", usage=billed)
    engine = ExecutionEngine(ScriptedProvider([cut]), prices=prices, retry=RetryConfig(attempts=1))

    with pytest.raises(StreamInterrupted) as caught:
        await engine.complete(SPEC)

    assert caught.value.usage is not None
    assert caught.value.usage.cost == Decimal(1)
    assert caught.value.partial is not None
    assert caught.value.partial.usage.cost == Decimal(1)


# hooks


async def test_hooks_are_told_the_story_in_order() -> None:
    log: list[HookEvent] = []

    async def later(event: HookEvent) -> None:
        log.append(event)

    engine = ExecutionEngine(ScriptedProvider([RateLimited(status=429), "ok"]), retry=FAST, hooks=[later])
    context = RequestContext()
    await engine.complete(SPEC, context=context)

    assert [event.name for event in log] == [
        "request.start",
        "request.attempt",
        "provider.error",
        "request.retry",
        "request.attempt",
        "provider.success",
        "request.end",
    ]
    assert {event.context for event in log if event.context is not context} == set()


async def test_a_call_that_is_cancelled_still_ends_for_the_hooks() -> None:
    log: list[HookEvent] = []
    engine = ExecutionEngine(ScriptedProvider([Delay(60, "x")]), hooks=[log.append])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await engine.complete(SPEC)

    assert log[-1].name == "request.end"
    assert isinstance(log[-1].data["error"], asyncio.CancelledError)


async def test_a_raising_hook_is_logged_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_event: HookEvent) -> None:
        raise RuntimeError("hook trouble")

    with caplog.at_level(logging.ERROR):
        result = await ExecutionEngine(ScriptedProvider(["ok"]), hooks=[broken]).complete(SPEC)

    assert result.content == "ok"
    assert "hook trouble" in caplog.text


async def test_streams_tell_their_own_story() -> None:
    log: list[HookEvent] = []
    engine = ExecutionEngine(
        ScriptedProvider([Chunks(["a"]), Chunks(["b", ValueError("bug")])]), hooks=[log.append]
    )
    await collect(engine.stream(SPEC))
    first = [event.name for event in log if event.name.startswith("stream")]
    log.clear()
    with pytest.raises(ValueError, match="bug"):
        await collect(engine.stream(SPEC))

    assert first == ["stream.start", "stream.event", "stream.event", "stream.end"]
    assert [event.name for event in log if event.name.startswith("stream")][-1] == "stream.error"


# batches and embeddings


async def test_a_batch_keeps_its_order() -> None:
    async def answer(spec: RequestSpec) -> str:
        for _ in range(int(spec.messages[0].text) % 7):
            await asyncio.sleep(0)
        return spec.messages[0].text

    engine = ExecutionEngine(FunctionProvider(answer))
    specs = [RequestSpec(messages=[Message.user(str(number))]) for number in range(50)]

    results = await engine.batch_complete(specs, max_concurrency=8)

    assert [result.content for result in results] == [str(number) for number in range(50)]


async def test_failures_of_a_batch_take_their_results_place_on_request() -> None:
    engine = ExecutionEngine(ScriptedProvider(["a", InvalidRequest(status=400), "c"]))

    results = await engine.batch_complete([SPEC] * 3, max_concurrency=1, return_exceptions=True)

    assert [type(result).__name__ for result in results] == [
        "CompletionResult",
        "InvalidRequest",
        "CompletionResult",
    ]


async def test_otherwise_the_first_failure_of_a_batch_cancels_the_rest() -> None:
    provider = ScriptedProvider([InvalidRequest(status=400), Delay(60, "never")])

    with pytest.raises(InvalidRequest):
        await asyncio.wait_for(ExecutionEngine(provider).batch_complete([SPEC] * 2), BOUND)


async def test_an_empty_batch_is_answered_with_nothing() -> None:
    assert await ExecutionEngine(ScriptedProvider([])).batch_complete([]) == []


async def test_embeddings_come_in_order_and_with_retries() -> None:
    class Flaky(FunctionProvider):
        failures = 1

        async def embed(self, texts: list[str], *, model: str | None = None) -> list[list[float]]:  # type: ignore[override]
            if self.failures:
                self.failures -= 1
                raise ProviderUnavailable
            return await super().embed(texts, model=model)

    log: list[HookEvent] = []
    engine = ExecutionEngine(Flaky(lambda _: "x"), retry=FAST, hooks=[log.append])
    vectors = await engine.embed(["a", "b", "a"])

    assert vectors[0] == vectors[2] != vectors[1]
    assert [event.name for event in log] == ["embed.start", "embed.end"]


async def test_embeddings_end_at_their_deadline() -> None:
    class Hangs(FunctionProvider):
        async def embed(self, texts: list[str], *, model: str | None = None) -> list[list[float]]:  # type: ignore[override]
            await asyncio.Event().wait()
            return []

    with pytest.raises(ProviderTimeout):
        await ExecutionEngine(Hangs(lambda _: "x")).embed(["a"], timeout=0.01)


# life


async def test_closing_an_engine_closes_its_providers_and_may_be_repeated() -> None:
    first, second = ScriptedProvider([]), ScriptedProvider([])
    async with ExecutionEngine(first, fallbacks=[second], cache=MemoryCache()) as engine:
        pass
    await engine.aclose()

    assert (first.closed, second.closed) == (True, True)


async def test_results_are_not_changed_on_their_way_but_for_their_price() -> None:
    answer = CompletionResult(
        content="x",
        tool_calls=(ToolCall("1", "f", {"a": [1]}),),
        reasoning=(ReasoningPart(provider="p", data={"k": 1}),),
        finish_reason="tool_calls",
        model="m",
        provider="p",
        request_id="r",
        usage=Usage(input_tokens=3, requests=1),
    )

    result = await ExecutionEngine(ScriptedProvider([answer])).complete(SPEC)

    assert result == replace(answer, usage=replace(answer.usage, unpriced_requests=1))
