"""Every transport keeps the promises of the port."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_client.errors import (
    ConfigurationError,
    ConnectionFailed,
    InvalidResponse,
    NetworkBlocked,
    ProviderTimeout,
)
from llm_client.network import NETWORK
from llm_client.providers.transport.aiohttp import AiohttpTransport
from llm_client.providers.transport.httpcore import HttpcoreTransport
from llm_client.providers.transport.port import (
    HttpRequest,
    Timeouts,
    Transport,
    TransportOptions,
    read_body,
)
from support.loopback import LoopbackServer, Reply, json_reply
from support.proxy import LoopbackProxy

Make = Callable[..., Transport]


@pytest.fixture(params=[HttpcoreTransport, AiohttpTransport])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    made: list[Transport] = []

    def build(**options: Any) -> Transport:
        made.append(request.param(TransportOptions(**options)))
        return made[-1]

    yield build
    for transport in made:
        await transport.aclose()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def ask(url: str, body: bytes = b"{}", *, timeouts: Timeouts | None = None, **headers: str) -> HttpRequest:
    named = {"content-type": "application/json", **headers}
    return HttpRequest(url=url + "/v1/x?y=1", headers=named, body=body, timeouts=timeouts or Timeouts())


async def text(transport: Transport, request: HttpRequest) -> str:
    return (await read_body(await transport.send(request))).decode()


async def test_request_arrives_and_answer_comes_back(make: Make) -> None:
    async with LoopbackServer(json_reply({"a": 1}, 201, x_request_id="r1")) as server:
        response = await make().send(ask(server.url, "ü".encode(), authorization="Bearer k"))
        assert (response.status, response.headers["x-request-id"]) == (201, "r1")
        assert await read_body(response) == b'{"a": 1}'
        received = server.requests[0]
        assert (received.method, received.target, received.body) == ("POST", "/v1/x?y=1", "ü".encode())
        assert received.headers["authorization"] == "Bearer k"
        assert received.headers["host"] == f"127.0.0.1:{server.port}"


async def test_connection_is_used_again(make: Make) -> None:
    transport = make()
    async with LoopbackServer(json_reply({})) as server:
        for _ in range(3):
            await text(transport, ask(server.url))
        assert (len(server.requests), server.connections) == (3, 1)


async def test_body_that_was_not_read_is_not_given_to_the_next_request(make: Make) -> None:
    transport = make()
    async with LoopbackServer(json_reply("first"), json_reply("second")) as server:
        await (await transport.send(ask(server.url))).aclose()
        assert await text(transport, ask(server.url)) == '"second"'


async def test_hundred_requests_at_once_are_all_answered_and_share_the_allowed_connections(
    make: Make,
) -> None:
    transport = make(max_connections=5)
    async with LoopbackServer(json_reply("x")) as server:
        answers = await asyncio.gather(*(text(transport, ask(server.url)) for _ in range(100)))
        assert answers == ['"x"'] * 100
        assert server.connections <= 5


async def test_server_that_closed_an_idle_connection_is_connected_to_again(make: Make) -> None:
    transport = make()
    async with LoopbackServer(json_reply("x")) as server:
        await text(transport, ask(server.url))
        await server.drop_connections()
        assert await text(transport, ask(server.url)) == '"x"'


async def test_idle_connection_is_not_used_again_after_its_time(make: Make) -> None:
    transport = make(keepalive_seconds=0.000001)
    async with LoopbackServer(json_reply("x")) as server:
        for _ in range(3):
            assert await text(transport, ask(server.url)) == '"x"'
        assert server.connections == 3


async def test_body_of_ten_megabytes_arrives_whole(make: Make) -> None:
    body = b"x" * 10 * 1024 * 1024
    async with LoopbackServer(json_reply("x")) as server:
        await text(make(), ask(server.url, body))
        assert server.requests[0].body == body


async def test_refused_connection_is_connection_failed(make: Make) -> None:
    async with LoopbackServer(json_reply({})) as server:
        url = server.url
    with pytest.raises(ConnectionFailed) as failed:
        await make().send(ask(url))
    assert not failed.value.has_left


async def test_unknown_host_is_connection_failed(make: Make) -> None:
    with pytest.raises(ConnectionFailed) as failed:
        await make().send(ask("http://vendor.invalid"))
    assert not failed.value.has_left


@pytest.mark.parametrize("cut", ["reset", "close"])
async def test_connection_cut_before_the_answer_is_connection_failed(make: Make, cut: Any) -> None:
    async with LoopbackServer(Reply(pieces=(cut,), head=False)) as server:
        with pytest.raises(ConnectionFailed) as failed:
            await make().send(ask(server.url))
    assert failed.value.has_left  # it may have been answered, and may be billed


@pytest.mark.parametrize("cut", ["reset", "close"])
async def test_connection_cut_in_the_body_is_connection_failed(make: Make, cut: Any) -> None:
    async with LoopbackServer(Reply(pieces=(b'{"a":', cut))) as server:
        response = await make().send(ask(server.url))
        with pytest.raises(ConnectionFailed) as failed:
            await read_body(response)
    assert failed.value.has_left


async def test_answer_that_is_not_http_is_connection_failed(make: Make) -> None:
    async with LoopbackServer(Reply(pieces=(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "close"), head=False)) as server:
        with pytest.raises(ConnectionFailed):
            await make().send(ask(server.url))


async def test_silence_before_the_answer_is_a_timeout(make: Make) -> None:
    async with LoopbackServer(Reply(pieces=("hang",), head=False)) as server:
        with pytest.raises(ProviderTimeout) as late:
            await make().send(ask(server.url, timeouts=Timeouts(read=0.05)))
        assert late.value.has_left
        await asyncio.wait_for(server.disconnected.wait(), 5)


async def test_silence_in_the_body_is_a_timeout(make: Make) -> None:
    async with LoopbackServer(Reply(pieces=(b"{", "hang"))) as server:
        response = await make().send(ask(server.url, timeouts=Timeouts(read=0.05)))
        with pytest.raises(ProviderTimeout):
            await read_body(response)
        await asyncio.wait_for(server.disconnected.wait(), 5)


async def test_waiting_for_a_free_connection_ends_in_a_timeout(make: Make) -> None:
    transport = make(max_connections=1)
    async with LoopbackServer(Reply(pieces=(b"{", "hang"))) as server:
        held = await transport.send(ask(server.url))
        with pytest.raises(ProviderTimeout) as late:
            await transport.send(ask(server.url, timeouts=Timeouts(pool=0.05)))
        assert not late.value.has_left  # so it costs nothing
        await held.aclose()


async def test_cancelled_request_closes_its_connection_and_frees_its_place(make: Make) -> None:
    transport = make(max_connections=1)
    async with LoopbackServer(Reply(pieces=("hang",), head=False), json_reply("x")) as server:
        task = asyncio.ensure_future(transport.send(ask(server.url)))
        await server.wait_for_requests(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.disconnected.wait(), 5)
        assert await text(transport, ask(server.url)) == '"x"'


async def test_body_above_the_bound_is_refused(make: Make) -> None:
    async with LoopbackServer(Reply(pieces=(b"x" * 1000, b"x" * 1000))) as server:
        response = await make().send(ask(server.url))
        with pytest.raises(InvalidResponse, match="larger than 1500 bytes"):
            await read_body(response, 1500)


async def test_compressed_body_is_unpacked_within_the_bound(make: Make) -> None:
    packed = gzip.compress(b"x" * 5_000_000)
    reply = Reply(pieces=(packed[:100], packed[100:]), headers={"content-encoding": "gzip"})
    async with LoopbackServer(reply) as server:
        assert await text(make(), ask(server.url)) == "x" * 5_000_000
        with pytest.raises(InvalidResponse):
            await read_body(await make().send(ask(server.url)), 1_000_000)


async def test_damaged_compressed_body_is_not_taken_for_an_answer(make: Make) -> None:
    reply = Reply(pieces=(b"not gzip at all",), headers={"content-encoding": "gzip"})
    async with LoopbackServer(reply) as server:
        response = await make().send(ask(server.url))
        with pytest.raises((InvalidResponse, ConnectionFailed)):
            await read_body(response)


@pytest.mark.parametrize("value", ["secret\nline", "sécret", "secret\r\nx: y"])
async def test_header_value_that_http_forbids_is_refused_without_repeating_it(make: Make, value: str) -> None:
    async with LoopbackServer(json_reply({})) as server:
        with pytest.raises(ConfigurationError) as caught:
            await make().send(ask(server.url, authorization=value))
        assert "cret" not in str(caught.value)
        assert server.requests == []


async def test_url_that_is_not_http_is_refused(make: Make) -> None:
    with pytest.raises(ConfigurationError):
        await make().send(ask("ftp://localhost"))


async def test_closing_twice_is_allowed_and_the_transport_can_be_used_again(make: Make) -> None:
    transport = make()
    async with LoopbackServer(json_reply("x")) as server:
        await text(transport, ask(server.url))
        await transport.aclose()
        await transport.aclose()
        assert await text(transport, ask(server.url)) == '"x"'


async def test_blocked_network_lets_nothing_out(make: Make) -> None:
    async with LoopbackServer(json_reply({})) as server:
        with NETWORK.blocked(), pytest.raises(NetworkBlocked, match="/v1/x"):
            await make().send(ask(server.url))
        assert server.connections == 0
        assert await text(make(), ask(server.url)) == "{}"


async def test_unknown_certificate_is_refused_and_a_ca_bundle_makes_it_known(
    make: Make, tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    async with LoopbackServer(json_reply("safe"), tls=tls) as server:
        with pytest.raises(ConnectionFailed) as failed:
            await make().send(ask(server.url))
        assert not failed.value.has_left
        assert await text(make(ca_bundle=bundle), ask(server.url)) == '"safe"'


async def test_unreadable_ca_bundle_is_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.pem"):
        await make(ca_bundle=tmp_path / "missing.pem").send(ask("https://localhost:1"))


async def test_proxy_carries_plain_requests_with_its_own_credentials(make: Make) -> None:
    async with LoopbackServer(json_reply("x")) as server, LoopbackProxy() as proxy:
        assert await text(make(proxy=f"http://me:p%40ss@{proxy.address}"), ask(server.url)) == '"x"'
        first, headers = proxy.seen[0]
        assert first.startswith(f"POST {server.url}/v1/x")
        assert headers["proxy-authorization"] == "Basic bWU6cEBzcw=="


async def test_proxy_tunnels_encrypted_requests(
    make: Make, tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    async with LoopbackServer(json_reply("x"), tls=tls) as server, LoopbackProxy() as proxy:
        transport = make(proxy=f"http://{proxy.address}", ca_bundle=bundle)
        assert await text(transport, ask(server.url)) == '"x"'
        assert await text(transport, ask(server.url)) == '"x"'
        assert [first for first, _ in proxy.seen] == [f"CONNECT localhost:{server.port} HTTP/1.1"]


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoopbackProxy]:
    """The environment's proxy for everything; it takes every name for this machine's."""
    async with LoopbackProxy() as proxy:
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
        monkeypatch.setenv("all_proxy", f"http://{proxy.address}")
        yield proxy


async def test_proxy_of_the_environment_is_used_unless_it_is_told_not_to(
    make: Make, proxy: LoopbackProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LoopbackServer(json_reply("x")) as server:
        elsewhere = f"http://models.invalid:{server.port}"
        await text(make(), ask(elsewhere))
        assert len(proxy.seen) == 1
        with pytest.raises(ConnectionFailed):
            await text(make(trust_env=False), ask(elsewhere))
        monkeypatch.setenv("no_proxy", "models.invalid")
        with pytest.raises(ConnectionFailed):
            await text(make(), ask(elsewhere))
        assert len(proxy.seen) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_what_is_for_this_machine_goes_through_no_proxy_of_the_environment(
    make: Make, host: str, proxy: LoopbackProxy
) -> None:
    async with LoopbackServer(json_reply("x")) as server:
        assert await text(make(), ask(f"http://{host}:{server.port}")) == '"x"'
    assert proxy.seen == []


async def test_what_is_encrypted_for_this_machine_goes_through_no_proxy_either(
    make: Make, proxy: LoopbackProxy, tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    async with LoopbackServer(json_reply("x"), tls=tls) as server:
        assert await text(make(ca_bundle=bundle), ask(server.url)) == '"x"'
    assert proxy.seen == []


async def test_a_secret_for_this_machine_goes_through_no_proxy_elsewhere_that_could_read_it(
    make: Make,
) -> None:
    async with LoopbackServer(json_reply("x")) as server:
        transport = make(proxy="http://me:pw@proxy.invalid:3128")
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="not sent unencrypted through the proxy") as refused:
                await transport.send(replace(ask(server.url), is_private=True))
            assert "pw" not in str(refused.value)
        async with LoopbackProxy() as here:
            transport = make(proxy=f"http://{here.address}")
            assert await text(transport, replace(ask(server.url), is_private=True)) == '"x"'
            assert len(here.seen) == 1


@pytest.mark.parametrize("proxy", ["socks5://me:secret@localhost:1", "://me:secret@localhost:1"])
async def test_proxy_of_another_kind_is_refused_without_its_password(make: Make, proxy: str) -> None:
    with pytest.raises(ConfigurationError, match="only HTTP proxies") as caught:
        await make(proxy=proxy).send(ask("http://localhost:1"))
    assert "secret" not in str(caught.value)


def test_options_do_not_show_the_password_of_a_proxy() -> None:
    assert "secret" not in repr(TransportOptions(proxy="http://me:secret@localhost:1"))


async def test_no_more_idle_connections_are_kept_than_allowed() -> None:
    transport = HttpcoreTransport(TransportOptions(max_keepalive_connections=1))
    async with LoopbackServer(json_reply("x")) as server:
        for at_once, opened in ((5, 5), (2, 6)):
            held = [await transport.send(ask(server.url)) for _ in range(at_once)]
            assert server.connections == opened
            for response in held:
                await read_body(response)
        await transport.aclose()


def test_request_does_not_show_its_key() -> None:
    assert "secret" not in repr(ask("http://localhost:1", b"secret", authorization="Bearer secret"))


@pytest.mark.parametrize("kind", [HttpcoreTransport, AiohttpTransport])
def test_connections_belong_to_the_loop_they_were_opened_on(kind: Any) -> None:
    transport = kind()

    async def one_call() -> str:
        async with LoopbackServer(json_reply("x")) as server:
            answer = await text(transport, ask(server.url))
            await transport.aclose()
            return answer

    assert [asyncio.run(one_call()) for _ in range(2)] == ['"x"', '"x"']


async def test_names_whose_servers_do_not_answer_hold_nobody_else_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were looked up in asyncio's own threads, of which there are few: each hung there for half a minute."""
    answered = threading.Event()
    look_up = socket.getaddrinfo

    def slow(host: Any, *args: Any, **kwargs: Any) -> Any:
        if "slow" not in str(host):
            return look_up(host, *args, **kwargs)
        answered.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    transport = make()
    async with LoopbackServer(json_reply({"a": 1})) as server:
        waiting = [
            asyncio.create_task(transport.send(ask(f"http://slow{number % 20}.example")))
            for number in range(40)
        ]
        try:
            await asyncio.sleep(0)
            async with asyncio.timeout(10):
                assert await text(transport, ask(f"http://localhost:{server.port}")) == '{"a": 1}'
                assert await asyncio.to_thread(lambda: "free") == "free"
        finally:
            answered.set()
        failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(failure) for failure in failures] == [ConnectionFailed] * 40
    assert not any(failure.has_left for failure in failures if isinstance(failure, ConnectionFailed))


async def test_a_name_that_takes_too_long_is_a_connection_that_did_not_come_about(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        answered.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    bound = Timeouts(connect=0.05, pool=0.05)
    try:
        with pytest.raises(ProviderTimeout) as caught:
            await make().send(ask("http://slow.example", timeouts=bound))
    finally:
        answered.set()
    assert not caught.value.has_left
