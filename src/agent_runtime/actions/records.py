"""Building actions and their ends: tokens, the timer that lets them expire, and what is written when they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from agent_runtime.actions.resolution import check_resolution
from agent_runtime.actions.votes import Vote, votes_told
from agent_runtime.errors import InvalidInput
from agent_runtime.ports.commit import ActionChange, CommitParts, Signal, Timer
from agent_runtime.ports.ids import hash_token, new_id, new_token
from agent_runtime.values.action import ActionRecord, ActionSpec, ActionStatus, ActionToken
from agent_runtime.values.content import encode
from agent_runtime.values.event import RuntimeEventType
from llm_client.json_text import JsonObject, JsonValue

_EVENT_OF = {
    ActionStatus.RESOLVED: RuntimeEventType.ACTION_RESOLVED,
    ActionStatus.CANCELLED: RuntimeEventType.ACTION_CANCELLED,
    ActionStatus.EXPIRED: RuntimeEventType.ACTION_EXPIRED,
}


def new_action(
    spec: ActionSpec,
    *,
    scope_id: str,
    job_id: str | None,
    operation_id: str | None,
    now: datetime,
    argument_hash: str | None = None,
) -> ActionRecord:
    """Build a pending action, which nobody has a token for yet.

    Raises:
        InvalidInput: Its default answer does not answer it.
    """
    timeout = spec.timeout_seconds
    action = ActionRecord(
        action_id=new_id("act"),
        type=str(spec.type),
        job_id=job_id,
        scope_id=scope_id,
        operation_id=operation_id,
        argument_hash=argument_hash,
        payload=dict(spec.payload),
        created_at=now,
        expires_at=None if timeout is None else now + timedelta(seconds=timeout),
        approvers=None if spec.approvers is None else tuple(spec.approvers),
        quorum=spec.quorum,
        argument_schema=None if spec.argument_schema is None else dict(spec.argument_schema),
        metadata=dict(spec.metadata),
    )
    if spec.default_resolution is None:
        return action
    try:
        return replace(action, default_resolution=check_resolution(action, spec.default_resolution))
    except InvalidInput as error:
        raise InvalidInput(f"default_resolution: {error}") from error


def draw_tokens(action: ActionRecord) -> tuple[ActionRecord, Sequence[ActionToken]]:
    """Draw a token, or one for each approver; return the action that shows them, and what is stored of them."""
    drawn = {approver: new_token() for approver in action.approvers or (None,)}
    stored = [ActionToken(hash_token(token), action.action_id, who) for who, token in drawn.items()]
    return replace(
        action,
        token_hash=action.token_hash or stored[0].token_hash,
        resume_token=next(iter(drawn.values())) if len(drawn) == 1 else None,
        resume_tokens={who: token for who, token in drawn.items() if who is not None},
    ), stored


def expiry_timer(action: ActionRecord) -> list[Timer]:
    """Return the timer that lets an action expire, if it does."""
    if action.expires_at is None:
        return []
    data = {"action_id": action.action_id}
    key = f"action:{action.action_id}"
    return [
        Timer(
            action.job_id or "",
            key,
            action.expires_at,
            RuntimeEventType.ACTION_EXPIRED,
            action.operation_id,
            data,
        )
    ]


def vote(action: ActionRecord, votes: Sequence[Vote]) -> CommitParts:
    """Return the parts of the commit that adds a vote which decides nothing yet."""
    change = ActionChange(
        action_id=action.action_id,
        status=ActionStatus.PENDING,
        votes_before=len(action.votes),
        votes=tuple(votes),
    )
    return {"action_changes": [change]}


def end(
    action: ActionRecord,
    status: ActionStatus,
    *,
    resolution: JsonObject | None = None,
    resolved_by: str | None = None,
    votes: Sequence[Vote] | None = None,
    reason: str | None = None,
) -> CommitParts:
    """Return the parts of the commit that ends a pending action and tells the job that waits for it."""
    change = ActionChange(
        action_id=action.action_id,
        status=status,
        votes_before=len(action.votes),
        resolution=resolution,
        resolved_by=resolved_by,
        votes=None if votes is None else tuple(votes),
    )
    signals = []
    if action.job_id is not None and action.operation_id is not None:
        data: dict[str, JsonValue] = {
            "action_id": action.action_id,
            "type": action.type,
            "resolved_by": resolved_by,
        }
        if votes is not None:
            data["votes"] = votes_told(votes)
        if reason is not None:
            data["reason"] = reason
        content = None if resolution is None else encode(dict(resolution))
        signals.append(
            Signal(
                f"action:{action.action_id}",
                action.job_id,
                _EVENT_OF[status],
                action.operation_id,
                data,
                content,
            )
        )
    timers = [(timer.job_id, timer.key) for timer in expiry_timer(action)]
    return {"action_changes": [change], "signals": signals, "clear_timers": timers}


def expiry(action: ActionRecord) -> tuple[ActionStatus, CommitParts]:
    """Return what becomes of an action that nobody has answered in time, and the parts of the commit that does it.

    It is answered with its default, if it has one.
    """
    default = action.default_resolution
    if default is None:
        return ActionStatus.EXPIRED, end(action, ActionStatus.EXPIRED)
    parts = end(action, ActionStatus.RESOLVED, resolution=default, resolved_by="default")
    return ActionStatus.RESOLVED, parts
