"""How a run gives its job up without ending it: suspended, released to another process, or set aside."""

from __future__ import annotations

from collections.abc import Collection

from agent_runtime.errors import BudgetExceededError
from agent_runtime.execution.branch import Branch
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.waits import blocking
from agent_runtime.ledger.room import BUDGET_TIMER, NEVER
from agent_runtime.ports.commit import JobChange, NewEvent, Timer
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.job import JobStatus
from llm_client.json_text import JsonObject
from llm_client.logs import logger_of
from llm_client.public_text import public_text

logger = logger_of(__name__)


async def suspend(root: Branch) -> bool:
    """Leave the memory, unless the run has something to do after all; return whether it is over.

    Args:
        root: All the work of the run.

    Raises:
        SignalsPending: A signal, or a message that a branch waits for, has arrived meanwhile.
    """
    run = root.run
    async with run.journal.final_turn():
        if not run.idleness.is_idle or run.signals.in_doubt or run.waiters.deliver_arrived():
            return False
        waits = set(root.waits())
        events = [
            *_standing_still(root),
            NewEvent(RuntimeEventType.JOB_SUSPENDED, None, {"waits": sorted(waits)}),
        ]
        change = JobChange(status=_status_of(waits), release=True)
        await run.journal.final_commit(
            events,
            job=change,
            waits=run.waiters.sets(),
            require_no_signals=True,
            require_empty=run.mail.addresses(),
        )
    return True


async def wait_for_room(root: Branch) -> bool:
    """Leave the memory until a budget has room for a step; return whether the run is over.

    The job waits until the window ends. Where none does it is blocked, and somebody has to make room.

    Raises:
        SignalsPending: A signal has arrived meanwhile.
    """
    run = root.run
    async with run.journal.final_turn():
        if (
            not run.gate.room_wanted
            or not root.is_quiet()
            or run.signals.in_doubt
            or run.waiters.deliver_arrived()
        ):
            return False
        wanted = min(run.gate.room_wanted.values(), key=lambda each: each.until or NEVER)
        since = (run.history.room_wanted or {}).get("since") or run.services.clock.now().isoformat()
        data, due = wanted.to_dict(since), wanted.until or NEVER
        reason = public_text(wanted.reason)
        if wanted.until is None:
            code = BudgetExceededError.code
            told = NewEvent(
                RuntimeEventType.JOB_BLOCKED, None, {"reason": reason, "code": code, "room": data}
            )
            change = JobChange(
                status=JobStatus.BLOCKED, error=reason, error_code=code, release=True, retry_at=NEVER
            )  # no other process or version of the code has more room
        else:
            said: JsonObject = {
                "waits": ["budget"],
                "due_at": due.isoformat(),
                "reason": reason,
                "room": data,
            }
            told = NewEvent(RuntimeEventType.JOB_SUSPENDED, None, said)
            change = JobChange(status=JobStatus.WAITING, release=True)
        await run.journal.final_commit(
            [*_standing_still(root), told],
            job=change,
            set_timers=[
                Timer(run.job_id, BUDGET_TIMER, due, RuntimeEventType.JOB_RETRY_REQUESTED, None, data)
            ],
            require_no_signals=True,
        )
    return True


def _status_of(waits: Collection[str]) -> JobStatus:
    """Return the status of a job that waits for this."""
    if "action" in waits:
        return JobStatus.WAITING_ACTION
    return JobStatus.SLEEPING if waits == {"timer"} else JobStatus.WAITING


def _standing_still(root: Branch) -> list[NewEvent]:
    """Return the entries by which tool calls that stand still as a whole may be entered again."""
    events: dict[str, NewEvent] = {}
    for branch in root.leaves():
        for event in blocking(branch, "suspend", branch.waiting or "wait"):
            step = root.run.history.steps.get(event.operation_id or "")
            if step is not None and not step.may_reenter:
                events[step.operation_id] = event
    return list(events.values())


async def block(run: JobRun, reason: str, code: str) -> None:
    """Set a job aside until a worker can go on with it; nothing is lost."""
    logger.error("job %s is blocked: %s", run.job_id, reason)
    services = run.services
    async with run.journal.final_turn():
        await run.journal.final_commit(
            [NewEvent(RuntimeEventType.JOB_BLOCKED, None, {"reason": reason, "code": code})],
            job=services.abilities.blocking(run.job, reason, code, services.clock.now()),
        )


async def release(root: Branch, *, is_left: bool = False) -> bool:
    """Give a job up in the middle, for another process or a later start, unless a step has begun meanwhile.

    Args:
        root: All the work of the run.
        is_left: Whether the operator has been left already, so that nothing can begin.
    """
    run = root.run
    async with run.journal.final_turn():
        if not is_left and not root.is_quiet():
            return False
        await run.journal.final_commit(
            [NewEvent(RuntimeEventType.JOB_SUSPENDED, None, {"waits": ["worker"]}), *_standing_still(root)],
            job=JobChange(status=JobStatus.RUNNING, release=True),
        )
        return True
