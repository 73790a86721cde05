"""Writing one commit inside an open transaction. Runs in the writer thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from agent_runtime.audit.chain import first_head, links, new_salts
from agent_runtime.errors import AgentRuntimeError, FenceLost
from agent_runtime.ports.commit import ActionChange, Commit, NewEvent, Signal
from agent_runtime.storage.ends import End, Ends
from agent_runtime.storage.rows import (
    ACTION,
    BUDGET,
    JOB,
    LEDGER,
    POLICY,
    TIMER,
    action_row,
    budget_row,
    failed_versions_text,
    job_row,
    ledger_row,
    policy_row,
    wait_rows,
)
from agent_runtime.storage.rules import Changes, check_owner, check_parts, is_looked_at
from agent_runtime.storage.spent import LAST_POSITION, spent_by
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.inbox import apply_mail
from agent_runtime.storage.sqlite.values import encode, from_json, from_time
from agent_runtime.storage.sqlite.view import TableView, counters_of
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import NOTHING
from agent_runtime.values.job import JobRecord
from agent_runtime.values.opening import Floor, uncounted

_NOTHING_LOOKED_AT = Changes()


class AlreadyCommitted(Exception):
    """This commit was made before."""

    def __init__(self, first_seq: int) -> None:
        super().__init__()
        self.first_seq = first_seq


def apply(db: sqlite3.Connection, commit: Commit, ends: Ends) -> int:
    """Make every change of `commit` and return the seq of its first event; raises as the port says."""
    view, first_seq, changes = TableView(db), 0, _NOTHING_LOOKED_AT
    if _asks_for_fence_alone(commit):
        first_seq = _touch(db, view, commit, ends)
        if is_looked_at(commit):
            changes = check_parts(view, commit, None)
    else:
        try:
            owned = check_owner(view, commit)
            if owned is not None or is_looked_at(commit):
                changes = check_parts(view, commit, owned)
        except AgentRuntimeError:
            _recognise(db, commit)
            raise
        if owned is not None:
            ends.forget(commit.job_id)
            first_seq = _change_job(db, commit, changes)
    if changes is not _NOTHING_LOOKED_AT:
        _write_families(db, commit, changes)
        _spend(db, commit, changes)
    if commit.ledger:
        db.executemany(sql.INSERT_LEDGER, [encode(LEDGER, ledger_row(entry)) for entry in commit.ledger])
    if commit.messages or commit.message_changes or commit.receivers or commit.drop_receivers:
        apply_mail(db, commit)
    if commit.unblock:
        db.executemany(sql.UNBLOCK, [(job_id,) for job_id in commit.unblock])
    _write_actions(db, commit, changes)
    _move_timers(db, commit)
    if commit.budgets or commit.drop_budgets or commit.policies or commit.floors or commit.openings:
        _set_rules(db, commit)
    return first_seq


def _asks_for_fence_alone(commit: Commit) -> bool:
    """Whether its owner's row is asked for nothing but the fence: then the statement that changes the row can tell."""
    return (
        commit.job_id is not None
        and commit.fence is not None
        and commit.job is None
        and commit.absolution is None
        and not commit.require_no_signals
    )


def _recognise(db: sqlite3.Connection, commit: Commit) -> None:
    """Say so when a commit that cannot be made has been made already."""
    if commit.events and commit.fence is not None:
        made = db.execute(sql.COMMITTED_SEQ, (commit.commit_id,)).fetchone()
        if made is not None:
            raise AlreadyCommitted(made[0])


def _touch(db: sqlite3.Connection, view: TableView, commit: Commit, ends: Ends) -> int:
    """Extend the journal of a job whose row changes in nothing else."""
    job_id, count = commit.job_id, len(commit.events)
    assert job_id is not None  # noqa: S101 -- the caller's condition, for the type checker
    end = ends.of(job_id)
    if end is not None and count and commit.progress is None:
        first_seq = end.last_seq + 1
        chain = links(end.head, end.salts, first_seq, commit.events, commit.at)
        now = (end.last_seq + count, chain[-1], from_time(commit.at))
        if db.execute(sql.EXTEND, (*now, job_id, commit.fence, end.head)).rowcount:
            ends.keep(job_id, End(end.last_seq + count, chain[-1], end.salts))
            _insert(db, job_id, first_seq, commit.events, commit.at, chain, commit.commit_id)
            return first_seq
        ends.forget(job_id)
    row = db.execute(sql.TOUCH, (count, from_time(commit.at), job_id, commit.fence)).fetchone()
    if row is None:
        _recognise(db, commit)
        check_owner(view, commit)
        raise FenceLost
    if commit.progress is not None:
        db.execute(sql.SET_PROGRESS, (commit.progress, job_id))
    first_seq, end = _extend(db, job_id, commit, End(*row))
    ends.keep(job_id, end)
    return first_seq


