"""Retries, deadlines, breaker, fallback and concurrency on the engine's path."""

import asyncio
from dataclasses import replace

import pytest

from llm_client import (
    HOST,
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
    ProviderTimeout,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
    RateLimits,
    ReasoningPart,
    RequestSpec,
    RetryConfig,
    ScriptedProvider,
    StaticRouter,
    ToolCall,
    Usage,
    paused,
)
from llm_client.middleware import ProceedAttempt
from support.engine import BOUND, FAST, SPEC

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
    blocked = asyncio.create_task(engine.complete(SPEC, timeout=0.1))
    HOST.reset(token)
    await waiting.wait()
    other = await asyncio.wait_for(engine.complete(SPEC), BOUND)
    asyncio.get_running_loop().call_later(0.2, go_on.set)  # well after the blocked call's time-out
    await go_on.wait()

    assert other.content == "x"
    assert (await blocked).content == "x"


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


async def test_a_router_that_knows_nobody_is_a_mistake() -> None:
    class Nobody:
        def select(self, spec: RequestSpec) -> list[ScriptedProvider]:
            return []

    with pytest.raises(ConfigurationError):
        await ExecutionEngine(router=Nobody()).complete(SPEC)


async def test_token_rates_learn_from_what_models_report() -> None:
    provider = ScriptedProvider(["x"], usage=Usage(input_tokens=500, output_tokens=1))
    engine = ExecutionEngine(provider, rate_limits=RateLimits(tokens_per_minute=100_000))
    spec = RequestSpec(messages=[Message.user("x" * 988)])
    before = engine.estimator.estimate(spec.messages, model="scripted")
    await engine.complete(spec)

    assert (before, engine.estimator.estimate(spec.messages, model="scripted")) == (250, 500)
