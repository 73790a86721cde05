"""From a vendor's error to our error tree: by status, by the vendor's code, and last by its words.

Vendors agree on little. The codes come from the error references of OpenAI, Anthropic and Google and from the error
bodies of the compatible servers (OpenRouter, Groq, Mistral, DeepSeek, xAI, vLLM, Ollama); the words are looked at
only where a vendor gives different failures the same code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from llm_client.errors import (
    AuthenticationError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    MalformedToolCall,
    ModelNotFound,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)
from llm_client.json_text import loads
from llm_client.providers.transport.port import Headers
from llm_client.public_text import without_keys

MAX_MESSAGE = 2000
"""Characters of a vendor's message that are kept."""
_MAX_NAME = 200
"""Characters of a vendor's code or id that are kept."""
_LONGEST_WAIT = 7 * 86_400.0
"""Seconds for which a vendor is left alone at most, whatever it says."""
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-generation-id", "apim-request-id", "cf-ray")

_BY_CODE: dict[str, type[ProviderError]] = {
    **dict.fromkeys(
        ("insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active",
         "insufficient_credits", "insufficient_balance"),
        QuotaExceeded,
    ),
    **dict.fromkeys(
        ("rate_limit_exceeded", "rate_limit_error", "resource_exhausted", "too_many_requests", "slow_down"),
        RateLimited,
    ),
    **dict.fromkeys(
        ("context_length_exceeded", "context_window_exceeded", "request_too_large", "model_context_window_exceeded",
         "exceed_context_size_error", "tokens_limit_reached", "input_too_long", "prompt_too_long"),
        ContextLengthExceeded,
    ),
    **dict.fromkeys(
        ("model_not_found", "model_not_available", "model_decommissioned", "invalid_model", "deploymentnotfound"),
        ModelNotFound,
    ),
    **dict.fromkeys(
        ("content_filter", "content_policy_violation", "responsibleaipolicyviolation", "invalid_prompt",
         "image_content_policy_violation", "bio_policy", "misalignment_policy_violation", "prohibited_content",
         "safety"),
        ContentFiltered,
    ),
    **dict.fromkeys(
        ("authentication_error", "invalid_api_key", "api_key_invalid", "permission_error", "permission_denied",
         "unauthenticated", "invalid_authentication"),
        AuthenticationError,
    ),
    **dict.fromkeys(
        ("overloaded_error", "server_error", "api_error", "internal_server_error", "internal", "unavailable",
         "overloaded", "service_unavailable", "over_capacity"),
        ProviderUnavailable,
    ),
    "tool_use_failed": MalformedToolCall,
    **dict.fromkeys(("timeout_error", "request_timeout", "deadline_exceeded"), ProviderTimeout),
}  # fmt: skip
_REFUSALS = ("invalid_request_error", "invalid_argument", "failed_precondition", "not_found_error")
"""Codes that say no more than a status of 400 does."""

