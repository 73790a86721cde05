"""What MCP clients may not: sessions and calls without end, pages of elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp import MCPError

from agent_runtime import Role, RuntimeKernel
from agent_runtime.server import ServerConfig
from agent_runtime.server.mcp import waiting
from support.kernels import until
from support.mcp_clients import mcp_client
from support.mcp_scene import (
    HEADERS,
    INITIALIZE,
    OPERATORS,
    serving,
)
from support.service import problem_in, served


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
