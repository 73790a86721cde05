"""A provider over HTTP: sends what a wire format writes, reads what it reads, and names every failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import orjson

from llm_client.errors import (
    ConfigurationError,
    InvalidResponse,
    ProviderError,
    StreamInterrupted,
)
from llm_client.json_text import JsonValue, Unread, dumps, loads
from llm_client.messages import CompletionResult, Embeddings, StreamEvent
from llm_client.model_names import checked_model
from llm_client.providers.capabilities import Capabilities
from llm_client.providers.endpoint import Endpoint
from llm_client.providers.event_stream import read_stream
from llm_client.providers.exchanges import was_answered, was_sent
from llm_client.providers.failures import (
    Origin,
    failure_of_event,
    failure_of_response,
    request_id,
)
from llm_client.providers.response import events_of, well_formed
from llm_client.providers.tool_names import ToolNames
from llm_client.providers.transport.port import (
    HttpResponse,
    read_body,
)
from llm_client.providers.wire import UNREADABLE, WireFormat, readable
from llm_client.public_text import text_of
from llm_client.spec import RequestContext, RequestSpec
from llm_client.turns import aside
from llm_client.usage import Usage

T = TypeVar("T")
_UNWRITABLE = (TypeError, ValueError, AttributeError, RecursionError)
"""What becomes of values in a request that are not what they should be."""
_READ_HERE = 256 * 1024
"""Bytes of an answer up to which it is read on the event loop. What a vendor may send takes seconds to go through, value by value."""
_MAX_ERROR_BYTES = 1024 * 1024
_ERROR_READ_HERE = 16 * 1024
"""Bytes of an error's body up to which it is read on the event loop; no vendor has that much to say."""
_ERROR_SECONDS = 10.0
"""How long an error's body may take; its status alone says what happened."""


