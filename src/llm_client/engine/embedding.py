"""Embeddings through the engine: the same retries and circuits as completions, without cache and streams."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llm_client.engine.breaker import BreakerBoard, is_outage
from llm_client.engine.retry import RetryConfig
from llm_client.errors import ProviderError
from llm_client.providers.base import Provider


async def embed(
    provider: Provider, texts: Sequence[str], *, model: str | None, retry: RetryConfig, breakers: BreakerBoard
) -> list[list[float]]:
    """Return one vector per text.

    Raises:
        ProviderError: The last failure.
        CircuitOpen: The provider was not asked.
    """
    breaker = breakers.of(provider.name, f"embed:{model or provider.model}")
    failures = 0
    while True:
        ticket = breaker.enter()
        try:
            vectors = await provider.embed(texts, model=model)
        except ProviderError as error:
            (breaker.fail if is_outage(error) else breaker.abandon)(ticket)
            failures += 1
            delay = retry.delay_after(failures, error)
            if delay is None:
                raise
        except BaseException:
            breaker.abandon(ticket)
            raise
        else:
            breaker.succeed(ticket)
            return vectors
        await asyncio.sleep(delay)
