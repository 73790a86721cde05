"""`agent-runtime send`, on a SQLite file."""

import asyncio
from pathlib import Path

from click.testing import CliRunner

from agent_runtime.cli.commands.prune import prune
from agent_runtime.cli.commands.send import send
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import kernel


def test_a_message_is_sent_once_and_waits_for_whoever_receives(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    async def waiting() -> list[object]:
        storage = SQLiteStorage(path)
        async with kernel(storage) as k:
            found = [message.body for message in await k.inbox.list_waiting("desk", scope_id="acme")]
        await storage.aclose()
        return found

    asyncio.run(waiting())
    arguments = ["--db", str(path), "desk", '{"id": 7}', "--dedupe-key", "k", "--scope", "acme"]
    first, second = (CliRunner().invoke(send, arguments, standalone_mode=False) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("message-")
    assert first.stdout == second.stdout
    assert "1 wait" in first.stderr
    assert asyncio.run(waiting()) == [{"id": 7}]
    deleted = CliRunner().invoke(
        prune, ["--db", str(path), "--messages-older-than", "0"], standalone_mode=False
    )
    assert "0 messages deleted" in deleted.output
    assert asyncio.run(waiting()) == [{"id": 7}]


def test_what_is_no_json_is_refused_with_what_a_text_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.touch()
    refused = CliRunner().invoke(send, ["--db", str(path), "desk", "hello"])
    assert refused.exit_code == 2
    assert "not JSON" in refused.output
