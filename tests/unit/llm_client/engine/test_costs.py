"""What a call cost, as the engine tells it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from llm_client import (
    CompletionResult,
    ExecutionEngine,
    FunctionProvider,
    InvalidResponse,
    ModelPrices,
    PriceBook,
    ProviderUnavailable,
    RetryConfig,
    ScriptedProvider,
    StreamInterrupted,
    Usage,
)
from support.engine import FAST, SPEC, collect


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


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_price_table_is_loaded_beside_the_first_request_that_needs_it(streamed: bool) -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    provider = ScriptedProvider(["x", "x"], name="openai", model="gpt-4o", usage=usage)
    engine = ExecutionEngine(provider, prices=PriceBook())
    before = engine.prices.needs_loading("openai", "gpt-4o")
    if streamed:
        result = (await collect(engine.stream(SPEC)))[-1].result
    else:
        result = await engine.complete(SPEC)

    assert before
    assert not engine.prices.needs_loading("openai", "gpt-4o")
    assert result.usage.cost == engine.prices.cost("openai", "gpt-4o", usage)
    assert result.usage.cost > 0


async def test_a_failed_attempt_while_the_price_table_loads_does_no_harm() -> None:
    provider = ScriptedProvider([ProviderUnavailable(), "ok"], name="openai", model="gpt-4o")

    result = await ExecutionEngine(provider, retry=FAST, prices=PriceBook()).complete(SPEC)

    assert result.usage.cost is not None


async def test_a_service_tier_of_the_request_reaches_the_price() -> None:
    told: list[object] = []

    class Told(PriceBook):
        def price(self, *args: object, **named: object) -> Usage:
            told.append(args[3])
            return super().price(*args, **named)  # type: ignore[arg-type]

    engine = ExecutionEngine(ScriptedProvider(["a", "b"]), prices=Told())
    await engine.complete(SPEC.evolve(extra={"service_tier": "flex"}))
    await engine.complete(SPEC)

    assert told == [{"service_tier": "flex"}, None]


@pytest.mark.parametrize(
    "negative",
    [{"input_tokens": -50}, {"output_tokens": -1}, {"reasoning_tokens": -1}, {"cost": Decimal(-1)}],
)
async def test_an_answer_that_used_less_than_nothing_is_no_answer(negative: dict[str, Any]) -> None:
    engine = ExecutionEngine(
        ScriptedProvider([CompletionResult(content="x", usage=Usage(**negative))]),
        retry=RetryConfig(attempts=1),
    )

    with pytest.raises(InvalidResponse, match="less than nothing"):
        await engine.complete(SPEC)


async def test_a_failure_that_used_less_than_nothing_has_an_unknown_usage() -> None:
    cut = StreamInterrupted(usage=Usage(input_tokens=-5))
    cut.partial = CompletionResult(content="half", usage=Usage(input_tokens=-5))
    engine = ExecutionEngine(ScriptedProvider([cut]), retry=RetryConfig(attempts=1))

    with pytest.raises(StreamInterrupted) as caught:
        await engine.complete(SPEC)

    assert caught.value.usage is None
    assert caught.value.partial is not None
    assert caught.value.partial.usage.input_tokens == 0


NAN = float("nan")


@pytest.mark.parametrize(
    ("vectors", "wrong"),
    [
        ([[0.1]], "1 vectors for 2 texts"),
        ([[0.1]] * 3, "3 vectors for 2 texts"),
        ([[0.1], [0.1, 0.2]], "different lengths"),
        ([[], []], "empty"),
        ([[0.1], [NAN]], "not finite"),
        ([[0.1, 0.2], [float("inf"), -float("inf")]], "not finite"),
        (["ab", "cd"], "not lists of numbers"),
    ],
)
async def test_vectors_that_cannot_be_those_of_the_texts_are_no_answer(
    vectors: list[list[float]], wrong: str
) -> None:
    class Vectors(FunctionProvider):
        async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Any:
            return vectors

    engine = ExecutionEngine(Vectors(lambda spec: "x"), retry=RetryConfig(attempts=1))

    with pytest.raises(InvalidResponse, match=wrong):
        await engine.embed(["red", "blue"])