class HttpProvider:
    """What all vendors' providers share.

    Args:
        endpoint: Where the vendor's API is.
        model: Model asked when a request names none.
        wire: How the vendor writes requests and answers.
        capabilities: What the vendor can do.
        embedding_model: Model that `embed` asks by default.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str,
        wire: WireFormat,
        capabilities: Capabilities | None = None,
        embedding_model: str = "",
    ) -> None:
        if not model:
            raise ConfigurationError("a provider needs the name of a model")
        self._endpoint = endpoint
        self._limits = endpoint.limits
        self._model = model
        self._wire = wire
        self._capabilities = capabilities or Capabilities()
        self._embedding_model = embedding_model

    @property
    def name(self) -> str:
        """Vendor name as price tables know it."""
        return self._endpoint.vendor.name

    @property
    def model(self) -> str:
        """Model asked when a request names none."""
        return self._model

    @property
    def base_url(self) -> str:
        """Where requests go."""
        return self._endpoint.base_url

    async def check_key(self) -> None:
        """See that there is a key where the vendor wants one, as each call does. Raises `AuthenticationError`."""
        await self._endpoint.checked_key()

    @property
    def capabilities(self) -> Capabilities:
        """What the vendor can do by itself, with the provider's own model."""
        return self.capabilities_of(self._model)

    def capabilities_of(self, model: str) -> Capabilities:
        """Return what the vendor can do by itself with one of its models."""
        del model
        return self._capabilities

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, model={self.model!r}, base_url={self._endpoint.shown_url!r})"

    async def complete(self, spec: RequestSpec, context: RequestContext) -> CompletionResult:
        """Ask the model and return its whole answer."""
        del context  # nothing of it goes to the vendor
        model = checked_model(spec.model or self._model)
        names = ToolNames.of(spec)
        body = self._encoded(names.outward(spec), model, stream=False)
        origin, response, content = await self._answered(self._wire.path(model, stream=False), body, model)
        with origin.blamed():
            return names.inward(await self._read_answer(content, response, origin))

    def _encoded(self, spec: RequestSpec, model: str, *, stream: bool) -> dict[str, JsonValue]:
        """Return a request's body. Raises `ConfigurationError`, which names the message, for what the format cannot be made of."""
        try:
            return self._wire.encode(spec, model, stream=stream)
        except _UNWRITABLE as error:
            for number, message in enumerate(spec.messages, 1):
                try:
                    self._wire.encode(RequestSpec(messages=(message,)), model, stream=stream)
                except _UNWRITABLE:
                    raise _unwritable(f"message {number} of the request ({message.role})", error) from error
            raise _unwritable("the request", error) from error

    async def _read_answer(self, content: bytes, response: HttpResponse, origin: Origin) -> CompletionResult:
        """Read a whole answer."""

        def read() -> CompletionResult:
            payload, asked = self._loads(content, response, origin), request_id(response.headers)
            try:
                with readable(origin, asked):
                    return well_formed(self._wire.decode(payload, origin, asked), origin.model)
            except ProviderError as error:
                error.usage = error.usage or self._usage_in(payload)  # it was billed, whatever it says
                raise

        result = await _read_aside(len(content), read)
        self._check_calls(len(result.tool_calls), result.usage)
        return result

    def _check_calls(self, calls: int, usage: Usage | None) -> None:
        """Refuse an answer with more tool calls than anybody can have meant."""
        if calls > self._limits.max_tool_calls:
            raise InvalidResponse(
                f"the answer holds more than {self._limits.max_tool_calls} tool calls", usage=usage
            )

    async def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
        """Ask the model and yield its answer as it comes; the last event is `done` with the whole result."""
        del context
        model = checked_model(spec.model or self._model)
        names = ToolNames.of(spec)
        body = self._encoded(names.outward(spec), model, stream=True)
        origin, response = await self._send(
            self._wire.path(model, stream=True), body, model, accept="text/event-stream"
        )
        try:
            with origin.blamed():
                await self._refuse_failure(response, origin)
                if _is_json(response):
                    content = await self._content(response, origin)
                    result = await self._read_answer(content, response, origin)
                    for event in events_of(result):
                        yield names.event(event)
                else:
                    reader = self._wire.reader(origin, request_id(response.headers))
                    async with aclosing(read_stream(response, reader, origin, self._limits)) as events:
                        async for event in events:
                            yield names.event(event)
                    with readable(origin, reader.draft.request_id):
                        result = await _read_aside(reader.size, lambda: well_formed(reader.result(), model))
                    self._check_calls(len(result.tool_calls), result.usage)
        except StreamInterrupted as error:
            if error.partial is not None:
                error.partial = names.inward(error.partial)
            raise
        finally:
            await response.aclose()
        yield StreamEvent(type="done", usage=result.usage, result=names.inward(result))

    @property
    def embedding_model(self) -> str:
        """Model that `embed` asks by default; empty where the vendor has no embeddings."""
        return self._embedding_model

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Embeddings:
        """Return one vector per text. Raises `ConfigurationError` where the vendor has no embeddings."""
        raise ConfigurationError(f"{self.name} has no embeddings")

    async def aclose(self) -> None:
        """Close the connections of the running event loop; a transport that was passed in stays open."""
        if self._endpoint.owns_transport:
            await self._endpoint.transport.aclose()

    async def _post_texts(
        self,
        path: str,
        body: dict[str, Any],
        model: str,
        *,
        texts: int,
        read: Callable[[Any], Embeddings],
        usage: Callable[[Any], Usage],
    ) -> Embeddings:
        """Send some texts and return their vectors, as `read` finds them in the JSON of a successful answer, and `usage` what they took."""
        origin, response, content = await self._answered(path, body, model)

        def decoded() -> Embeddings:
            payload = _loads(content, response, origin, vectors=texts)
            try:
                self._check_failure(payload, response, origin)
                with readable(origin, request_id(response.headers)):
                    return read(payload)
            except ProviderError as error:
                error.usage = _stated(usage, payload)  # they were billed, whoever can read them
                raise

        with origin.blamed():
            return await _read_aside(len(content), decoded)

    async def _answered(
        self, path: str, body: dict[str, Any], model: str
    ) -> tuple[Origin, HttpResponse, bytes]:
        """Send a body and return a successful answer, whole."""
        origin, response = await self._send(path, body, model, accept="application/json")
        with origin.blamed():
            await self._refuse_failure(response, origin)
            return origin, response, await self._content(response, origin)

    async def _content(self, response: HttpResponse, origin: Origin) -> bytes:
        content = await read_body(response, self._limits.max_bytes, seconds=self._limits.max_seconds)
        was_answered(response.status, content, origin.secrets)
        return content

    async def _send(
        self, path: str, body: dict[str, Any], model: str, *, accept: str
    ) -> tuple[Origin, HttpResponse]:
        headers, content = self._headers_for(body), _dumps(body)
        was_sent(content)
        return await self._endpoint.send(path, content, model, accept=accept, headers=headers)

    def _headers_for(self, body: Mapping[str, Any]) -> Mapping[str, str]:
        """Return headers that depend on what is asked."""
        del body
        return {}

    async def _refuse_failure(self, response: HttpResponse, origin: Origin) -> None:
        """Raise the error that a status means, unless it is one of success."""
        if 200 <= response.status < 300:
            return
        whole = self._limits.max_seconds
        seconds = _ERROR_SECONDS if whole is None else min(whole, _ERROR_SECONDS)
        try:
            body = await read_body(response, _MAX_ERROR_BYTES, seconds=seconds)
        except ProviderError:
            body = b""  # the status alone says what happened
        was_answered(response.status, body, origin.secrets)

        def read() -> ProviderError:
            failure = failure_of_response(response.status, response.headers, body, origin)
            failure.usage = self._usage_of(body)
            return failure

        raise await _read_aside(len(body), read, here=_ERROR_READ_HERE)

    def _loads(self, content: bytes, response: HttpResponse, origin: Origin) -> Any:
        """Decode a successful answer. Raises what an error object inside it means, with the usage that is stated beside it."""
        payload = _loads(content, response, origin)
        self._check_failure(payload, response, origin)
        return payload

    def _check_failure(self, payload: Any, response: HttpResponse, origin: Origin) -> None:
        # A response object of OpenAI has an error of its own, which its reader knows.
        if isinstance(payload, dict) and payload.get("error") and payload.get("object") != "response":
            failure = failure_of_event(payload, origin, request_id=request_id(response.headers))
            failure.usage = self._usage_in(payload)
            raise failure

    def _usage_of(self, body: bytes) -> Usage | None:
        try:
            return self._usage_in(loads(body))
        except orjson.JSONDecodeError:
            return None

    def _usage_in(self, payload: Any) -> Usage | None:
        """Return what a failure says was used; `None` where it says nothing of it."""
        return _stated(self._wire.usage, payload)


