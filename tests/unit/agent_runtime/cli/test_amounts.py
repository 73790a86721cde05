"""Numbers as people read them: one is not many, and what is tiny is not nothing."""

import ast
import re
from decimal import Decimal
from pathlib import Path

import pytest

import agent_runtime.cli
from agent_runtime.cli.output.amounts import counted, money


def test_one_is_not_many() -> None:
    assert [counted(n, "job") for n in (0, 1, 2, 1000)] == ["0 jobs", "1 job", "2 jobs", "1,000 jobs"]
    assert [counted(n, "entry", "entries") for n in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        (None, "no price"),
        ("0", "$0"),
        ("0.0000001", "$0.0000001"),
        ("0.0000000001", "$0.0000000001"),
        ("0.00012", "$0.000120"),
        ("0.0015", "$0.001500"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_what_is_tiny_is_not_shown_as_nothing(cost: str | None, shown: str) -> None:
    assert money(None if cost is None else Decimal(cost)) == shown


def test_no_command_writes_a_number_before_a_plural_by_itself() -> None:
    """`counted` does that; a sentence with `{n} jobs` in it would tell of 1 jobs."""
    pattern = re.compile(
        r"^ (jobs|actions|questions|rows|events|messages|budgets|rules|entries|steps|days|policies)\b"
    )
    folder = Path(agent_runtime.cli.__file__).parent
    found = [
        f"{path.relative_to(folder)}:{node.lineno}"
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr)
        for before, after in zip(node.values, node.values[1:], strict=False)
        if isinstance(before, ast.FormattedValue)
        and not ast.unparse(before.value).endswith(("program()", "how_to_answer(action)"))  # a command
        and isinstance(after, ast.Constant)
        and pattern.match(str(after.value))
    ]
    assert found == []
