"""Taking a job, and the signals that wait for it, inside an open transaction. Runs in the writer thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import orjson

from agent_runtime.errors import FenceLost, JobSuspected
from agent_runtime.ports.commit import NewEvent, placed
from agent_runtime.ports.due import DueJob
from agent_runtime.storage import rows
from agent_runtime.storage.ends import End
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.commit import append
from agent_runtime.storage.sqlite.values import EVENT_COLUMNS, decode, event_record, from_time
from agent_runtime.storage.turns import ByPriority, Candidate, Rotation, Turns, number_of_scopes
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import ScopeCaps
from agent_runtime.values.deaths import Deaths
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord

EVENTS: Final = f"SELECT {EVENT_COLUMNS} FROM runtime_events WHERE job_id = ?"  # noqa: S608 -- names from `rows`
INLINE_HISTORY: Final = 200
"""Entries that a claim reads in the writer thread; a longer journal is read beside it."""


def able(ability: Ability | None) -> dict[str, str | None]:
    """Return the parameters that say what whoever asks can run."""
    if ability is None:
        return {"operators": None, "versions": None}
    operators, versions = sorted(ability.operators), list(ability.versions)
    return {"operators": orjson.dumps(operators).decode(), "versions": orjson.dumps(versions).decode()}


def has_slot(db: sqlite3.Connection, job_id: str, caps: ScopeCaps, ability: Ability | None) -> bool:
    """Whether the job's scope has a slot for it; a job that is asked to stop needs none."""
    row = db.execute(sql.SCOPE_AND_STOP, (job_id,)).fetchone()
    cap = None if row is None else caps.of(row[0])
    if row is None or row[2] or cap is None:
        return True
    return any(first == job_id for first, _ in next_jobs(db, row[0], cap, [row[1]], ability))


def next_jobs(
    db: sqlite3.Connection, scope_id: str, cap: int, queues: Sequence[str], ability: Ability | None
) -> list[tuple[str, int]]:
    """Return the first due jobs of a scope, as many as have a free slot."""
    parameters = {"scope": scope_id, "cap": cap, "queues": orjson.dumps(list(queues)).decode()}
    return list(db.execute(sql.NEXT_JOBS, {**parameters, **able(ability)}))


def first_due(
    db: sqlite3.Connection, limit: int, caps: ScopeCaps, ability: Ability | None, rotation: Rotation | None
) -> list[DueJob]:
    """Return the first due jobs without looking at all that wait: scopes take turns, or without a rotation priority counts across them."""
    running = dict(db.execute(sql.RUNNING))
    number = number_of_scopes(limit, running, caps)
    turns: Turns
    if rotation is None:
        turns = ByPriority(_ready_scopes(db, "", -1), running, caps=caps, limit=limit)
    else:
        here = _ready_scopes(db, rotation.after, number)
        start = _ready_scopes(db, "", number) if rotation.after and len(here) < number else []
        turns = Turns(rotation.chosen(here, start, number), running, caps=caps, limit=limit)
    turns.add(Candidate(*row) for row in db.execute(sql.WOKEN, able(ability)))
    if caps:
        turns.add(Candidate(*row) for row in db.execute(sql.STOPPING, able(ability)))
    parameters = able(ability)
    while turns.wanted:
        turns.read(
            Candidate(*row)
            for scope_id, most in turns.wanted.items()
            for row in db.execute(sql.FIRST_READY, {"scope": scope_id, "number": most, **parameters})
        )
    return turns.first()


def _ready_scopes(db: sqlite3.Connection, after: str, number: int) -> list[str]:
    return [scope_id for (scope_id,) in db.execute(sql.READY_SCOPES, {"after": after, "number": number})]


def claim(
    db: sqlite3.Connection,
    job_id: str,
    owner: str,
    at: datetime,
    *,
    suspects: bool,
    ability: Ability | None,
) -> tuple[JobRecord, list[RuntimeEvent], list[RuntimeEvent]] | None:
    """Take a job; return it, the entries that were cheap to read, and those that are new. `None` when it is not ours."""
    found = db.execute(sql.CLAIMABLE, (job_id,)).fetchone()
    if found is None:
        return None
    operator, failed_versions, *counted, is_to_be_retried, stops = found
    failed = orjson.loads(failed_versions or "[]")
    if ability is not None and not ability.can_run(operator, failed, is_stopping=bool(stops)):
        return None
    stands = Deaths(*counted).claimed(pardoned=bool(is_to_be_retried))
    if stands.is_suspect and not suspects:
        raise JobSuspected
    taken = {"owner": owner, "at": from_time(at), "job_id": job_id, **stands._asdict()}
    *row, head, salts = db.execute(sql.CLAIM, taken).fetchone()
    job = rows.job_record(decode(rows.JOB, row))
    at = job.updated_at  # not earlier than what was written before
    before = job.last_seq - 1
    start = NewEvent(RuntimeEventType.JOB_STARTED if job.fence == 1 else RuntimeEventType.JOB_RESUMED)
    append(db, job_id, job.last_seq, [start], at, End(before, head, salts))
    new = [placed(start, job_id, job.scope_id, job.last_seq, at), *drain_signals(db, job_id, job.fence, at)]
    job = replace(job, last_seq=before + len(new))
    if before > INLINE_HISTORY:
        return job, new, new
    older = db.execute(f"{EVENTS} AND seq <= ? ORDER BY seq", (job_id, before))
    return job, [*(event_record(job_id, job.scope_id, row) for row in older), *new], new


def drain_signals(db: sqlite3.Connection, job_id: str, fence: int, at: datetime) -> list[RuntimeEvent]:
    """Append the waiting signals to a journal; return the new entries."""
    waiting = db.execute(sql.WAITING_SIGNALS, (job_id,)).fetchall()
    if not waiting:
        _check_fence(db, job_id, fence)
        return []
    events = [NewEvent(t, step, orjson.loads(data), content) for _, t, step, data, content in waiting]
    row = db.execute(sql.ADD_SEQ, (len(events), job_id, fence)).fetchone()
    if row is None:
        raise FenceLost
    last_seq, scope_id, *end = row
    first_seq = last_seq - len(events) + 1
    append(db, job_id, first_seq, events, at, End(first_seq - 1, *end))
    db.execute(sql.DELETE_SIGNALS, (job_id, waiting[-1][0]))
    return [placed(event, job_id, scope_id, seq, at) for seq, event in enumerate(events, first_seq)]


def _check_fence(db: sqlite3.Connection, job_id: str, fence: int) -> None:
    row = db.execute(sql.JOB_STATE, (job_id,)).fetchone()
    if row is None or row[0] != fence:
        raise FenceLost
