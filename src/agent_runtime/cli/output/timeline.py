"""A job's journal as a list of steps: what was done, how it ended, how long it took and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agent_runtime.cli.output.amounts import money, seconds, tokens
from agent_runtime.cli.output.table import show_table
from agent_runtime.values.event import RuntimeEvent
from llm_client.codec import load_usage
from llm_client.json_text import JsonValue
from llm_client.usage import Usage

_KINDS: Final = frozenset({"model", "tool", "step", "action", "timer", "child"})
_ENDS: Final = frozenset(
    {"completed", "failed", "resolved", "expired", "cancelled", "fired", "ended", "unknown", "attempt_failed"}
)


@dataclass(slots=True, kw_only=True)
class Step:
    """One operation of a job."""

    operation_id: str
    kind: str
    name: str
    began: datetime
    state: str = "started"
    ended: datetime | None = None
    attempts: int = 0
    uncertain: int = 0
    """Attempts whose answer was lost; billed at the most they can have cost."""
    usage: Usage | None = None
    note: str = ""

    @property
    def duration(self) -> timedelta | None:
        """From its first to its last entry; `None` when only its end is recorded, as of a read."""
        return None if self.ended is None or self.ended == self.began else self.ended - self.began

    def to_json(self) -> dict[str, JsonValue]:
        """Return it as JSON values."""
        usage = self.usage
        return {
            "operation_id": self.operation_id,
            "kind": self.kind,
            "name": self.name,
            "state": self.state,
            "began": self.began.isoformat(),
            "ended": None if self.ended is None else self.ended.isoformat(),
            "attempts": self.attempts,
            "uncertain_attempts": self.uncertain,
            "input_tokens": 0 if usage is None else usage.input_tokens,
            "output_tokens": 0 if usage is None else usage.output_tokens,
            "cost": None if usage is None or usage.cost is None else str(usage.cost),
            "note": self.note,
        }


def steps_of(events: Iterable[RuntimeEvent]) -> list[Step]:
    """Return the steps in the order they began."""
    steps: dict[str, Step] = {}
    for event in events:
        kind, _, state = event.type.partition(".")
        if kind not in _KINDS or event.operation_id is None:
            continue
        step = steps.get(event.operation_id)
        if step is None:
            name = _model(event) if kind == "model" else str(event.data.get("name", kind))
            step = Step(operation_id=event.operation_id, kind=kind, name=name, began=event.timestamp)
            steps[event.operation_id] = step
        _apply(step, state, event)
    return list(steps.values())


def _model(event: RuntimeEvent) -> str:
    model, provider = event.data.get("model", "model"), event.data.get("provider")
    return f"{provider}:{model}" if provider else str(model)


def _apply(step: Step, state: str, event: RuntimeEvent) -> None:
    data = event.data
    step.state = "failed" if state == "attempt_failed" else state
    if step.kind == "child" and state == "ended":
        step.state = str(data.get("status", state))
    if state == "started":
        step.attempts += 1
    if state in _ENDS:
        step.ended = event.timestamp
    if data.get("uncertain"):
        step.uncertain += 1
    if data.get("usage"):
        usage = load_usage(data["usage"])
        step.usage = usage if step.usage is None else step.usage + usage
    note = _note(state, event)
    if note:
        step.note = note


def _note(state: str, event: RuntimeEvent) -> str:
    data = event.data
    if data.get("error") is not None:
        return str(data["error"])
    if "child_job_id" in data:
        return str(data["child_job_id"])
    if data.get("tools"):
        return "→ " + ", ".join(dict.fromkeys(data["tools"]))
    if state == "resolved":
        return f"by {data.get('resolved_by') or 'an unnamed person'}"
    return ""


def show_steps(steps: Sequence[Step]) -> None:
    """Print the steps and what they cost in all."""
    rows = [
        (
            str(number),
            step.kind,
            step.name,
            step.state,
            seconds(step.duration),
            "" if step.usage is None else tokens(step.usage.total_tokens),
            "" if step.usage is None else money(step.usage.cost),
            _remark(step),
        )
        for number, step in enumerate(steps, 1)
    ]
    total = sum((step.usage for step in steps if step.usage is not None), Usage())
    cost = money(total.cost) if total.cost is not None or total.requests else "$0"
    if total.is_partial_cost and total.cost is not None:
        cost = f"≥ {cost}"
    rows.append(("", "", "total", "", "", tokens(total.total_tokens), cost, ""))
    show_table(
        ("#", "kind", "step", "state", "time", "tokens", "cost", "remark"),
        rows,
        right=("#", "time", "tokens", "cost"),
        total=True,
    )


def _remark(step: Step) -> str:
    lost = f"{step.uncertain} answer lost, billed at its maximum" if step.uncertain else ""
    note = step.note if len(step.note) <= 80 else f"{step.note[:79]}…"
    return "; ".join(part for part in (lost, note) if part)
