"""OpenAI, and every server that speaks one of its two APIs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

from llm_client.errors import ConfigurationError
from llm_client.messages import Embeddings
from llm_client.providers.capabilities import Capabilities
from llm_client.providers.endpoint import Endpoint, EndpointOptions, Vendor
from llm_client.providers.http_provider import HttpProvider
from llm_client.providers.openai.chat_dialect import COMPATIBLE, OPENAI, ChatDialect
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from llm_client.providers.openai.usage import read_embedding_usage
from llm_client.providers.response import object_in
from llm_client.providers.wire import WireFormat
from llm_client.usage import Usage

OpenAIApi = Literal["auto", "responses", "chat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatibleServer(Vendor):
    """Who serves models behind OpenAI's API."""

    dialect: ChatDialect = COMPATIBLE
    """How it differs from OpenAI."""
    embedding_model: str = "text-embedding-3-small"
    """What `embed` asks by default."""


OPENAI_ITSELF = CompatibleServer(
    name="openai",
    base_url="https://api.openai.com/v1",
    url_variables=("OPENAI_BASE_URL",),
    key_variables=("OPENAI_API_KEY",),
)
"""OpenAI; another address for it is taken for a compatible server's."""


class OpenAIProvider(HttpProvider):
    """Models of OpenAI, or of a server compatible with it.

    Args:
        model: Model asked when a request names none, such as `gpt-5.2`.
        api: `responses`, `chat`, or `auto`: the Responses API at OpenAI itself, Chat Completions anywhere else.
        server: Who serves the models: their name, address and keys; OpenAI by default.
        name: Vendor name as price tables know it, where it is not the server's.
        dialect: How a compatible server differs; by default it follows from the server and its address.
        key_variables: Environment variables that hold the key for this address, where it is not the server's own.
        key_required: Whether calls without a key are refused here.
        key_header: Header that carries the key, and what stands before the key in it.
        organization: OpenAI organisation; without it `OPENAI_ORG_ID`.
        project: OpenAI project; without it `OPENAI_PROJECT_ID`.
        embedding_model: Model that `embed` asks by default.
        **options: See `EndpointOptions`; OpenAI's key is `OPENAI_API_KEY`, its address `OPENAI_BASE_URL`, `/v1` included.
    """

    def __init__(
        self,
        model: str,
        *,
        api: OpenAIApi = "auto",
        server: CompatibleServer | None = None,
        name: str | None = None,
        dialect: ChatDialect | None = None,
        key_variables: Sequence[str] | None = None,
        key_required: bool | None = None,
        key_header: tuple[str, str] | None = None,
        organization: str | None = None,
        project: str | None = None,
        embedding_model: str | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        server = server or OPENAI_ITSELF
        given = {"name": name, "key_required": key_required, "key_header": key_header}
        changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
        if key_variables is not None:
            changes |= {"key_variables": tuple(key_variables), "keys_for_any_address": True}
        endpoint = Endpoint.of(replace(server, **changes), **options)
        at_openai = endpoint.base_url == OPENAI_ITSELF.base_url
        if at_openai:
            account = _account_headers(organization, project)
            endpoint = replace(endpoint, headers={**account, **endpoint.headers})
        dialect = dialect or (OPENAI if at_openai else server.dialect)
        super().__init__(
            endpoint,
            model=model,
            wire=_wire(api, endpoint.vendor.name, dialect, at_openai=at_openai),
            embedding_model=embedding_model or server.embedding_model,
            capabilities=Capabilities(
                supports_output_schema=dialect.output_schema,
                supports_tools_with_output_schema=dialect.tools_with_output_schema,
            ),
        )

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Embeddings:
        """Return one vector per text, in their order."""
        if not texts:
            return Embeddings()
        asked = model or self._embedding_model
        body: dict[str, Any] = {"model": asked, "input": list(texts), "encoding_format": "float"}

        def read(payload: Any) -> Embeddings:
            rows = sorted(payload["data"], key=lambda row: row["index"])
            if len(rows) != len(texts):
                raise ValueError(f"{len(rows)} vectors for {len(texts)} texts")
            usage = read_embedding_usage(payload)
            return Embeddings(
                (row["embedding"] for row in rows), model=payload.get("model") or asked, usage=usage
            )

        return await self._post_texts("/embeddings", body, asked, texts=len(texts), read=read, usage=_usage)


def _usage(payload: object) -> Usage:
    return read_embedding_usage(object_in(payload))


def _wire(api: OpenAIApi, name: str, dialect: ChatDialect, *, at_openai: bool) -> WireFormat:
    if api not in ("auto", "responses", "chat"):
        raise ConfigurationError(f"api must be auto, responses or chat, not {api!r}")
    if api == "responses" or (api == "auto" and at_openai):
        return ResponsesFormat(name)
    return ChatFormat(name, dialect)


def _account_headers(organization: str | None, project: str | None) -> dict[str, str]:
    values = {
        "openai-organization": organization or os.environ.get("OPENAI_ORG_ID"),
        "openai-project": project or os.environ.get("OPENAI_PROJECT_ID"),
    }
    return {name: value for name, value in values.items() if value}
