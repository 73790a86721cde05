"""Durable waits: asking a person, and letting the tool calls around a wait know that they stood still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from agent_runtime.actions.records import expiry_timer, new_action
from agent_runtime.errors import ActionExpired
from agent_runtime.execution.branch import Branch
from agent_runtime.execution.operations.failed_at import failure_of
from agent_runtime.ports.commit import CommitParts, NewEvent
from agent_runtime.values.action import ActionRecord, ActionSpec, ActionStatus
from agent_runtime.values.content import decode, encode
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType


class Asking(NamedTuple):
    """A question, and what asks it; nothing when it was asked before."""

    action: ActionRecord
    events: Sequence[NewEvent] = ()
    parts: CommitParts = CommitParts()


def ask_person(
    branch: Branch,
    operation_id: str,
    spec: ActionSpec,
    *,
    argument_hash: str | None = None,
    asks: str | None = None,
    held: bool = False,
) -> Asking:
    """Build a question, or return the one that was asked here before.

    Args:
        branch: Who asks.
        operation_id: At which place.
        spec: What.
        argument_hash: Hash of the arguments that an approval is for.
        asks: Hash of all that an answer is for, where the operation's id does not say it.
        held: Whether the code holds the question beyond one wait for its answer. Then resume tokens are drawn, for an
            operator that hands them on. Only their hashes are kept, so a run that comes by again, and perhaps has not
            handed them on yet, draws further ones, as long as the question is open.
    """
    run = branch.run
    step = run.history.steps.get(operation_id)
    if step is not None:
        action = recorded_action(step.declaration)
        if not held:
            return Asking(action)
        action, tokens = run.tokens.draw(action)
        if (
            operation_id in run.history.arrived
        ):  # they answer nothing any more; the code is as before, and needs some
            return Asking(action)
        return Asking(action, parts={"new_tokens": tokens})
    action = new_action(
        spec,
        scope_id=run.job.scope_id,
        job_id=run.job.job_id,
        operation_id=operation_id,
        now=run.services.clock.now(),
        argument_hash=argument_hash,
    )
    action, tokens = run.tokens.draw(action) if held else (action, ())
    parts: CommitParts = {"new_actions": [action], "new_tokens": tokens, "set_timers": expiry_timer(action)}
    return Asking(action, [asked_event(action, asks=asks, held=held)], parts)


async def open_action(
    branch: Branch,
    operation_id: str,
    spec: ActionSpec,
    *,
    argument_hash: str | None = None,
    asks: str | None = None,
    held: bool = False,
) -> ActionRecord:
    """Ask a question, or return the one that was asked here before; the arguments are those of `ask_person`."""
    asking = ask_person(branch, operation_id, spec, argument_hash=argument_hash, asks=asks, held=held)
    if asking.events:
        blocked = blocking(branch, operation_id, "action")
        await branch.run.journal.commit([*asking.events, *blocked], **asking.parts)
    elif asking.parts:
        await branch.run.journal.commit([], **asking.parts)
    return asking.action


def asked_event(action: ActionRecord, *, asks: str | None = None, held: bool = False) -> NewEvent:
    """Build the entry that says a question was asked; `asks` and `held` as for `ask_person`."""
    data: dict[str, Any] = {
        "name": action.type,
        "action_id": action.action_id,
        "type": action.type,
        "expires_at": None if action.expires_at is None else action.expires_at.isoformat(),
    }
    if asks is not None:
        data["input"] = asks
    if held:
        data["held"] = True
    if action.argument_hash is not None:
        data["argument_hash"] = action.argument_hash
    if action.approvers is not None:
        data |= {"approvers": list(action.approvers), "quorum": action.quorum}
    return NewEvent(RuntimeEventType.ACTION_REQUIRED, action.operation_id, data, encode(dict(action.payload)))


def recorded_action(asked: RuntimeEvent) -> ActionRecord:
    """Return a question as the journal has it."""
    expires_at, approvers = asked.data.get("expires_at"), asked.data.get("approvers")
    return ActionRecord(
        action_id=asked.data["action_id"],
        type=asked.data["type"],
        job_id=asked.job_id,
        scope_id=asked.scope_id,
        operation_id=asked.operation_id,
        argument_hash=asked.data.get("argument_hash"),
        approvers=None if approvers is None else tuple(approvers),
        quorum=asked.data.get("quorum", 1),
        payload=asked.body() or {},
        created_at=asked.timestamp,
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
    )


async def await_action(branch: Branch, action: ActionRecord, *, settles: bool = False) -> ActionRecord:
    """Wait for the answer to an action and return the action with it; `settles` as for `Branch.wait`.

    Raises:
        ActionExpired: Nobody answered in time, or it was cancelled, and there is no default answer.
    """
    assert action.operation_id is not None  # noqa: S101 -- made by `open_action`
    answer = await wait(branch, action.operation_id, "action", settles=settles)
    with failure_of(action.operation_id):
        return resolved(action, answer)


def resolved(action: ActionRecord, answer: RuntimeEvent) -> ActionRecord:
    """Return an action with the answer to it.

    Raises:
        ActionExpired: There is none.
    """
    if answer.type != RuntimeEventType.ACTION_RESOLVED:
        how = "expired" if answer.type == RuntimeEventType.ACTION_EXPIRED else "was cancelled"
        raise ActionExpired(f"the {action.type} action {action.action_id} {how} before anybody answered")
    return answered(action, answer)


def answered(action: ActionRecord, answer: RuntimeEvent) -> ActionRecord:
    """Return a question with its answer."""
    return replace(
        action,
        status=ActionStatus.RESOLVED,
        resolution=decode(answer.content) if answer.content else {},
        resolved_by=answer.data.get("resolved_by"),
        resolved_at=answer.timestamp,
        votes=tuple(answer.data.get("votes", ())),
    )


async def wait(branch: Branch, operation_id: str, kind: str, *, settles: bool = False) -> RuntimeEvent:
    """Wait for an answer; before it reaches a tool's function, the journal says that the function goes on."""
    answer = await branch.wait(operation_id, kind, settles=settles)
    resumed = [
        NewEvent(f"{step.kind}.resumed", step.operation_id, {"name": step.name, "wait": operation_id})
        for _, step in branch.enclosing_effects()
        if step.open_intent is not None and operation_id not in step.resumed
    ]
    if resumed:
        await branch.run.journal.commit(resumed)
    return answer


def blocking(branch: Branch, operation_id: str, kind: str) -> Iterator[NewEvent]:
    """Yield the entries that say which tool calls stand still when `branch` begins a wait.

    A call may be entered again after a crash only if all of it stood still, so that is recorded too.
    """
    before, branch.waiting = branch.waiting, kind
    try:
        for effect_branch, step in branch.enclosing_effects():
            if step.open_intent is not None:
                data: dict[str, Any] = {"name": step.name, "wait": operation_id}
                if effect_branch.attempt > 1:
                    data["attempt"] = effect_branch.attempt
                if not effect_branch.is_blocked():
                    data["whole"] = False
                yield NewEvent(f"{step.kind}.blocked", step.operation_id, data)
    finally:
        branch.waiting = before
