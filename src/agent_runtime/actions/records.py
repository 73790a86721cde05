"""Building actions: their tokens, the timers that let them expire, and what they are then."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from agent_runtime.ports.ids import new_id, new_token
from agent_runtime.ports.journal import ActionChange, Timer
from agent_runtime.values.action import ActionRecord, ActionSpec, ActionStatus
from agent_runtime.values.event import RuntimeEventType


def hash_token(token: str) -> str:
    """Return what is stored of a resume token."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_action(
    spec: ActionSpec,
    *,
    scope_id: str,
    job_id: str | None,
    operation_id: str | None,
    now: datetime,
    argument_hash: str | None = None,
) -> ActionRecord:
    """Build a pending action with a fresh token."""
    token = new_token()
    timeout = spec.timeout_seconds
    return ActionRecord(
        action_id=new_id("act"),
        type=str(spec.type),
        job_id=job_id,
        scope_id=scope_id,
        operation_id=operation_id,
        argument_hash=argument_hash,
        payload=dict(spec.payload),
        created_at=now,
        expires_at=None if timeout is None else now + timedelta(seconds=timeout),
        default_resolution=None if spec.default_resolution is None else dict(spec.default_resolution),
        approvers=None if spec.approvers is None else tuple(spec.approvers),
        quorum=spec.quorum,
        metadata=dict(spec.metadata),
        token_hash=hash_token(token),
        resume_token=token,
    )


def votes_told(votes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return who voted and whether they agreed, without what else they said, which is private content."""
    return [
        {
            "by": vote["by"],
            "resolution": {
                name: value for name, value in vote["resolution"].items() if name in ("approved", "confirmed")
            },
        }
        for vote in votes
    ]


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


def expiry_of(action: ActionRecord) -> ActionChange:
    """Return what becomes of a pending action that nobody has answered in time: its default answer, if it has one."""
    default = action.default_resolution
    return ActionChange(
        action_id=action.action_id,
        status=ActionStatus.EXPIRED if default is None else ActionStatus.RESOLVED,
        votes_before=len(action.votes),
        resolution=default,
        resolved_by=None if default is None else "default",
    )