def _change_job(db: sqlite3.Connection, commit: Commit, changes: Changes) -> int:
    """Change the row of a job whose fence was found to hold, and extend its journal."""
    job_id, count, at, change = commit.job_id, len(commit.events), from_time(commit.at), commit.job
    assert job_id is not None  # noqa: S101 -- the caller's condition, for the type checker
    is_counted = commit.absolution is not None or (change is not None and change.release)
    counted = changes.stands if is_counted else None
    if change is None:
        (row,) = db.execute(sql.TOUCH, (count, at, job_id, commit.fence)).fetchall()
        if counted is not None:
            db.execute(sql.SET_COUNTED, (*counted, job_id))
        if commit.progress is not None:
            db.execute(sql.SET_PROGRESS, (commit.progress, job_id))
    else:
        (row,) = db.execute(
            sql.CHANGE_JOB,
            (
                count,
                at,
                change.status.value,
                commit.progress,
                change.error,
                change.error_code,
                change.result_ref,
                None if change.started_at is None else from_time(change.started_at),
                None if change.completed_at is None else from_time(change.completed_at),
                change.release,
                None if change.failed_versions is None else failed_versions_text(change.failed_versions),
                None if change.retry_at is None else from_time(change.retry_at),
                *((None, None, None) if counted is None else counted),
                job_id,
                commit.fence,
            ),
        ).fetchall()
        if change.status.is_terminal:
            db.execute(sql.DELETE_SIGNALS, (job_id, 2**62))
        if changes.forgets_waits:
            db.execute(sql.FORGET_WAITS, (job_id,))
        if commit.waits and change.release:
            db.executemany(sql.WAIT_FOR, wait_rows(job_id, commit.waits))
    first_seq, _ = _extend(db, job_id, commit, End(*row))
    return first_seq


def _extend(db: sqlite3.Connection, job_id: str, commit: Commit, end: End) -> tuple[int, End]:
    """Write the entries of a journal whose row counts them already; return the seq of the first, and where the journal ends now."""
    count = len(commit.events)
    first_seq = end.last_seq - count + 1
    end = append(db, job_id, first_seq, commit.events, commit.at, end, commit.commit_id)
    return first_seq if count else 0, end


def _write_families(db: sqlite3.Connection, commit: Commit, changes: Changes) -> None:
    for job, events in commit.create:
        _create(db, job, events, commit.at)
    for signal in changes.signals(commit):
        send(db, signal)


def _create(db: sqlite3.Connection, job: JobRecord, events: Sequence[NewEvent], at: datetime) -> None:
    if job.predecessor_id is not None:
        db.execute(sql.SUCCEED, (job.job_id, job.predecessor_id))
    end = End(len(events), first_head(job.job_id, job.scope_id), new_salts())
    db.execute(
        sql.INSERT_JOB, [*encode(JOB, job_row(replace(job, last_seq=len(events)))), end.head, end.salts]
    )
    append(db, job.job_id, 1, events, at, end)


def _spend(db: sqlite3.Connection, commit: Commit, changes: Changes) -> None:
    new = set()
    for key, added in changes.charges.items():
        values = (*added.settled, *added.reserved, *key)
        if not db.execute(sql.CHARGE, values).rowcount:
            db.execute(sql.NEW_COUNTERS, key)
            db.execute(sql.CHARGE, values)
            new.add(key)
    for charge in commit.charges if new else ():
        if charge.forget_before and (charge.budget_id, charge.window) in new:
            kind = charge.forget_before.partition(":")[0]
            db.execute(sql.FORGET_COUNTERS, (charge.budget_id, kind, charge.forget_before))


def _set_rules(db: sqlite3.Connection, commit: Commit) -> None:
    db.executemany(sql.PUT_BUDGET, [encode(BUDGET, budget_row(one, commit.at)) for one in commit.budgets])
    db.executemany(sql.DROP_BUDGET, [(budget_id,) for budget_id in commit.drop_budgets])
    db.executemany(sql.KEEP_POLICY, [encode(POLICY, policy_row(one, commit.at)) for one in commit.policies])
    floors = list(commit.floors)
    for opening in commit.openings:
        places = {"since": from_time(opening.since), "after": opening.upto, "upto": LAST_POSITION}
        later = [spent_by(row) for row in db.execute(sql.SPENT_SINCE, places)]
        floors += [Floor(name, opening.window, amount) for name, amount in opening.counters(later).items()]
    _lift_counters(db, floors)


