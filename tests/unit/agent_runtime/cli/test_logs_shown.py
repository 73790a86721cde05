"""`agent-runtime logs` shows others' words, and whoever reads a pipe of it may be a terminal."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent_runtime.cli.commands.logs import logs
from agent_runtime.observability import ExecutionLogger, LLMCallLogger, LogStore
from agent_runtime.storage.sqlite import SQLiteStorage

EVIL = "\x1b]52;c;aGk=\x07 \x1b[2K\r \x9b31m \u202eevil\u2066\nnext line"


@pytest.fixture
def shown(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "runs.db"

    async def fill() -> str:
        storage = SQLiteStorage(path)
        await storage.open()
        async with (
            ExecutionLogger(storage).log_execution(
                EVIL, EVIL, action_type=EVIL, input_data={EVIL: EVIL}, execution_id="e"
            ) as log,
            LLMCallLogger(storage).log_llm_call(EVIL, EVIL, EVIL) as call,
        ):
            log.output_data, call.response = [EVIL], EVIL
        store = LogStore(storage)
        ((one,), _) = (await store.llm_calls(), await store.aclose())
        await storage.aclose()
        return one.id

    return path, asyncio.run(fill())


@pytest.mark.parametrize(
    "command", ["list", "show e", "calls", "call CALL", "summary", "usage --by model", "latency --by model"]
)
def test_no_pipe_is_given_what_a_terminal_acts_upon(shown: tuple[Path, str], command: str) -> None:
    path, call = shown
    arguments = command.replace("CALL", call).split()
    ended = CliRunner().invoke(logs, [*arguments, "--db", str(path)])
    assert ended.exit_code == 0, ended.output
    assert not set(ended.output) & set("\x1b\x07\x9b\r\u202e\u2066")
    if arguments[0] in ("show", "call"):
        assert "\\x1b]52" in ended.output
        whole = CliRunner().invoke(logs, [*arguments, "--json", "--db", str(path)])
        assert json.dumps(EVIL)[1:-1] in whole.output


def test_a_moment_that_no_calendar_goes_on_after_is_one(shown: tuple[Path, str]) -> None:
    for command in ("summary", "usage", "latency"):
        ended = CliRunner().invoke(logs, [command, "--until", "9999-12-31T23:59", "--db", str(shown[0])])
        assert ended.exit_code == 0, ended.output
