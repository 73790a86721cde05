"""Checking a commit against the state, and applying it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

import orjson

from agent_runtime.errors import (
    ActionAlreadyResolved,
    AlreadySettled,
    BudgetRejected,
    DuplicateJob,
    FenceLost,
    IdempotencyConflict,
    InvalidInput,
    InvalidTransition,
    QueueFull,
    SignalsPending,
    UnknownAction,
)
from agent_runtime.ports.journal import ActionChange, Commit, JobChange, NewEvent, Signal, placed
from agent_runtime.storage.families import PARENT_HAS_ENDED, parent_of, stop_with
from agent_runtime.storage.memory.state import State
from agent_runtime.values.action import ActionStatus, ActionType
from agent_runtime.values.budget import Amount, Charge, Counters, EntryKey
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord
from agent_runtime.values.opening import Floor, SpentBy, uncounted


def check(state: State, commit: Commit) -> None:
    """Raise what the port promises when `commit` cannot be made."""
    if commit.job_id is not None and commit.fence is not None:
        _check_owner(state, state.job(commit.job_id), commit)
    elif commit.events or commit.job:
        raise InvalidInput("only a fenced commit may extend a journal or change a job")
    for job, _ in commit.create:
        _check_new(state, commit, job)
    _check_json(commit)
    _check_queue(state, commit)
    for change in commit.action_changes:
        _check_action(state, change)
    asked = {action.action_id for action in commit.new_actions}
    for token in commit.new_tokens:
        if token.action_id not in asked and token.action_id not in state.actions:
            raise UnknownAction(f"no action {token.action_id!r}")
    _check_charges(state, commit.charges)
    if commit.unique_ledger and any(entry.key in state.ledger for entry in commit.ledger):
        raise AlreadySettled
    if any(key not in state.timers for key in commit.take_timers):
        raise AlreadySettled
    state.mail.check(commit)


def _check_json(commit: Commit) -> None:
    """Refuse data that a database could not keep; raises `TypeError`."""
    orjson.dumps([event.data for event in commit.events])
    for _, events in commit.create:
        orjson.dumps([event.data for event in events])
    orjson.dumps([signal.data for signal in commit.signals])
    orjson.dumps([timer.data for timer in commit.set_timers])


def _check_owner(state: State, job: JobRecord, commit: Commit) -> None:
    if job.fence != commit.fence:
        raise FenceLost
    change = commit.job
    if change is not None and change.expect is not None and job.status not in change.expect:
        raise InvalidTransition(f"job {job.job_id!r} is {job.status}")
    if commit.require_no_signals and state.signals.get(job.job_id):
        raise SignalsPending


def _check_new(state: State, commit: Commit, job: JobRecord) -> None:
    if job.predecessor_id is not None:
        _check_predecessor(state, commit, job.predecessor_id)
    if job.idempotency_key is not None:
        existing = state.keys.get((job.scope_id, job.idempotency_key))
        if existing is not None and existing != job.predecessor_id:
            if state.jobs[existing].request_hash == job.request_hash:
                raise DuplicateJob(existing)
            raise IdempotencyConflict(
                f"key {job.idempotency_key!r} belongs to job {existing!r}, a different request"
            )
    if job.job_id in state.jobs:
        raise DuplicateJob(job.job_id)


def _check_predecessor(state: State, commit: Commit, job_id: str) -> None:
    """A job goes on as one other at most, and only when it has ended, be it by this commit."""
    before = state.job(job_id)
    if before.successor_id is not None:
        raise DuplicateJob(before.successor_id)
    change = commit.job if commit.job_id == job_id else None
    if not (before.status if change is None else change.status).is_terminal:
        raise InvalidTransition(f"job {job_id!r} is {before.status}")


def _check_queue(state: State, commit: Commit) -> None:
    bounds = commit.queue_bounds
    for job, _ in commit.create:
        if bounds.per_scope is not None and state.waiting(job.scope_id) >= bounds.per_scope:
            raise QueueFull(limit=bounds.per_scope, scope_id=job.scope_id)
        if bounds.total is not None and state.waiting(None) >= bounds.total:
            raise QueueFull(limit=bounds.total)


def _check_action(state: State, change: ActionChange) -> None:
    action = state.actions.get(change.action_id)
    if action is None:
        raise UnknownAction(f"no action {change.action_id!r}")
    if not action.is_pending or len(action.votes) != change.votes_before:
        raise ActionAlreadyResolved(f"action {change.action_id!r} is {action.status}")


def _check_charges(state: State, charges: Sequence[Charge]) -> None:
    asked: dict[tuple[str, str], Amount] = {}
    for charge in charges:
        if charge.limits is None:
            continue
        key = (charge.budget_id, charge.window)
        now = state.counters.get(key, Counters())
        before = asked.get(key, Amount())
        added = charge.reserve + charge.settle
        if charge.limits.exceeded_by(now.settled + now.reserved + before, added):
            raise BudgetRejected(charge.budget_id, settled=now.settled, reserved=now.reserved)
        asked[key] = before + added


def apply(state: State, commit: Commit) -> int:
    """Make every change of a checked commit; return the seq of its first event."""
    first_seq = 0
    if commit.job_id is not None and commit.fence is not None:
        first_seq = append(state, commit.job_id, commit.events, commit.at)
        _change_job(state, commit.job_id, commit.job, commit)
    for job, events in commit.create:
        state.jobs[job.job_id] = job
        if job.predecessor_id is not None:
            state.put_job(state.jobs[job.predecessor_id], successor_id=job.job_id)
        if job.idempotency_key is not None:
            state.keys[(job.scope_id, job.idempotency_key)] = job.job_id
        append(state, job.job_id, events, commit.at)
        _look_at_parent(state, job)
    for signal in commit.signals:
        send(state, signal)
    for job_id in commit.unblock:
        if job_id in state.jobs:
            state.put_job(state.jobs[job_id], failed_versions=(), retry_at=None)
    for action in commit.new_actions:
        state.actions[action.action_id] = replace(action, resume_token=None, resume_tokens={})
    state.tokens.update({token.token_hash: token for token in commit.new_tokens})
    for change in commit.action_changes:
        _change_action(state, change, commit.at)
    _move_timers(state, commit)
    _spend(state, commit)
    _set_rules(state, commit)
    if commit.cancel_children_of is not None:
        _cancel_children(state, commit.cancel_children_of)
    _withdraw(state, commit)
    state.mail.apply(commit)
    if commit.cancel_actions_of is not None:
        _cancel_actions(state, commit.cancel_actions_of, commit.at)
    return first_seq


def _spend(state: State, commit: Commit) -> None:
    for charge in commit.charges:
        if (charge.budget_id, charge.window) not in state.counters:
            _forget_counters(state, charge)
        now = state.counters.get((charge.budget_id, charge.window), Counters())
        state.counters[(charge.budget_id, charge.window)] = Counters(
            settled=now.settled + charge.settle, reserved=now.reserved + charge.reserve
        )
    for entry in commit.ledger:
        state.ledger.setdefault(entry.key, entry)


def _set_rules(state: State, commit: Commit) -> None:
    _open_counters(state, commit)
    state.budgets.update({budget.budget_id: budget for budget in commit.budgets})
    for budget_id in commit.drop_budgets:
        state.budgets.pop(budget_id, None)
    for policy in commit.policies:
        state.policies.setdefault((policy.name, policy.version), policy)


def _open_counters(state: State, commit: Commit) -> None:
    floors = list(commit.floors)
    for opening in commit.openings:
        later = spent_since(state, opening.since, opening.upto, state.last_place)
        floors += [Floor(name, opening.window, amount) for name, amount in opening.counters(later).items()]
    for budget_id, window, amount in floors:
        now = state.counters.get((budget_id, window), Counters())
        settled = now.settled + uncounted(amount, now.settled)
        state.counters[(budget_id, window)] = Counters(settled=settled, reserved=now.reserved)


def spent_since(state: State, since: datetime, after: int, upto: int) -> list[SpentBy]:
    """Return what entries at places above `after` up to `upto` have spent, one by one."""
    found = []
    for entry in islice(
        state.ledger.values(), max(0, after - state.forgotten), max(0, upto - state.forgotten)
    ):
        corrected = state.ledger.get(EntryKey(entry.scope_id, entry.metadata.get("corrects", "")), entry)
        if entry.type != "budget_check" and corrected.timestamp >= since:
            whose = (entry.scope_id, entry.principal_id, entry.session_id, entry.model, entry.provider)
            found.append(SpentBy(*whose, entry.counted))
    return found


def _forget_counters(state: State, charge: Charge) -> None:
    """Delete a budget's old windows when a new one begins."""
    if not charge.forget_before:
        return
    kind = charge.forget_before.partition(":")[0]
    old = [
        (budget_id, window)
        for (budget_id, window), counters in state.counters.items()
        if budget_id == charge.budget_id and kind <= window < charge.forget_before and not counters.reserved
    ]
    for key in old:
        del state.counters[key]


