"""Rows of the logs, and what they add up to, as people and programs read them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from agent_runtime.cli.output.amounts import counted, moment, money, seconds, spent, tokens
from agent_runtime.cli.output.printable import say, say_lines
from agent_runtime.cli.output.table import in_a_cell

if TYPE_CHECKING:
    from agent_runtime.observability import ExecutionLog, LLMCallLog
    from agent_runtime.observability.sql.analytics import CallSums

EXECUTION_COLUMNS: Final = (
    "execution",
    "scope",
    "principal",
    "agent",
    "step",
    "action",
    "status",
    "started",
    "duration",
    "calls",
    "cost",
    "reason",
)
CALL_COLUMNS: Final = (
    "call",
    "scope",
    "principal",
    "agent",
    "model",
    "status",
    "started",
    "duration",
    "input",
    "output",
    "cost",
    "reason",
)
SPARSE: Final = ("scope", "principal", "action", "reason")
"""Columns that are shown where something stands in them."""


def execution_rows(found: Sequence[ExecutionLog], sums: Mapping[str, CallSums]) -> list[tuple[str, ...]]:
    """Return the rows of a table of executions, whose scopes and principals are shown where they differ."""
    scopes, principals = _different(one.scope_id for one in found), _different(_who(one) for one in found)
    return [
        (
            one.execution_id,
            in_a_cell(one.scope_id, 30) if scopes else "",
            in_a_cell(_who(one), 30) if principals else "",
            in_a_cell(one.agent_type, 30),
            in_a_cell(one.execution_step, 20),
            in_a_cell(one.action_type or "", 30),
            one.status,
            moment(one.start_time),
            duration(one.duration_ms),
            str(sums[one.id].calls or ""),
            cost_of(sums[one.id]),
            in_a_cell(one.error_message or "", 60),
        )
        for one in found
    ]


def call_rows(found: Sequence[LLMCallLog]) -> list[tuple[str, ...]]:
    """Return the rows of a table of model calls, whose scopes and principals are shown where they differ."""
    scopes, principals = _different(one.scope_id for one in found), _different(_who(one) for one in found)
    rows = []
    for one in found:
        id_, *cells = call_cells(one)
        whose = (
            in_a_cell(one.scope_id, 30) if scopes else "",
            in_a_cell(_who(one), 30) if principals else "",
        )
        rows.append((id_, *whose, *cells, in_a_cell(one.error_message or "", 60)))
    return rows


def call_cells(one: LLMCallLog) -> tuple[str, ...]:
    """Return what a line says of a model call."""
    cost = "" if one.status == "started" else money(one.total_cost)
    return (
        one.id,
        in_a_cell(one.agent, 30),
        in_a_cell(f"{one.provider}:{one.model_id}", 40),
        one.status,
        moment(one.start_time),
        duration(one.duration_ms),
        tokens(one.input_tokens or 0),
        tokens(one.output_tokens or 0),
        f"{cost}?" if one.uncertain else cost,
    )


def _different(values: Iterable[str]) -> bool:
    return len(set(values)) > 1


def _who(one: ExecutionLog | LLMCallLog) -> str:
    return one.principal_id or ""


def cost_of(sums: CallSums) -> str:
    """Return what calls have cost, as far as it is known; nothing of those that have not ended."""
    return spent(sums.cost, unpriced=sums.unpriced, of=sums.ended) if sums.ended else ""


def saved_of(sums: CallSums) -> str:
    """Return what caches have saved; nothing where nothing was read from them."""
    return saved(sums.saved, sums.cached_tokens)


def saved(amount: Decimal, cached_tokens: int) -> str:
    """Return what tokens from caches have saved: without a price of theirs, nobody knows."""
    if not cached_tokens:
        return "–"
    return money(amount) if amount else "unknown"


def in_all(sums: Iterable[CallSums]) -> CallSums:
    """Return what sums of calls add up to."""
    from agent_runtime.observability.sql.analytics import CallSums

    added: list[Any] = [sum(column) for column in zip(*sums, strict=True)]
    return CallSums(*added)


def calls_in_words(sums: Iterable[CallSums]) -> str:
    """Return how many calls there were, and what they have cost in all."""
    total = in_all(sums)
    number = counted(total.calls, "model call")
    return f"{number}, {cost_of(total)}" if total.ended else number


def execution_json(one: ExecutionLog, parents: Mapping[str, str]) -> dict[str, object]:
    """Return an execution as JSON values, with the id of its parent's execution beside that of its row."""
    said: dict[str, object] = {name: value for name, value in asdict(one).items() if name != "llm_calls"}
    said["parent_execution_id"] = parents.get(one.parent_id or "")
    return said | {"llm_calls": [call_json(call) for call in one.llm_calls]}


def call_json(one: LLMCallLog) -> dict[str, object]:
    """Return a model call as JSON values."""
    from llm_client.codec import dump_message

    said = {name: getattr(one, name) for name in one.__dataclass_fields__ if name != "messages"}
    return said | {"messages": [dump_message(message) for message in one.messages]}


def echo(value: object) -> None:
    """Print JSON."""
    click.echo(json.dumps(value, indent=1, default=_written))


def _written(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return float(value) if type(value).__name__ == "Decimal" else str(value)  # type: ignore[arg-type]


def show_execution_texts(one: ExecutionLog) -> None:
    """Print an execution with its texts, and lines of its calls."""
    name = " ".join(filter(None, (one.agent_type, one.execution_step, one.action_type)))
    say(f"{name}: {one.status}, {moment(one.start_time)}, {duration(one.duration_ms)}")
    for label, value in (("input", one.input_data), ("output", one.output_data)):
        if value is not None:
            show_text(label, json.dumps(value, indent=1, ensure_ascii=False))
    show_text("error", one.error_message)
    for call in one.llm_calls:
        say(f"  {'  '.join(call_cells(call))}")


def show_call_texts(one: LLMCallLog) -> None:
    """Print a model call with its texts."""
    say("  ".join(call_cells(one)))
    show_text("prompt", one.prompt)
    show_text("response", one.response)
    if one.tool_calls:
        show_text("tool calls", json.dumps(one.tool_calls, indent=1, ensure_ascii=False))
    show_text("error", one.error_message)


def show_text(label: str, text: str | None) -> None:
    """Print a text under its label, if there is one."""
    if text:
        say(f"{label}:")
        say_lines(text)  # --json is for programs


def duration(milliseconds: float | None) -> str:
    """Return a duration, a dash where none is known."""
    return "–" if milliseconds is None else seconds(milliseconds / 1000)


def percent(rate: float | None) -> str:
    """Return a rate, a dash where nothing has ended."""
    return "–" if rate is None else f"{rate:g} %"


def counts(named: Mapping[str, int]) -> str:
    """Return the first few of some counts."""
    return ", ".join(f"{name or '–'} {count:,}" for name, count in list(named.items())[:5])


def near(name: str, known: Iterable[str]) -> str:
    """Return which known names a name that nothing has may have meant."""
    names = [one for one in known if one]
    if name in names:
        return ""
    found = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return f"; {name!r} is not logged, but {', '.join(map(repr, found))} is" if found else ""
