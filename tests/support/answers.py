"""Somebody who answers a mixed job's questions, and checks its promises afterwards."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_runtime import ActionRecord, ExecutionHandle, RuntimeEvent, RuntimeKernel
from agent_runtime.values.event import TERMINAL_TYPES
from llm_client.codec import load_usage
from support import mixed_job
from support.kernels import journal, run_key


async def answer_questions(handle: ExecutionHandle, world: Path) -> None:
    """Answer whatever the job asks, truthfully about effects, until it has ended."""
    answered: set[str] = set()
    while not (await handle.status()).is_terminal:
        for action in await handle.get_pending_actions():
            if action.action_id in answered:
                continue
            answered.add(action.action_id)
            await handle.resolve_action(action.action_id, truth(action, world), resolved_by="ann")
        await asyncio.sleep(0.002)


def truth(action: ActionRecord, world: Path) -> dict[str, Any]:
    """Return the answer of somebody who has looked at the world."""
    if action.type != "reconcile":
        return {"approved": True}
    lost = action.payload.get("tool") or action.payload.get("step")
    happened = any(kind == lost for kind, _ in mixed_job.effects(world))
    result = {"pay": "paid 5", "seal": "sealed"}[str(lost)]
    return {"outcome": "done", "result": result} if happened else {"outcome": "retry"}


async def check_promises(handle: ExecutionHandle, world: Path, k: RuntimeKernel) -> None:
    """Check the result, the journal, the effects, the money and the one terminal event."""
    assert (await handle.result()).output == mixed_job.RESULT
    events = await journal(handle)
    _check_journal(events)
    (started,) = [event for event in events if event.type == "child.started"]
    child = k.handle(started.data["child_job_id"])
    for link in (child, k.handle((await child.job()).job_id)):
        _check_journal(await journal(link))
    _check_effects(world)
    await _check_money(handle, events, world, k)


def _check_journal(events: Sequence[RuntimeEvent]) -> None:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.type for event in events if event.type in TERMINAL_TYPES] == ["job.succeeded"]
    finished = (
        "tool.completed", "step.completed", "model.completed", "timer.fired", "action.resolved", "child.ended"
    )  # fmt: skip
    outcomes = Counter(event.operation_id for event in events if event.type in finished)
    assert set(outcomes.values()) <= {1}, outcomes


def _check_effects(world: Path) -> None:
    happened = mixed_job.effects(world)
    counts = Counter(kind for kind, _ in happened)
    assert counts["pay"] == counts["seal"] == counts["book"] == 1
    assert counts["look"] >= 1
    assert counts["peek"] >= 1
    for repeatable in (
        "save",
        "note",
        "left",
        "right",
        "deliver",
    ):  # of a note this is the time that others have seen
        assert len({operation for kind, operation in happened if kind == repeatable}) == 1


async def _check_money(
    handle: ExecutionHandle, events: Sequence[RuntimeEvent], world: Path, k: RuntimeKernel
) -> None:
    entries = await k.ledger.entries(job_id=handle.job_id)
    assert len({entry.entry_id for entry in entries}) == len(entries)
    assert sum(not entry.uncertain for entry in entries) == 4
    asked = sum(kind == "model" for kind, _ in mixed_job.effects(world))
    assert 4 <= asked <= len(entries) <= 5
    spent = sum(entry.units or 0 for entry in entries)
    (counters,) = await k.storage.counters([run_key(handle.job_id)])
    assert (counters.settled.cost, counters.reserved.cost) == (spent, 0)
    attempts = [event for event in events if event.operation_id and "usage" in event.data]
    assert sum(load_usage(event.data["usage"]).cost or 0 for event in attempts) * 10**10 == spent