def _move_timers(state: State, commit: Commit) -> None:
    for timer in commit.set_timers:
        state.timers[(timer.job_id, timer.key)] = timer
    for key in (*commit.clear_timers, *commit.take_timers):
        state.timers.pop(key, None)
    if commit.clear_timers_of is not None:
        for timer in list(state.timers.values()):
            if timer.job_id == commit.clear_timers_of and not timer.data.get("outlives"):
                del state.timers[(timer.job_id, timer.key)]


def append(state: State, job_id: str, events: Sequence[NewEvent], at: datetime) -> int:
    """Extend a journal; return the seq of the first new entry."""
    job = state.jobs[job_id]
    journal = state.journals.setdefault(job_id, [])
    for seq, event in enumerate(events, job.last_seq + 1):
        journal.append(placed(event, job_id, job.scope_id, seq, at))
    state.put_job(job, last_seq=job.last_seq + len(events))
    return job.last_seq + 1 if events else 0


def fold_signals(state: State, job_id: str, at: datetime) -> Sequence[RuntimeEvent]:
    """Move waiting signals into the journal."""
    waiting = state.signals.pop(job_id, {})
    before = state.jobs[job_id].last_seq
    append(state, job_id, [NewEvent(s.type, s.operation_id, s.data, s.content) for s in waiting.values()], at)
    return state.journals[job_id][before:]


