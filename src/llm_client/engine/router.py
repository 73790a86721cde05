"""Which provider is asked, and who is asked instead when it fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from llm_client.errors import CircuitOpen, ConfigurationError, LLMClientError, ProviderError, QuotaExceeded
from llm_client.providers.base import Provider
from llm_client.spec import RequestSpec


class Router(Protocol):
    """Chooses providers. It is asked once per call, must not block and must return at least one provider."""

    def select(self, spec: RequestSpec) -> Iterable[Provider]:
        """Return the providers to ask for a request, the first choice first."""
        ...


class StaticRouter:
    """The same providers in the same order for every request."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        if not providers:
            raise ConfigurationError("a router needs at least one provider")
        self._providers = tuple(providers)

    def select(self, spec: RequestSpec) -> Sequence[Provider]:
        """Return all providers."""
        return self._providers


def may_fail_over(error: LLMClientError) -> bool:
    """Whether another provider could do better: outages, rate limits, empty accounts and open circuits.

    A refused request or a wrong key is the caller's to mend; hiding it behind another vendor would only delay that.
    """
    return isinstance(error, CircuitOpen | QuotaExceeded) or (
        isinstance(error, ProviderError) and error.retryable
    )
