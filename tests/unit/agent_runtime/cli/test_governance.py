"""`costs`, `policy` and `budgets` from the command line."""

import asyncio
import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_runtime import Budget, ExecutionContext, Ledger
from agent_runtime.cli.commands.budgets import budgets
from agent_runtime.cli.commands.costs import costs
from agent_runtime.cli.commands.policy import policy
from agent_runtime.errors import InvalidInput, PolicyInvalid
from agent_runtime.kernel.stores import StorageView
from agent_runtime.storage.sqlite import SQLiteStorage
from llm_client.usage import Usage

RULES = "rules:\n  - {name: no shell, tool: shell_*, decision: deny, reason: too sharp}\n"


def run(command: Any, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=True)


@pytest.fixture
def policy_file(tmp_path: Path) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(RULES)
    return str(path)


@pytest.fixture
def database(tmp_path: Path) -> str:
    async def fill() -> None:
        storage = SQLiteStorage(tmp_path / "runs.db")
        await storage.open()
        ledger = Ledger(StorageView(storage))
        await ledger.save_budget(Budget(scope_id="a", max_cost_total=1))
        await ledger.save_budget(Budget(scope_id="a", principal_id="*", max_requests_total=5))
        for who, cost in (("ann", "0.1"), ("bob", "0.2")):
            context = ExecutionContext(scope_id="a", principal_id=who)
            usage = Usage(input_tokens=5, requests=1).with_cost(Decimal(cost), "test")
            await ledger.record_model_usage(context, usage, model="m", provider="p")
        await ledger.require_budget(ExecutionContext(scope_id="a"))
        lost = await ledger.settle(await ledger.reserve(ExecutionContext(scope_id="a"), cost="0.5"))
        await ledger.reconcile(lost.entry_id, Usage(requests=1).with_cost(Decimal("0.05"), "test"))
        await storage.aclose()

    asyncio.run(fill())
    return str(tmp_path / "runs.db")


def test_a_policy_file_is_checked_and_explained(policy_file: str) -> None:
    assert "1 rule\n" in run(policy, "check", policy_file).output
    told = run(policy, "explain", policy_file, "tool", "shell_run").output
    assert told.startswith("tool 'shell_run': deny (rule 'no shell': too sharp)")
    decided = json.loads(run(policy, "explain", policy_file, "tool", "look", "--json").output)
    assert decided["decision"] == "allow"


def test_a_rule_that_can_never_match_is_warned_of_and_fails_a_strict_check(
    tmp_path: Path, policy_file: str
) -> None:
    idle = tmp_path / "idle.yaml"
    idle.write_text(
        "rules: [{name: large, tool: pay, decision: deny, when: {arguments: {amount: {'>': 100, '<': 50}}}}]"
    )
    done = run(policy, "check", str(idle))
    assert (
        done.stderr == "warning: the rule 'large' decides nothing: no value of `amount` is > 100 and < 50\n"
    )
    codes = [
        CliRunner().invoke(policy, ["check", path, *flags], standalone_mode=False).return_value
        for path, flags in ((str(idle), []), (str(idle), ["--strict"]), (policy_file, ["--strict"]))
    ]
    assert codes == [0, 1, 0]


def test_what_is_wrong_with_a_policy_or_a_question_is_said(tmp_path: Path, policy_file: str) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(RULES.replace("deny", "perhaps"))

    assert isinstance(run(policy, "check", str(wrong)).exception, PolicyInvalid)
    assert isinstance(
        run(policy, "explain", policy_file, "tool", "x", "--arguments", "[1]").exception, InvalidInput
    )
    assert isinstance(run(policy, "explain", policy_file, "tool", "x", "--tag", "a").exception, InvalidInput)


def test_budgets_show_where_they_stand(database: str) -> None:
    shown = json.loads(run(budgets, "--db", database, "--principal", "ann", "--scope", "a", "--json").output)

    limits = {one["budget"].get("principal_id"): one["limits"][0] for one in shown}
    assert limits[None]["left"] == "0.65"
    assert limits["*"]["left"] == 4
    assert "one for each" in run(budgets, "--db", database).output


def test_costs_are_grouped_and_written_as_csv_and_corrections_are_no_requests(database: str) -> None:
    written = run(costs, "--db", database, "--by", "principal", "--csv").output
    rows = list(csv.reader(written.splitlines()))

    assert rows[0][:2] == ["principal", "requests"]
    assert [row[:2] for row in rows[1:]] == [["bob", "1"], ["ann", "1"], ["–", "1"]]
    assert rows[3][-3:] == ["0.05", "0", "0"]


def test_costs_can_be_read_by_the_tier_that_served_and_by_who_has_said_the_price(tmp_path: Path) -> None:
    async def fill() -> None:
        storage = SQLiteStorage(tmp_path / "runs.db")
        await storage.open()
        ledger = Ledger(StorageView(storage))
        for tier, source in (("priority", "genai-prices 1"), ("standard", "vendor"), (None, "vendor")):
            usage = Usage(input_tokens=5, service_tier=tier, requests=1, web_searches=2)
            await ledger.record_model_usage(ExecutionContext(), usage.with_cost(Decimal("0.1"), source))
        assert {name: total.entries for name, total in (await ledger.costs(by="price")).items()} == {
            "genai-prices 1": 1,
            "vendor": 2,
        }
        assert set(await ledger.costs(by="tier")) == {"priority", "standard", ""}
        assert {entry.metadata["web_searches"] for entry in await ledger.entries()} == {2}
        await storage.aclose()

    asyncio.run(fill())

    def requests(by: str) -> dict[str, int]:
        told = run(costs, "--db", str(tmp_path / "runs.db"), "--by", by, "--json").output
        return {row[by]: row["requests"] for row in json.loads(told)}

    assert requests("tier") == {"priority": 1, "standard": 1, "–": 1}
    assert requests("price") == {"genai-prices 1": 1, "vendor": 2}


def test_costs_can_be_those_of_one_tenant_and_of_some_days(database: str) -> None:
    def spent(*arguments: str) -> dict[str, str]:
        rows = json.loads(run(costs, "--db", database, "--by", "principal", "--json", *arguments).output)
        return {row["principal"]: row["cost"] for row in rows}

    today = datetime.now(UTC).date()
    tomorrow, yesterday = today + timedelta(days=1), today - timedelta(days=1)
    everything = spent()
    assert everything["ann"] == "0.1"
    assert everything["bob"] == "0.2"
    assert spent("--scope", "a") == spent("--since", f"{yesterday}") == everything
    assert spent("--until", f"{tomorrow}T00:00") == everything
    assert spent("--principal", "bob") == {"bob": "0.2"}
    assert spent("--scope", "b") == spent("--since", f"{tomorrow}") == spent("--until", f"{yesterday}") == {}
    assert isinstance(run(costs, "--db", database, "--scope", "").exception, InvalidInput)
    assert "is no time" in run(costs, "--db", database, "--since", "soon").output
