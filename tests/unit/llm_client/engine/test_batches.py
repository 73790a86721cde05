"""Many requests at once, and embeddings."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import pytest

from llm_client import (
    CompletionResult,
    Delay,
    Embeddings,
    ExecutionEngine,
    FunctionProvider,
    HookEvent,
    InvalidRequest,
    Message,
    ProviderTimeout,
    ProviderUnavailable,
    RequestSpec,
    ScriptedProvider,
)
from llm_client.middleware import ModelAttempt, ModelCall, ModelMiddleware, ProceedAttempt, ProceedCall
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.usage import Usage
from support.engine import BOUND, FAST, SPEC


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
    assert [event.name for event in log] == [
        "embed.start",
        "request.attempt",
        "provider.error",
        "request.retry",
        "request.attempt",
        "provider.success",
        "embed.end",
    ]


async def test_embeddings_tell_what_they_cost() -> None:
    """Where the vendor does not tell the tokens, they are estimated."""

    class Priced(FunctionProvider):
        embedding_model = "vectors"  # type: ignore[assignment]  # as good as a property
        usage = Usage(input_tokens=20, requests=1)

        async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Embeddings:
            return Embeddings(
                [[0.1, 1.0]] * len(texts), model=model or self.embedding_model, usage=self.usage
            )

    provider = Priced(lambda _: "x", model="chat")
    engine = ExecutionEngine(provider, prices=PriceBook({"function:vectors": ModelPrices.of(input=2)}))
    vectors = await engine.embed(["a", "b"])
    assert vectors == [[0.10000000149011612, 1.0]] * 2
    assert (vectors.model, vectors.usage.input_tokens) == ("vectors", 20)
    assert vectors.usage.cost == Decimal("0.00004")
    assert (await engine.embed(["a"], model="unknown")).usage.cost is None
    provider.usage = Usage(requests=1)
    estimated = (await engine.embed(["word " * 100])).usage
    assert 50 < estimated.input_tokens < 500
    assert await engine.embed([]) == []


async def test_embeddings_keep_to_the_first_choice_and_pass_middleware_by() -> None:
    class Refusing(ModelMiddleware):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            raise AssertionError("a conversation's middleware saw texts")

        async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
            raise AssertionError("a conversation's middleware saw texts")

    class Down(FunctionProvider):
        async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Embeddings:
            raise ProviderUnavailable("down")

    other = FunctionProvider(lambda _: "x")
    engine = ExecutionEngine(Down(lambda _: "x"), fallbacks=[other], retry=FAST, middleware=[Refusing()])
    with pytest.raises(ProviderUnavailable):
        await engine.embed(["a"])
    assert len(await ExecutionEngine(other, middleware=[Refusing()]).embed(["a"])) == 1


async def test_embeddings_end_at_their_deadline() -> None:
    class Hangs(FunctionProvider):
        async def embed(self, texts: list[str], *, model: str | None = None) -> list[list[float]]:  # type: ignore[override]
            await asyncio.Event().wait()
            return []

    with pytest.raises(ProviderTimeout):
        await ExecutionEngine(Hangs(lambda _: "x")).embed(["a"], timeout=0.01)
