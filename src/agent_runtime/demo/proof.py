"""What the journal and the ledger say about a job that was killed on the way."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent_runtime.demo.report import Written
from agent_runtime.values.budget import LedgerEntry
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.money import to_dollars, to_units
from llm_client.codec import load_usage

if TYPE_CHECKING:
    from agent_runtime.app import RuntimeKernel

_OUTCOMES: Final = ("model.completed", "model.failed", "tool.completed", "tool.failed")
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim, and whether it holds."""

    claim: str
    holds: bool
    detail: str


async def prove(kernel: RuntimeKernel, job_id: str) -> list[Check]:
    """Check that nothing of a finished job was done twice and nothing was lost."""
    events = [event async for event in kernel.handle(job_id).events()]
    entries = await _ledger(kernel, job_id)
    return [
        _sequence(events),
        _one_end(events),
        _one_outcome_each(events),
        _questions(events),
        _bills(events, entries),
        _sums(events, entries),
        _uncertain(entries),
        await asyncio.to_thread(_report, report_of(events)),
    ]


def report_of(events: Sequence[RuntimeEvent]) -> Written | None:
    """Return the report that the job has written, if it has."""
    for event in reversed(events):
        if event.type == RuntimeEventType.TOOL_COMPLETED and event.data.get("name") == "write_report":
            value = event.body()["value"]
            return Written(path=value["path"], sha256=value["sha256"])
    return None


async def _ledger(kernel: RuntimeKernel, job_id: str) -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    while True:
        after = entries[-1] if entries else None
        page = await kernel.ledger.entries(job_id=job_id, after=after, limit=_PAGE)
        entries += page
        if len(page) < _PAGE:
            return entries


def _sequence(events: Sequence[RuntimeEvent]) -> Check:
    whole = [event.seq for event in events] == list(range(1, len(events) + 1))
    starts = sum(
        event.type in (RuntimeEventType.JOB_STARTED, RuntimeEventType.JOB_RESUMED) for event in events
    )
    return Check(
        claim="the journal has no gap",
        holds=whole,
        detail=f"{len(events)} entries, written in {starts} stretches",
    )


def _one_end(events: Sequence[RuntimeEvent]) -> Check:
    ends = [event for event in events if event.is_terminal]
    return Check(
        claim="the job has ended once",
        holds=len(ends) == 1 and ends[0] is events[-1],
        detail=", ".join(event.type for event in ends) or "it has not ended",
    )


def _one_outcome_each(events: Sequence[RuntimeEvent]) -> Check:
    begun = {event.operation_id for event in events if event.type in ("model.started", "tool.started")}
    outcomes = Counter(event.operation_id for event in events if event.type in _OUTCOMES)
    twice = [operation for operation, count in outcomes.items() if count > 1]
    lost = [operation for operation in begun if operation not in outcomes]
    kinds = Counter(event.type.partition(".")[0] for event in events if event.type in _OUTCOMES)
    detail = f"{kinds['model']} model calls and {kinds['tool']} tool calls, each with exactly one outcome"
    if twice or lost:
        detail = f"{len(twice)} with two outcomes, {len(lost)} with none"
    return Check(claim="nothing finished was done again", holds=not twice and not lost, detail=detail)


def _questions(events: Sequence[RuntimeEvent]) -> Check:
    asked = Counter(
        event.data["action_id"] for event in events if event.type == RuntimeEventType.ACTION_REQUIRED
    )
    answered = Counter(
        event.data["action_id"] for event in events if event.type == RuntimeEventType.ACTION_RESOLVED
    )
    return Check(
        claim="no person was asked twice",
        holds=asked == answered and all(count == 1 for count in asked.values()),
        detail=f"{len(asked)} question, {len(answered)} answer"
        if len(asked) == 1
        else f"{len(asked)} questions",
    )


def _bills(events: Sequence[RuntimeEvent], entries: Sequence[LedgerEntry]) -> Check:
    asked = sum(event.type == RuntimeEventType.MODEL_STARTED for event in events)
    distinct = len({entry.entry_id for entry in entries})
    return Check(
        claim="every request to the model is billed once",
        holds=distinct == len(entries) == asked,
        detail=f"{asked} requests, {len(entries)} ledger entries",
    )


def _sums(events: Sequence[RuntimeEvent], entries: Sequence[LedgerEntry]) -> Check:
    billed = sum((entry.cost or Decimal(0) for entry in entries), Decimal(0))
    usages = [
        load_usage(event.data["usage"]) for event in events if event.operation_id and "usage" in event.data
    ]
    told = sum((to_dollars(to_units(usage.cost)) for usage in usages if usage.cost is not None), Decimal(0))
    detail = f"both say ${billed:.6f}"
    if billed != told:
        detail = f"the ledger says ${billed:.6f}, the journal ${told:.6f}"
    return Check(claim="ledger and journal agree", holds=billed == told, detail=detail)


def _uncertain(entries: Sequence[LedgerEntry]) -> Check:
    lost = [entry for entry in entries if entry.uncertain]
    cost = sum((entry.cost or Decimal(0) for entry in lost), Decimal(0))
    detail = "none"
    if lost:
        detail = f"{len(lost)}, whose answers died with the process: billed at their maximum, ${cost:.6f}, and marked so"
    return Check(
        claim="uncertain entries", holds=all(entry.status == "failed" for entry in lost), detail=detail
    )


def _report(written: Written | None) -> Check:
    claim = "the report on disk is the one the journal records"
    if written is None:
        return Check(claim=claim, holds=False, detail="the journal records none")
    path = Path(written.path)
    try:
        same = hashlib.sha256(path.read_bytes()).hexdigest() == written.sha256
    except OSError as error:
        return Check(claim=claim, holds=False, detail=str(error))
    leftovers = len(list(path.parent.glob(f".{path.name}.*")))
    detail = f"SHA-256 {written.sha256[:16]}…" if same else "another file is there"
    return Check(claim=claim, holds=same and not leftovers, detail=detail)
