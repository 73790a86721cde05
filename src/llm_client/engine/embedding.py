"""Embeddings as calls like any other: through the host, middleware, retries, circuits and rate limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from llm_client.errors import ConfigurationError
from llm_client.messages import CompletionResult, Embeddings, Message, StreamEvent
from llm_client.providers.base import Provider
from llm_client.spec import RequestContext, RequestSpec
from llm_client.tokens import TokenEstimator


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
        """Return the vectors of the messages."""
        texts = [message.text for message in spec.messages]
        answer = Embeddings.of(await self._provider.embed(texts, model=spec.model))
        usage = replace(answer.usage, requests=1)
        if not usage.input_tokens:
            usage = replace(usage, input_tokens=self._estimator.estimate(spec.messages))
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


def embedding_spec(texts: Sequence[str], model: str | None, timeout: float | None) -> RequestSpec:
    """Return the request for the vectors of some texts. It has no output that is counted in tokens."""
    return RequestSpec(
        messages=tuple(Message.user(text) for text in texts), model=model, max_tokens=0, timeout=timeout
    )