def send(state: State, signal: Signal) -> None:
    """Store a signal, unless its job has ended or it was sent before."""
    job = state.jobs.get(signal.job_id)
    if job is not None and job.status.is_active:
        state.signals.setdefault(signal.job_id, {}).setdefault(signal.signal_id, signal)


def _change_job(state: State, job_id: str, change: JobChange | None, commit: Commit) -> None:
    job = state.jobs[job_id]
    stands = job.counted.after(commit.absolution, good_bye=change is not None and change.release)
    job = replace(job, updated_at=commit.at, **stands._asdict())
    if commit.progress is not None:
        job = replace(job, progress=commit.progress)
    if change is not None and change.release:
        state.waits.pop(job_id, None)
        if commit.waits:
            state.waits[job_id] = commit.waits
    if change is not None:
        job = replace(
            job,
            status=change.status,
            error=change.error,
            error_code=change.error_code,
            result_ref=change.result_ref if change.result_ref is not None else job.result_ref,
            started_at=change.started_at or job.started_at,
            completed_at=change.completed_at or job.completed_at,
            owner=None if change.release else job.owner,
            failed_versions=job.failed_versions if change.failed_versions is None else change.failed_versions,
            retry_at=change.retry_at or job.retry_at,
        )
        if job.status.is_terminal:
            state.signals.pop(job_id, None)
    state.jobs[job_id] = job


def _look_at_parent(state: State, job: JobRecord) -> None:
    parent_id = parent_of(job)
    if parent_id is not None:
        parent = state.jobs.get(parent_id)
        stops = parent is not None and state.is_stopping(parent)
        status = None if parent is None else parent.status
        request = stop_with(parent_id, job.job_id, status=status, is_stopping=stops)
        if request is not None:
            send(state, request)


def _cancel_children(state: State, parent: str) -> None:
    for job in list(state.jobs.values()):
        if job.parent_job_id == parent and job.status.is_active and job.on_parent_end == "cancel":
            signal_id = f"{parent}:cancel:{job.job_id}"
            reason = {"reason": PARENT_HAS_ENDED}
            send(state, Signal(signal_id, job.job_id, RuntimeEventType.JOB_CANCEL_REQUESTED, data=reason))


def _change_action(state: State, change: ActionChange, at: datetime) -> None:
    action = state.actions[change.action_id]
    ended = change.status is not ActionStatus.PENDING
    state.actions[change.action_id] = replace(
        action,
        status=change.status,
        resolution=change.resolution if change.resolution is not None else action.resolution,
        resolved_by=change.resolved_by or action.resolved_by,
        resolved_at=at if ended else None,
        votes=change.votes if change.votes is not None else action.votes,
        job_id=change.job_id or action.job_id,
    )


def _withdraw(state: State, commit: Commit) -> None:
    for action_id in commit.withdraw_actions:
        action = state.actions.get(action_id)
        if action is not None and action.is_pending:
            state.actions[action_id] = replace(action, status=ActionStatus.CANCELLED, resolved_at=commit.at)


def _cancel_actions(state: State, job_id: str, at: datetime) -> None:
    for action in list(state.actions.values()):
        if action.job_id == job_id and action.is_pending and action.type != ActionType.RECONCILE:
            state.actions[action.action_id] = replace(action, status=ActionStatus.CANCELLED, resolved_at=at)