def _lift_counters(db: sqlite3.Connection, floors: Iterable[Floor]) -> None:
    for budget_id, window, amount in floors:
        key = (budget_id, window)
        db.execute(sql.NEW_COUNTERS, key)
        now = counters_of(db.execute(sql.COUNTERS, key).fetchone())
        db.execute(sql.CHARGE, (*uncounted(amount, now.settled), *NOTHING, *key))


def _write_actions(db: sqlite3.Connection, commit: Commit, changes: Changes) -> None:
    if commit.new_actions:
        rows = [encode(ACTION, action_row(action)) for action in commit.new_actions]
        db.executemany(sql.INSERT_ACTION, rows)
    if commit.new_tokens:
        db.executemany(sql.INSERT_TOKEN, commit.new_tokens)
    for change in commit.action_changes:
        _change_action(db, change, commit.at)
    if changes.withdrawn:
        moment = from_time(commit.at)
        db.executemany(sql.WITHDRAW_ACTION, [(moment, action_id) for action_id in changes.withdrawn])
    if commit.cancel_actions_of is not None:
        db.execute(sql.CANCEL_ACTIONS, (from_time(commit.at), commit.cancel_actions_of))


def _change_action(db: sqlite3.Connection, change: ActionChange, at: datetime) -> None:
    pending = change.status is ActionStatus.PENDING
    db.execute(
        sql.CHANGE_ACTION,
        (
            change.status.value,
            None if change.resolution is None else from_json(change.resolution),
            change.resolved_by,
            None if pending else from_time(at),
            None if change.votes is None else from_json(change.votes),
            change.job_id,
            change.action_id,
        ),
    )


def _move_timers(db: sqlite3.Connection, commit: Commit) -> None:
    if commit.take_timers:
        db.executemany(sql.CLEAR_TIMER, commit.take_timers)
    if commit.set_timers:
        db.executemany(sql.SET_TIMER, [encode(TIMER, timer) for timer in commit.set_timers])
    if commit.clear_timers:
        db.executemany(sql.CLEAR_TIMER, commit.clear_timers)
    if commit.clear_timers_of is not None:
        db.execute(sql.CLEAR_TIMERS_OF, (commit.clear_timers_of,))


def append(
    db: sqlite3.Connection,
    job_id: str,
    first_seq: int,
    events: Sequence[NewEvent],
    at: datetime,
    end: End,
    commit_id: str | None = None,
) -> End:
    """Write events from `first_seq` on, linked to the head of `end`; return where the journal ends now."""
    if not events:
        return end
    chain = links(end.head, end.salts, first_seq, events, at)
    db.execute(sql.MOVE_HEAD, (chain[-1], job_id))
    _insert(db, job_id, first_seq, events, at, chain, commit_id)
    return End(first_seq + len(events) - 1, chain[-1], end.salts)


def _insert(
    db: sqlite3.Connection,
    job_id: str,
    first_seq: int,
    events: Sequence[NewEvent],
    at: datetime,
    chain: Sequence[bytes],
    commit_id: str | None,
) -> None:
    """Write events with their links. Only the first carries the commit's id."""
    moment = from_time(at)
    rows = [
        (
            job_id,
            seq,
            commit_id if seq == first_seq else None,
            event.type,
            moment,
            event.operation_id,
            from_json(event.data),
            event.content,
            link,
        )
        for seq, event, link in zip(range(first_seq, first_seq + len(events)), events, chain, strict=True)
    ]
    try:
        db.executemany(sql.INSERT_EVENT, rows)
    except sqlite3.IntegrityError:
        row = db.execute(sql.COMMITTED_SEQ, (commit_id,)).fetchone()
        if row is None:
            raise
        raise AlreadyCommitted(row[0]) from None


def send(db: sqlite3.Connection, signal: Signal) -> None:
    """Store a signal, unless it was sent before."""
    signal_id, job_id, type_, operation_id, data, content = signal
    values = (signal_id, job_id, type_, operation_id, from_json(data), content, signal.is_failure)
    db.execute(sql.SEND, values)
