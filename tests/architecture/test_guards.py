"""The guards of tests/conftest.py work: without them, other tests would pass for the wrong reason."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockingError

import agent_runtime
import llm_client


async def test_blocking_the_loop_from_our_code_is_an_error() -> None:
    probe: dict[str, Any] = {}
    inside = Path(llm_client.__file__).with_name("probe.py")  # as far as a stack trace can tell
    exec(compile("import time\ndef nap():\n    time.sleep(0.001)\n", inside, "exec"), probe)

    with pytest.raises(BlockingError):
        probe["nap"]()


async def test_other_machines_cannot_be_reached() -> None:
    with pytest.raises(Exception, match="a test tried to connect"):
        await asyncio.open_connection("192.0.2.1", 80)
    with pytest.raises(Exception, match="a test tried to resolve"):
        await asyncio.open_connection("example.com", 80)
    with pytest.raises(socket.gaierror):
        await asyncio.open_connection("nowhere.invalid", 80)


async def test_this_machine_can_be_reached() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


def test_the_tests_run_against_the_source_tree() -> None:
    root = Path(__file__).parents[2]

    assert Path(llm_client.__file__).is_relative_to(root / "src")
    assert Path(agent_runtime.__file__).is_relative_to(root / "src")
