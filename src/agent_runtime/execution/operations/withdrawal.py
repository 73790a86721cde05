"""Withdrawing what nobody waits for any more: questions, timers, children and mail of lines that were stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.journal.history import Step
from agent_runtime.ports.commit import NewEvent, Signal
from agent_runtime.values.action import ActionType
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.message import Address, Receiver


async def withdraw_below(run: JobRun, belongs: Callable[[str], bool]) -> None:
    """Withdraw the open waits at the places that `belongs` chooses, once, and record that."""
    steps = run.history.steps.values()
    await _withdraw(run, [step for step in steps if belongs(step.operation_id.partition(":")[2])])


async def withdraw(run: JobRun, operation_ids: Iterable[str]) -> None:
    """Withdraw these waits, as far as nobody holds them beyond the wait that was ended."""
    steps = [run.history.steps[one] for one in operation_ids if one in run.history.steps]
    await _withdraw(run, [step for step in steps if not step.declaration.data.get("held")])


async def _withdraw(run: JobRun, steps: Iterable[Step]) -> None:
    """Withdraw the open ones among these waits, once, and record that.

    Questions are cancelled, timers cleared, and children asked to stop, except those that were to be kept. What asks what
    became of a lost effect stays: the effect may have happened.
    """
    steps = [step for step in steps if step.kind in ("action", "timer", "timeout", "child", "message")]
    if any(step.kind == "message" for step in steps):
        await run.mail.at_rest()
    if run.lifecycle.is_over or run.is_asked_to_stop() or run.lifecycle.control_error is not None:
        return
    open_waits = [
        step
        for step in steps
        if step.operation_id not in run.history.arrived
        and step.operation_id not in run.history.withdrawn
        and step.name != ActionType.RECONCILE
    ]
    if not open_waits:
        return
    events: list[NewEvent] = []
    parts: dict[str, Any] = {
        "withdraw_actions": [],
        "clear_timers": [],
        "signals": [],
        "drop_receivers": [],
    }
    for step in open_waits:
        if step.kind == "child" and step.declaration.data.get("on_parent_end") == "keep":
            continue
        events.append(NewEvent(RuntimeEventType.WAIT_WITHDRAWN, step.operation_id, {"name": step.name}))
        _take_back(run, step, parts)
    if events:
        await run.journal.commit(events, **parts)


def _take_back(run: JobRun, step: Step, parts: dict[str, list[Any]]) -> None:
    declared = step.declaration.data
    match step.kind:
        case "action":
            parts["withdraw_actions"].append(declared["action_id"])
            parts["clear_timers"].append((run.job_id, f"action:{declared['action_id']}"))
        case "child":
            child = declared["child_job_id"]
            reason = {"reason": "its parent does not wait for it any more"}
            signal_id = f"{run.job_id}:cancel:{child}"
            parts["signals"].append(
                Signal(signal_id, child, RuntimeEventType.JOB_CANCEL_REQUESTED, data=reason)
            )
        case "message":
            address = Address(run.job.scope_id, step.name)
            parts["drop_receivers"].append(Receiver(run.job_id, step.operation_id, address))
        case "timer":
            parts["clear_timers"].append((run.job_id, f"sleep:{step.operation_id}"))
        case _:
            parts["clear_timers"].append((run.job_id, f"timeout:{step.operation_id}"))
