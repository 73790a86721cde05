"""The proof: it must notice what it claims the absence of."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, RuntimeEvent, RuntimeKernel
from agent_runtime.demo.audit import OPERATOR, AuditInput, LicenceAudit
from agent_runtime.demo.proof import Check, prove
from agent_runtime.values.budget import LedgerEntry
from support.kernels import kernel, pending


class Doctored:
    """A kernel whose journal and ledger somebody has changed afterwards."""

    def __init__(self, events: Sequence[RuntimeEvent], entries: Sequence[LedgerEntry]) -> None:
        self.kept = list(events)
        self.entries_kept = list(entries)
        self.ledger = self

    def handle(self, job_id: str) -> Any:
        return self

    async def events(self) -> Any:
        for event in self.kept:
            yield event

    async def entries(self, **_: Any) -> Sequence[LedgerEntry]:
        return self.entries_kept


@pytest.fixture
async def finished(tmp_path: Path) -> tuple[list[RuntimeEvent], list[LedgerEntry]]:
    """Return the journal and the ledger of an audit that has ended well."""
    async with kernel(operators=[LicenceAudit()]) as k:
        given = AuditInput(folder=str(tmp_path), think_seconds=0.0).to_json()
        handle = await k.execute(ExecutionRequest(operator=OPERATOR, input=given))
        action = await pending(handle)
        await handle.resolve_action(action.action_id, {"confirmed": True}, resolved_by="ann")
        await handle.result()
        return [event async for event in handle.events()], list(await k.ledger.entries(job_id=handle.job_id))


async def failed(events: Sequence[RuntimeEvent], entries: Sequence[LedgerEntry]) -> list[str]:
    doctored: Any = Doctored(events, entries)
    checks: list[Check] = await prove(doctored, "job")
    return [check.claim for check in checks if not check.holds]


async def test_an_honest_journal_passes(finished: tuple[list[RuntimeEvent], list[LedgerEntry]]) -> None:
    assert await failed(*finished) == []


async def test_each_kind_of_loss_and_repetition_is_noticed(
    finished: tuple[list[RuntimeEvent], list[LedgerEntry]],
) -> None:
    events, entries = finished
    outcome = next(event for event in events if event.type == "tool.completed")
    question = next(event for event in events if event.type == "action.required")
    report = next(e for e in events if e.type == "tool.completed" and e.data["name"] == "write_report")

    assert "the journal has no gap" in await failed(events[:3] + events[4:], entries)
    assert "the job has ended once" in await failed([*events, events[-1]], entries)
    assert "the job has ended once" in await failed(events[:-1], entries)
    assert "nothing finished was done again" in await failed([*events, outcome], entries)
    assert "no person was asked twice" in await failed([*events, question], entries)
    assert "every request to the model is billed once" in await failed(events, [*entries, entries[0]])
    assert "every request to the model is billed once" in await failed(events, entries[1:])
    assert "ledger and journal agree" in await failed(
        events, [replace(entries[0], cost=Decimal(1)), *entries[1:]]
    )
    assert "uncertain entries" in await failed(events, [replace(entries[0], uncertain=True), *entries[1:]])
    Path(report.body()["value"]["path"]).write_text("something else")
    assert await failed(events, entries) == ["the report on disk is the one the journal records"]


async def test_a_kernel_proves_itself(tmp_path: Path) -> None:
    k: RuntimeKernel
    async with kernel(operators=[LicenceAudit()]) as k:
        given = AuditInput(folder=str(tmp_path), think_seconds=0.0).to_json()
        handle = await k.execute(ExecutionRequest(operator=OPERATOR, input=given))
        action = await pending(handle)
        await handle.resolve_action(action.action_id, {"confirmed": False}, resolved_by="ann")
        result = await handle.result()

        assert all(check.holds for check in await prove(k, handle.job_id))
    assert "Rejected: " in result.content
