"""Budgets as a file: the same in every format, refused whole with line and reason."""

from decimal import Decimal
from pathlib import Path

import pytest

from agent_runtime import Budget
from agent_runtime.errors import FileInvalid
from agent_runtime.ledger.budget_file import parse_budgets

YAML = """
budgets:
  - scope_id: shop
    max_cost_daily: 0.1
    timezone: Europe/Berlin
  - {scope_id: "*", principal_id: "*", max_turns_monthly: 500, exceed_strategy: warn}
"""
TOML = """
[[budgets]]
scope_id = "shop"
max_cost_daily = 0.1
timezone = "Europe/Berlin"

[[budgets]]
scope_id = "*"
principal_id = "*"
max_turns_monthly = 500
exceed_strategy = "warn"
"""
WANTED = [
    Budget(scope_id="shop", max_cost_daily=Decimal("0.1"), timezone="Europe/Berlin"),
    Budget(scope_id="*", principal_id="*", max_turns_monthly=500, exceed_strategy="warn"),
]


def test_a_file_says_the_same_in_yaml_and_in_toml() -> None:
    assert parse_budgets(YAML) == WANTED
    assert parse_budgets(TOML, toml=True) == WANTED


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", None, "a mapping with a list of `budgets`"),
        ("budgets: 3\n", 1, "a mapping with a list of `budgets`"),
        ("budget: []\nbudgets: []\n", 1, "'budget' is not known here"),
        ("budgets:\n  - 3\n", 2, "a budget is a mapping"),
        ("budgets:\n  - scope_id: a\n    max_cost: 3\n", 3, "'max_cost' is not known here"),
        ("budgets:\n  - max_tokens_daily: 1\n    scope: a\n", 3, "did you mean 'scope_id'?"),
        ("budgets:\n  - scope_id: a\n", 2, "at least one limit"),
        ("budgets:\n  - scope_id: a\n    max_tokens_daily: many\n", 3, "max_tokens_daily is a whole number"),
        ("budgets:\n  - scope_id: 3\n    max_tokens_daily: 1\n", 2, "scope_id is a text"),
        ("budgets:\n  - max_tokens_daily: 1\n    timezone: Mars/X\n", 3, "'Mars/X' is not known"),
        ("budgets:\n  - max_tokens_daily: 1\n    warning_threshold: no\n", 3, "warning_threshold is a share"),
        ("budgets:\n  - max_tokens_daily: 1\n  - max_tokens_hourly: 1\n", 3, "two budgets 'everybody'"),
        ("budgets:\n  - max_tokens_daily: 1\n    max_tokens_daily: 2\n", 3, "is there twice"),
        ("budgets: [\n", 2, "expected the node content"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int | None, reason: str) -> None:
    with pytest.raises(FileInvalid) as refused:
        parse_budgets(text, source="b.yaml")

    assert refused.value.line == line
    assert str(refused.value).startswith("b.yaml: " if line is None else f"b.yaml:{line}: ")
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[[budgets]]\nscope_id =\n", 2, "not TOML"),
        ("[[budgets]]\nscope_id = 'a'\n\n[[budgets]]\nscope_id = 'b'\n", 1, "at least one limit"),
        ("[[budgets]]\nmax_tokens_daily = 1\n[[budgets]]\nmax_tokens_daily = 2.5\n", 4, "a whole number"),
        ("budgets = [{max_tokens_daily = 1}, 3]\n", 1, "a budget is a mapping"),
        ("[budgets]\nmax_tokens_daily = 1\n", 1, "a list of `budgets`"),
        ("[[budgets]]\nscope_id = 1979-05-27\nmax_tokens_daily = 1\n", 2, "scope_id is a text"),
    ],
)
def test_what_is_wrong_with_toml_is_named_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(FileInvalid) as refused:
        parse_budgets(text, source="b.toml", toml=True)

    assert refused.value.line == line
    assert f"b.toml:{line}: " in str(refused.value)
    assert reason in str(refused.value)


def test_every_problem_is_named() -> None:
    with pytest.raises(FileInvalid) as refused:
        parse_budgets("budgets:\n  - {max_tokens_daily: -1}\n  - {limit: 1}\n", source="b")

    assert [line.partition(":")[2][:2] for line in str(refused.value).splitlines()] == ["2:", "3:"]


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    for toml in (True, False):
        with pytest.raises(FileInvalid, match="larger than"):
            parse_budgets("# " + "x" * 1_000_000, toml=toml)
