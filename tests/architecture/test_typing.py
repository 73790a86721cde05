"""What the documentation shows passes `mypy --strict`, and what cannot work does not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUDGETS = """
from decimal import Decimal
from agent_runtime import Budget, BudgetSpec, LedgerEntry

spec = BudgetSpec(max_cost="1.00", max_tokens=100)
other = BudgetSpec(max_cost=Decimal("0.5"))
budget = Budget(scope_id="a", max_cost_daily="0.10", max_cost_total=5, max_cost_monthly=2.5)
limit: Decimal | None = spec.max_cost
daily: Decimal | None = budget.max_cost_daily


def cost(entry: LedgerEntry) -> Decimal | None:
    return entry.cost
"""


@pytest.mark.parametrize(
    ("code", "passes"), [(BUDGETS, True), (BUDGETS + "BudgetSpec(max_cost=[1])\n", False)]
)
def test_dollars_are_given_as_text_and_read_as_decimals(code: str, passes: bool, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(code, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        str(ROOT / ".mypy_cache"),
        str(program),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == passes, done.stdout + done.stderr
