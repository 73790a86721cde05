"""Who is given an engine that others have made can stand around the attempts of his own calls."""

import asyncio

import pytest

from llm_client import (
    HOST,
    ExecutionEngine,
    Host,
    Message,
    ModelAttempt,
    ModelMiddleware,
    ProviderUnavailable,
    RequestSpec,
    RetryConfig,
    ScriptedProvider,
)
from llm_client.messages import CompletionResult
from llm_client.middleware import ModelCall, ProceedAttempt, ProceedCall, observing

SPEC = RequestSpec(messages=[Message.user("Hi.")])


class Seen(ModelMiddleware):
    def __init__(self) -> None:
        self.told: list[str] = []

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        try:
            result = await proceed(attempt.evolve(spec=attempt.spec.evolve(max_tokens=7)))
        except Exception as error:
            self.told.append(f"{attempt.number}: {type(error).__name__}")
            raise
        self.told.append(f"{attempt.number}: {result.content}")
        return result


async def test_an_observer_sees_and_bounds_each_attempt_of_its_calls_alone() -> None:
    provider = ScriptedProvider([ProviderUnavailable("down"), "one", "two"])
    engine, seen = ExecutionEngine(provider, retry=RetryConfig(backoff=0.001)), Seen()
    with observing(seen):
        assert (await engine.complete(SPEC)).content == "one"
    await engine.complete(SPEC)

    assert seen.told == ["1: ProviderUnavailable", "2: one"]
    assert [request.max_tokens for request in provider.requests] == [7, 7, None]


async def test_observers_of_calls_side_by_side_do_not_mix() -> None:
    engine = ExecutionEngine(ScriptedProvider([str(number) for number in range(20)]))

    async def ask() -> tuple[str, list[str]]:
        seen = Seen()
        with observing(seen):
            answer = await engine.complete(SPEC)
        return answer.content, seen.told

    for answer, told in await asyncio.gather(*(ask() for _ in range(20))):
        assert told == [f"1: {answer}"]


async def test_an_observer_sees_nothing_of_what_a_host_recalls() -> None:
    class Recalls(Host):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            return CompletionResult(content="recalled")

    seen = Seen()
    token = HOST.set(Recalls())
    try:
        with observing(seen):
            assert (await ExecutionEngine(ScriptedProvider([])).complete(SPEC)).content == "recalled"
    finally:
        HOST.reset(token)
    assert seen.told == []


async def test_an_observer_may_refuse() -> None:
    class Refuses(ModelMiddleware):
        async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
            raise ValueError("no")

    provider = ScriptedProvider(["x"])
    with observing(Refuses()), pytest.raises(ValueError, match="no"):
        await ExecutionEngine(provider).complete(SPEC)
    assert provider.requests == []
