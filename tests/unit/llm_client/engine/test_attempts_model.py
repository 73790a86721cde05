"""Retry and fallback against a naive model, for whole and for streamed calls."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_client import (
    Chunks,
    CircuitBreakerConfig,
    ExecutionEngine,
    InvalidRequest,
    ProviderUnavailable,
    QuotaExceeded,
    RetryConfig,
    ScriptedProvider,
)
from support.engine import SPEC, collect

outcomes = st.lists(st.sampled_from(["ok", "down", "refused", "no credit", "cut"]), min_size=4, max_size=4)


def reply(outcome: str, streamed: bool) -> Any:
    """A scripted reply; `cut` fails after its first words, which only a stream shows."""
    failures = {
        "down": ProviderUnavailable("down"),
        "refused": InvalidRequest("refused"),
        "no credit": QuotaExceeded("no credit"),
    }
    if outcome == "cut":
        return Chunks(["half", ProviderUnavailable("cut")]) if streamed else ProviderUnavailable("cut")
    return failures.get(outcome, outcome)


def naive(scripts: list[list[str]], attempts: int, streamed: bool) -> tuple[str, list[int]]:
    """What happens, and how often each provider is asked."""
    asked = [0] * len(scripts)
    last = ""
    for place, script in enumerate(scripts):
        for outcome in script[:attempts]:
            asked[place] += 1
            last = outcome
            if outcome in {"ok", "refused"} or (outcome == "cut" and streamed):
                return outcome, asked
            if outcome == "no credit":
                break
    return last, asked


@given(st.lists(outcomes, min_size=1, max_size=3), st.integers(1, 4), st.booleans())
def test_a_call_ends_as_the_rules_say_after_as_many_attempts(
    scripts: list[list[str]], attempts: int, streamed: bool
) -> None:
    async def play() -> str:
        try:
            if streamed:
                return str((await collect(engine.stream(SPEC)))[-1].result.content)
            return (await engine.complete(SPEC)).content
        except (ProviderUnavailable, InvalidRequest, QuotaExceeded) as error:
            return str(error)

    providers = [ScriptedProvider([reply(outcome, streamed) for outcome in script]) for script in scripts]
    engine = ExecutionEngine(
        providers[0],
        fallbacks=providers[1:],
        retry=RetryConfig(attempts=attempts, backoff=0),
        breaker_config=CircuitBreakerConfig(failure_threshold=100),
    )
    ended = asyncio.run(play())

    assert (ended, [len(provider.requests) for provider in providers]) == naive(scripts, attempts, streamed)
