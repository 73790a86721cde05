"""`agent-runtime budgets`: the stored budgets and where they stand."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from agent_runtime.cli.database import db_option, existing, reading
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.table import show_table
from agent_runtime.errors import InvalidInput
from agent_runtime.values.context import DEFAULT_SCOPE, ExecutionContext
from agent_runtime.values.standing_budget import EACH, Budget, BudgetLine

if TYPE_CHECKING:
    from agent_runtime.ledger.ledger import Ledger
    from agent_runtime.settings import Settings


@click.command()
@click.option(
    "--scope", help="Only this tenant's; also says whose, where each one has a budget of their own."
)
@click.option("--principal", help="Whose, where each person has a budget of their own.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@db_option
def budgets(db: str | None, scope: str | None, principal: str | None, as_json: bool) -> int:
    """Show the stored budgets: each limit, and what is settled, reserved and left in its window."""
    return asyncio.run(_budgets(existing(db), scope, principal, as_json))


async def _budgets(settings: Settings, scope: str | None, principal: str | None, as_json: bool) -> int:
    async with reading(settings) as kernel:
        found = await kernel.ledger.budgets()
        shown = [
            (budget, await _lines(kernel.ledger, budget, scope, principal))
            for budget in found
            if scope is None or budget.scope_id in (None, EACH, scope)
        ]
    if as_json:
        told = [
            {"budget": budget.to_dict(), "limits": [_line_json(line) for line in lines]}
            for budget, lines in shown
        ]
        click.echo(json.dumps(told, indent=1))
        return OK
    if not shown:
        click.echo("no budgets are stored")
        return OK
    rows = [
        (budget.label, f"{line.quantity} per {line.window}", *map(str, _amounts(line)))
        for budget, lines in shown
        for line in lines
    ]
    rows += [
        (budget.label, "one for each: --scope, --principal", "", "", "", "")
        for budget, lines in shown
        if not lines
    ]
    show_table(
        ("budget", "limit of", "limit", "settled", "reserved", "left"),
        rows,
        right=("limit", "settled", "reserved", "left"),
    )
    return OK


async def _lines(
    ledger: Ledger, budget: Budget, scope: str | None, principal: str | None
) -> tuple[BudgetLine, ...]:
    """Return a budget's limits; none where it is not said whose are asked for."""
    whose = None
    if EACH in (budget.scope_id, budget.principal_id, budget.session_id):
        own_scope = scope if budget.scope_id in (None, EACH) else budget.scope_id
        own_principal = principal if budget.principal_id in (None, EACH) else budget.principal_id
        if (budget.scope_id == EACH and scope is None) or (budget.principal_id == EACH and principal is None):
            return ()
        whose = ExecutionContext(scope_id=own_scope or DEFAULT_SCOPE, principal_id=own_principal)
    try:
        return (await ledger.status(budget, whose)).lines
    except InvalidInput:
        return ()


def _amounts(line: BudgetLine) -> tuple[Any, ...]:
    return (line.limit, line.settled, line.reserved, line.left)


def _line_json(line: BudgetLine) -> dict[str, Any]:
    names = ("limit", "settled", "reserved", "left")
    amounts = {
        name: value if isinstance(value, int) else str(value)
        for name, value in zip(names, _amounts(line), strict=True)
    }
    return {"quantity": line.quantity, "window": line.window.value, **amounts}
