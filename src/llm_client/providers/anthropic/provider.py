"""Anthropic's models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from llm_client.providers.addresses import is_own
from llm_client.providers.anthropic.request import DEFAULT_MAX_TOKENS, MessagesFormat
from llm_client.providers.capabilities import Capabilities
from llm_client.providers.http_provider import ApiKey, HttpProvider
from llm_client.providers.transport.port import AnswerLimits, Timeouts, Transport, TransportOptions

DEFAULT_BASE_URL = "https://api.anthropic.com"
API_VERSION = "2026-10-21"
SAMPLING_API_VERSION = "2023-06-01"
"""The last version that takes `temperature`, `top_p` and `top_k`; newer ones refuse them (Anthropic's version
history, 2026-10-21), and so do newer models under any version."""
_SAMPLING = ("temperature", "top_p", "top_k")


class AnthropicProvider(HttpProvider):
    """Models of Anthropic, over the Messages API.

    Args:
        model: Model asked when a request names none, such as `claude-sonnet-4-6`.
        api_key: The key, or a function that returns one; without it `ANTHROPIC_API_KEY` is read at each call.
        base_url: Where the API begins, without `/v1`, as Anthropic's own SDK takes it; without it
            `ANTHROPIC_BASE_URL`, then Anthropic itself.
        api_version: The `anthropic-version` of all requests; by default the newest this class knows, or the last one
            with sampling parameters for requests that use them.
        default_max_tokens: Output limit of requests that set none; the API demands one.
        headers: Further headers of each request, such as `anthropic-beta`.
        transport: How to send; the caller closes it.
        transport_options: Proxy, certificates and limits of the default transport.
        timeouts: Seconds per phase of a request.
        limits: How long, large and many-handed an answer may be.
        plain_http: Whether a key may be sent unencrypted to another machine.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        api_version: str | None = None,
        default_max_tokens: int = DEFAULT_MAX_TOKENS,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        transport_options: TransportOptions | None = None,
        timeouts: Timeouts | None = None,
        limits: AnswerLimits | None = None,
        plain_http: bool = False,
    ) -> None:
        self._api_version = api_version
        url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or DEFAULT_BASE_URL
        super().__init__(
            name="anthropic",
            model=model,
            base_url=url,
            wire=MessagesFormat(default_max_tokens),
            api_key=api_key,
            key_variables=("ANTHROPIC_API_KEY",),
            is_foreign=not is_own(url, DEFAULT_BASE_URL, ("ANTHROPIC_BASE_URL",)),
            headers=headers,
            transport=transport,
            transport_options=transport_options,
            timeouts=timeouts,
            limits=limits,
            plain_http=plain_http,
            capabilities=Capabilities(supports_embeddings=False),
        )

    def _headers_for(self, body: Mapping[str, Any]) -> Mapping[str, str]:
        sampled = any(name in body for name in _SAMPLING)
        return {"anthropic-version": self._api_version or (SAMPLING_API_VERSION if sampled else API_VERSION)}
