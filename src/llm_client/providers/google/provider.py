"""Google's Gemini models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from llm_client.messages import Embeddings
from llm_client.model_names import checked_model
from llm_client.providers.capabilities import Capabilities
from llm_client.providers.endpoint import Endpoint, EndpointOptions, Vendor
from llm_client.providers.google.request import GenerateContentFormat, takes_tools_with_schema
from llm_client.providers.google.usage import read_embedding_usage
from llm_client.providers.http_provider import HttpProvider

GOOGLE = Vendor(
    name="google",
    base_url="https://generativelanguage.googleapis.com",
    url_variables=("GEMINI_BASE_URL",),
    key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    key_header=("x-goog-api-key", ""),
)
DEFAULT_EMBEDDING_MODEL = "gemini-embedding-001"


class GoogleProvider(HttpProvider):
    """Gemini models, over the Gemini API's `generateContent`.

    Args:
        model: Model asked when a request names none, such as `gemini-3-pro`.
        api_version: Version path: `v1`, or `v1beta` for features that are not stable yet.
        embedding_model: Model that `embed` asks by default.
        **options: See `EndpointOptions`; the key is `GEMINI_API_KEY` or else `GOOGLE_API_KEY`, the address `GEMINI_BASE_URL`,
            without a version path.
    """

    def __init__(
        self,
        model: str,
        *,
        api_version: str = "v1",
        embedding_model: str = DEFAULT_EMBEDDING_MODEL,
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._version = api_version
        super().__init__(
            Endpoint.of(GOOGLE, **options),
            model=model,
            wire=GenerateContentFormat(api_version),
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

        def read(payload: Any) -> Embeddings:
            vectors = [row["values"] for row in payload["embeddings"]]
            if len(vectors) != len(texts):
                raise ValueError(f"{len(vectors)} vectors for {len(texts)} texts")
            usage = read_embedding_usage(payload)
            return Embeddings(vectors, model=name.removeprefix("models/"), usage=usage)

        path = f"/{self._version}/{name}:batchEmbedContents"
        return await self._post_texts(
            path, body, name, texts=len(texts), read=read, usage=read_embedding_usage
        )
