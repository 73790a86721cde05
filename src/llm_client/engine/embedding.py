"""Embeddings as calls like any other: through the host, middleware, retries, circuits and rate limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from math import isfinite
from typing import Final

from llm_client.errors import ConfigurationError, InvalidResponse
from llm_client.messages import CompletionResult, Embeddings, Message, StreamEvent
from llm_client.providers.base import Provider
from llm_client.spec import RequestContext, RequestSpec
from llm_client.tokens import TokenEstimator
from llm_client.turns import aside

_LOOKED_AT_HERE: Final = 100_000
"""Numbers of vectors up to which they are looked at on the event loop."""


class EmbeddingProvider:
    """A provider's embeddings as answers: one message per text, one vector per message.

    Args:
        provider: Whose.
        estimator: Counts the tokens read where the vendor does not tell them.
    """

    def __init__(self, provider: Provider, estimator: TokenEstimator) -> None:
        self._provider = provider
        self._estimator = estimator

    @property
    def name(self) -> str:
        """The provider's name."""
        return self._provider.name

    @property
    def model(self) -> str:
        """Model asked when a request names none."""
        return getattr(self._provider, "embedding_model", "") or self._provider.model

    async def complete(self, spec: RequestSpec, context: RequestContext) -> CompletionResult:
        """Return the vectors of the messages.

        Raises:
            InvalidResponse: They are not one for each message, of the same length and of finite numbers.
        """
        texts = [message.text for message in spec.messages]
        given = await self._provider.embed(texts, model=spec.model)
        try:
            answer = Embeddings.of(given)
        except (TypeError, OverflowError) as error:
            raise InvalidResponse("the provider's vectors are not lists of numbers") from error
        usage = replace(answer.usage, requests=1)
        if not usage.input_tokens:
            usage = replace(usage, input_tokens=self._estimator.estimate(spec.messages))
        is_long = sum(map(len, answer)) > _LOOKED_AT_HERE
        wrong = await aside(_wrong, answer, len(texts)) if is_long else _wrong(answer, len(texts))
        if wrong is not None:
            raise InvalidResponse(wrong, usage=usage)
        model = answer.model or spec.model or self.model
        return CompletionResult(vectors=answer, usage=usage, model=model, provider=self.name)

    def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
        """Embeddings come as a whole."""
        raise ConfigurationError("embeddings are not streamed")

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> list[list[float]]:
        """Return one vector per text."""
        return await self._provider.embed(texts, model=model)

    async def aclose(self) -> None:
        """Nothing to close: the provider is somebody else's."""


def _wrong(vectors: Sequence[Sequence[float]], expected: int) -> str | None:
    """Return what is wrong with vectors: their number, their lengths, or a number that is none."""
    if len(vectors) != expected:
        return f"the provider gave {len(vectors)} vectors for {expected} texts"
    if len({len(vector) for vector in vectors}) > 1 or not all(map(len, vectors)):
        return "the provider's vectors are empty or of different lengths"
    # Numbers of single precision cannot overflow the sum, so it is finite only if all of them are.
    if not all(isfinite(sum(vector)) for vector in vectors):
        return "the provider's vectors hold a number that is not finite"
    return None


def embedding_spec(texts: Sequence[str], model: str | None, timeout: float | None) -> RequestSpec:
    """Return the request for the vectors of some texts. It has no output that is counted in tokens."""
    return RequestSpec(
        messages=tuple(Message.user(text) for text in texts), model=model, max_tokens=0, timeout=timeout
    )
