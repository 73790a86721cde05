"""Google's Gemini models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from llm_client.messages import Embeddings
from llm_client.model_names import checked_model
from llm_client.providers.addresses import is_own
from llm_client.providers.capabilities import Capabilities
from llm_client.providers.failures import request_id
from llm_client.providers.google.request import GenerateContentFormat, takes_tools_with_schema
from llm_client.providers.google.usage import read_embedding_usage
from llm_client.providers.http_provider import ApiKey, HttpProvider
from llm_client.providers.transport.port import AnswerLimits, Timeouts, Transport, TransportOptions
from llm_client.providers.wire import readable

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
DEFAULT_EMBEDDING_MODEL = "gemini-embedding-001"


class GoogleProvider(HttpProvider):
    """Gemini models, over the Gemini API's `generateContent`.

    Args:
        model: Model asked when a request names none, such as `gemini-3-pro`.
        api_key: The key, or a function that returns one; without it `GEMINI_API_KEY`, then `GOOGLE_API_KEY` is read
            at each call.
        base_url: Where the API begins, without a version path, as Google's own SDK takes it; without it
            `GEMINI_BASE_URL`, then Google itself.
        api_version: Version path: `v1`, or `v1beta` for features that are not stable yet.
        embedding_model: Model that `embed` asks by default.
        headers: Further headers of each request.
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
        api_version: str = "v1",
        embedding_model: str = DEFAULT_EMBEDDING_MODEL,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        transport_options: TransportOptions | None = None,
        timeouts: Timeouts | None = None,
        limits: AnswerLimits | None = None,
        plain_http: bool = False,
    ) -> None:
        self._version = api_version
        url = base_url or os.environ.get("GEMINI_BASE_URL") or DEFAULT_BASE_URL
        super().__init__(
            name="google",
            model=model,
            base_url=url,
            wire=GenerateContentFormat(api_version),
            api_key=api_key,
            key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            is_foreign=not is_own(url, DEFAULT_BASE_URL, ("GEMINI_BASE_URL",)),
            key_header=("x-goog-api-key", ""),
            headers=headers,
            transport=transport,
            transport_options=transport_options,
            timeouts=timeouts,
            limits=limits,
            plain_http=plain_http,
            embedding_model=embedding_model,
        )

    def capabilities_of(self, model: str) -> Capabilities:
        """Return what Google can do by itself with one of its models."""
        return Capabilities(supports_tools_with_output_schema=takes_tools_with_schema(model))

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Embeddings:
        """Return one vector per text, in their order. Older models do not tell how many tokens they have read."""
        if not texts:
            return Embeddings()
        name = f"models/{checked_model(model or self._embedding_model).removeprefix('models/')}"
        body: dict[str, Any] = {
            "requests": [{"model": name, "content": {"parts": [{"text": text}]}} for text in texts]
        }
        origin, headers, payload = await self._post(
            f"/{self._version}/{name}:batchEmbedContents", body, name, vectors=True
        )
        with readable(origin, request_id(headers)):
            vectors = [row["values"] for row in payload["embeddings"]]
            if len(vectors) != len(texts):
                raise ValueError(f"{len(vectors)} vectors for {len(texts)} texts")
            usage = read_embedding_usage(payload)
            return Embeddings(vectors, model=name.removeprefix("models/"), usage=usage)
