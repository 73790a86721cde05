"""`agent-runtime budgets`: the stored budgets, where they stand, and changing them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.budget_changes import BudgetChanges
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.output.table import show_table
from agent_runtime.errors import InvalidInput
from agent_runtime.ledger.budget_file import parse_budgets
from agent_runtime.time_zones import zone
from agent_runtime.values.checks import check_texts
from agent_runtime.values.standing_budget import EACH, Budget, BudgetLine

if TYPE_CHECKING:
    from agent_runtime.cli.backends.backend import Backend

Command = TypeVar("Command", bound=Callable[..., object])
Shown = Callable[..., object]
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LIMITS = [field.name for field in fields(Budget) if field.name.startswith("max_")]

_dry_run = click.option("--dry-run", is_flag=True, help="Show the difference and change nothing.")
_as_json = click.option("--json", "as_json", is_flag=True, help="The difference as one JSON object.")


def _shown(command: Shown) -> Shown:
    """Add the options of showing budgets."""
    for option in (
        place_options,
        click.option("--json", "as_json", is_flag=True, help="One JSON array."),
        click.option(
            "--principal",
            help="Only those that count this person; also says whose, where each has a budget of their own.",
        ),
        click.option(
            "--scope", help="Only this tenant's; also says whose, where each one has a budget of their own."
        ),
    ):
        command = option(command)
    return command


def _identity(command: Command) -> Command:
    """Add the options that say which budget is meant."""
    for option in (
        click.option("--name", help="Tells budgets for the same people apart."),
        click.option("--model", metavar="PATTERN", help="Counts these models alone."),
        click.option("--session", "session_id", metavar="SESSION", help="Of one session; '*': of each."),
        click.option("--principal", "principal_id", metavar="PERSON", help="Of one person; '*': of each."),
        click.option(
            "--scope", "scope_id", metavar="SCOPE", help="Of one tenant; '*': of each; else of all together."
        ),
    ):
        command = option(command)
    return command


def _limits(command: Command) -> Command:
    """Add an option for each limit."""
    for name in reversed(_LIMITS):
        flag = f"--{name.replace('_', '-')}"
        if name.startswith("max_cost"):
            command = click.option(flag, name, metavar="DOLLARS")(command)
        else:
            command = click.option(flag, name, type=int, metavar="N")(command)
    return command


@click.group(invoke_without_command=True)
@_shown
@click.pass_context
def budgets(
    ctx: click.Context, place: Place, scope: str | None, principal: str | None, as_json: bool
) -> int | None:
    """Show the stored budgets: each limit, and what is settled, reserved and left in its window; or change them."""
    if ctx.invoked_subcommand is not None:
        if place.is_said or scope or principal or as_json:
            raise click.UsageError(f"options come after the command: budgets {ctx.invoked_subcommand} …")
        return None
    return asyncio.run(_show(place, scope, principal, as_json))


@budgets.command("list")
@_shown
def list_budgets(place: Place, scope: str | None, principal: str | None, as_json: bool) -> int:
    """Show the stored budgets, as `budgets` alone does."""
    return asyncio.run(_show(place, scope, principal, as_json))


@budgets.command("set")
@_identity
@_limits
@click.option(
    "--warning-threshold", type=float, metavar="SHARE", help="Of a limit, from which people are told."
)
@click.option("--on-exceed", "exceed_strategy", type=click.Choice(["deny", "wait", "degrade", "warn"]))
@click.option("--degrade-to", metavar="MODEL")
@click.option("--mode", type=click.Choice(["hard", "estimate"]))
@click.option("--unpriced", type=click.Choice(["deny", "flag"]))
@click.option("--timezone", metavar="ZONE", help="In which hours, days and months begin.")
@_dry_run
@_as_json
@place_options
def set_budget(place: Place, dry_run: bool, as_json: bool, **given: Any) -> int:
    """Store a budget, in place of the one for the same scope, principal, session, model and name.

    Limits that are not given are none. What the ledger has of the current windows counts from the beginning.
    """
    budget = Budget(**{name: value for name, value in given.items() if value is not None})
    zone(budget.timezone)
    return asyncio.run(_apply(place, [budget], prune=False, dry_run=dry_run, as_json=as_json))


@budgets.command()
@_identity
@_dry_run
@_as_json
@place_options
def remove(place: Place, dry_run: bool, as_json: bool, **identity: str | None) -> int:
    """Delete the stored budget for a scope, principal, session, model and name; its counters stay."""
    return asyncio.run(_remove(place, identity, dry_run, as_json))


@budgets.command()
@click.argument("file", type=_FILE)
@click.option("--prune", is_flag=True, help="Delete stored budgets that the file does not have.")
@_dry_run
@_as_json
@place_options
def apply(place: Place, file: Path, prune: bool, dry_run: bool, as_json: bool) -> int:
    """Store the budgets of a YAML, JSON or TOML file, all or none; a file with a mistake is refused whole."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not UTF-8 text") from None
    wanted = parse_budgets(text, source=str(file), toml=file.suffix == ".toml")
    return asyncio.run(_apply(place, wanted, prune=prune, dry_run=dry_run, as_json=as_json))


