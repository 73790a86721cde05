"""The port to a model: two coroutines, a name and a model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from llm_client.messages import CompletionResult, StreamEvent
from llm_client.spec import RequestContext, RequestSpec


@runtime_checkable
class Provider(Protocol):
    """A model behind some wire format.

    One call is one request: a provider never retries. Failures are raised as `ProviderError`s. Usage is reported
    without cost; the engine prices it. Cancelling a call closes its connection. `aclose` may be called twice.
    """

    @property
    def name(self) -> str:
        """Vendor name as price tables know it, such as `openai`."""
        ...

    @property
    def model(self) -> str:
        """Model asked when a request names none."""
        ...

    async def complete(self, spec: RequestSpec, context: RequestContext) -> CompletionResult:
        """Ask the model and return its whole answer."""
        ...

    def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
        """Ask the model and yield its answer as it comes; the last event is `done` with the whole result."""
        ...

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> list[list[float]]:
        """Return one vector per text, as `Embeddings` where the vendor tells what they cost.

        Asks the model that an attribute `embedding_model` names, unless told otherwise. Raises `ConfigurationError` where
        the vendor has no embeddings.
        """
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
