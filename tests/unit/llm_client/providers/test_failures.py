"""Every vendor's error becomes the error of our tree that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from llm_client.errors import (
    AuthenticationError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.provider import OpenAIProvider
from support.conversations import complete
from support.loopback import LoopbackServer, Reply, json_reply
from support.wire import anthropic as anthropic_wire

SECRET = "sk-proj-verysecretverysecret"


def openai_error(message: str = "No.", **fields: Any) -> dict[str, Any]:
    return {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}
    }


def anthropic_error(kind: str, message: str = "No.") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def google_error(code: int, status: str, message: str = "No.", *details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def provider(vendor: str, server: LoopbackServer) -> Any:
    if vendor == "openai":
        return OpenAIProvider("m", api_key=SECRET, base_url=server.url + "/v1", api="chat")
    cls = AnthropicProvider if vendor == "anthropic" else GoogleProvider
    return cls("m", api_key=SECRET, base_url=server.url)


async def failure(vendor: str, reply: Reply) -> ProviderError:
    async with LoopbackServer(reply) as server:
        with pytest.raises(ProviderError) as caught:
            await complete(provider(vendor, server))
    return caught.value


CASES: list[tuple[str, int, Any, type[ProviderError]]] = [
    ("openai", 401, openai_error("Incorrect API key provided.", code="invalid_api_key"), AuthenticationError),
    ("openai", 403, openai_error("Country not supported."), AuthenticationError),
    ("openai", 400, openai_error("Unsupported value."), InvalidRequest),
    ("openai", 400, openai_error("Too long.", code="context_length_exceeded"), ContextLengthExceeded),
    (
        "openai",
        400,
        openai_error("This model's maximum context length is 8192 tokens. You requested 9000."),
        ContextLengthExceeded,
    ),
    (
        "openai",
        400,
        {"object": "error", "message": "The prompt is too long", "code": 400},
        ContextLengthExceeded,
    ),
    ("openai", 404, openai_error("The model `x` does not exist.", code="model_not_found"), ModelNotFound),
    ("openai", 404, {"error": 'model "x" not found, try pulling it first'}, ModelNotFound),
    ("openai", 400, openai_error("x is not a valid model ID"), ModelNotFound),
    ("openai", 404, {"detail": "Not Found"}, InvalidRequest),
    ("openai", 429, openai_error("Slow down.", code="rate_limit_exceeded"), RateLimited),
    (
        "openai",
        429,
        openai_error("Pay.", type="insufficient_quota", code="insufficient_quota"),
        QuotaExceeded,
    ),
    ("openai", 402, {"error": {"code": 402, "message": "Insufficient credits"}}, QuotaExceeded),
    ("openai", 400, openai_error("Filtered.", code="content_filter"), ContentFiltered),
    (
        "openai",
        400,
        openai_error("Azure refuses.", innererror={"code": "ResponsibleAIPolicyViolation"}),
        ContentFiltered,
    ),
    ("openai", 408, openai_error("Time."), ProviderTimeout),
    ("openai", 409, openai_error("Locked."), ProviderUnavailable),
    ("openai", 500, openai_error("Oops.", type="server_error"), ProviderUnavailable),
    ("openai", 502, openai_error("Oops."), ProviderUnavailable),
    ("openai", 503, None, ProviderUnavailable),
    ("openai", 200, {"error": {"code": 429, "message": "Provider returned error"}}, RateLimited),
    ("openai", 200, {"error": {"code": 502, "message": "Upstream is down"}}, ProviderUnavailable),
    ("anthropic", 400, anthropic_error("invalid_request_error"), InvalidRequest),
    (
        "anthropic",
        400,
        anthropic_error("invalid_request_error", "prompt is too long: 9 > 8"),
        ContextLengthExceeded,
    ),
    (
        "anthropic",
        400,
        anthropic_error("invalid_request_error", "Your credit balance is too low to access the API."),
        QuotaExceeded,
    ),
    ("anthropic", 401, anthropic_error("authentication_error"), AuthenticationError),
    ("anthropic", 403, anthropic_error("permission_error"), AuthenticationError),
    ("anthropic", 404, anthropic_error("not_found_error", "model: claude-9"), ModelNotFound),
    ("anthropic", 413, anthropic_error("request_too_large"), ContextLengthExceeded),
    ("anthropic", 429, anthropic_error("rate_limit_error"), RateLimited),
    ("anthropic", 500, anthropic_error("api_error"), ProviderUnavailable),
    ("anthropic", 529, anthropic_wire.OVERLOADED, ProviderUnavailable),
    ("google", 400, google_error(400, "INVALID_ARGUMENT"), InvalidRequest),
    (
        "google",
        400,
        google_error(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"}),
        AuthenticationError,
    ),
    (
        "google",
        400,
        google_error(
            400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens (8)."
        ),
        ContextLengthExceeded,
    ),
    ("google", 403, google_error(403, "PERMISSION_DENIED"), AuthenticationError),
    (
        "google",
        404,
        google_error(404, "NOT_FOUND", "models/x is not found for API version v1"),
        ModelNotFound,
    ),
    ("google", 429, google_error(429, "RESOURCE_EXHAUSTED"), RateLimited),
    ("google", 503, google_error(503, "UNAVAILABLE"), ProviderUnavailable),
]


@pytest.mark.parametrize(("vendor", "status", "payload", "expected"), CASES)
async def test_vendor_error_is_named(
    vendor: str, status: int, payload: Any, expected: type[ProviderError]
) -> None:
    error = await failure(vendor, json_reply(payload, status))
    assert type(error) is expected
    assert error.provider == vendor
    assert error.model == "m"
    assert error.status == (status if status != 200 else payload["error"]["code"])


async def test_what_the_vendor_says_about_the_failure_is_kept() -> None:
    payload = openai_error("Slow down.", code="rate_limit_exceeded")
    error = await failure("openai", json_reply(payload, 429, x_request_id="req_7", retry_after="12"))
    assert (error.request_id, error.retry_after, error.vendor_code) == ("req_7", 12.0, "rate_limit_exceeded")
    assert "Slow down." in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:28:30 GMT"}, 0.0),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_read_in_each_of_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    error = await failure("openai", json_reply(openai_error(), 429, **headers))
    assert error.retry_after == seconds


async def test_google_says_in_the_body_how_long_to_wait() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    error = await failure(
        "google", json_reply(google_error(429, "RESOURCE_EXHAUSTED", "Quota.", detail), 429)
    )
    assert error.retry_after == 34.5


async def test_request_id_in_the_body_is_used_when_no_header_has_one() -> None:
    error = await failure("anthropic", json_reply(anthropic_wire.OVERLOADED, 529))
    assert error.request_id == anthropic_wire.OVERLOADED["request_id"]
    assert error.vendor_code == "overloaded_error"


async def test_html_error_page_is_told_by_its_title() -> None:
    page = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
    error = await failure("openai", Reply(pieces=(page,), status=502, headers={"content-type": "text/html"}))
    assert type(error) is ProviderUnavailable
    assert "502 Bad Gateway" in str(error)
    assert "<" not in str(error)


async def test_redirect_is_not_followed_and_points_at_the_address() -> None:
    async with LoopbackServer(
        Reply(status=307, headers={"location": "https://elsewhere.invalid/"})
    ) as server:
        with pytest.raises(InvalidRequest, match="base_url"):
            await complete(provider("openai", server))
        assert len(server.requests) == 1


async def test_error_body_that_never_ends_still_gives_its_status() -> None:
    error = await failure("openai", Reply(pieces=(b"{", "close"), status=503))
    assert type(error) is ProviderUnavailable


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google"])
async def test_key_that_a_vendor_repeats_is_not_in_the_error(vendor: str) -> None:
    payload = openai_error(f"Incorrect API key provided: {SECRET}.", code="invalid_api_key")
    error = await failure(vendor, json_reply(payload, 401))
    assert SECRET not in str(error)
    assert SECRET not in repr(error)
    assert "<REDACTED:api_key>" in str(error)


async def test_long_message_is_cut() -> None:
    error = await failure("openai", json_reply(openai_error("x" * 100_000), 400))
    assert len(str(error)) < 2100
