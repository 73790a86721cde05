"""`agent-runtime schedules`: what is started by cron, by interval or once, and what became of its times."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.amounts import counted, moment
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.output.table import in_a_cell, show_table

if TYPE_CHECKING:
    from agent_runtime.client.schedule_models import Fire, Schedule

Command = Callable[..., object]
_MOST: Final = 10_000
_SHOWN: Final = 10
"""Due times, and lines of the log, that `show` shows."""
_HEADERS: Final = ("due", "until", "times", "outcome", "why", "started")
_scope = click.option(
    "--scope", metavar="SCOPE", help="The schedule's scope (default: default; of a service, that of the key)."
)
_scope_of_all = click.option("--scope", metavar="SCOPE", help="Only those of this scope.")
_json = click.option("--json", "as_json", is_flag=True, help="The same as JSON.")


def _one_or_all(command: Command) -> Command:
    """Add what says which schedules are meant."""
    for option in (
        place_options,
        click.option("--scope", metavar="SCOPE", help="The schedule's scope; with --all, only those of it."),
        click.option("--all", "everything", is_flag=True, help="All of the scope, or of all scopes."),
        click.argument("name", required=False),
    ):
        command = option(command)
    return command


@click.group()
def schedules() -> None:
    """List, show, pause, resume and remove schedules."""


@schedules.command("list")
@_scope_of_all
@click.option("--limit", type=click.IntRange(1, _MOST), default=100, show_default=True)
@_json
@place_options
def list_schedules(place: Place, scope: str | None, limit: int, as_json: bool) -> int:
    """List schedules by scope and name."""
    return asyncio.run(_list(place, scope, limit, as_json))


@schedules.command()
@click.argument("name")
@_scope
@_json
@place_options
def show(place: Place, name: str, scope: str | None, as_json: bool) -> int:
    """Show a schedule, when it is due next, and what became of its last times."""
    return asyncio.run(_show(place, name, scope, as_json))


@schedules.command()
@_one_or_all
def pause(place: Place, name: str | None, everything: bool, scope: str | None) -> int:
    """Let a schedule, or all of them, fire no more until resumed."""
    return asyncio.run(_change(place, "pause", name, everything, scope))


@schedules.command()
@_one_or_all
def resume(place: Place, name: str | None, everything: bool, scope: str | None) -> int:
    """Let a schedule, or all of them, fire again, from the next due time on."""
    return asyncio.run(_change(place, "resume", name, everything, scope))


@schedules.command()
@click.argument("name")
@_scope
@place_options
def remove(place: Place, name: str, scope: str | None) -> int:
    """Remove a schedule; what it has started goes on, and its log is kept."""
    return asyncio.run(_remove(place, name, scope))


@schedules.command()
@click.argument("name")
@_scope
@click.option("--limit", type=click.IntRange(1, _MOST), default=100, show_default=True)
@_json
@place_options
def log(place: Place, name: str, scope: str | None, limit: int, as_json: bool) -> int:
    """Show what became of a schedule's times, the newest first; also of one that was removed."""
    return asyncio.run(_log(place, name, scope, limit, as_json))


@schedules.command("next")
@_scope_of_all
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True)
@_json
@place_options
def next_due(place: Place, scope: str | None, limit: int, as_json: bool) -> int:
    """Show what is due next, of all schedules."""
    return asyncio.run(_next(place, scope, limit, as_json))


async def _list(place: Place, scope: str | None, limit: int, as_json: bool) -> int:
    async with place.opened() as backend:
        found = await backend.schedules.list(scope_id=scope, limit=limit + 1)
    shown = found[:limit]
    if as_json:
        _tell([one.model_dump(mode="json", exclude={"content", "upcoming", "left_out"}) for one in shown])
        return OK
    if not shown:
        say("no schedules")
        return OK
    rows = [
        (one.schedule_id, one.scope_id, _timing(one), _started(one), _state(one), one.last_id or "")
        for one in shown
    ]
    show_table(("schedule", "scope", "timing", "starts", "next due", "last"), rows, sparse=("last",))
    if len(found) > limit:
        say("there are more: --limit", err=True)
    return OK