async def _apply(place: Place, wanted: Sequence[Budget], *, prune: bool, dry_run: bool, as_json: bool) -> int:
    async with place.opened() as backend:
        stored = await backend.budgets.list()
        kept = {budget.budget_id for budget in wanted}
        gone = [budget for budget in stored if prune and budget.budget_id not in kept]
        changes = BudgetChanges.between(stored, wanted, remove=gone)
        await _make(backend, changes, dry_run=dry_run)
    return _tell(changes, dry_run=dry_run, as_json=as_json)


async def _remove(place: Place, identity: dict[str, str | None], dry_run: bool, as_json: bool) -> int:
    check_texts(SimpleNamespace(**identity), *identity)
    async with place.opened() as backend:
        stored = await backend.budgets.list()
        gone = [one for one in stored if all(getattr(one, name) == asked for name, asked in identity.items())]
        if not gone:
            raise InvalidInput("no such budget is stored; `agent-runtime budgets` shows which are")
        changes = BudgetChanges.between(stored, (), remove=gone)
        await _make(backend, changes, dry_run=dry_run)
    return _tell(changes, dry_run=dry_run, as_json=as_json)


async def _make(backend: Backend, changes: BudgetChanges, *, dry_run: bool) -> None:
    if changes and not dry_run:
        await backend.budgets.change(save=changes.to_save, delete=changes.to_delete)


def _tell(changes: BudgetChanges, *, dry_run: bool, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(changes.to_json(dry_run=dry_run), indent=1))
        return OK
    for line in changes.lines():
        say(line)
    if not changes:
        say("nothing to change")
    elif dry_run:
        say("nothing was changed (--dry-run)", err=True)
    return OK


async def _show(place: Place, scope: str | None, principal: str | None, as_json: bool) -> int:
    async with place.opened() as backend:
        statuses = await backend.budgets.statuses(scope_id=scope, principal_id=principal)
        shown = [
            (status.budget, status.lines)
            for status in statuses
            if (scope is None or status.budget.scope_id in (None, EACH, scope))
            and (principal is None or status.budget.principal_id in (None, EACH, principal))
        ]
        found = shown or await backend.budgets.list()
    if as_json:
        told = [
            {"budget": budget.to_dict(), "limits": [_line_json(line) for line in lines]}
            for budget, lines in shown
        ]
        click.echo(json.dumps(told, indent=1))
        return OK
    if not shown:
        say("none of the stored budgets is about them" if found else "no budgets are stored")
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


def _amounts(line: BudgetLine) -> tuple[Any, ...]:
    return (line.limit, line.settled, line.reserved, line.left)


def _line_json(line: BudgetLine) -> dict[str, Any]:
    names = ("limit", "settled", "reserved", "left")
    amounts = {
        name: value if isinstance(value, int) else str(value)
        for name, value in zip(names, _amounts(line), strict=True)
    }
    return {"quantity": line.quantity, "window": line.window.value, **amounts}
