"""`agent-runtime logs`: what agents did and models were asked, as rows: lists, texts, sums."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar, cast

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.database import LOGS, db_option, existing, stored
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.filters import MOMENT
from agent_runtime.cli.logs_database import opened_logs
from agent_runtime.cli.output.amounts import counted, moment, spent, tokens
from agent_runtime.cli.output.logs import (
    CALL_COLUMNS,
    EXECUTION_COLUMNS,
    SPARSE,
    call_json,
    call_rows,
    calls_in_words,
    cost_of,
    counts,
    duration,
    echo,
    execution_json,
    execution_rows,
    in_all,
    near,
    percent,
    saved,
    saved_of,
    show_call_texts,
    show_execution_texts,
)
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.output.table import in_a_cell, show_table
from agent_runtime.errors import InvalidInput
from agent_runtime.ports.clock import SystemClock

if TYPE_CHECKING:
    from agent_runtime.cli.backends.backend import LogPeriod
    from agent_runtime.observability import ExecutionLog, LogStore
    from agent_runtime.observability.sql.analytics import CallSums
    from agent_runtime.observability.sql.reading import ExecutionFilters, LLMCallFilters, LogTimes
    from agent_runtime.ports.storage import Storage
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
        "principal_id": "Only this one's.",
        "session_id": "Only this session's.",
        "agent_type": "Only this agent's.",
        "agent": "Only this agent's.",
        "execution_step": "Only such as run, tool or step; without it, runs and what was logged by hand.",
        "job_id": "Only this job's.",
        "model_id": "Only calls of this model: its name, or PROVIDER:MODEL.",
        "report_id": "Only what belongs to this report.",
        "status": "Only those that started, completed, failed or were cancelled.",
    }
    flags = {"scope_id": "--scope", "agent_type": "--agent", "execution_step": "--step", "job_id": "--job"}
    flags |= {
        "principal_id": "--principal",
        "session_id": "--session",
        "model_id": "--model",
        "report_id": "--report",
    }

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
        click.option(
            "--before",
            metavar="ID",
            help="Go on after this row, or this job's: the last one of the page before.",
        ),
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
    return _of_period(db_option(command))


def _of_period(command: Command) -> Command:
    for option in (
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
@_filters("scope_id", "principal_id", "session_id", "agent_type", "execution_step", "report_id", "status")
@click.option("--steps", "with_steps", is_flag=True, help="Steps and tools' calls of jobs too.")
@click.option(
    "--sort",
    type=click.Choice(["duration", "calls", "cost"]),
    help="The largest first instead of the newest, of the last 30 days if nothing else is said.",
)
@_page
def list_executions(
    db: str | None, as_json: bool, with_steps: bool, sort: str | None, **wanted: object
) -> int:
    """List runs of jobs and what was logged by hand, the newest first, with their model calls and what these have cost."""
    steps = with_steps or wanted["execution_step"] is not None
    if sort is not None and wanted["start_date"] is None:
        wanted["start_date"] = SystemClock().now() - timedelta(days=30)

    async def show(store: LogStore) -> int:
        found = await store.executions(
            include_llm_calls=as_json, steps=steps, errors=True, sort=sort, **cast("_Wanted", wanted)
        )
        if as_json:
            parents = await store.execution_ids([one.parent_id for one in found if one.parent_id])
            echo([execution_json(one, parents) for one in found])
        elif not found:
            say(f"no executions{await _meant(store, wanted)}")
        else:
            rows = execution_rows(found, await store.usage_of(found))
            show_table(EXECUTION_COLUMNS, rows, right=("duration", "calls", "cost"), sparse=SPARSE)
            if len(found) == wanted["limit"] and sort is None:
                say(f"more: --before {found[-1].id}", err=True)
        return OK

    return _with_logs(db, show)


@logs.command("show")
@click.argument("execution")
@click.option("--scope", "scope_id", metavar="SCOPE", help="Not another tenant's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@db_option
def show_execution(db: str | None, execution: str, scope_id: str | None, as_json: bool) -> int:
    """Show all that belongs to an execution, such as a job, with its texts; `logs call` shows those of a model call.

    What it has begun, such as child jobs, is named, and added up with it. EXECUTION may be the id of a row.
    """

    async def show(store: LogStore, storage: Storage) -> int:
        found = await store.execution(execution, scope_id=scope_id)
        if not found:
            raise InvalidInput(await _no_execution(store, execution, scope_id))
        if as_json:
            parents = await store.execution_ids([one.parent_id for one in found if one.parent_id])
            echo([execution_json(one, parents) for one in found])
            return OK
        for one in found:
            show_execution_texts(one)
        if not any(one.input_data or one.output_data or one.error_message for one in found):
            await _tell_why_empty(storage, found[0].execution_id, found[0].scope_id, found[0].status)
        await _show_sums(store, found)
        return OK

    return _with_storage(db, show)


async def _show_sums(store: LogStore, found: Sequence[ExecutionLog]) -> None:
    """Print the calls of an execution, and those of what it has begun."""
    below = await store.descendants(found[0].execution_id, scope_id=found[0].scope_id)
    sums = await store.usage_of([*found, *below])
    own = [sums[one.id] for one in found]
    depths = {one.id: 0 for one in found}
    if below:
        say("children:")
    for one in below:
        depths[one.id] = depths.get(one.parent_id or "", 0) + 1
        said = (one.execution_id, one.agent_type, one.status, duration(one.duration_ms))
        say(f"{'  ' * depths[one.id]}{'  '.join(said)}  {calls_in_words([sums[one.id]])}")
    say(f"in all: {calls_in_words(own)}")
    if below:
        say(f"with its children: {calls_in_words(list(sums.values()))}")


async def _no_execution(store: LogStore, id_: str, scope_id: str | None) -> str:
    try:
        call = await store.llm_call(id_, scope_id=scope_id)
    except InvalidInput:  # it is no id of a row
        call = None
    if call is not None:
        return f"{id_!r} is a model call: see `agent-runtime logs call {id_}`"
    return f"nothing is logged of an execution {id_!r}"


async def _tell_why_empty(storage: Storage, job_id: str | None, scope_id: str, status: str) -> None:
    """Say why no texts are there."""
    known = [] if job_id is None else await storage.audited([job_id])
    for one in known:
        if one.scope_id == scope_id and one.erased_at is not None:
            return say(f"its content was erased at {moment(one.erased_at)}")
        if one.scope_id == scope_id and one.content_pruned_at is not None:
            return say(f"its content was pruned at {moment(one.content_pruned_at)}")
    if status != "started":
        say("no content is there: it was deleted from the logs, or never kept")
    return None


@logs.command("calls")
@_filters("scope_id", "principal_id", "session_id", "agent", "job_id", "model_id", "report_id", "status")
@_page
def list_calls(db: str | None, as_json: bool, **wanted: object) -> int:
    """List model calls, the newest first: each attempt is one, failed and lost ones too."""

    async def show(store: LogStore) -> int:
        found = await store.llm_calls(errors=True, **cast("_WantedCalls", wanted))
        if as_json:
            echo([call_json(one) for one in found])
        elif not found:
            say(f"no model calls{await _meant(store, wanted)}")
        else:
            right = ("duration", "input", "output", "cost")
            show_table(CALL_COLUMNS, call_rows(found), right=right, sparse=SPARSE)
            if len(found) == wanted["limit"]:
                say(f"more: --before {found[-1].id}", err=True)
        return OK

    return _with_logs(db, show)


@logs.command("call")
@click.argument("call")
@click.option("--scope", "scope_id", metavar="SCOPE", help="Not another tenant's.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@db_option
def show_call(db: str | None, call: str, scope_id: str | None, as_json: bool) -> int:
    """Show a model call with what was asked and answered."""

    async def show(store: LogStore, storage: Storage) -> int:
        if await store.execution(call, scope_id=scope_id, include_llm_calls=False, limit=1):
            raise InvalidInput(f"{call!r} is an execution: see `agent-runtime logs show {call}`")
        found = await store.llm_call(call, scope_id=scope_id)
        if found is None:
            raise InvalidInput(f"no model call {call!r} is logged")
        if as_json:
            echo(call_json(found))
            return OK
        show_call_texts(found)
        if not (found.prompt or found.response or found.tool_calls or found.error_message):
            await _tell_why_empty(storage, found.job_id, found.scope_id, found.status)
        return OK

    return _with_storage(db, show)


async def _meant(store: LogStore, wanted: Mapping[str, object]) -> str:
    """Return which names of agents and models may have been meant, where nothing has those that are asked for."""
    period = cast("_Period", {"scope_id": wanted["scope_id"]})
    for name, group in (("agent_type", "agent"), ("agent", "agent"), ("model_id", "model")):
        asked = wanted.get(name)
        if not isinstance(asked, str):
            continue
        known = await store.runs(group, **period) if name == "agent_type" else {}
        names = [key for (key,) in known or await store.usage(group, **period)]
        said = near(asked.rpartition(":")[2] if name == "model_id" else asked, names)
        if said:
            return said
    return ""


@logs.command("summary")
@click.option("--report", "report_id", metavar="REPORT", help="Only what belongs to this report.")
@_of_period
@place_options
def show_summary(place: Place, as_json: bool, **period: object) -> int:
    """Add up a period: executions, success rates, model calls, tokens and costs."""

    async def show() -> int:
        async with place.opened(holds=LOGS) as backend:
            summary = await backend.logs.summary(**cast("LogPeriod", period))
        if as_json:
            echo(summary)
            return OK
        executions, calls = summary["execution_analytics"], summary["llm_call_analytics"]
        stats, spans = calls["token_stats"], executions["duration_stats"]
        statuses = calls["status_counts"]
        ended = calls["total_calls"] - statuses.get("started", 0)
        dates = summary["date_range"]
        rows = [
            ("from", moment(dates["start_date"])),
            ("to", moment(dates["end_date"])),
            ("runs", f"{sum(executions['run_status_counts'].values()):,}"),
            ("  by status", counts(executions["run_status_counts"])),
            ("  succeeded", percent(executions["run_success_rate"])),
            ("executions", f"{executions['total_executions']:,}"),
            ("  by status", counts(executions["status_counts"])),
            ("  by agent", counts(executions["agent_type_counts"])),
            ("  succeeded", percent(executions["success_rate"])),
            ("  duration on average", duration(spans["avg_duration_ms"])),
            ("  from", duration(spans["min_duration_ms"])),
            ("  to", duration(spans["max_duration_ms"])),
            ("model calls", f"{calls['total_calls']:,}"),
            ("  by model", counts(calls["model_counts"])),
            ("  succeeded", percent(calls["success_rate"])),
            ("  input tokens", tokens(stats["total_input_tokens"])),
            ("  output tokens", tokens(stats["total_output_tokens"])),
            ("  from caches", tokens(stats["cached_tokens"])),
            ("  cost", spent(stats["total_cost"], unpriced=stats["unpriced_calls"], of=ended)),
            ("  saved by caches", saved(stats["cache_savings"], stats["cached_tokens"])),
            ("  without a price", f"{stats['unpriced_calls']:,}"),
            ("  uncertain", f"{stats['uncertain_calls']:,}"),
        ]
        show_table(("what", "how much"), rows, right=("how much",))
        return OK

    return asyncio.run(show())


@logs.command("usage")
@click.option("--by", "groups", multiple=True, type=click.Choice(_GROUPS), help="May be repeated.")
@_period
def show_usage(db: str | None, as_json: bool, groups: tuple[str, ...], **period: object) -> int:
    """Add model calls up by day, scope, agent, provider, model, status or type; by agent and model if nothing is said.

    By agent, it tells how often each has run, and how many calls a run has made.
    """
    shown = tuple(dict.fromkeys(groups)) or ("agent", "model")
    # Two vendors may have models of one name, and other prices.
    groups = (*shown, "provider") if "model" in shown and "provider" not in shown else shown

    async def show(store: LogStore) -> int:
        found = await store.usage(*groups, **cast("_Period", period))
        if as_json:
            echo(
                [
                    dict(zip(groups, key, strict=True)) | one._asdict() | {"success_rate": one.success_rate}
                    for key, one in found.items()
                ]
            )
        elif not found:
            say("no model calls")
        else:
            of_runs = tuple(name for name in shown if name in ("day", "scope", "agent"))
            runs = await store.runs(*of_runs, **cast("_Period", period)) if "agent" in shown else {}
            _show_usage(shown, groups, found, of_runs, runs)
        return OK

    return _with_logs(db, show)


def _show_usage(
    shown: Sequence[str],
    groups: Sequence[str],
    found: Mapping[tuple[str, ...], CallSums],
    of_runs: Sequence[str],
    runs: Mapping[tuple[str, ...], int],
) -> None:
    """Print sums of calls: the dearest first, or day by day, and all of them together."""
    of_calls = ("runs", "calls", "calls/run", "succeeded", "input", "output", "cached", "cost", "saved")
    headers = (*of_calls, "uncertain")
    rows = []
    by_day = shown[0] == "day"
    order = sorted(found.items(), key=lambda one: one[0] if by_day else (-one[1].cost, -one[1].calls, one[0]))
    for key, one in order:
        named = dict(zip(groups, key, strict=True))
        number = runs.get(tuple(named[name] for name in of_runs), 0)
        if "provider" in named and "provider" not in shown:
            named["model"] = f"{named['provider']}:{named['model']}"
        rows.append((*(in_a_cell(named[name]) for name in shown), *_usage_cells(one, number)))
    total = in_all(found.values())
    row = ("total", *[""] * (len(shown) - 1), *_usage_cells(total, sum(runs.values())))
    show_table(
        (*shown, *headers), [*rows, row], right=headers, total=True, sparse=("runs", "calls/run", "uncertain")
    )


def _usage_cells(one: CallSums, runs: int) -> tuple[str, ...]:
    return (
        f"{runs:,}" if runs else "",
        f"{one.calls:,}",
        f"{one.calls / runs:,.1f}" if runs else "",
        percent(one.success_rate),
        tokens(one.input_tokens),
        tokens(one.output_tokens),
        tokens(one.cached_tokens),
        cost_of(one),
        saved_of(one),
        f"{one.uncertain:,}" if one.uncertain else "",
    )


@logs.command("latency")
@click.option("--of", "kind", type=click.Choice(["call", "first_token", "execution"]), default="call")
@click.option("--by", type=click.Choice(["agent", "model", "scope"]))
@_period
def show_latency(db: str | None, as_json: bool, kind: str, by: str | None, **period: object) -> int:
    """Show percentiles of durations, within 2 %, of the days (UTC) that a period touches."""

    async def show(store: LogStore) -> int:
        found = await store.latency(kind, by=by, **cast("LogTimes", period))
        if as_json:
            echo(found)
        elif not found:
            say("nothing has been timed")
        else:
            columns = ("count", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
            rows = [
                (in_a_cell(name), f"{one['count']:,}", *(duration(one[column]) for column in columns[1:]))
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
@place_options
def delete(place: Place, execution: str, scope_id: str | None) -> int:
    """Delete all rows of an execution. The journal of a job stays; who has deleted what is written into the trail of the scope."""

    async def show() -> int:
        async with place.opened(holds=LOGS) as backend:
            executions, calls = await backend.logs.delete(execution, scope_id=scope_id)
        say(f"{counted(executions, 'execution')} and {counted(calls, 'model call')} deleted")
        return OK

    return asyncio.run(show())


async def _show_counts(store: LogStore) -> int:
    executions, calls = await store.count_executions(), await store.count_llm_calls()
    say(f"{counted(executions, 'execution')}, {counted(calls, 'model call')}")
    return OK


def _with_logs(db: str | None, work: Callable[[LogStore], Awaitable[int]]) -> int:
    async def alone(store: LogStore, storage: Storage) -> int:
        del storage
        return await work(store)

    return _with_storage(db, alone)


def _with_storage(db: str | None, work: Callable[[LogStore, Storage], Awaitable[int]]) -> int:
    async def run(settings: Settings) -> int:
        async with opened_logs(settings) as (store, storage):
            return await work(store, storage)

    return asyncio.run(run(existing(db, holds=LOGS)))
