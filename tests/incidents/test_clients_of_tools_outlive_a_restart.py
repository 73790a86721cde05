"""python-sdk #3556, mcp-proxy #149, neotoma #1923: an MCP server was started again, an ordinary deploy, and every client that was connected was broken until
a person connected it anew: its session had been in the memory of the process that had gone.

Here nothing of a client is in a process, unless that is asked for; and then a session that has gone is told with the status at which clients begin anew.
"""

from typing import Any

import pytest

from agent_runtime import RuntimeKernel
from agent_runtime.server import McpConfig, ServerConfig, create_app
from agent_runtime.server.running import serving
from support.kernels import QUICK
from support.mcp_clients import mcp_client, text_of
from support.mcp_scene import HEADERS, INITIALIZE, OPERATORS, call_of, said_in
from support.server_guard import free_port
from support.service import BOUND, Service

pytestmark = pytest.mark.timeout(BOUND * 3)


def new_process(storage: str, port: int, **mcp: Any) -> tuple[RuntimeKernel, Any]:
    """Return a kernel and a server on a port, as a process that has just been started has them."""
    kernel = RuntimeKernel(storage=storage, operators=OPERATORS, options=QUICK)
    app = create_app(kernel, ServerConfig(mcp=McpConfig(**mcp)))
    return kernel, serving(app, port=port)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_goes_on_after_a_restart_as_if_nothing_had_happened(mode: str, tmp_path: Any) -> None:
    storage, port = f"sqlite:///{tmp_path}/runs.db", free_port()
    kernel, server = new_process(storage, port)
    await server.__aenter__()
    service = Service(kernel=kernel, app=None, url=f"http://127.0.0.1:{port}")  # type: ignore[arg-type]  -- nobody asks for it
    async with mcp_client(service, mode=mode) as client:
        assert text_of(await client.call_tool("count", {})) == "counted"
        await server.__aexit__(None, None, None)
        _, server = new_process(storage, port)
        async with server:
            assert text_of(await client.call_tool("count", {})) == "counted"


async def test_a_session_that_a_restart_has_ended_is_not_found_which_has_clients_begin_anew(
    tmp_path: Any,
) -> None:
    storage, port = f"sqlite:///{tmp_path}/runs.db", free_port()
    kernel, server = new_process(storage, port, sessions=True)
    service = Service(kernel=kernel, app=None, url=f"http://127.0.0.1:{port}")  # type: ignore[arg-type]  -- nobody asks for it
    async with server:
        key = await service.key()
        async with service.client(key, **HEADERS) as client:
            told = await client.post("/mcp", json=INITIALIZE)
            session = {"Mcp-Session-Id": told.headers["mcp-session-id"]}
            assert (await client.post("/mcp", json=call_of("count"), headers=session)).status_code == 200
    _, server = new_process(storage, port, sessions=True)
    async with server, service.client(key, **HEADERS) as client:
        assert (await client.post("/mcp", json=call_of("count"), headers=session)).status_code == 404
        anew = await client.post("/mcp", json=INITIALIZE)
        session = {"Mcp-Session-Id": anew.headers["mcp-session-id"]}
        answer = await client.post("/mcp", json=call_of("count"), headers=session)
        assert said_in(answer)["result"]["content"][0]["text"] == "counted"
