"""Setting, removing and applying stored budgets from the command line."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_runtime import Budget, ExecutionContext, Ledger
from agent_runtime.cli.commands.budgets import budgets
from agent_runtime.errors import FileInvalid, InvalidInput
from agent_runtime.kernel.stores import StorageView
from agent_runtime.storage.sqlite import SQLiteStorage
from llm_client.errors import ConfigurationError
from llm_client.usage import Usage

FILE = """
budgets:
  - scope_id: a
    max_cost_daily: 50
  - scope_id: "*"
    principal_id: "*"
    max_turns_monthly: 500
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    with_ledger(path)
    return path


def with_ledger(database: Path, *, spend: int = 0) -> Sequence[Budget]:
    """Open the ledger of a database, spend some dollars, and return the stored budgets."""

    async def use() -> Sequence[Budget]:
        storage = SQLiteStorage(database)
        await storage.open()
        ledger = Ledger(StorageView(storage))
        for number in range(spend):
            usage = Usage(input_tokens=5, requests=1).with_cost(1, "test")  # type: ignore[arg-type]  # a whole dollar
            await ledger.record_model_usage(ExecutionContext(scope_id="a"), usage, entry_id=f"e{number}")
        found = await ledger.budgets()
        await storage.aclose()
        return found

    return asyncio.run(use())


def run(command: str, *arguments: str, db: Path) -> Result:
    result = CliRunner().invoke(budgets, [command, *arguments, "--db", str(db)], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_budget_is_set_replaced_and_removed(database: Path) -> None:
    made = run("set", "--scope", "a", "--max-cost-daily", "50", "--max-turns-total", "9", db=database)
    assert made.output == "+ scope a: max_cost_daily 50, max_turns_total 9\n"
    assert with_ledger(database) == [Budget(scope_id="a", max_cost_daily=50, max_turns_total=9)]  # type: ignore[arg-type]

    changed = run("set", "--scope", "a", "--max-cost-daily", "70.5", "--mode", "estimate", db=database)
    assert (
        changed.output
        == "~ scope a: max_cost_daily 50 → 70.5, max_turns_total 9 → none, mode hard → estimate\n"
    )
    again = run("set", "--scope", "a", "--max-cost-daily", "70.50", "--mode", "estimate", db=database)
    assert again.output == "nothing to change\n"
    assert len(with_ledger(database)) == 1

    with pytest.raises(InvalidInput, match="no such budget"):
        run("remove", "--scope", "a", "--name", "other", db=database)
    gone = run("remove", "--scope", "a", db=database)
    assert gone.output == "- scope a: max_cost_daily 70.5, mode estimate\n"
    assert with_ledger(database) == []


def test_a_budget_that_is_set_late_knows_what_was_spent(database: Path) -> None:
    with_ledger(database, spend=3)

    run("set", "--scope", "a", "--max-cost-monthly", "10", db=database)

    (shown,) = json.loads(run("list", "--json", db=database).output)
    assert shown["limits"][0]["left"] == "7"


def test_a_file_is_applied_once_and_for_all(database: Path, tmp_path: Path) -> None:
    path = tmp_path / "budgets.yaml"
    path.write_text(FILE)
    run("set", "--scope", "b", "--max-cost-daily", "1", db=database)
    run("set", "--scope", "a", "--max-cost-daily", "20", db=database)

    tried = run("apply", str(path), "--dry-run", db=database)
    assert tried.stdout.splitlines() == [
        "+ scope * principal *: max_turns_monthly 500",
        "~ scope a: max_cost_daily 20 → 50",
    ]
    assert "nothing was changed" in tried.stderr
    assert {one.max_cost_daily for one in with_ledger(database)} == {1, 20}

    told = json.loads(run("apply", str(path), "--json", db=database).output)
    assert (len(told["added"]), len(told["changed"]), told["removed"], told["dry_run"]) == (1, 1, [], False)
    assert told["changed"][0]["after"]["max_cost_daily"] == "50"
    assert run("apply", str(path), db=database).output == "nothing to change\n"
    assert len(with_ledger(database)) == 3

    pruned = json.loads(run("apply", str(path), "--prune", "--json", db=database).output)
    assert ([one["scope_id"] for one in pruned["removed"]], pruned["unchanged"]) == (["b"], 2)
    assert {one.scope_id for one in with_ledger(database)} == {"a", "*"}


def test_what_is_shown_as_json_can_be_applied(database: Path, tmp_path: Path) -> None:
    run(
        "set",
        "--scope",
        "a",
        "--model",
        "gpt-*",
        "--max-tokens-hourly",
        "5",
        "--timezone",
        "Asia/Tokyo",
        db=database,
    )
    shown = json.loads(run("list", "--json", db=database).output)
    path = tmp_path / "copy.json"
    path.write_text(json.dumps({"budgets": [one["budget"] for one in shown]}))

    assert run("apply", str(path), "--prune", db=database).output == "nothing to change\n"


@pytest.mark.parametrize("suffix", [".yaml", ".toml"])
def test_a_file_with_a_mistake_changes_nothing(database: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"budgets{suffix}"
    right = "[[budgets]]\nmax_tokens_daily = 1\n[[budgets]]\nmax_tokens_daily = -1\nname = 'x'\n"
    path.write_text(right if suffix == ".toml" else FILE + "  - max_tokens_daily: -1\n")

    with pytest.raises(FileInvalid, match="max_tokens_daily is a whole number from 0") as refused:
        run("apply", str(path), "--prune", db=database)

    assert f"{path}:{refused.value.line}: " in str(refused.value)
    assert with_ledger(database) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--scope", "a"], InvalidInput),
        (["--max-cost-daily", "much"], InvalidInput),
        (["--max-cost-daily", "1", "--on-exceed", "degrade"], InvalidInput),
        (["--max-cost-daily", "1", "--timezone", "Mars/X", "--dry-run"], ConfigurationError),
    ],
)
def test_a_budget_that_makes_no_sense_is_not_set(database: Path, arguments: list[str], error: Any) -> None:
    with pytest.raises(error):
        run("set", *arguments, db=database)
    assert with_ledger(database) == []


def test_an_option_before_the_command_is_refused_not_ignored(database: Path) -> None:
    told = CliRunner().invoke(budgets, ["--db", str(database), "set", "--max-cost-daily", "1"])

    assert told.exit_code == 2
    assert "options come after the command" in told.output


def test_a_file_that_is_not_text_is_refused(database: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        run("apply", str(path), db=database)


def test_an_empty_scope_means_nobody_and_not_everybody(database: Path) -> None:
    run("set", "--max-cost-daily", "50", db=database)

    with pytest.raises(InvalidInput, match="scope_id"):
        run("set", "--scope", "", "--max-cost-daily", "5", db=database)
    with pytest.raises(InvalidInput, match="scope_id"):
        run("remove", "--scope", "", db=database)

    assert with_ledger(database) == [Budget(max_cost_daily=50)]  # type: ignore[arg-type]  # whole dollars


def test_only_the_budgets_of_those_asked_for_are_shown(database: Path) -> None:
    assert run("list", db=database).output == "no budgets are stored\n"
    run("set", "--scope", "a", "--principal", "ann", "--max-cost-daily", "50", db=database)
    run("set", "--scope", "a", "--principal", "bob", "--max-cost-daily", "60", db=database)

    anns = run("list", "--principal", "ann", db=database).output

    assert "ann" in anns
    assert "bob" not in anns
    assert run("list", "--scope", "b", db=database).output == "none of the stored budgets is about them\n"
