"""tapir-archicad-MCP #23, reyn #2600: a tool's call ran out of time, or its connection broke after the tool had done its work; it was called again, and
everything was there twice.

Here the server is killed between the work and the answer, and started again. The second call finds the first one's job, which has gone on.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from support.kernels import until
from support.mcp_clients import job_of
from support.server_guard import free_port
from support.service import BOUND

pytestmark = pytest.mark.timeout(BOUND * 3)
SHOP = """
from pathlib import Path
from agent_runtime import KernelOptions, RuntimeKernel

async def ship(context, given):
    async def write():
        with Path("shipped").open("a") as file:
            print(given["order"], file=file)
    await context.step(write, name="ship")
    await context.sleep(0.5)
    return {"shipped": given["order"]}

kernel = RuntimeKernel(operators=[ship], storage="sqlite:///shop.db", options=KernelOptions(suspend_after=0.01, sweep_interval=0.2))
"""


@asynccontextmanager
async def server(folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Serve a shop, as a process that may be killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent_runtime.cli", "serve", "--app", "shop:kernel", "--no-auth"),
        *("--port", str(port)),
        cwd=folder,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(BOUND):
            assert await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ship(port: int) -> Any:
    """Ask for a parcel, and say which one."""
    async with Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp")) as client:
        return await client.call_tool("ship", {"order": 17}, meta={"claudecode/toolUseId": "toolu_17"})


async def test_a_call_that_is_tried_again_is_done_once_though_the_server_was_killed(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    shipped, port = tmp_path / "shipped", free_port()

    async def done() -> bool:
        return shipped.exists() and shipped.read_text() != ""

    async with server(tmp_path, port) as process:
        calling = asyncio.ensure_future(ship(port))
        await until(done)
        process.kill()
        (lost,) = await asyncio.gather(calling, return_exceptions=True)
        assert isinstance(lost, BaseException)

    async with server(tmp_path, port):
        async with asyncio.timeout(BOUND):
            again = await ship(port)
            once_more = await ship(port)

    assert again.structured_content == {"shipped": 17}
    assert job_of(once_more) == job_of(again)
    assert shipped.read_text() == "17\n"
