"""What loggers write of long conversations and errors is written beside the event loop, and not at all where it is not kept."""

import threading
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent_runtime.observability import ExecutionLogger, LLMCallLogger, LoggedAgent, LogStore
from agent_runtime.observability.sql import calls, executions, logged_agent
from agent_runtime.runner import AgentSpec, AsyncAgentRunner
from agent_runtime.storage.memory import MemoryStorage
from llm_client import ExecutionEngine, ScriptedProvider
from support.logs import everything
from support.prompt_packs import prompt_pack


@pytest.fixture
def written_in(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads in which conversations are written."""
    threads: list[str] = []

    def noted(messages: Any) -> str:
        threads.append(threading.current_thread().name)
        return "asked"

    for module in (calls, logged_agent):
        monkeypatch.setattr(module, "text_of", noted)
    return threads


@pytest.mark.parametrize("content", [True, False])
async def test_a_logged_agents_conversation(written_in: list[str], content: bool) -> None:
    storage = MemoryStorage()
    async with LoggedAgent(
        engine=ExecutionEngine(ScriptedProvider(["Yes."])), name="a", db=storage, content=content
    ) as agent:
        await agent.run("?")
        (_, (row,)) = await everything(LogStore(storage))
    assert row.prompt == ("asked" if content else None)
    assert [name[:5] for name in written_in] == (["aside"] if content else [])


async def test_a_runners_conversation(written_in: list[str], tmp_path: Path) -> None:
    storage = MemoryStorage()
    logger = LLMCallLogger(storage)
    await AsyncAgentRunner(ScriptedProvider(["Yes."]), prompt_pack(tmp_path), logger).run(
        AgentSpec(name="planner"), {"goal": "a trip"}
    )
    await logger.flush_async()
    assert {name[:5] for name in written_in} == {"aside"}


async def test_what_an_error_says(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def formatted(error: BaseException) -> list[str]:
        threads.append(threading.current_thread().name)
        return traceback.format_exception(error)

    known = SimpleNamespace(format_exception=formatted, format_tb=traceback.format_tb)
    monkeypatch.setattr(executions, "traceback", known)
    storage = MemoryStorage()
    with pytest.raises(ValueError, match="no"):
        async with ExecutionLogger(storage).log_execution("a", "run"):
            raise ValueError("no")
    ((row,), _) = await everything(LogStore(storage))
    assert "ValueError: no" in row.metadata["stack_trace"]
    assert [name[:5] for name in threads] == ["aside"]


async def test_an_error_of_millions_of_lines_is_told_in_a_moment() -> None:
    storage, began = MemoryStorage(), time.process_time()
    with pytest.raises(ValueError, match="x"):
        async with ExecutionLogger(storage).log_execution("a", "run"):
            raise ValueError("x\n" * 8_000_000)
    assert time.process_time() - began < 1
    ((row,), _) = await everything(LogStore(storage))
    assert (row.error_message or "").startswith("x\nx\n")
    assert "test_beside_the_loop.py" in row.metadata["stack_trace"]
