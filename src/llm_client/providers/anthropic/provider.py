"""Anthropic's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from llm_client.providers.anthropic.request import DEFAULT_MAX_TOKENS, MessagesFormat
from llm_client.providers.capabilities import Capabilities
from llm_client.providers.endpoint import Endpoint, EndpointOptions, Vendor
from llm_client.providers.http_provider import HttpProvider

ANTHROPIC = Vendor(
    name="anthropic",
    base_url="https://api.anthropic.com",
    url_variables=("ANTHROPIC_BASE_URL",),
    key_variables=("ANTHROPIC_API_KEY",),
)
API_VERSION = "2026-10-21"
SAMPLING_API_VERSION = "2023-06-01"
"""The last version that takes `temperature`, `top_p` and `top_k`; newer ones refuse them (Anthropic's version
history, 2026-10-21), and so do newer models under any version."""
_SAMPLING = ("temperature", "top_p", "top_k")


class AnthropicProvider(HttpProvider):
    """Models of Anthropic, over the Messages API.

    Args:
        model: Model asked when a request names none, such as `claude-sonnet-4-6`.
        api_version: The `anthropic-version` of all requests; by default the newest this class knows, or the last one
            with sampling parameters for requests that use them.
        default_max_tokens: Output limit of requests that set none; the API demands one.
        **options: See `EndpointOptions`; the key is `ANTHROPIC_API_KEY`, the address `ANTHROPIC_BASE_URL`, without `/v1`.
    """

    def __init__(
        self,
        model: str,
        *,
        api_version: str | None = None,
        default_max_tokens: int = DEFAULT_MAX_TOKENS,
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._api_version = api_version
        super().__init__(
            Endpoint.of(ANTHROPIC, **options),
            model=model,
            wire=MessagesFormat(default_max_tokens),
            capabilities=Capabilities(supports_embeddings=False),
        )

    def _headers_for(self, body: Mapping[str, Any]) -> Mapping[str, str]:
        sampled = any(name in body for name in _SAMPLING)
        return {"anthropic-version": self._api_version or (SAMPLING_API_VERSION if sampled else API_VERSION)}
