"""JSON-RPC over WebSocket, over sockets of this machine: who is let in, what they are told, and how a socket ends."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent_runtime import Role, RuntimeKernel
from agent_runtime.server.rpc import connection
from agent_runtime.server.rpc.methods import Method, Params
from support.rpc_clients import Client, Histories, socket_of
from support.service import BOUND, FAST, Service, served


@pytest.fixture
def histories() -> Histories:
    return Histories()


@pytest.fixture
async def service(histories: Histories) -> AsyncIterator[Service]:
    async with served(RuntimeKernel(), replace(FAST, max_body_bytes=100_000)) as service:
        service.app.state.rpc.history = histories
        yield service


async def closed(client: Client) -> tuple[int, str]:
    """Return why a socket was closed, once it is."""
    with pytest.raises(ConnectionClosed) as error:
        await all_of(client)
    assert error.value.rcvd is not None
    return error.value.rcvd.code, error.value.rcvd.reason


async def all_of(client: Client, most: float = BOUND) -> None:
    """Read until there is nothing more."""
    async with asyncio.timeout(most):
        while True:
            client.told.append(json.loads(await client.socket.recv()))


async def refused(service: Service, key: str | None = None, **more: Any) -> tuple[int, dict[str, Any]]:
    """Return the status and the problem with which a socket is not opened."""
    with pytest.raises(InvalidStatus) as error:
        async with socket_of(service, key, **more):
            pass
    response = error.value.response
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, json.loads(response.body or b"")


def slow_method(go_on: asyncio.Event, begun: asyncio.Event) -> Method[Any]:
    async def answer(_: object, __: Params) -> str:
        begun.set()
        await go_on.wait()
        return "done"

    return Method(name="slow", params=Params, result=str, permission=None, summary="", answer=answer)


async def test_what_can_be_called_is_told_by_the_service_itself(service: Service) -> None:
    key = await service.key(Role.VIEWER)
    async with socket_of(service, key) as client, service.client(key) as http:
        told = await client.call("rpc.discover")
        assert (await http.get("/openrpc.json")).json() == told
    names = {method["name"] for method in told["methods"]}
    assert {"startSession", "stopSession", "rpc.discover"} <= names
    text = json.dumps(told)
    for reference in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert reference in told["components"]["schemas"]


@pytest.mark.parametrize("by", ["authorization", "x-api-key", "subprotocol"])
async def test_a_key_comes_in_a_header_or_as_a_subprotocol(service: Service, by: str) -> None:
    key = await service.key()
    more: dict[str, Any] = {
        "authorization": {"headers": {"Authorization": f"Bearer {key}"}},
        "x-api-key": {"headers": {"X-API-Key": key}},
        "subprotocol": {"subprotocols": ["jsonrpc", f"bearer.{key}"]},
    }[by]
    async with socket_of(service, **more) as client:
        assert (await client.call("startSession", sessionId="s")) == {
            "sessionId": "s",
            "seq": 0,
            "status": "started",
        }
        assert client.socket.subprotocol == ("jsonrpc" if by == "subprotocol" else None)


async def test_without_a_key_that_holds_no_socket_is_opened(service: Service) -> None:
    for key in (None, "ark_x_y", "x" * 1000):
        status, told = await refused(service, key)
        assert (status, told["code"]) == (401, "UNAUTHORIZED")


async def test_a_cookie_opens_a_socket_for_pages_of_this_service_alone(service: Service) -> None:
    async with service.client() as http:
        answer = await http.post("/v1/session", json={"key": await service.key()})
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    async with socket_of(service, headers={**cookie, "Origin": service.url}) as client:
        assert "seq" in await client.call("startSession")
    for headers in (cookie, {**cookie, "Origin": "https://evil.example"}, {**cookie, "Origin": "null"}):
        status, _ = await refused(service, headers=headers)
        assert status == 401
    status, _ = await refused(service, await service.key(), headers={"Origin": "https://evil.example"})
    assert status == 403


async def test_a_revoked_key_closes_its_sockets(service: Service) -> None:
    key, text = await service.kernel.keys.create(name="gone", role=Role.VIEWER, scope_id="acme")
    async with socket_of(service, text) as client, socket_of(service, await service.key()) as other:
        assert "seq" in await client.call("startSession")
        await service.kernel.keys.revoke(key.key_id)
        assert await closed(client) == (4401, "the key does not hold any more")
        assert "seq" in await other.call("startSession")


async def test_frames_that_are_no_text_or_too_long_close_the_socket(service: Service) -> None:
    key = await service.key()
    async with socket_of(service, key) as client:
        await client.socket.send(b"{}")
        assert (await closed(client))[0] == 1003
    async with socket_of(service, key) as client:
        await client.socket.send("[" + " " * 100_000 + "]")
        assert (await closed(client))[0] == 1009
    async with socket_of(service, key) as client:
        await client.socket.send(["[", " " * 60_000, " " * 60_000, "]"])
        assert (await closed(client))[0] == 1009
    async with socket_of(service, key) as client:
        with suppress(ConnectionClosed):  # before all of them are sent, perhaps
            await client.socket.send([""] * 5_000)
        assert (await closed(client))[0] == 1009


async def test_no_more_sockets_than_readers_are_opened(histories: Histories) -> None:
    config = replace(FAST, max_streams_per_key=2)
    async with served(RuntimeKernel(), config) as service:
        key = await service.key()
        async with socket_of(service, key), socket_of(service, key):
            status, told = await refused(service, key)
            assert (status, told["code"]) == (429, "TOO_MANY_REQUESTS")
        async with socket_of(service, await service.key()):
            pass


async def test_calls_are_counted_one_by_one(histories: Histories) -> None:
    config = replace(FAST, requests_per_second=0.001, burst=4)
    async with served(RuntimeKernel(), config) as service, socket_of(service, await service.key()) as client:
        batch = [{"jsonrpc": "2.0", "method": "nothing", "id": number} for number in range(5)]
        await client.socket.send(json.dumps(batch))
        answered = json.loads(await client.socket.recv())
        codes = [one["error"]["code"] for one in answered]
        assert codes == [-32601, -32601, -32601, -32029, -32029]
        assert answered[-1]["error"]["data"]["code"] == "TOO_MANY_REQUESTS"


async def test_a_role_calls_what_it_is_for(service: Service) -> None:
    for role in Role:
        async with socket_of(service, await service.key(role)) as client:
            for method in service.app.state.rpc.methods.values():
                answered = await client.call(method.name)
                may = method.permission is None or role.allows(method.permission)
                is_refused = isinstance(answered, dict) and answered.get("error", {}).get("code") == -32003
                assert is_refused != may, (role, method.name, answered)


async def test_another_scope_is_neither_followed_nor_told_of(service: Service, histories: Histories) -> None:
    await histories.add("rival")
    async with socket_of(service, await service.key(scope_id="acme")) as client:
        answered = await client.call("startSession", scopeId="rival", afterSeq=0)
        assert answered["error"]["code"] == -32003
        assert (await client.call("startSession", afterSeq=0))["seq"] == 0
        await histories.add("rival")
        await histories.add("acme")
        [told] = await client.notified(1)
        assert told["params"]["seq"] == 1
    async with socket_of(service, await service.key(scope_id=None)) as client:
        assert (await client.call("startSession", scopeId="rival"))["seq"] == 2


async def test_a_session_goes_on_where_it_was_and_other_clients_are_told_the_same(
    service: Service, histories: Histories
) -> None:
    key = await service.key()
    async with socket_of(service, key) as one, socket_of(service, key) as two:
        started = await one.call("startSession")
        await two.call("startSession")
        await histories.add("acme")
        assert await one.notified(1) == await two.notified(1)
        assert one.told[0]["method"] == "async.agent.stateChanged"
        assert "id" not in one.told[0]
    await histories.add("acme")
    async with socket_of(service, key) as again:
        answered = await again.call("startSession", sessionId=started["sessionId"], afterSeq=1)
        assert answered == {"sessionId": started["sessionId"], "seq": 1, "status": "started"}
        assert [told["params"]["seq"] for told in await again.notified(1)] == [2]
        assert (await again.call("stopSession"))["sessionId"] == started["sessionId"]
        await histories.add("acme")
        assert len((await again.call("rpc.discover"))["methods"]) > 0
        assert len(again.told) == 1


@pytest.mark.timeout(120)
async def test_who_loses_the_connection_again_and_again_is_told_each_entry_once_and_in_order(
    service: Service, histories: Histories
) -> None:
    key, total = await service.key(), 1_000
    chance = random.Random(7)

    async def write() -> None:
        for number in range(total):
            await histories.add("acme")
            if number % 10 == 0:
                await asyncio.sleep(0.001)

    async def read() -> list[int]:
        seen: list[int] = []
        while len(seen) < total:
            async with socket_of(service, key) as client:
                await client.call("startSession", sessionId="s", afterSeq=len(seen))
                wanted = min(chance.randrange(1, 60), total - len(seen))
                told = await client.notified(wanted)
                seen += [one["params"]["seq"] for one in told[:wanted]]
                client.socket.transport.abort()
        return seen

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        readers = [group.create_task(read()) for _ in range(3)]
        group.create_task(write())
    for reader in readers:
        assert reader.result() == list(range(1, total + 1))


async def test_who_does_not_read_is_let_go_of_and_others_are_told(
    service: Service, histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SEND_SECONDS", 0.3)
    key = await service.key()
    async with socket_of(service, key, max_queue=1) as idle, socket_of(service, key) as other:
        await idle.call("startSession")
        await other.call("startSession")
        for _ in range(200):
            await histories.add("acme", size=100_000)
        async with asyncio.timeout(BOUND):
            while len(service.app.state.service.readers) > 1:
                await asyncio.sleep(0.02)
                other.told += [] if other.told else await other.notified(1)
        with pytest.raises(ConnectionClosed) as error:
            await all_of(idle)
    assert len(idle.told) < 200
    assert error.value.rcvd is None or error.value.rcvd.code == 1013


async def test_at_the_end_calls_are_answered_before_sockets_are_closed() -> None:
    go_on, begun = asyncio.Event(), asyncio.Event()
    async with served(RuntimeKernel(), FAST) as service:
        service.app.state.rpc.methods = {"slow": slow_method(go_on, begun)}
        async with socket_of(service, await service.key()) as client:
            calling = asyncio.ensure_future(client.call("slow"))
            await begun.wait()
            service.app.state.service.stopping.set()
            await asyncio.sleep(0)
            go_on.set()
            assert await calling == "done"
            assert (await closed(client))[0] == 1001


async def test_a_service_that_ends_closes_sockets_that_only_listen() -> None:
    async with served(RuntimeKernel(), FAST) as service:
        reading = socket_of(service, await service.key())
        client = await reading.__aenter__()
    assert (await closed(client))[0] == 1001
    await reading.__aexit__(None, None, None)
