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

JSON = """
from collections.abc import Mapping
from typing import Any

from agent_runtime import ExecutionRequest, JobSpec, Operator, OperatorContext, PolicyEngine, RuntimeKernel
from llm_client import LLM, tool
from llm_client.json_text import JsonObject, JsonValue

counts = {"a": 1}
mixed = {"a": 1, "b": ["x"], "c": {"d": None}}
built: dict[str, JsonValue] = {"a": 1, "b": ["x"], "c": {"d": None}}
policy = PolicyEngine.from_dict(mixed)


@tool
def add(a: int, b: int) -> int:
    return a + b


def read(given: JsonObject) -> list[str]:
    return [name for name, value in given.items() if isinstance(value, str)]


class Own(Operator):
    async def execute(self, input_data: Mapping[str, Any], context: OperatorContext) -> str:
        number: int = await context.tool("add", a=1, b=2)
        told: str = await context.step(read, built)
        await context.emit("custom.told", {"number": number})
        await context.emit("custom.mixed", mixed)
        return told


async def asks(kernel: RuntimeKernel) -> None:
    read(counts)
    JobSpec(metadata=counts)
    await kernel.execute(ExecutionRequest(input=mixed, metadata=mixed))
    await kernel.actions.resolve("token", mixed)
    LLM("openai:gpt-5.2").inference("hello", temperature=0.1, metadata=counts)
"""

CLIENT = """
from agent_runtime.client import AsyncClient, Client
from agent_runtime.client.models import Job, Result

with Client("http://service", "key") as client:
    job: Job = client.jobs.submit(prompt="x", tags={"a": "b"}, idempotency_key="k")
    result: Result = client.jobs.result(job.job_id, timeout=5)
    types: list[str] = [event.type for event in client.jobs.events(job.job_id)]


async def main(client: AsyncClient) -> list[str]:
    await client.jobs.cancel("j", reason="no more")
    return [job.job_id async for job in client.jobs.list(operator="ship")]
"""


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        (BUDGETS, True),
        (BUDGETS + "BudgetSpec(max_cost=[1])\n", False),
        (JSON, True),
        (JSON + "read({'a': object()})\n", False),
        (CLIENT, True),
        (CLIENT + "client.jobs.submit(promt='x')\n", False),
        (CLIENT + "number: int = client.jobs.get('j')\n", False),
        (JSON + "LLM('openai:gpt-5.2').inference('hello', temperature='hot')\n", False),
    ],
    ids=["dollars", "no dollars", "json", "no json", "client", "no field", "no number", "no temperature"],
)
def test_what_users_write_is_typed(code: str, passes: bool, tmp_path: Path) -> None:
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
