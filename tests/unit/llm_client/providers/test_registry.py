"""A model string names a provider; a wrong one says what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from llm_client.errors import AuthenticationError, ConfigurationError
from llm_client.providers.base import Provider
from llm_client.providers.registry import create_provider, known_prefixes
from llm_client.spec import RequestContext
from support.conversations import complete, spec, stream
from support.loopback import LoopbackServer, json_reply
from support.wire import anthropic as anthropic_wire
from support.wire import google as google_wire
from support.wire import openai_chat as chat_wire
from support.wire import openai_responses as responses_wire

ADDRESSES = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "openrouter": "https://openrouter.ai/api/v1",
    "ollama": "http://localhost:11434/v1",
    "vllm": "http://localhost:8000/v1",
    "lmstudio": "http://localhost:1234/v1",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "xai": "https://api.x.ai/v1",
    "together": "https://api.together.xyz/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "litellm": "http://localhost:4000/v1",
}
KEYS = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GEMINI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "groq": "GROQ_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "xai": "XAI_API_KEY",
    "together": "TOGETHER_API_KEY",
    "fireworks": "FIREWORKS_API_KEY",
}
KEYLESS = ["ollama", "vllm", "lmstudio", "litellm"]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in known_prefixes():
        for suffix in ("API_KEY", "BASE_URL"):
            monkeypatch.delenv(f"{prefix.upper()}_{suffix}", raising=False)
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("vendor", ADDRESSES)
def test_provider_is_made_without_key_and_network(vendor: str) -> None:
    provider = create_provider(f"{vendor}:some/model:8b")
    assert isinstance(provider, Provider)
    assert (provider.model, provider.base_url) == ("some/model:8b", ADDRESSES[vendor])


def test_every_known_prefix_is_tested_here() -> None:
    assert set(known_prefixes()) == {*ADDRESSES, "azure"}


def test_names_are_those_of_the_price_tables() -> None:
    from genai_prices import data_snapshot

    known = {provider.id for provider in data_snapshot.get_snapshot().providers}
    named = {
        vendor: create_provider(f"{vendor}:m", base_url="http://localhost:1").name
        for vendor in known_prefixes()
    }
    assert {vendor for vendor, name in named.items() if name not in known} == {*KEYLESS}


@pytest.mark.parametrize("vendor", KEYS)
async def test_first_call_without_a_key_names_the_variable(vendor: str) -> None:
    async with LoopbackServer(json_reply({})) as server:
        provider = create_provider(f"{vendor}:m", base_url=server.url)
        with pytest.raises(AuthenticationError, match=KEYS[vendor]):
            await complete(provider)
        with pytest.raises(AuthenticationError, match=KEYS[vendor]):
            await stream(provider)
        assert server.requests == []


@pytest.mark.parametrize("vendor", KEYLESS)
async def test_local_servers_need_no_key_and_take_one(vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(create_provider(f"{vendor}:m", base_url=server.url))
        assert "authorization" not in server.requests[-1].headers
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", "local-key")
        await complete(create_provider(f"{vendor}:m", base_url=server.url))
        assert server.requests[-1].headers["authorization"] == "Bearer local-key"


@pytest.mark.parametrize(
    ("vendor", "payload", "suffix", "target"),
    [
        ("openai", chat_wire.TEXT, "/v1", "/v1/chat/completions"),
        ("anthropic", anthropic_wire.TEXT, "", "/v1/messages"),
        ("gemini", google_wire.TEXT, "", "/v1/models/m:generateContent"),
        ("groq", chat_wire.TEXT, "/openai/v1/", "/openai/v1/chat/completions"),
    ],
)
async def test_key_and_address_come_from_the_environment(
    vendor: str, payload: Any, suffix: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LoopbackServer(json_reply(payload)) as server:
        monkeypatch.setenv(f"{vendor.upper()}_BASE_URL", server.url + suffix)
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", " key-of-the-environment\n")
        await complete(create_provider(f"{vendor}:m"))
        received = server.requests[0]
    assert received.target == target
    assert "key-of-the-environment" in (
        received.headers.get("authorization", "") + received.headers.get("x-goog-api-key", "")
    )


async def test_what_is_said_of_a_server_counts_more_than_what_is_known_of_it() -> None:
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        own = {"key_required": False, "name": "mine", "embedding_model": "e"}
        provider = create_provider("groq:m", base_url=server.url, **own)
        await complete(provider)
    assert "authorization" not in server.requests[0].headers
    assert (provider.name, provider.embedding_model) == ("mine", "e")


async def test_azure_speaks_the_openai_api_under_its_own_path_and_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigurationError, match="AZURE_OPENAI_ENDPOINT"):
        create_provider("azure:my-deployment")
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        for endpoint in (server.url + "/", server.url + "/openai/v1/"):
            monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
            provider = create_provider("azure:my-deployment", api_key="azure-key")
            await complete(provider, max_tokens=5)
            received = server.requests[-1]
            assert (received.target, received.headers["api-key"]) == (
                "/openai/v1/chat/completions",
                "azure-key",
            )
            assert received.json["max_completion_tokens"] == 5
            assert "authorization" not in received.headers


async def test_openai_speaks_responses_at_home_and_chat_anywhere_else() -> None:
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(create_provider("openai:m", api_key="k", base_url=server.url + "/v1"), max_tokens=5)
        assert server.requests[-1].target == "/v1/chat/completions"
        assert server.requests[-1].json["max_tokens"] == 5
    async with LoopbackServer(json_reply(responses_wire.TEXT)) as server:
        provider = create_provider("openai:m", api_key="k", base_url=server.url + "/v1", api="responses")
        await complete(provider)
        assert server.requests[-1].target == "/v1/responses"


async def test_key_may_be_a_function_that_is_asked_each_time() -> None:
    keys = iter(["first", "second", "third"])

    async def fresh() -> str:
        return next(keys)

    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        provider = create_provider("openai:m", api_key=fresh, base_url=server.url)
        await provider.complete(spec(), RequestContext())
        await complete(provider)
        await complete(create_provider("openai:m", api_key=lambda: next(keys), base_url=server.url))
        sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer first", "Bearer second", "Bearer third"]


async def test_headers_of_the_caller_are_sent() -> None:
    async with LoopbackServer(json_reply(anthropic_wire.TEXT)) as server:
        options = {"headers": {"Anthropic-Beta": "x-2026"}, "api_version": "2023-06-01"}
        await complete(create_provider("anthropic:m", api_key="k", base_url=server.url, **options))
        headers = server.requests[0].headers
    assert (headers["anthropic-beta"], headers["anthropic-version"]) == ("x-2026", "2023-06-01")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gpt-5.2", "names no vendor.*anthropic, azure"),
        ("opnai:gpt-5.2", "did you mean 'openai'"),
        ("nobody:m", "unknown vendor 'nobody'.*known are anthropic"),
        ("openai:", "needs the name of a model"),
        ("", "names no vendor"),
    ],
)
def test_wrong_model_string_is_explained(model: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        create_provider(model)


@pytest.mark.parametrize("options", [{"base_url": "localhost:8000"}, {"api": "legacy"}, {"colour": "blue"}])
def test_wrong_option_is_explained(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        create_provider("openai:m", **options)


@pytest.mark.parametrize(
    "address", ["https://me:secret@host/v1", "https://host/v1?key=secret", "https://host#secret"]
)
def test_address_with_a_secret_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(ConfigurationError, match="no credentials") as caught:
        create_provider("openai:m", base_url=address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "field"),
    [("gpt-5.2", "max_completion_tokens"), ("openai/o3", "max_completion_tokens"), ("llama-4", "max_tokens")],
)
async def test_gateway_is_told_the_output_limit_in_the_name_its_model_takes(model: str, field: str) -> None:
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(create_provider(f"litellm:{model}", base_url=server.url), max_tokens=5)
        assert {"max_tokens", "max_completion_tokens"} & server.requests[0].json.keys() == {field}


def test_key_is_not_in_the_representation() -> None:
    assert "secret" not in repr(create_provider("openai:m", api_key="sk-secret"))


async def test_embeddings_are_refused_where_the_vendor_has_none() -> None:
    provider = create_provider("anthropic:m", api_key="k")
    assert provider.capabilities.supports_embeddings is False
    with pytest.raises(ConfigurationError, match="no embeddings"):
        await provider.embed(["a"])


async def test_no_text_needs_no_request() -> None:
    for model in ("openai:m", "gemini:m"):
        assert await create_provider(model, api_key="k").embed([]) == []
