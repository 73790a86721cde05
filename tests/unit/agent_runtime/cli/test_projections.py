"""`agent-runtime projections`, and what `prune` says of those that are behind."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_runtime import InvalidInput
from agent_runtime.cli.commands.projections import projections
from agent_runtime.cli.commands.prune import prune
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.testing.examples import NOW
from agent_runtime.testing.feed_contract import ended


def run(command: Any, *arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=True)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file with a job of three entries, of which one projection has dealt with one."""
    path = tmp_path / "runs.db"

    async def fill() -> None:
        storage = SQLiteStorage(path)
        await storage.open()
        await ended(storage)
        taken = await storage.take_cursor(
            "tables\x1b[31m", holder="w1", at=NOW, until=NOW + timedelta(seconds=1), begin=1
        )
        assert taken is not None
        await storage.aclose()

    asyncio.run(fill())
    return path


def test_the_list_says_how_far_each_is_and_who_follows(database: Path) -> None:
    (told,) = json.loads(run(projections, "list", "--db", database, "--json").stdout)
    assert (told["position"], told["behind"], told["holder"]) == (1, 2, "w1")
    table = run(projections, "list", "--db", database).stdout
    assert "w1" in table
    assert "\x1b" not in table


def test_without_any_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"

    async def make() -> None:
        storage = SQLiteStorage(path)
        await storage.open()
        await storage.aclose()

    asyncio.run(make())
    assert run(projections, "list", "--db", path).stdout == "no projections\n"
    assert json.loads(run(projections, "list", "--db", path, "--json").stdout) == []


def test_prune_keeps_what_was_not_dealt_with_names_why_and_goes_on_after_a_drop(database: Path) -> None:
    kept = run(prune, "--older-than", "0", "--db", database)
    assert kept.stdout == "0 jobs deleted\n"
    assert "which nobody follows now, is 2 positions behind" in kept.stderr
    assert "begins anew" in run(projections, "drop", "tables\x1b[31m", "--db", database).stdout
    pruned = run(prune, "--older-than", "0", "--db", database)
    assert pruned.stdout == "1 job deleted\n"
    assert "positions behind" not in pruned.stderr


def test_one_that_is_not_there_is_not_dropped(database: Path) -> None:
    answer = run(projections, "drop", "nothing", "--db", database)
    assert isinstance(answer.exception, InvalidInput)
    assert "there is no projection 'nothing'" in str(answer.exception)
