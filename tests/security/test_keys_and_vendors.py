"""Keys go where their owner sent them, and a hostile server behind an address takes no more than its share."""

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_client import (
    AnthropicProvider,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    GoogleProvider,
    InvalidResponse,
    Message,
    OpenAIProvider,
    ProviderTimeout,
    RecordedProvider,
    RequestContext,
    RequestSpec,
    ScriptedProvider,
    StreamInterrupted,
    create_provider,
)
from llm_client.providers.http_provider import HttpProvider
from llm_client.providers.presets import PRESETS
from llm_client.providers.transport.aiohttp import AiohttpTransport
from llm_client.providers.transport.httpcore import HttpcoreTransport
from llm_client.providers.transport.port import AnswerLimits, TransportOptions
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.proxy import LoopbackProxy

SPEC = RequestSpec(messages=[Message.user("Hi")])
KEY = "k" * 40
ANSWER = {"id": "1", "model": "m", "choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}
OWN: dict[str, Callable[..., HttpProvider]] = {
    "OPENAI_API_KEY": OpenAIProvider,
    "ANTHROPIC_API_KEY": AnthropicProvider,
    "GEMINI_API_KEY": GoogleProvider,
}
STRANGE = "https://attacker.example/v1"


async def ask(provider: HttpProvider) -> Any:
    try:
        return await provider.complete(SPEC, RequestContext())
    finally:
        await provider.aclose()


def told(server: LoopbackServer) -> str:
    return " ".join(f"{request.target} {request.headers} {request.body!r}" for request in server.requests)


@pytest.mark.parametrize("variable", list(OWN))
async def test_a_vendors_key_is_not_sent_to_a_strange_address(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, KEY)
    async with LoopbackServer(json_reply(ANSWER)) as server:
        with pytest.raises(AuthenticationError, match="only sent to the vendor's own address"):
            await ask(OWN[variable]("m", base_url=server.url))
        assert KEY not in told(server)


@pytest.mark.parametrize("vendor", list(PRESETS))
async def test_no_presets_key_is_sent_to_a_strange_address(
    vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in PRESETS[vendor].key_variables:
        monkeypatch.setenv(variable, KEY)
    provider = create_provider(f"{vendor}:m", base_url=STRANGE)
    if PRESETS[vendor].key_required:
        with pytest.raises(AuthenticationError, match="only sent to"):
            await provider._endpoint.key()
    else:
        assert await provider._endpoint.key() is None


@pytest.mark.parametrize(
    "look_alike",
    [
        "https://api.openai.com.attacker.example/v1",
        "https://attacker.example/api.openai.com/v1",
        "https://xapi.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "http://api.openai.com/v1",
    ],
)
async def test_an_address_that_looks_like_the_vendors_is_strange(
    look_alike: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(AuthenticationError):
        await OpenAIProvider("m", base_url=look_alike)._endpoint.key()


@pytest.mark.parametrize(
    "own", ["https://api.openai.com/v1", "https://api.openai.com:443/v1/", "https://eu.api.openai.com/v1"]
)
async def test_the_vendors_own_addresses_get_its_key(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert await OpenAIProvider("m", base_url=own)._endpoint.key() == KEY


async def test_the_address_of_the_environment_gets_the_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with LoopbackServer(json_reply(ANSWER)) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        await ask(OpenAIProvider("m"))
        await ask(OpenAIProvider("m", base_url=server.url))
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}"] * 2


async def test_a_key_of_ones_own_goes_to_ones_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    async with LoopbackServer(json_reply(ANSWER)) as server:
        await ask(OpenAIProvider("m", base_url=server.url, key_variables=("MY_KEY",)))
        await ask(OpenAIProvider("m", base_url=server.url, api_key="given"))
        assert [request.headers["authorization"] for request in server.requests] == [
            f"Bearer {KEY}",
            "Bearer given",
        ]


@pytest.mark.parametrize("name", ["Authorization", "authorization", "X-Api-Key", "api-key"])
async def test_a_header_that_is_given_wins_over_every_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LoopbackServer(json_reply(ANSWER)) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        await ask(OpenAIProvider("m", headers={name: "mine"}))
        assert server.requests[0].headers[name.lower()] == "mine"
        assert KEY not in told(server)


@pytest.mark.parametrize("options", [{"api_key": KEY}, {"headers": {"authorization": KEY}}])
async def test_no_key_is_sent_unencrypted_to_another_machine(options: dict[str, Any]) -> None:
    provider = OpenAIProvider("m", base_url="http://models.example/v1", **options)
    with pytest.raises(ConfigurationError, match="not sent unencrypted") as refused:
        await ask(provider)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("header", ["Cookie", "X-Auth-Token", "Proxy-Authorization"])
async def test_no_header_with_a_secret_is_sent_unencrypted_either(header: str) -> None:
    provider = create_provider("ollama:m", base_url="http://models.example/v1", headers={header: KEY})
    with pytest.raises(ConfigurationError, match="not sent unencrypted"):
        await ask(provider)


@pytest.mark.parametrize("secret", [{"api_key": KEY}, {"headers": {"x-auth-token": KEY}}])
async def test_no_key_for_this_machine_goes_unencrypted_through_another(
    secret: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.invalid:3128")
    elsewhere = TransportOptions(proxy="http://proxy.invalid:3128")
    async with LoopbackServer(json_reply(ANSWER)) as server, LoopbackProxy() as proxy:
        await ask(create_provider("ollama:m", base_url=server.url, **secret))
        assert KEY in told(server)
        for options in ({"transport_options": elsewhere}, {"transport": HttpcoreTransport(elsewhere)}):
            provider = create_provider("ollama:m", base_url=server.url, **secret, **options)
            with pytest.raises(ConfigurationError, match="not sent unencrypted through the proxy") as refused:
                await ask(provider)
            assert KEY not in str(refused.value)
        here = TransportOptions(proxy=f"http://{proxy.address}")
        await ask(create_provider("ollama:m", base_url=server.url, transport_options=here, **secret))
        assert len(proxy.seen) == 1
        for asked in ({**secret, "plain_http": True}, {}):
            provider = create_provider("ollama:m", base_url=server.url, transport_options=elsewhere, **asked)
            with pytest.raises(ConnectionFailed):  # it is tried: there is no such proxy
                await ask(provider)


# -- a hostile vendor ------------------------------------------------------------------------------------------------

SMALL = AnswerLimits(max_bytes=100_000, max_stream_bytes=100_000, max_tool_calls=10)
BRIEF = AnswerLimits(max_seconds=0.2)


def chunk(**delta: Any) -> str:
    return f"data: {json.dumps({'id': '1', 'model': 'm', 'choices': [{'index': 0, 'delta': delta}]})}\n\n"


def calls(number: int) -> list[dict[str, Any]]:
    return [
        {"index": n, "id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for n in range(number)
    ]


async def stream(server: LoopbackServer, *, limits: AnswerLimits = SMALL, **options: Any) -> None:
    provider = OpenAIProvider("m", api_key="k", base_url=server.url, limits=limits, **options)
    try:
        async for _ in provider.stream(SPEC, RequestContext()):
            pass
    finally:
        await provider.aclose()


@pytest.mark.parametrize("transport", [HttpcoreTransport, AiohttpTransport])
async def test_a_stream_without_an_end_is_cut_off(transport: Any) -> None:
    sending = transport()
    async with LoopbackServer(sse_reply(*[chunk(content="x" * 1_000)] * 500)) as server:
        with pytest.raises((InvalidResponse, StreamInterrupted), match="larger than 100000 bytes"):
            await stream(server, transport=sending)
    await sending.aclose()


async def test_a_server_that_only_says_that_it_is_still_there_is_cut_off() -> None:
    async with LoopbackServer(sse_reply(": keep-alive\n\n", "hang")) as server:
        with pytest.raises((ProviderTimeout, StreamInterrupted), match="within its time"):
            await stream(server, limits=BRIEF)


async def test_a_body_that_trickles_is_cut_off() -> None:
    reply = Reply(pieces=(b"{", "hang"), headers={"content-type": "application/json"})
    async with LoopbackServer(reply) as server:
        provider = OpenAIProvider("m", api_key="k", base_url=server.url, limits=BRIEF)
        with pytest.raises(ProviderTimeout, match="within its time"):
            await ask(provider)


async def test_an_answer_with_countless_tool_calls_is_refused() -> None:
    message = {"content": None, "tool_calls": calls(200)}
    answer = {**ANSWER, "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    async with LoopbackServer(json_reply(answer), sse_reply(chunk(tool_calls=calls(200)))) as server:
        provider = OpenAIProvider("m", api_key="k", base_url=server.url, limits=SMALL)
        with pytest.raises(InvalidResponse, match="more than 10 tool calls"):
            await ask(provider)
        with pytest.raises(InvalidResponse, match="more than 10 tool calls"):
            await stream(server)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("transport", [HttpcoreTransport, AiohttpTransport])
async def test_a_small_answer_does_not_become_a_huge_one(transport: Any, streamed: bool) -> None:
    """A megabyte of nothing compresses to a kilobyte."""
    kind = "text/event-stream" if streamed else "application/json"
    bomb = gzip.compress(b" " * 64 * 1024 * 1024)
    reply = Reply(pieces=(bomb,), headers={"content-type": kind, "content-encoding": "gzip"})
    sending = transport()
    async with LoopbackServer(reply) as server:
        provider = OpenAIProvider("m", api_key="k", base_url=server.url, transport=sending, limits=SMALL)
        with pytest.raises((InvalidResponse, StreamInterrupted), match="larger than 100000 bytes"):
            await (stream(server, transport=sending) if streamed else ask(provider))
    await sending.aclose()


# -- recordings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"dear diary", b'{"some": "json"}', b"[]", b"\xff\xfe\x00"])
def test_recording_overwrites_nothing_that_is_no_recording(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match="is not a recording"):
        RecordedProvider(path, ScriptedProvider(["x"]), mode="record")
    assert path.read_bytes() == text


@pytest.mark.parametrize("mode", ["auto", "record"])
async def test_recording_writes_through_no_link_that_waits_for_it(mode: Any, tmp_path: Path) -> None:
    waiting, victim = tmp_path / "calls.jsonl", tmp_path / "startup"
    waiting.symlink_to(victim)
    with pytest.raises(ConfigurationError, match="leads nowhere"):
        await RecordedProvider.open(waiting, ScriptedProvider(["x"]), mode=mode)
    waiting.unlink()
    recorder = await RecordedProvider.open(waiting, ScriptedProvider(["x"]), mode=mode)
    waiting.symlink_to(victim)
    with pytest.raises(ConfigurationError, match="leads nowhere"):
        await recorder.complete(SPEC, RequestContext())
    assert not victim.exists()


async def test_a_recording_is_begun_anew_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    for reply in ("one", "two"):
        recorder = await RecordedProvider.open(path, ScriptedProvider([reply]), mode="record")
        await recorder.complete(SPEC, RequestContext())
    recorded = await asyncio.to_thread(path.read_bytes)
    assert b"two" in recorded
    assert b"one" not in recorded
    assert path.stat().st_mode & 0o777 == 0o600
