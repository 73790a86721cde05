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


TOO_LONG = [
    (400, {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it",
                     "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 8192}}),
    (400, {"error": {"code": 400, "message": "the request exceeds the available context size. try increasing the context size",
                     "type": "invalid_request_error"}}),
    (500, {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}),
    (200, {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}),
    (400, {"error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context "
                    "length of only 4096 tokens, which is not enough."}),
    (400, {"error": "The number of tokens to keep from the initial prompt is greater than the context length."}),
    (400, openai_error("Invalid request: Your request exceeded model token limit: 262144 (requested: 291351)")),
    (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    (400, {"error": {"code": "1261", "message": "Prompt 超长"}}),
    (400, openai_error("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
                       code="invalid_parameter_error")),
    (400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]", "request_id": "r"}),
    (422, openai_error("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4000 `inputs` tokens and 512")),
    (422, openai_error("The input (9000 tokens) is longer than the model's context length (8192 tokens).")),
    (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500", "error_type": "validation"}),
    (400, google_error(400, "INVALID_ARGUMENT", "Unable to submit request because the input token count is 40000 but model only "
                                                "supports up to 32767. Reduce the input token count and try again.")),
    (400, google_error(400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).")),
    (400, google_error(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes.")),
    (400, openai_error("Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length")),
    (400, openai_error("Please reduce the length of the messages or completion.", code="context_length_exceeded")),
    (400, openai_error("Please reduce the length of the messages or completion. Current length is 8353 while limit is 8192")),
    (400, openai_error("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.")),
    (400, openai_error("prompt token count of 130000 exceeds the limit of 128000", code="model_max_prompt_tokens_exceeded")),
    (400, openai_error("invalid params, context window exceeds limit (2013)")),
    (400, openai_error("length of prompt_tokens (33000) must be less than max_seq_len (32768).", code=20015)),
    (400, openai_error("The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that "
                       "`max_model_len` is no smaller than the number of text tokens.")),
    (400, {"object": "error", "message": "You passed 5000 input tokens and requested 100 output tokens. However, the model's context "
                                         "length is only 4096 tokens", "type": "BadRequestError", "code": 400}),
    (400, openai_error("Total tokens of image and text exceed max message tokens")),
    (400, openai_error("Input length 300000 exceeds the maximum length 229376.", code="InvalidParameter")),
    (400, openai_error("Invalid 'messages[3].content': string too long. Expected a string with maximum length 10485760, but got a "
                       "string with length 10500000 instead.", code="string_above_max_length")),
    (413, openai_error("Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached")),
    (400, {"message": "the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model"}),
    (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000."}),
    (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {
        "raw": '{"error":{"message":"prompt is too long: 213462 tokens > 200000 maximum"}}', "provider_name": "Anthropic"}}}),
    (400, openai_error("prompt too long; exceeded max context length by 5 tokens")),
]  # fmt: skip


@pytest.mark.parametrize(("status", "payload"), TOO_LONG)
async def test_conversation_that_is_too_long_is_known_by_any_servers_words(status: int, payload: Any) -> None:
    assert type(await failure("openai", json_reply(payload, status))) is ContextLengthExceeded


LOOK_ALIKES: list[tuple[int, Any, type[ProviderError]]] = [
    (429, openai_error("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000. The input or output tokens "
                       "must be reduced in order to run successfully.", code="rate_limit_exceeded"), RateLimited),
    (413, openai_error("Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000, please reduce your "
                       "message size and try again.", type="tokens", code="rate_limit_exceeded"), RateLimited),
    (413, openai_error("Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000."), RateLimited),
    (400, openai_error("Rate limit: too many tokens per minute for this model's context window."), InvalidRequest),
    (200, {"error": {"code": 503, "message": "Throttling error: Too many tokens, please wait before trying again."}}, ProviderUnavailable),
    (400, openai_error("Daily input token limit exceeded: too many tokens today."), InvalidRequest),
    (400, openai_error("Unrecognized request argument supplied: context_length"), InvalidRequest),
    (400, openai_error("Unknown parameter: 'context_window'.", code="unknown_parameter"), InvalidRequest),
    (400, openai_error("Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got a string "
                       "with length 70 instead.", code="string_above_max_length"), InvalidRequest),
    (400, openai_error("Invalid 'input[3].call_id': string too long. Expected a string with maximum length 64, but got 80.",
                       code="string_above_max_length"), InvalidRequest),
    (400, openai_error("max_tokens is too large: 100000. This model supports at most 16384 completion tokens."), InvalidRequest),
    (400, openai_error("Range of max_tokens should be [1, 8192]"), InvalidRequest),
    (400, openai_error("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"), InvalidRequest),
    (400, anthropic_error("invalid_request_error", "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens"),
     InvalidRequest),
    (400, anthropic_error("invalid_request_error", "tools.0.custom.name: String should have at most 64 characters"), InvalidRequest),
    (400, openai_error("Invalid 'metadata': too many properties."), InvalidRequest),
    (400, anthropic_error("invalid_request_error", "The 1M context window is not yet available for this subscription."), InvalidRequest),
    (400, openai_error("Too many images: at most 20 per request."), InvalidRequest),
    (500, openai_error("Internal error.", type="server_error"), ProviderUnavailable),
]  # fmt: skip


@pytest.mark.parametrize(("status", "payload", "expected"), LOOK_ALIKES)
async def test_what_sounds_like_a_conversation_that_is_too_long_is_none(
    status: int, payload: Any, expected: type[ProviderError]
) -> None:
    assert type(await failure("openai", json_reply(payload, status))) is expected


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
