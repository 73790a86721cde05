"""OpenAI, and every server that speaks one of its two APIs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from llm_client.errors import ConfigurationError
from llm_client.messages import Embeddings
from llm_client.providers.addresses import is_own
from llm_client.providers.capabilities import Capabilities
from llm_client.providers.failures import request_id
from llm_client.providers.http_provider import ApiKey, HttpProvider
from llm_client.providers.openai.chat_dialect import COMPATIBLE, OPENAI, ChatDialect
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from llm_client.providers.openai.usage import read_embedding_usage
from llm_client.providers.transport.port import AnswerLimits, Timeouts, Transport, TransportOptions
from llm_client.providers.wire import WireFormat, readable

OpenAIApi = Literal["auto", "responses", "chat"]

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_EMBEDDING_MODEL = "text-embedding-3-small"


class OpenAIProvider(HttpProvider):
    """Models of OpenAI, or of a server compatible with it.

    Args:
        model: Model asked when a request names none, such as `gpt-5.2`.
        api_key: The key, or a function that returns one; without it `key_variables` are read at each call.
        base_url: Where the API begins, `/v1` included, as OpenAI's own SDK takes it; without it `OPENAI_BASE_URL`,
            then OpenAI itself.
        api: `responses`, `chat`, or `auto`: the Responses API at OpenAI itself, Chat Completions anywhere else.
        name: Vendor name as price tables know it.
        dialect: How a compatible server differs; by default it follows from `base_url`.
        key_variables: Environment variables that hold the key for this address; without it `OPENAI_API_KEY`, which is read
            for OpenAI's own address and that of `OPENAI_BASE_URL` alone.
        is_foreign: Whether `key_variables` are not for this address and so are not read; by default that follows from both.
        key_required: Whether calls without a key are refused here.
        key_header: Header that carries the key, and what stands before the key in it.
        organization: OpenAI organisation; without it `OPENAI_ORG_ID`.
        project: OpenAI project; without it `OPENAI_PROJECT_ID`.
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
        api: OpenAIApi = "auto",
        name: str = "openai",
        dialect: ChatDialect | None = None,
        key_variables: Sequence[str] | None = None,
        is_foreign: bool | None = None,
        key_required: bool = True,
        key_header: tuple[str, str] = ("authorization", "Bearer "),
        organization: str | None = None,
        project: str | None = None,
        embedding_model: str = DEFAULT_EMBEDDING_MODEL,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        transport_options: TransportOptions | None = None,
        timeouts: Timeouts | None = None,
        limits: AnswerLimits | None = None,
        plain_http: bool = False,
    ) -> None:
        url = base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        at_openai = url.rstrip("/") == DEFAULT_BASE_URL
        dialect = dialect or (OPENAI if at_openai else COMPATIBLE)
        account = _account_headers(organization, project) if at_openai else {}
        super().__init__(
            name=name,
            model=model,
            base_url=url,
            wire=_wire(api, name, dialect, at_openai=at_openai),
            api_key=api_key,
            key_variables=("OPENAI_API_KEY",) if key_variables is None else key_variables,
            is_foreign=_is_foreign(url, key_variables) if is_foreign is None else is_foreign,
            key_required=key_required,
            key_header=key_header,
            headers={**account, **(headers or {})},
            transport=transport,
            transport_options=transport_options,
            timeouts=timeouts,
            limits=limits,
            plain_http=plain_http,
            embedding_model=embedding_model,
            capabilities=Capabilities(
                supports_output_schema=dialect.output_schema,
                supports_tools_with_output_schema=dialect.tools_with_output_schema,
            ),
        )

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Embeddings:
        """Return one vector per text, in their order."""
        if not texts:
            return Embeddings()
        model = model or self._embedding_model
        body: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": "float"}
        origin, headers, payload = await self._post("/embeddings", body, model, vectors=True)
        with readable(origin, request_id(headers)):
            rows = sorted(payload["data"], key=lambda row: row["index"])
            if len(rows) != len(texts):
                raise ValueError(f"{len(rows)} vectors for {len(texts)} texts")
            usage = read_embedding_usage(payload)
            return Embeddings(
                (row["embedding"] for row in rows), model=payload.get("model") or model, usage=usage
            )


def _is_foreign(url: str, key_variables: Sequence[str] | None) -> bool:
    return key_variables is None and not is_own(url, DEFAULT_BASE_URL, ("OPENAI_BASE_URL",))


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
