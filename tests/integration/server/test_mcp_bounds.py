"""What MCP clients may not: sessions and calls without end, pages of elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from mcp import MCPError

from agent_runtime import OperatorContext, Role, RuntimeKernel
from agent_runtime.server import ServerConfig
from agent_runtime.server.mcp import endpoint, waiting
from agent_runtime.storage.memory import MemoryStorage
from support.kernels import QUICK, until
from support.mcp_clients import mcp_client, text_of
from support.mcp_scene import (
    HEADERS,
    INITIALIZE,
    OPERATORS,
    call_of,
    said_in,
    serving,
)
from support.service import BOUND, problem_in, served


async def test_a_call_waits_no_longer_than_its_key_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "KEY_SECONDS", 0.05)
    async with serving() as service:
        key, text = await service.kernel.keys.create(name="test", role=Role.OPERATOR, scope_id="acme")
        async with mcp_client(service, key=text) as client:
            calling = asyncio.ensure_future(client.call_tool("wait", {}))

            async def begun() -> Any:
                return await service.kernel.jobs.list()

            await until(begun)
            await service.kernel.keys.revoke(key.key_id)
            assert ((await calling).meta or {})["agent-runtime/code"] == "UNAUTHORIZED"


async def test_a_stream_that_only_listens_ends_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "KEY_SECONDS", 0.05)
    async with serving(sessions=True) as service:
        key, text = await service.kernel.keys.create(name="test", role=Role.OPERATOR, scope_id="acme")
        async with service.client(text, **HEADERS) as client:
            opened_one = await client.post("/mcp", json=INITIALIZE)
            session = {"Mcp-Session-Id": opened_one.headers["mcp-session-id"]}
            async with client.stream("GET", "/mcp", headers=session) as stream:
                assert stream.status_code == 200
                reading = asyncio.ensure_future(stream.aread())
                done, _ = await asyncio.wait({reading}, timeout=0.3)
                assert not done
                await service.kernel.keys.revoke(key.key_id)
                async with asyncio.timeout(BOUND):
                    await reading


async def test_waiting_calls_of_a_key_are_bounded_and_so_are_bodies() -> None:
    async with serving(config={"max_streams_per_key": 1, "max_body_bytes": 2_000}) as service:
        key = await service.key(Role.OPERATOR)
        async with mcp_client(service, key=key) as client:
            calling = asyncio.ensure_future(client.call_tool("wait", {}))

            async def begun() -> Any:
                return await service.kernel.jobs.list()

            await until(begun)
            with pytest.raises(MCPError, match="too many"):
                await client.call_tool("count", {})
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
        async with service.client(key) as http:
            problem_in(await http.post("/mcp", content=b" " * 3_000), 413)


async def test_sessions_are_counted_for_each_key_belong_to_it_and_end() -> None:
    async with serving(sessions=True, max_sessions_per_key=1) as service:
        key = await service.key(Role.OPERATOR)
        async with (
            service.client(key, **HEADERS) as client,
            service.client(await service.key(), **HEADERS) as other,
        ):
            at_once = await asyncio.gather(*(client.post("/mcp", json=INITIALIZE) for _ in range(5)))
            (opened_one,) = (answer for answer in at_once if answer.status_code == 200)
            session = {"Mcp-Session-Id": opened_one.headers["mcp-session-id"]}
            problem_in(await client.post("/mcp", json=INITIALIZE), 429)
            async with mcp_client(service, key=key) as without:
                assert not (await without.call_tool("count", {})).is_error
            assert (await other.post("/mcp", json=INITIALIZE)).status_code == 200

            ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
            assert (await client.post("/mcp", json=ping, headers=session)).status_code == 200
            assert (await other.post("/mcp", json=ping, headers=session)).status_code == 404
            assert (await other.delete("/mcp", headers=session)).status_code == 404
            problem_in(await client.post("/mcp", json=INITIALIZE), 429)
            assert (await client.delete("/mcp", headers=session)).status_code == 200
            assert (await client.post("/mcp", json=ping, headers=session)).status_code == 404
            assert (await client.post("/mcp", json=INITIALIZE)).status_code == 200


async def test_a_session_that_nobody_uses_ends() -> None:
    async with (
        serving(sessions=True, max_sessions_per_key=1, session_idle=0.05) as service,
        service.client(await service.key(), **HEADERS) as client,
    ):
        first = await client.post("/mcp", json=INITIALIZE)
        session = {"Mcp-Session-Id": first.headers["mcp-session-id"]}

        async def gone() -> bool:
            await asyncio.sleep(0.1)  # each look keeps it
            ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
            return (await client.post("/mcp", json=ping, headers=session)).status_code == 404

        await until(gone)
        assert (await client.post("/mcp", json=INITIALIZE)).status_code == 200


async def test_without_sessions_there_is_nothing_to_listen_to() -> None:
    async with serving() as service, service.client(await service.key(), **HEADERS) as client:
        problem_in(await client.get("/mcp"), 405)
        answer = await client.post("/mcp", json=INITIALIZE)
        assert "mcp-session-id" not in answer.headers


async def test_pages_of_elsewhere_are_not_let_in() -> None:
    async with (
        serving(config={"cors_origins": ("https://console.example.com",)}) as service,
        service.client(await service.key(), **HEADERS) as client,
    ):
        for origin, status in (
            ("https://evil.example.com", 403),
            ("https://console.example.com", 200),
            (service.url, 200),
        ):
            answer = await client.post("/mcp", json=INITIALIZE, headers={"Origin": origin})
            assert answer.status_code == status, origin


async def test_it_can_be_left_out() -> None:
    async with (
        served(RuntimeKernel(operators=OPERATORS), ServerConfig(mcp=None)) as service,
        service.client(await service.key()) as client,
    ):
        problem_in(await client.post("/mcp", json=INITIALIZE), 404)


WRONG = {f"a{number}": 1 for number in range(100_000)}


@pytest.mark.parametrize("headers", [{}, {"Mcp-Protocol-Version": "2026-07-28"}])
@pytest.mark.parametrize(
    ("message", "status"),
    [
        (call_of("count", inputResponses=WRONG), 413),
        (call_of("count", inputResponses={"a": {"action": "accept", "content": WRONG}}), 413),
        (call_of("count", inputResponses=dict(list(WRONG.items())[:3_000])), 413),
        (call_of("count", _meta=WRONG), 413),
        ({**INITIALIZE, "params": {"capabilities": {"experimental": WRONG}}}, 413),
        ({**call_of("count"), "more": WRONG}, 413),
        (call_of("count", WRONG), 413),
        (call_of("count", {"rows": [[]] * 30_000}), 413),
        ([call_of("count")] * 1_000, 400),
        ([call_of("count")] * 10_000, 413),
        ("[" * 100_000, 413),
        ("no JSON", 400),
    ],
)
async def test_a_message_of_more_than_anybody_means_is_refused_before_it_is_looked_at(
    message: Any, status: int, headers: Mapping[str, str]
) -> None:
    """What the SDK makes of each would hold the event loop, for a second or longer, whoever may send it."""
    body = message if isinstance(message, str) else json.dumps(message)
    async with (
        serving(config={"max_body_bytes": 4_000_000}) as service,
        service.client(await service.key(Role.VIEWER), **HEADERS, **headers) as client,
    ):
        refused = await client.post("/mcp", content=body)
        assert (refused.status_code, said_in(refused)["id"]) == (status, None)
        assert len(refused.content) < 500
        assert not await service.kernel.jobs.list()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("written", "read"), [(r"a\ud800b", "a\ufffdb"), (r"\uD83D\uDE00", "\U0001f600"), (r"\u0000", "\0")]
)
async def test_half_a_character_in_arguments_is_read_as_everywhere(
    mode: str, written: str, read: str
) -> None:
    """What cuts a text between two halves is a model that writes, and its call is not to fail for it."""

    async def echo(context: OperatorContext, given: Any) -> Any:
        return given

    call = json.dumps(call_of("echo", {"text": "?", "n": 12345678901234567890})).replace("?", written)
    headers = {}
    if mode == "auto":
        meta = '{"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}'
        call = call.replace('"arguments"', f'"_meta": {meta}, "arguments"')
        headers = {"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
    kernel = RuntimeKernel(operators={"echo": echo}, options=QUICK)
    async with serving(kernel) as service, service.client(await service.key(), **HEADERS) as client:
        answer = said_in(await client.post("/mcp", content=call, headers=headers))
        assert answer["result"]["structuredContent"] == {"text": read, "n": 12345678901234567890}


async def test_as_many_values_as_a_model_writes_are_taken() -> None:
    async with serving() as service, mcp_client(service) as client:
        rows = {"rows": [{"a": number, "b": "t"} for number in range(5_000)]}
        assert not (await client.call_tool("count", rows)).is_error


async def test_long_results_are_cut_and_hold_nobody_up() -> None:
    async def long(context: OperatorContext, given: Any) -> Any:
        return "x" * given["characters"]

    async def wide(context: OperatorContext, given: Any) -> Any:
        return {"rows": list(range(given["rows"]))}

    kernel = RuntimeKernel(operators={"long": long, "wide": wide})
    async with serving(kernel) as service, mcp_client(service) as client:
        cut = text_of(await client.call_tool("long", {"characters": 3_000_000}))
        assert cut.startswith("x" * 1_000_000)
        assert len(cut) < 1_100_000
        assert f"{3_000_000 - 1024 * 1024:,} characters more" in cut
        whole = await client.call_tool("long", {"characters": 1024 * 1024})
        assert text_of(whole) == "x" * 1024 * 1024

        many = await client.call_tool("wide", {"rows": 50_000})
        assert many.structured_content is None
        assert json.loads(text_of(many)) == {"rows": list(range(50_000))}
        few = await client.call_tool("wide", {"rows": 4_000})
        assert few.structured_content == json.loads(text_of(few))


async def test_a_burst_of_calls_takes_no_more_places_than_there_are() -> None:
    class SharedStorage(MemoryStorage):
        """One whose workers are looked for."""

        is_shared = True

        async def list_workers(self) -> Any:
            await asyncio.sleep(0)
            return await super().list_workers()

    kernel = RuntimeKernel(storage=SharedStorage(), operators=OPERATORS, options=QUICK)
    async with (
        serving(kernel, config={"max_streams_per_key": 3}) as service,
        service.client(await service.key(), **HEADERS) as client,
    ):
        calls = [asyncio.ensure_future(client.post("/mcp", json=call_of("wait"))) for _ in range(12)]

        async def refused() -> Any:
            done = [call for call in calls if call.done()]
            return done if len(done) == 9 else None

        for call in await until(refused):
            assert said_in(call.result())["error"]["data"] == {"status": 429}
        assert len(service.app.state.service.readers) == 3
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_page_may_send_its_trace() -> None:
    origin = "https://console.example.com"
    async with serving(config={"cors_origins": (origin,)}) as service, service.client() as client:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,mcp-method,traceparent",
        }
        assert (await client.options("/mcp", headers=asked)).status_code == 200
