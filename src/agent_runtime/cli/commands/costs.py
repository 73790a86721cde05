"""`agent-runtime costs`."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.filters import MOMENT
from agent_runtime.cli.output.amounts import spent, tokens
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.output.table import show_table
from agent_runtime.ledger.totals import CHECK
from agent_runtime.values.budget import ADJUSTED, LedgerEntry, LedgerFilter
from agent_runtime.values.checks import check_text


@dataclass(slots=True)
class _Sum:
    """Ledger entries that have something in common, added up."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    uncertain: int = 0

    def add(self, entry: LedgerEntry) -> None:
        """Count one more; a correction changes what an earlier one cost, and is no request."""
        self.input_tokens += entry.input_tokens
        self.output_tokens += entry.output_tokens
        self.cost += entry.cost or 0
        if entry.status == ADJUSTED:
            self.uncertain -= entry.was == "uncertain"
            self.unpriced -= entry.was == "unpriced"
            return
        self.requests += 1
        self.unpriced += entry.cost is None
        self.uncertain += entry.uncertain

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; `cost` is what is known to have been spent."""
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": str(self.cost),
            "unpriced_requests": self.unpriced,
            "uncertain_requests": self.uncertain,
        }

    def cells(self) -> tuple[str, ...]:
        """Return it as the cells of a table's row."""
        cost = spent(self.cost, unpriced=self.unpriced, of=self.requests)
        return (
            str(self.requests),
            tokens(self.input_tokens),
            tokens(self.output_tokens),
            cost,
            str(self.uncertain) if self.uncertain else "",
        )


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet begins a formula with, also in full width."""


@click.command()
@click.option(
    "--by",
    "groups",
    multiple=True,
    type=click.Choice(["job", "model", "scope", "principal", "agent", "day", "tier", "price"]),
    help="May be repeated; by job if nothing is said.",
)
@click.option("--job", "job_id", metavar="JOB", help="Only this job's.")
@click.option("--scope", "scope_id", metavar="SCOPE", help="Only this tenant's.")
@click.option("--principal", "principal_id", metavar="PRINCIPAL", help="Only what this one has spent.")
@click.option(
    "--since",
    type=MOMENT,
    metavar="DAY",
    help="From this day or time on, in UTC: 2026-11-01T08:00, or 12h, or 7d ago.",
)
@click.option("--until", type=MOMENT, metavar="DAY", help="Before this day or moment, in UTC.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows, the dearest first."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, every row.")
@place_options
def costs(
    place: Place,
    groups: tuple[str, ...],
    limit: int,
    as_json: bool,
    as_csv: bool,
    since: datetime | None,
    until: datetime | None,
    **whose: str | None,
) -> int:
    """Show what was spent, from the ledger: every request to a model, failed and lost ones too.

    `uncertain` counts requests whose answer was lost; they are billed at the most they can have cost.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    for name, value in whose.items():
        if value is not None:
            check_text(name, value)
    wanted = LedgerFilter(
        scope_id=whose["scope_id"],
        job_id=whose["job_id"],
        principal_id=whose["principal_id"],
        since=since,
        until=until,
    )
    by = tuple(dict.fromkeys(groups)) or ("job",)
    return asyncio.run(_costs(place, wanted, by, limit, "json" if as_json else "csv" if as_csv else "table"))


async def _costs(place: Place, wanted: LedgerFilter, by: Sequence[str], limit: int, form: str) -> int:
    sums: dict[tuple[str, ...], _Sum] = {}
    total = _Sum()
    async with place.opened() as backend, aclosing(backend.spending(wanted)) as entries:
        async for entry in entries:
            if entry.type == CHECK:
                continue
            total.add(entry)
            sums.setdefault(tuple(_key(entry, one) for one in by), _Sum()).add(entry)
    ranked = sorted(sums.items(), key=lambda item: (-item[1].cost, item[0]))
    if form == "csv":
        _write_csv(by, ranked)
        return OK
    dearest = ranked[:limit]
    if form == "json":
        told = [{**dict(zip(by, key, strict=True)), **entry.to_json()} for key, entry in dearest]
        click.echo(json.dumps(told, indent=1))
        return OK
    if not dearest:
        say("nothing was spent")
        return OK
    headers = ("requests", "input tokens", "output tokens", "cost", "uncertain")
    rows = [(*key, *entry.cells()) for key, entry in dearest]
    sum_of_all = ("total", *[""] * (len(by) - 1), *total.cells())
    show_table((*by, *headers), [*rows, sum_of_all], right=headers, total=True)
    if len(sums) > limit:
        say(f"{len(sums) - limit} more; the total counts them too (--limit {len(sums)})", err=True)
    return OK


def _write_csv(by: Sequence[str], sums: Sequence[tuple[tuple[str, ...], _Sum]]) -> None:
    # Where a semicolon separates cells, what follows one in a name would be a cell of its own, but for the quotes.
    writer = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([*by, *_Sum().to_json()])
    writer.writerows([*map(_plain, key), *entry.to_json().values()] for key, entry in sums)


def _plain(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: names come from whoever sends requests."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _key(entry: LedgerEntry, by: str) -> str:
    match by:
        case "job":
            return entry.job_id or "–"
        case "model":
            return f"{entry.provider}:{entry.model}" if entry.model else "–"
        case "day":
            return entry.timestamp.astimezone(UTC).date().isoformat()
        case "principal" | "agent":
            return str((entry.principal_id if by == "principal" else entry.agent) or "–")
        case "tier":
            return entry.service_tier or "–"
        case "price":
            return entry.price_source or "–"
        case _:
            return entry.scope_id