def _stated(read: Callable[[Any], Usage], payload: Any) -> Usage | None:
    """Return the usage that a body states; `None` where it states none that can be read."""
    try:
        usage = read(payload)
    except UNREADABLE:
        return None
    return None if usage.is_nothing else usage


async def _read_aside(size: int, reading: Callable[[], T], *, here: int = _READ_HERE) -> T:
    """Return what is read of so many bytes: of many in a thread, so that others go on meanwhile."""
    return reading() if size <= here else await aside(reading)


def _loads(content: bytes, response: HttpResponse, origin: Origin, *, vectors: int = 0) -> Any:
    """Decode a successful answer. Raises `InvalidResponse`."""
    try:
        return loads(content, vectors=vectors)
    except Unread as error:
        raise InvalidResponse(
            f"the answer is not read: {error.msg}",
            status=response.status,
            request_id=request_id(response.headers),
        ) from None
    except orjson.JSONDecodeError:
        what = "an HTML page" if content.lstrip()[:1] == b"<" else "nothing" if not content else "no JSON"
        raise InvalidResponse(
            f"{origin.provider} answered {response.status} with {what} ({len(content)} bytes)",
            status=response.status,
            request_id=request_id(response.headers),
        ) from None


def _is_json(response: HttpResponse) -> bool:
    media_type = response.headers.get("content-type", "")
    return "json" in media_type or "html" in media_type


def _dumps(body: dict[str, Any]) -> bytes:
    """Write a request; halves of surrogate pairs, which file names and prompts may hold, are replaced."""
    try:
        return dumps(body, option=0)
    except _UNWRITABLE as error:
        raise _unwritable(_culprit(body), error) from error


def _unwritable(what: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"{what} cannot be written as JSON: {text_of(error)}")


def _culprit(body: dict[str, Any]) -> str:
    """Return what of a request is no JSON: the message, where it is one."""
    for name in ("messages", "input", "contents"):
        for number, message in enumerate(body.get(name) or (), 1):
            try:
                dumps(message, option=0)
            except _UNWRITABLE:
                role = message.get("role") or message.get("type") if isinstance(message, dict) else "?"
                return f"message {number} of the request ({role})"
    return "the request"