async def _show(place: Place, name: str, scope: str | None, as_json: bool) -> int:
    async with place.opened() as backend:
        found = await backend.schedules.get(name, scope_id=scope, upcoming=_SHOWN)
        fires = await backend.schedules.fires(name, scope_id=scope, limit=_SHOWN)
    if as_json:
        told = found.model_dump(mode="json", exclude={"left_out"})
        _tell({**told, "fires": [fire.model_dump(mode="json") for fire in fires]})
        return OK
    lines = {
        "schedule": f"{found.schedule_id} of {found.scope_id}",
        "timing": _timing(found),
        "rules": json.dumps(found.rules) if found.rules else "as by default",
        "check": found.check,
        "starts": _started(found),
        "on behalf of": found.principal_id,
        "with": None if found.content is None else in_a_cell(json.dumps(found.content)),
        "paused": None if found.paused_at is None else f"since {moment(found.paused_at)}",
        "made": moment(found.created_at) + ("" if found.created_by is None else f" by {found.created_by}"),
        "last": found.last_id,
    }
    for what, text in lines.items():
        if text is not None:
            say(f"{what}: {text}")
    for due in found.upcoming or ():
        say(f"due: {moment(due)}")
    _show_fires(fires)
    return OK


async def _change(place: Place, how: str, name: str | None, everything: bool, scope: str | None) -> int:
    if (name is None) != everything:
        raise click.UsageError(f"say which one, or --all: schedules {how} NAME")
    async with place.opened() as backend:
        if name is None:
            all_of = backend.schedules.pause_all if how == "pause" else backend.schedules.resume_all
            say(f"{counted(await all_of(scope_id=scope), 'schedule')} {how}d")
            return OK
        change = backend.schedules.pause if how == "pause" else backend.schedules.resume
        changed = await change(name, scope_id=scope)
    say(f"{name} is paused" if changed.paused_at is not None else f"{name} is due {_state(changed)}")
    return OK


async def _remove(place: Place, name: str, scope: str | None) -> int:
    async with place.opened() as backend:
        await backend.schedules.remove(name, scope_id=scope)
    say(f"{name} is removed")
    return OK


async def _log(place: Place, name: str, scope: str | None, limit: int, as_json: bool) -> int:
    async with place.opened() as backend:
        fires = await backend.schedules.fires(name, scope_id=scope, limit=limit)
    if as_json:
        _tell([fire.model_dump(mode="json") for fire in fires])
    elif fires:
        _show_fires(fires)
    else:
        say("it was never due")
    return OK


async def _next(place: Place, scope: str | None, limit: int, as_json: bool) -> int:
    async with place.opened() as backend:
        found = await backend.schedules.list(scope_id=scope, limit=_MOST)
        waiting = [(one.next_due, one) for one in found if one.next_due is not None and not one.paused_at]
        soonest = heapq.nsmallest(limit, waiting, key=lambda one: one[0])
        times: list[tuple[datetime, str, str, str]] = []
        for _, one in soonest:  # no other has any of the soonest times
            told = await backend.schedules.get(one.schedule_id, scope_id=one.scope_id, upcoming=limit)
            times += [(due, one.schedule_id, one.scope_id, _started(one)) for due in told.upcoming or ()]
    shown = heapq.nsmallest(limit, times)
    if as_json:
        names = ("due_at", "schedule_id", "scope_id")
        _tell([dict(zip(names, (due.isoformat(), *rest), strict=False)) for due, *rest in shown])
    elif shown:
        show_table(("due", "schedule", "scope", "starts"), [(moment(due), *rest) for due, *rest in shown])
    else:
        say("nothing is due")
    return OK


def _tell(told: Any) -> None:
    click.echo(json.dumps(told, indent=1))


def _timing(schedule: Schedule) -> str:
    timing = schedule.timing
    if "cron" in timing:
        return " ".join(part for part in (timing["cron"], timing.get("timezone")) if part)
    if "every" in timing:
        return f"every {timing['every']:g} s"
    return f"once, {moment(datetime.fromisoformat(timing['at']))}"


def _started(schedule: Schedule) -> str:
    if schedule.starts == "message":
        return f"a message to {schedule.to}"
    return f"a job of {schedule.operator or 'the default agent'}"


def _state(schedule: Schedule) -> str:
    if schedule.paused_at is not None:
        return "paused"
    return "never again" if schedule.next_due is None else moment(schedule.next_due)


def _show_fires(fires: Sequence[Fire]) -> None:
    rows = [
        (
            moment(fire.due_at),
            "" if fire.count == 1 else moment(fire.last_due_at),
            "" if fire.count == 1 else f"{fire.count:,}",
            str(fire.outcome),
            fire.reason or "",
            fire.started_id or "",
        )
        for fire in fires
    ]
    if rows:
        show_table(_HEADERS, rows, right=("times",), sparse=("until", "times", "why", "started"))
