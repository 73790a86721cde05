"""Blocking calls over one background loop."""

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from llm_client import ConfigurationError
from llm_client.blocking import run_blocking
from support.loopback import LoopbackServer, json_reply
from support.wire import openai_chat

TESTS = Path(__file__).parents[2]


async def where() -> tuple[asyncio.AbstractEventLoop, str]:
    return asyncio.get_running_loop(), threading.current_thread().name


def test_every_call_runs_on_the_same_loop_in_a_thread_of_its_own() -> None:
    first, second = run_blocking(where(), ""), run_blocking(where(), "")

    assert first[0] is second[0]
    assert first[1] == "llm-client-blocking"


def test_threads_share_it_and_do_not_wait_for_each_other() -> None:
    barrier = threading.Barrier(4, timeout=5)
    loops: list[asyncio.AbstractEventLoop] = []

    def call() -> None:
        barrier.wait()
        loops.append(run_blocking(where(), "")[0])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(loops) == 4
    assert len(set(map(id, loops))) == 1


def test_what_is_raised_comes_out() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_blocking(fail(), "")


async def test_inside_a_loop_it_says_what_to_write_instead() -> None:
    with pytest.raises(ConfigurationError, match="await it"):
        run_blocking(where(), "await it")


async def test_a_process_that_forks_may_ask_before_it_in_every_child_and_after_it() -> None:
    async with LoopbackServer(json_reply(openai_chat.TEXT)) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "support.pre_forking", server.url,
            env={**os.environ, "PYTHONPATH": str(TESTS)}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(45):
                said, complained = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert said.decode().splitlines() == [
        f"{where} success"
        for where in (
            "parent", "child", "second child", "grandchild", "pool", "child of a tool", "tool", "parent again",
        )
    ], complained.decode()  # fmt: skip
