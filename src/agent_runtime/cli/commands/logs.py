"""`agent-runtime logs`: what agents did and models were asked, as rows: lists, texts, sums."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from agent_runtime.cli.database import db_option, existing, stored
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.filters import MOMENT
from agent_runtime.cli.output.amounts import counted, moment, money, seconds, tokens
from agent_runtime.cli.output.printable import say, say_lines
from agent_runtime.cli.output.table import in_a_cell, show_table
from agent_runtime.errors import InvalidInput, StorageReadOnly

if TYPE_CHECKING:
    from agent_runtime.observability import ExecutionLog, LLMCallLog, LogStore
    from agent_runtime.observability.sql.reading import ExecutionFilters, LLMCallFilters, LogTimes
    from agent_runtime.settings import Settings

    class _Wanted(ExecutionFilters, total=False):
        limit: int
        before: str | None

    class _WantedCalls(LLMCallFilters, total=False):
        limit: int
        before: str | None

    class _Period(LogTimes, total=False):
        scope_id: str | None


Command = TypeVar("Command", bound=Callable[..., object])
_MANY: Final = 20_000
"""Entries whose writing takes so long that people are told."""
_GROUPS: Final = ("day", "scope", "agent", "provider", "model", "status", "call_type")


@click.group()
def logs() -> None:
    """Show what agents did and what models were asked, with texts, costs and durations, from the rows that are made of all journals.

    Each of these commands first writes what the journals tell by now, unless a process follows them already.
    """


def _filters(*names: str) -> Callable[[Command], Command]:
    """Add options that narrow a list, and those of its page."""
    help_of = {
        "scope_id": "Only this tenant's.",
        "agent_type": "Only this agent's.",
        "agent": "Only this agent's.",
        "execution_step": "Only such as run, tool or step.",
        "job_id": "Only this job's.",
        "model_id": "Only calls of this model.",
        "report_id": "Only what belongs to this report.",
        "status": "Only those that started, completed, failed or were cancelled.",
    }
    flags = {"scope_id": "--scope", "agent_type": "--agent", "execution_step": "--step", "job_id": "--job"}
    flags |= {"model_id": "--model", "report_id": "--report"}

    def add(command: Command) -> Command:
        for name in reversed(names):
            flag = flags.get(name, f"--{name}")
            kind = click.Choice(["started", "completed", "failed", "cancelled"]) if name == "status" else None
            command = click.option(flag, name, type=kind, metavar=flag[2:].upper(), help=help_of[name])(
                command
            )
        return command

    return add


def _page(command: Command) -> Command:
    for option in (
        db_option,
        click.option("--json", "as_json", is_flag=True, help="One JSON array."),
        click.option("--before", metavar="ID", help="Go on after this row: the last one of the page before."),
        click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True),
        click.option("--until", "end_date", type=MOMENT, metavar="TIME", help="Begun before then."),
        click.option(
            "--since",
            "start_date",
            type=MOMENT,
            metavar="TIME",
            help="Begun since then, in UTC: 2026-11-01T08:00, or 12h, or 7d.",
        ),
    ):
        command = option(command)
    return command


def _period(command: Command) -> Command:
    for option in (
        db_option,
        click.option("--json", "as_json", is_flag=True, help="As JSON."),
        click.option("--scope", "scope_id", metavar="SCOPE", help="Only this tenant's."),
        click.option("--until", "end_date", type=MOMENT, metavar="TIME", help="Before then (default: now)."),
        click.option(
            "--since", "start_date", type=MOMENT, metavar="TIME", help="From then on (default: 30d ago)."
        ),
    ):
        command = option(command)
    return command


@logs.command("list")
@_filters("scope_id", "agent_type", "execution_step", "report_id", "status")
@_page
def list_executions(db: str | None, as_json: bool, **wanted: object) -> int:
    """List executions, the newest first: runs of jobs, their tools and steps, and what was logged by hand."""

    async def show(store: LogStore) -> int:
        found = await store.executions(include_llm_calls=True, **cast("_Wanted", wanted))
        if as_json:
            _echo([_execution_json(one) for one in found])
        elif not found:
            say("no executions")
        else:
            show_table(
                ("execution", "agent", "step", "action", "status", "started", "duration", "calls", "cost"),
                [_execution_cells(one) for one in found],
                right=("duration", "calls", "cost"),
                sparse=("action",),
            )
        return OK

    return _with_logs(db, show)


@logs.command("show")
@click.argument("execution")
@click.option("--scope", "scope_id", metavar="SCOPE", help="Not another tenant's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@db_option
def show_execution(db: str | None, execution: str, scope_id: str | None, as_json: bool) -> int:
    """Show all that belongs to an execution, such as a job, with its texts; `logs call` shows those of a model call."""

    async def show(store: LogStore) -> int:
        found = await store.execution(execution, scope_id=scope_id)
        if not found:
            raise InvalidInput(f"nothing is logged of an execution {execution!r}")
        if as_json:
            _echo([_execution_json(one) for one in found])
            return OK
        for one in found:
            name = " ".join(filter(None, (one.agent_type, one.execution_step, one.action_type)))
            say(f"{name}: {one.status}, {moment(one.start_time)}, {_duration(one.duration_ms)}")
            for label, value in (("input", one.input_data), ("output", one.output_data)):
                if value is not None:
                    _show_text(label, json.dumps(value, indent=1, ensure_ascii=False))
            _show_text("error", one.error_message)
            for call in one.llm_calls:
                say(f"  {'  '.join(_call_cells(call))}")
        return OK

    return _with_logs(db, show)


@logs.command("calls")
@_filters("scope_id", "agent", "job_id", "model_id", "report_id", "status")
@_page
def list_calls(db: str | None, as_json: bool, **wanted: object) -> int:
    """List model calls, the newest first: each attempt is one, failed and lost ones too."""

    async def show(store: LogStore) -> int:
        found = await store.llm_calls(**cast("_WantedCalls", wanted))
        if as_json:
            _echo([_call_json(one) for one in found])
        elif not found:
            say("no model calls")
        else:
            show_table(
                ("call", "agent", "model", "status", "started", "duration", "input", "output", "cost"),
                [_call_cells(one) for one in found],
                right=("duration", "input", "output", "cost"),
            )
        return OK

    return _with_logs(db, show)


@logs.command("call")
@click.argument("call")
@click.option("--scope", "scope_id", metavar="SCOPE", help="Not another tenant's.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@db_option
def show_call(db: str | None, call: str, scope_id: str | None, as_json: bool) -> int:
    """Show a model call with what was asked and answered."""

    async def show(store: LogStore) -> int:
        found = await store.llm_call(call, scope_id=scope_id)
        if found is None:
            raise InvalidInput(f"no model call {call!r} is logged")
        if as_json:
            _echo(_call_json(found))
            return OK
        say("  ".join(_call_cells(found)))
        _show_text("prompt", found.prompt)
        _show_text("response", found.response)
        if found.tool_calls:
            _show_text("tool calls", json.dumps(found.tool_calls, indent=1, ensure_ascii=False))
        _show_text("error", found.error_message)
        return OK

    return _with_logs(db, show)


@logs.command("summary")
@click.option("--report", "report_id", metavar="REPORT", help="Only what belongs to this report.")
@_period
def show_summary(db: str | None, as_json: bool, **period: object) -> int:
    """Add up a period: executions, success rates, model calls, tokens and costs."""

    async def show(store: LogStore) -> int:
        summary = await store.summary(**cast("_Period", period))
        if as_json:
            _echo(summary)
            return OK
        executions, calls = summary["execution_analytics"], summary["llm_call_analytics"]
        stats, spans = calls["token_stats"], executions["duration_stats"]
        rows = [
            ("executions", f"{executions['total_executions']:,}"),
            ("  by status", _counts(executions["status_counts"])),
            ("  by agent", _counts(executions["agent_type_counts"])),
            ("  succeeded", _percent(executions["success_rate"])),
            ("  duration on average", _duration(spans["avg_duration_ms"])),
            ("  from", _duration(spans["min_duration_ms"])),
            ("  to", _duration(spans["max_duration_ms"])),
            ("model calls", f"{calls['total_calls']:,}"),
            ("  by model", _counts(calls["model_counts"])),
            ("  succeeded", _percent(calls["success_rate"])),
            ("  input tokens", tokens(stats["total_input_tokens"])),
            ("  output tokens", tokens(stats["total_output_tokens"])),
            ("  from caches", tokens(stats["cached_tokens"])),
            ("  cost", money(stats["total_cost"])),
            ("  saved by caches", money(stats["cache_savings"])),
            ("  without a price", f"{stats['unpriced_calls']:,}"),
            ("  uncertain", f"{stats['uncertain_calls']:,}"),
        ]
        show_table(("what", "how much"), rows, right=("how much",))
        return OK

    return _with_logs(db, show)


@logs.command("usage")
@click.option("--by", "groups", multiple=True, type=click.Choice(_GROUPS), help="May be repeated.")
@_period
def show_usage(db: str | None, as_json: bool, groups: tuple[str, ...], **period: object) -> int:
    """Add model calls up by day, scope, agent, provider, model, status or type; by agent and model if nothing is said."""
    groups = groups or ("agent", "model")

    async def show(store: LogStore) -> int:
        found = await store.usage(*groups, **cast("_Period", period))
        if as_json:
            _echo(
                [
                    dict(zip(groups, key, strict=True)) | one._asdict() | {"success_rate": one.success_rate}
                    for key, one in found.items()
                ]
            )
        elif not found:
            say("no model calls")
        else:
            headers = ("calls", "succeeded", "input", "output", "cached", "cost", "saved", "uncertain")
            rows = [
                (
                    *map(in_a_cell, key),
                    f"{one.calls:,}",
                    _percent(one.success_rate),
                    tokens(one.input_tokens),
                    tokens(one.output_tokens),
                    tokens(one.cached_tokens),
                    money(one.cost) if not one.unpriced else f"≥ {money(one.cost)}",
                    money(one.saved),
                    f"{one.uncertain:,}" if one.uncertain else "",
                )
                for key, one in sorted(found.items(), key=lambda item: (-item[1].cost, item[0]))
            ]
            show_table((*groups, *headers), rows, right=headers)
        return OK

    return _with_logs(db, show)


@logs.command("latency")
@click.option("--of", "kind", type=click.Choice(["call", "first_token", "execution"]), default="call")
@click.option("--by", type=click.Choice(["agent", "model", "scope"]))
@_period
def show_latency(db: str | None, as_json: bool, kind: str, by: str | None, **period: object) -> int:
    """Show percentiles of durations, within 2 %, of the days (UTC) that a period touches."""

    async def show(store: LogStore) -> int:
        found = await store.latency(kind, by=by, **cast("LogTimes", period))
        if as_json:
            _echo(found)
        elif not found:
            say("nothing has been timed")
        else:
            columns = ("count", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
            rows = [
                (in_a_cell(name), f"{one['count']:,}", *(_duration(one[column]) for column in columns[1:]))
                for name, one in found.items()
            ]
            show_table((by or "", "count", "p50", "p90", "p95", "p99"), rows, right=columns)
        return OK

    return _with_logs(db, show)


@logs.command("update")
@db_option
def update(db: str | None) -> int:
    """Write what the journals tell by now."""
    return _with_logs(db, _show_counts)


@logs.command("rebuild")
@db_option
def rebuild(db: str | None) -> int:
    """Write anew all that the journals tell, from the first entry that is there; what they no longer tell stays as it is."""
    settings = existing(db)

    async def begin_anew() -> None:
        from agent_runtime.observability import JournalLogs

        async with stored(settings) as here:
            await here.storage.drop_cursor(JournalLogs.name)
            logs = JournalLogs(here.storage)
            await logs.begin_anew()
            await logs.aclose()

    asyncio.run(begin_anew())
    return _with_logs(db, _show_counts)


@logs.command("forget")
@click.option(
    "--before",
    type=MOMENT,
    required=True,
    metavar="TIME",
    help="What began before then: 2026-11-01, or 90d ago.",
)
@click.option("--scope", "scope_id", metavar="SCOPE", help="Only this tenant's.")
@click.option(
    "--only-content",
    is_flag=True,
    help="Only the texts: names, numbers and costs stay, and what they add up to.",
)
@db_option
def forget(db: str | None, before: datetime, scope_id: str | None, only_content: bool) -> int:
    """Delete old rows, and take them out of what is added up. Jobs and their journals stay; `agent-runtime prune` deletes these."""

    async def show(store: LogStore) -> int:
        gone = await store.forget(before=before, scope_id=scope_id, only_content=only_content)
        what = "texts of " if only_content else ""
        say(
            f"{what}{counted(gone.executions, 'execution')} and {counted(gone.llm_calls, 'model call')} deleted"
        )
        return OK

    return _with_logs(db, show)


@logs.command("delete")
@click.argument("execution")
@click.option("--scope", "scope_id", metavar="SCOPE", help="Not another tenant's.")
@db_option
def delete(db: str | None, execution: str, scope_id: str | None) -> int:
    """Delete all rows of an execution. The journal of a job stays."""

    async def show(store: LogStore) -> int:
        gone = await store.delete_execution(execution, scope_id=scope_id)
        if not any(gone):
            raise InvalidInput(f"nothing is logged of an execution {execution!r}")
        say(f"{counted(gone.executions, 'execution')} and {counted(gone.llm_calls, 'model call')} deleted")
        return OK

    return _with_logs(db, show)


async def _show_counts(store: LogStore) -> int:
    executions, calls = await store.count_executions(), await store.count_llm_calls()
    say(f"{counted(executions, 'execution')}, {counted(calls, 'model call')}")
    return OK


def _with_logs(db: str | None, work: Callable[[LogStore], Awaitable[int]]) -> int:
    async def run(settings: Settings) -> int:
        async with _opened(settings) as store:
            return await work(store)

    return asyncio.run(run(existing(db)))


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[LogStore]:
    """Open the logs of a database, as far as its journals are by now."""
    from agent_runtime.observability import LogStore, update_logs

    is_told = False

    def tell(left: int) -> None:
        nonlocal is_told
        if left > _MANY and not is_told:
            is_told = True
            say(f"agent-runtime: writing the logs of {counted(left, 'entry', 'entries')}", err=True)

    async with stored(settings) as here:
        store = LogStore(here.storage)
        try:
            left = await update_logs(here.storage, told=tell)
            if left:
                behind = counted(left, "position")
                say(f"agent-runtime: the logs are {behind} behind the journals", err=True)
        except StorageReadOnly as error:
            say(f"agent-runtime: the logs are as old as they are: {error}", err=True)
        try:
            yield store
        finally:
            await store.aclose()


def _echo(value: object) -> None:
    click.echo(json.dumps(value, indent=1, default=_written))


def _written(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return float(value) if type(value).__name__ == "Decimal" else str(value)  # type: ignore[arg-type]


def _execution_json(one: ExecutionLog) -> dict[str, Any]:
    said = {name: value for name, value in asdict(one).items() if name != "llm_calls"}
    return said | {"llm_calls": [_call_json(call) for call in one.llm_calls]}


def _call_json(one: LLMCallLog) -> dict[str, Any]:
    from llm_client.codec import dump_message

    said = {name: getattr(one, name) for name in one.__dataclass_fields__ if name != "messages"}
    return said | {"messages": [dump_message(message) for message in one.messages]}


def _execution_cells(one: ExecutionLog) -> tuple[str, ...]:
    costs = [call.total_cost for call in one.llm_calls if call.total_cost is not None]
    return (
        one.execution_id,
        in_a_cell(one.agent_type, 30),
        in_a_cell(one.execution_step, 20),
        in_a_cell(one.action_type or "", 30),
        one.status,
        moment(one.start_time),
        _duration(one.duration_ms),
        str(len(one.llm_calls) or ""),
        money(sum(costs[1:], costs[0])) if costs else "",
    )


def _call_cells(one: LLMCallLog) -> tuple[str, ...]:
    cost = "" if one.status == "started" else money(one.total_cost)
    return (
        one.id,
        in_a_cell(one.agent, 30),
        in_a_cell(f"{one.provider}:{one.model_id}", 40),
        one.status,
        moment(one.start_time),
        _duration(one.duration_ms),
        tokens(one.input_tokens or 0),
        tokens(one.output_tokens or 0),
        f"{cost}?" if one.uncertain else cost,
    )


def _show_text(label: str, text: str | None) -> None:
    if text:
        say(f"{label}:")
        say_lines(text)  # --json is for programs


def _duration(milliseconds: float | None) -> str:
    return "–" if milliseconds is None else seconds(milliseconds / 1000)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:g} %"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or '–'} {count:,}" for name, count in list(counts.items())[:5])
