"""Rows of the logs as the fourth document shows them, and by the thousand."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, repeat
from typing import Any

from agent_runtime.observability.sql.database import database_of
from agent_runtime.observability.sql.ids import new_row
from agent_runtime.observability.sql.tables import execution_logs, llm_call_logs
from agent_runtime.observability.sql.writing import Change
from agent_runtime.ports.storage import Storage
from agent_runtime.values.money import to_units

NEW_YEAR = datetime(2024, 1, 1, 10, tzinfo=UTC)
BATCH = 500


def execution(**values: Any) -> Change:
    """Return the row of an execution."""
    row = {
        "execution_id": "e",
        "agent_type": "planner",
        "execution_step": "plan",
        "status": "completed",
        "scope_id": "acme",
        "start_time": NEW_YEAR,
    }
    return Change(execution_logs, values.pop("id", None) or new_row(), row | values)


def call(cost: str | None = None, **values: Any) -> Change:
    """Return the row of a model call."""
    row = {
        "provider": "openai",
        "model_id": "gpt-4",
        "status": "completed",
        "scope_id": "acme",
        "start_time": NEW_YEAR,
        "total_cost_units": None if cost is None else to_units(Decimal(cost)),
    }
    return Change(llm_call_logs, values.pop("id", None) or new_row(), row | values)


async def write(storage: Storage, rows: Sequence[Change]) -> None:
    """Write rows as whoever logs does."""
    for first in range(0, len(rows), BATCH):
        await database_of(storage).write(rows[first : first + BATCH])


async def documented_plan(storage: Storage) -> None:
    """Write the execution that the document shows, with its call."""
    plan = execution(
        id="550e8400-e29b-41d4-a716-446655440000",
        execution_id="exec_abc123_1704067200",
        action_type="generate_plan",
        end_time=NEW_YEAR + timedelta(seconds=5),
        duration_ms=5000,
        input_data={"prompt": "Create a sales dashboard", "schemas": "..."},
        output_data={"plan": [{"action": "create_widget", "details": {}}]},
    )
    asked = call("0.045", execution_log_id=plan.id, input_tokens=1500, output_tokens=500)
    await write(storage, [plan, asked])


async def documented_month(storage: Storage) -> None:
    """Write a month that adds up to the summary that the document shows."""
    agents = _each({"planner": 400, "answer": 350, "designer": 300, "coder": 200})
    statuses = _each({"completed": 1100, "failed": 120, "cancelled": 30})
    durations = [500, 30_000, *_shares(3500 * 1250 - 30_500, 1248)]
    executions = [
        execution(execution_id=f"e{n}", agent_type=agent, status=status, duration_ms=duration)
        for n, (agent, status, duration) in enumerate(zip(agents, statuses, durations, strict=True))
    ]
    models = _each(
        {
            ("openai", "gpt-4"): 1200,
            ("openai", "gpt-3.5-turbo"): 800,
            ("anthropic", "claude-3-sonnet"): 600,
            ("google", "gemini-pro"): 200,
        }
    )
    costs = [f"{cents}e-4" for cents in _shares(752_500, 2800)]
    calls = [
        call(cost, provider=provider, model_id=model, input_tokens=read, output_tokens=written)
        for (provider, model), cost, read, written in zip(
            models, costs, _shares(2_500_000, 2800), _shares(800_000, 2800), strict=True
        )
    ]
    await write(storage, executions + calls)


def _each(counts: dict[Any, int]) -> Iterator[Any]:
    return chain.from_iterable(repeat(name, count) for name, count in counts.items())


def _shares(total: int, parts: int) -> list[int]:
    """Return a sum in whole parts."""
    return [total // parts + (n < total % parts) for n in range(parts)]
