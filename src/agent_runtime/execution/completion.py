"""How a job ends: one terminal event, with everything that ends with it in the same commit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from agent_runtime.errors import AgentRuntimeError, ContentTooLarge, ResultNotSerializable
from agent_runtime.execution.guards.model_settlement import lost_attempts
from agent_runtime.execution.guards.money import AtMost
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.journal.history import Step
from agent_runtime.execution.operations.effects import REPEATABLE, question_about, unknown_effect
from agent_runtime.execution.operations.failed_at import failed_at
from agent_runtime.execution.succession import successor_job
from agent_runtime.jobs.manager import deadline_timer
from agent_runtime.operators.context import ContinueAsNew, as_operator_result
from agent_runtime.operators.result import OperatorResult, plain
from agent_runtime.ports.commit import CommitParts, JobChange, NewEvent, Signal
from agent_runtime.values.action import ActionRecord
from agent_runtime.values.budget import Charge, LedgerEntry
from agent_runtime.values.content import encode
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord, JobStatus
from llm_client.codec import dump_usage, load_usage
from llm_client.errors import LLMClientError
from llm_client.json_text import JsonObject, JsonValue
from llm_client.public_text import public_text, text_of
from llm_client.turns import read_aside
from llm_client.usage import Usage

_TERMINAL_EVENT: Mapping[JobStatus, RuntimeEventType] = {
    JobStatus.SUCCEEDED: RuntimeEventType.JOB_SUCCEEDED,
    JobStatus.FAILED: RuntimeEventType.JOB_FAILED,
    JobStatus.CANCELLED: RuntimeEventType.JOB_CANCELLED,
    JobStatus.TIMED_OUT: RuntimeEventType.JOB_TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class Completion:
    """A terminal status, and why."""

    status: JobStatus
    result: OperatorResult | None = None
    error: str | None = None
    error_code: str | None = None
    error_type: str | None = None
    failed_at: str | None = None
    """The operation whose failure left the operator."""
    successor: tuple[JobRecord, NewEvent] | None = None
    """The job that goes on instead."""
    no_clean_up: str | None = None
    """Why its code could not clean up."""

    @classmethod
    def of_request(cls, request: RuntimeEvent, *, no_clean_up: str | None = None) -> Completion:
        """Return how a job ends that was asked to stop."""
        if request.type == RuntimeEventType.JOB_RUNTIME_EXCEEDED:
            return replace(cls.out_of_time(), no_clean_up=no_clean_up)
        if request.type == RuntimeEventType.JOB_DEADLINE_REACHED:
            status, error, code = JobStatus.TIMED_OUT, "the job's deadline has passed", "TIMED_OUT"
        else:
            reason = request.data.get("reason")
            status, error, code = JobStatus.CANCELLED, reason or "the job was cancelled", "CANCELLED"
        return cls(status, error=error, error_code=code, no_clean_up=no_clean_up)

    @classmethod
    def out_of_time(cls) -> Completion:
        """Return how a job ends that has used up its running time."""
        return cls(
            JobStatus.FAILED,
            error="the budget's max_runtime_seconds are used up",
            error_code="BUDGET_EXCEEDED",
        )


def end_of(run: JobRun, task: asyncio.Task[object]) -> Completion:
    """Return how a job ends whose operator has returned or raised."""
    if task.cancelled():
        return Completion(
            JobStatus.FAILED, error="the operator cancelled itself", error_code="EXECUTION_ERROR"
        )
    error = task.exception()
    if isinstance(error, ContinueAsNew):
        return _continued(run, error)
    if error is None:
        result = as_operator_result(task.result())
        if result.success:
            return Completion(JobStatus.SUCCEEDED, result)
        message = public_text(result.error or "the operator reported a failure")
        return Completion(JobStatus.FAILED, result, message, result.error_code or "OPERATOR_FAILED")
    if isinstance(error, AgentRuntimeError):
        code = error.code
    elif isinstance(error, LLMClientError):
        code = error.code.upper()
    else:
        code = "EXECUTION_ERROR"
    message = text_of(error)
    return Completion(
        JobStatus.FAILED,
        error=message,
        error_code=code,
        error_type=type(error).__name__,
        failed_at=failed_at(error),
    )


def _continued(run: JobRun, request: ContinueAsNew) -> Completion:
    """Return the end of a job that starts over with an empty journal."""
    try:
        content = encode(request.input)
    except (ResultNotSerializable, ContentTooLarge) as error:
        return Completion(
            JobStatus.FAILED, error=f"the input to continue with: {error}", error_code=error.code
        )
    return Completion(JobStatus.SUCCEEDED, OperatorResult(), successor=successor_job(run, content))


async def finish(run: JobRun, ending: Completion) -> None:
    """Write a job's end: lost effects settled, children cancelled, the parent told, timers and questions withdrawn.

    Raises:
        SignalsPending: The job was to go on as a new one, and a signal, perhaps a request to stop, waits for it.
    """
    content = None
    if (result := ending.result) is not None:
        try:
            content = await read_aside((result.content, result.output_data), partial(_content, result))
        except (ResultNotSerializable, ContentTooLarge) as error:
            ending = Completion(JobStatus.FAILED, error=f"the result: {error}", error_code=error.code)
    async with run.journal.final_turn():
        await _finish(run, ending, content)


async def _finish(run: JobRun, ending: Completion, content: bytes | None) -> None:
    lost_events, actions, ledger, charges = _lost(run)
    returned, messages, receivers = run.mail.leave()
    data = _said(run, ending, lost_events)
    job, now, kinds = run.job, run.services.clock.now(), run.history.kinds
    signals: list[Signal] = []
    create, timers = [], []
    if ending.successor is not None:
        successor, created = ending.successor
        create.append((successor, [created]))
        timers = deadline_timer(successor)
        data["continued_as"] = successor.job_id
    else:
        signals = told_to_parent(job, ending.status, data)
    await run.journal.final_commit(
        [*lost_events, *returned, NewEvent(_TERMINAL_EVENT[ending.status], None, data, content)],
        job=JobChange(
            status=ending.status,
            error=ending.error,
            error_code=ending.error_code,
            completed_at=now,
            release=True,
        ),
        create=create,
        set_timers=timers,
        signals=signals,
        cancel_children_of=job.job_id if "child" in kinds else None,
        cancel_actions_of=job.job_id,
        clear_timers_of=job.job_id
        if job.deadline is not None
        or run.history.outage is not None
        or run.history.has_waited_for_room
        or kinds & {"timer", "timeout", "action"}
        else None,
        new_actions=actions,
        ledger=ledger,
        charges=charges,
        require_no_signals=ending.successor is not None,
        message_changes=messages,
        drop_receivers=receivers,
    )


def _said(run: JobRun, ending: Completion, lost: Sequence[NewEvent]) -> dict[str, JsonValue]:
    """Return what the terminal event says: what was used, what is settled with it included, and why it failed."""
    history = run.history
    used = [load_usage(event.data["usage"]) for event in lost if "usage" in event.data]
    data: dict[str, JsonValue] = {"turns": history.turns, "usage": dump_usage(sum(used, history.usage))}
    if history.children_usage != Usage():
        data["children_usage"] = dump_usage(history.children_usage)
    if history.artifacts:
        data["artifacts"] = list(history.artifacts)
    if ending.no_clean_up is not None:
        data["clean_up"] = f"not run: {ending.no_clean_up}"
    if ending.error is not None:
        data |= {
            "error": ending.error[:4000],
            "error_code": ending.error_code,
            "error_type": ending.error_type,
        }
    if ending.failed_at is not None:
        data["failed_at"] = ending.failed_at
    return data


def told_to_parent(job: JobRecord, status: JobStatus, data: JsonObject) -> list[Signal]:
    """Return what tells the parent of a child how that has ended; what it gave is read from its last entry.

    Args:
        job: The child; of a job that is none, nobody is told.
        status: How it has ended.
        data: The error, and what it has used, as in that entry.
    """
    if job.parent_job_id is None or job.parent_operation_id is None:
        return []
    told = {
        "job_id": job.job_id,
        "status": status.value,
        **{name: data.get(name) for name in ("error", "error_code")},
        **{name: data[name] for name in ("usage", "children_usage") if name in data},
    }
    ended = RuntimeEventType.CHILD_ENDED
    return [Signal(f"{job.job_id}:ended", job.parent_job_id, ended, job.parent_operation_id, told)]


def _content(result: OperatorResult) -> bytes:
    try:
        return encode({"content": result.content, "output_data": dict(result.output_data)})
    except ResultNotSerializable:
        return encode({"content": result.content, "output_data": plain(result.output_data)})


async def settle_lost_attempts(run: JobRun) -> None:
    """Bill the model calls whose answers died with an earlier process, at the most they can have cost."""
    events: list[NewEvent] = []
    ledger: list[LedgerEntry] = []
    charges: list[Charge] = []
    for step in run.history.lost_model_attempts():
        more, parts = _lost_model_call(run, step)
        events += more
        ledger += parts["ledger"]
        charges += parts["charges"]
    if events:
        await run.journal.commit(events, ledger=ledger, charges=charges)


def _lost_model_call(run: JobRun, step: Step) -> tuple[list[NewEvent], CommitParts]:
    intent = step.open_intent or {}
    attempts = {int(intent["attempt"]): AtMost.from_intent(intent)}
    return lost_attempts(
        run, step.operation_id, step.name, attempts, why="the answer was lost with the process"
    )


def _lost(run: JobRun) -> tuple[list[NewEvent], list[ActionRecord], list[LedgerEntry], list[Charge]]:
    """Return what settles every effect that is still open when its job ends."""
    events: list[NewEvent] = []
    actions: list[ActionRecord] = []
    ledger: list[LedgerEntry] = []
    charges: list[Charge] = []
    for step in run.history.steps.values():
        if step.open_intent is None or step.state == "blocked":
            continue
        if step.kind == "model":
            more, parts = _lost_model_call(run, step)
            events += more
            ledger += parts["ledger"]
            charges += parts["charges"]
            continue
        effect = step.open_intent.get("effect", "unsafe")
        events.append(
            NewEvent(f"{step.kind}.unknown", step.operation_id, {"name": step.name, "effect": effect})
        )
        if effect not in REPEATABLE:
            actions.append(_question(run, step))
    return events, actions, ledger, charges


def _question(run: JobRun, step: Step) -> ActionRecord:
    call = run.history.call_of(step)
    spec = unknown_effect(
        run.history,
        kind=step.kind,
        name=step.name,
        operation_id=step.operation_id,
        arguments=None if call is None else call.body(),
    )
    return question_about(run, spec, f"{step.operation_id}!{step.unknowns}")