_TOO_LONG = re.compile(
    r"maximum context length|prompt (is )?too long|prompt exceeds|prompt \S{0,2}超长|context window|context[_ ](length|size|limit)"
    r"|exceed(s|ed)? (the )?(available |maximum )?context|input token count|input tokens.{0,60}exceed|(input|prompt) length.{0,40}exceed"
    r"|maximum prompt length|prompt token count.{0,40}exceeds|too many (input )?tokens|input is too long|max(imum)? (allowed )?input length"
    r"|(model|input|prompt|request)('s)? token limit|exceeds token limit|range of input length should be"
    r"|reduce the length of the (messages|prompt|input)|tokens \+ .{0,2}max_new_tokens|inputs.{0,2} must have less than"
    r"|(maximum|max) model length|max_(seq|model)_len|exceed max message tokens|request payload size exceeds|输入长度超|上下文长度",
    re.IGNORECASE,
)
"""How vendors and servers say that a conversation is too long: OpenAI, Anthropic, Gemini and Vertex, Bedrock, xAI, Groq, Mistral, Cohere, Together,
llama.cpp, LM Studio, Ollama, vLLM, SGLang, TGI, Moonshot ("exceeded model token limit"), Z.ai ("Prompt exceeds max length"), DashScope ("Range of
input length"), MiniMax, Doubao, SiliconFlow, Copilot, watsonx (their references, and the lists that coding agents keep of them)."""
_OTHER_LIMITS = re.compile(
    r"tokens? per|per (second|min|minute|hour|day|month)\b|\b[TR]P[MDS]\b|rate.?limit|too many requests|throttl|quota|wait before"
    r"|\bnot (yet )?(available|enabled|included)\b|\b(daily|weekly|monthly) |(unknown|unrecognized|unsupported|unexpected|invalid) (\w+ ){0,2}(parameter|argument|field|option|key)",
    re.IGNORECASE,
)
"""What a message is about that sounds alike: how much may be asked in a time, what an account may not use, or a field that is not known."""
_TEXT_TOO_LONG = re.compile(r"maximum length (\d{1,9})\b")
_A_CONVERSATION = 100_000
"""Characters from which on OpenAI's bound on a text (`string_above_max_length`) is one on what is said; names and descriptions have less."""
_OUT_OF_CREDIT = re.compile(
    r"credit balance is too low|insufficient (balance|credits?|quota)|out of credits", re.IGNORECASE
)
_UNKNOWN_MODEL = re.compile(
    r"models?\b.{0,120}(not found|does not exist|not exist|not supported|invalid|decommissioned)"
    r"|(invalid|unknown|no such) model|not a valid model|^model: ",
    re.IGNORECASE | re.DOTALL,
)
_TITLE = re.compile(r"<title[^>]{0,100}>([^<]{1,1000})", re.IGNORECASE)
"""Every part is bounded, and none can be divided from the next in several ways: pages come from anybody on the way to a vendor."""
_MAX_TITLE = 200
_CODE = re.compile(r"[a-z]+(?:_[a-z]+){1,9}")
"""An error that is a code and nothing else, as Groq's streams name one."""
_SECONDS = re.compile(r"^(\d+(?:\.\d+)?)s$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who was asked, and with which secrets, so that no message repeats them."""

    provider: str
    model: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def scrub(self, text: str) -> str:
        """Return a text without the secrets, cut to a readable length."""
        text = without_keys(text, self.secrets)
        return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"

    def clean(self, error: ProviderError) -> None:
        """Take the secrets out of an error, wherever a server has repeated them: in a status line, a header, an id."""
        error.args = tuple(self.scrub(part) if isinstance(part, str) else part for part in error.args)
        error.request_id = None if error.request_id is None else self.scrub(error.request_id)
        error.vendor_code = None if error.vendor_code is None else self.scrub(error.vendor_code)
        said = repr(error.__cause__)
        if self.scrub(said) != said:
            error.__cause__ = None  # it repeats more than our own sentence does

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Say in errors who was asked, where they do not know it yet."""
        try:
            yield
        except ProviderError as error:
            error.provider = error.provider or self.provider
            error.model = error.model or self.model
            self.clean(error)
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorError:
    """What an error body says, whatever its shape."""

    message: str = ""
    codes: tuple[str, ...] = ()
    """Codes and types, the most telling first, in lower case."""
    status: int | None = None
    """A status inside the body, where a proxy answers 200 and puts it there."""
    retry_after: float | None = None
    request_id: str | None = None
    failed_generation: str | None = None
    """The tool call that the model wrote and the vendor could not read (Groq)."""


def failure_of_response(status: int, headers: Headers, body: bytes, origin: Origin) -> ProviderError:
    """Return the error that an HTTP response means."""
    error = read_vendor_error(_decode(body))
    message = error.message or _describe_body(status, headers, body)
    waited = error.retry_after if error.retry_after is not None else retry_after(headers)
    return _build(
        error,
        message,
        status=status,
        origin=origin,
        waited=waited,
        request_id=request_id(headers) or error.request_id,
    )


def failure_of_event(payload: object, origin: Origin, *, request_id: str | None = None) -> ProviderError:
    """Return the error that an error object inside a 200 answer or stream means."""
    error = read_vendor_error(payload)
    message = error.message or "the provider reported an error without a message"
    return _build(
        error,
        message,
        status=error.status,
        origin=origin,
        waited=error.retry_after,
        request_id=request_id or error.request_id,
    )


def request_id(headers: Headers) -> str | None:
    """Return the vendor's id of a request."""
    for name in _REQUEST_ID_HEADERS:
        value = headers.get(name)
        if value:
            return value
    return None


def retry_after(headers: Headers) -> float | None:
    """Return the seconds the vendor asks to wait.

    A date is compared with the response's own `Date`, so that a wrong clock on this side cannot matter.
    """
    try:
        milliseconds = headers.get("retry-after-ms")
        if milliseconds:
            return _wait(float(milliseconds) / 1000)
        value = headers.get("retry-after", "")
        if not value:
            return None
        if value.replace(".", "", 1).strip().isdigit():
            return _wait(float(value))
        from email.utils import parsedate_to_datetime

        then, now = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("date", ""))
        return _wait((then - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _wait(seconds: float) -> float | None:
    """Return how long to wait where somebody else says it: no less than nothing, and not for ever."""
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_WAIT)


def read_vendor_error(payload: object) -> VendorError:
    """Read an error body of any vendor; what is not understood is left out."""
    if isinstance(payload, list) and payload:
        payload = payload[0]  # Google wraps an error of a stream into a list
    if not isinstance(payload, Mapping):
        return VendorError()
    inner = payload.get("error")
    if isinstance(inner, str):
        code = payload.get("code") or (inner if _CODE.fullmatch(inner) else None)
        inner = {"message": inner, "code": code, "type": payload.get("type")}
    if not isinstance(inner, Mapping):
        inner = payload
    details = [detail for detail in _list(inner.get("details")) if isinstance(detail, Mapping)]
    reasons = [detail.get("reason") for detail in details]
    codes = (*reasons, inner.get("code"), inner.get("type"), inner.get("status"), *_inner_codes(inner))
    status = inner.get("code") if isinstance(inner.get("code"), int) else None
    return VendorError(
        message=_message(inner),
        codes=tuple(code.lower() for code in codes if isinstance(code, str) and code),
        status=status if status is not None and 400 <= status < 600 else None,
        retry_after=_retry_delay(details),
        request_id=_text(payload.get("request_id")),
        failed_generation=_text(inner.get("failed_generation")),
    )


def _build(
    error: VendorError,
    message: str,
    *,
    status: int | None,
    origin: Origin,
    waited: float | None,
    request_id: str | None,
) -> ProviderError:
    # Of a message, only what is kept is looked at: its words are searched in steps of their number times a hundred.
    cls = _classify(error, status if status is not None else error.status, message[:MAX_MESSAGE])
    prefix = f"{origin.provider} answered {status}: " if status is not None else f"{origin.provider}: "
    failure = cls(
        origin.scrub(prefix + message),
        status=status,
        provider=origin.provider,
        model=origin.model,
        request_id=None if request_id is None else request_id[:_MAX_NAME],
        retry_after=waited,
        vendor_code=error.codes[0][:_MAX_NAME] if error.codes else None,
    )
    if isinstance(failure, MalformedToolCall) and error.failed_generation is not None:
        failure.failed_generation = origin.scrub(error.failed_generation)
    return failure


def _classify(error: VendorError, status: int | None, message: str) -> type[ProviderError]:
    by_code = next((_BY_CODE[code] for code in error.codes if code in _BY_CODE), None)
    if status == 402:
        return QuotaExceeded
    if by_code in (None, RateLimited) and status in (None, 400, 403, 404, 413, 422, 429):
        by_words = _classify_words(message, status)
        if by_words is not None:
            return by_words
    if by_code in (None, ProviderUnavailable) and status in (None, 500) and _is_too_long(message):
        return ContextLengthExceeded  # llama.cpp calls it a fault of its own
    if "string_above_max_length" in error.codes:
        bound = _TEXT_TOO_LONG.search(message)
        return ContextLengthExceeded if bound and int(bound[1]) >= _A_CONVERSATION else InvalidRequest
    if by_code is not None:
        return by_code
    if status is None and any(code in _REFUSALS for code in error.codes):
        return InvalidRequest
    return _classify_status(status)


def _classify_words(message: str, status: int | None) -> type[ProviderError] | None:
    if _OUT_OF_CREDIT.search(message):
        return QuotaExceeded
    if status == 429:
        return None
    if status == 413 and _OTHER_LIMITS.search(message):
        return RateLimited  # too much for a minute, not for the model
    if _is_too_long(message):
        return ContextLengthExceeded
    return ModelNotFound if _UNKNOWN_MODEL.search(message) else None


def _is_too_long(message: str) -> bool:
    return _TOO_LONG.search(message) is not None and _OTHER_LIMITS.search(message) is None


def _classify_status(status: int | None) -> type[ProviderError]:
    if status is None or status >= 500 or status in (409, 425):
        return ProviderUnavailable
    by_status: dict[int, type[ProviderError]] = {
        401: AuthenticationError,
        403: AuthenticationError,
        408: ProviderTimeout,
        413: ContextLengthExceeded,
        429: RateLimited,
    }
    return by_status.get(status, InvalidRequest)


def _decode(body: bytes) -> Any:
    try:
        return loads(body)
    except orjson.JSONDecodeError:
        return None


def _describe_body(status: int, headers: Headers, body: bytes) -> str:
    if 300 <= status < 400:
        return "a redirect, which is not followed; check base_url"
    text = body[: 4 * MAX_MESSAGE].decode("utf-8", "replace").strip()
    if "html" in headers.get("content-type", "") or text[:1] == "<":
        found = _TITLE.search(text)
        title = found.group(1).strip()[:_MAX_TITLE] if found else ""
        return f"an HTML page instead of JSON{f': {title}' if title else ''}"
    return text[:500] or "no explanation"


def _message(inner: Mapping[str, Any]) -> str:
    for name in ("message", "detail", "msg"):
        value = inner.get(name)
        if isinstance(value, str) and value:
            raw = inner.get("metadata")
            upstream = raw.get("raw") if isinstance(raw, Mapping) else None
            return f"{value} ({upstream})" if isinstance(upstream, str) else value
        if value:
            with suppress(TypeError):  # as deep as JSON goes is deeper than it can be written
                return orjson.dumps(value, default=str).decode()
    return ""


def _inner_codes(inner: Mapping[str, Any]) -> Iterator[Any]:
    for name in ("innererror", "inner_error"):  # Azure says there why its filter refused
        nested = inner.get(name)
        if isinstance(nested, Mapping):
            yield nested.get("code")


def _retry_delay(details: list[Mapping[str, Any]]) -> float | None:
    for detail in details:
        found = _SECONDS.match(str(detail.get("retryDelay", "")))
        if found:
            return _wait(float(found.group(1)))
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
