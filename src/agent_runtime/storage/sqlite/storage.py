"""`Storage` on one SQLite file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.ports.commit import Commit, StoredPolicy, Timer
from agent_runtime.ports.journal import Claim, DueJob, Listener
from agent_runtime.ports.retention import Forgettable
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage import rows
from agent_runtime.storage.compression import compressed
from agent_runtime.storage.forgetting import LEDGER, forget
from agent_runtime.storage.spent import spent_by
from agent_runtime.storage.sqlite import inbox
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.claims import EVENTS, able, claim, due_in_turns, fold, has_slot, next_jobs
from agent_runtime.storage.sqlite.commit import apply
from agent_runtime.storage.sqlite.connection import Durability
from agent_runtime.storage.sqlite.executor_lock import ExecutorLock
from agent_runtime.storage.sqlite.inbox import read_messages, woken_by_mail
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import (
    decode,
    encode,
    event_record,
    from_time,
    timer_record,
    to_time,
)
from agent_runtime.storage.sqlite.view import counters_of
from agent_runtime.storage.sqlite.writer import Writer
from agent_runtime.storage.turns import Rotation
from agent_runtime.values.ability import Ability
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.budget import Counters, LedgerEntry, LedgerFilter
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import EPOCH, RuntimeEvent
from agent_runtime.values.job import JobFilter, JobRecord
from agent_runtime.values.message import Address, InboxMessage
from agent_runtime.values.opening import SpentBy
from agent_runtime.values.standing_budget import Budget

_JOB = ", ".join(rows.JOB)
_CHAIN_HEAD = f"""
SELECT {_JOB} FROM runtime_jobs
WHERE (job_id = ? OR (chain_id = ? AND predecessor_id IS NOT NULL)) AND successor_id IS NULL
"""  # noqa: S608 -- names from `rows`
_ACTION = ", ".join(rows.ACTION)
_TIMER = ", ".join(rows.TIMER)
_ALL = 2**31


class SQLiteStorage:
    """Storage in a file. One process at a time executes jobs; any number submit, watch and resolve.

    Args:
        path: The file; it is created when missing, its folder is not.
        durability: `power` survives a loss of power, `process` only the death of the process and is faster.
    """

    is_durable = True
    is_shared = False
    clock: Clock = SystemClock()

    def __init__(self, path: str | Path, *, durability: Durability = "power") -> None:
        # Once: the current folder may be another one later. To ask for it takes no look at a disk.
        self._path = Path(os.fsdecode(os.getcwdb()), path)  # noqa: PTH109 -- `Path.cwd` is taken for a blocking call
        self._writer = Writer(self._path, durability=durability, on_remote_change=self._on_remote_change)
        self._reader = Reader(self._path)
        self._lock = ExecutorLock(self._path)
        self._listeners: list[Listener] = []
        self._rotation = Rotation()
        self._opening: asyncio.Lock | None = None
        self._is_open = False

    @property
    def path(self) -> Path:
        """The file, wherever the current folder was when it was named."""
        return self._path

    async def look_at_clock(self) -> None:
        """Do nothing: everybody who uses it is on this machine."""

    async def open(self) -> None:
        """Open the file and create or check its tables."""
        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if not self._is_open:
                await self._writer.start()
                self._reader.start()
                self._is_open = True

    async def acquire_executor(self) -> bool:
        """Take the file's executor lock, if no other process holds it, and free what a dead executor left."""
        await self.open()
        if self._lock.is_held:  # by another kernel of this process, whose jobs are not left behind
            return True
        if not await asyncio.to_thread(self._lock.acquire):
            return False
        await self._writer.run(lambda db: db.execute(sql.FREE_ALL_JOBS, ("",)))
        await self._writer.run(lambda db: db.execute(sql.FORGET_OTHER_WORKERS, ("",)))
        await self._writer.run(lambda db: db.execute(sql.FORGET_OPERATORS))  # whoever listed them is gone
        return True

    async def aclose(self) -> None:
        """Finish what was handed in, give up the executor's place and close the file."""
        self._is_open = False
        await self._writer.stop()
        await self._reader.stop()
        await asyncio.to_thread(self._lock.release)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every later commit."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop telling `listener`."""
        self._listeners.remove(listener)

    async def commit(self, commit: Commit) -> int:
        """Write all of `commit` or nothing."""
        commit = await compressed(commit)
        woken: list[str] = []

        def write(db: sqlite3.Connection) -> int:
            first_seq = apply(db, commit)
            woken[:] = woken_by_mail(db, commit)
            return first_seq

        first_seq: int = await self._writer.run(
            write, lambda first_seq: self._tell_committed(commit, first_seq, woken)
        )
        return first_seq

    def _tell_committed(self, commit: Commit, first_seq: int, woken: Sequence[str]) -> None:
        for listener in tuple(self._listeners):
            listener.committed(commit, first_seq)
            if woken:
                listener.mailed(woken)

    async def claim(
        self,
        job_id: str,
        *,
        owner: str,
        at: datetime,
        caps: ScopeCaps = NO_CAPS,
        suspects: bool = True,
        ability: Ability | None = None,
    ) -> Claim | None:
        """Take a job that is due and unowned, if its scope has a place."""

        def take(db: sqlite3.Connection) -> Any:
            if caps and not has_slot(db, job_id, caps, ability):
                return None
            return claim(db, job_id, owner, at, suspects=suspects, ability=ability)

        claimed = await self._writer.run(take, self._tell_claimed)
        if claimed is None:
            return None
        job, events, new = claimed
        if len(events) < job.last_seq:
            place = (job_id, job.last_seq - len(new))
            older = await self._reader.run(  # made in its thread: there may be many
                lambda db: [
                    event_record(job_id, job.scope_id, row)
                    for row in db.execute(f"{EVENTS} AND seq <= ? ORDER BY seq", place)
                ]
            )
            events = [*older, *new]
        return Claim(job=job, events=events)

    async def fold(
        self, job_id: str, *, fence: int, at: datetime, held: Commit | None = None
    ) -> Sequence[RuntimeEvent]:
        """Append what is held, then the waiting signals, to the journal of a job that is ours."""
        first = None if held is None else await compressed(held)
        woken: list[str] = []

        def write(db: sqlite3.Connection) -> tuple[int, list[RuntimeEvent]]:
            first_seq = 0
            if first is not None:
                first_seq = apply(db, first)
                woken[:] = woken_by_mail(db, first)
            return first_seq, fold(db, job_id, fence, at)

        def tell(written: tuple[int, list[RuntimeEvent]]) -> None:
            first_seq, folded = written
            if first is not None:
                self._tell_committed(first, first_seq, woken)
            self._tell_folded(job_id, folded)

        written: tuple[int, list[RuntimeEvent]] | int = await self._writer.run(write, tell)
        if not isinstance(written, int):
            return written[1]
        assert first is not None  # noqa: S101 -- only a commit is found to have been made before
        return await self.events(job_id, after_seq=written + len(first.events) - 1, limit=_ALL)

    def _tell_claimed(self, claimed: tuple[JobRecord, Any, list[RuntimeEvent]] | None) -> None:
        if claimed is not None:
            self._tell_folded(claimed[0].job_id, claimed[2])

    def _tell_folded(self, job_id: str, events: list[RuntimeEvent]) -> None:
        if events:
            for listener in tuple(self._listeners):
                listener.folded(job_id, events)

    def _on_remote_change(self) -> None:
        for listener in tuple(self._listeners):
            listener.on_remote_change()

    async def events(
        self, job_id: str, *, scope_id: str | None = None, after_seq: int = 0, limit: int = 1000
    ) -> Sequence[RuntimeEvent]:
        """Return a job's entries after `after_seq`."""
        statement = f"{EVENTS} AND seq > ? ORDER BY seq LIMIT ?"
        return await self._events(job_id, scope_id, statement, after_seq, limit)

    async def tail(self, job_id: str, limit: int, *, scope_id: str | None = None) -> Sequence[RuntimeEvent]:
        """Return a job's last entries."""
        newest_first = await self._events(job_id, scope_id, f"{EVENTS} ORDER BY seq DESC LIMIT ?", limit)
        return newest_first[::-1]

    async def _events(
        self, job_id: str, scope_id: str | None, statement: str, *parameters: int
    ) -> list[RuntimeEvent]:
        def read(db: sqlite3.Connection) -> list[RuntimeEvent]:
            job = db.execute("SELECT scope_id FROM runtime_jobs WHERE job_id = ?", (job_id,)).fetchone()
            if job is None or scope_id not in (None, job[0]):
                return []
            return [event_record(job_id, job[0], row) for row in db.execute(statement, (job_id, *parameters))]

        return await self._reader.run(read)

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of jobs."""
        found = await self._reader.rows(sql.LAST_EVENTS, (orjson.dumps(list(job_ids)).decode(),))
        return [event_record(job_id, scope_id, row) for job_id, scope_id, *row in found]

    async def due_jobs(
        self,
        *,
        limit: int = 1000,
        caps: ScopeCaps = NO_CAPS,
        among: Sequence[str] | None = None,
        ability: Ability | None = None,
        across_scopes: bool = False,
    ) -> Sequence[DueJob]:
        """Return unowned jobs that are due and have a place."""
        if among is None and not across_scopes:
            return await self._reader.run(lambda db: due_in_turns(db, limit, caps, ability, self._rotation))
        statement = sql.due_jobs(capped=bool(caps), among=among is not None, across_scopes=across_scopes)
        parameters = {
            "caps": orjson.dumps(dict(caps.scopes)).decode(),
            "cap": caps.default,
            "ids": orjson.dumps(list(among or ())).decode(),
            "limit": limit,
            **able(ability),
        }
        return [DueJob(*row) for row in await self._reader.rows(statement, parameters)]

    async def next_jobs(
        self, scope_id: str, *, cap: int, queues: Sequence[str] = (), ability: Ability | None = None
    ) -> Sequence[tuple[str, int]]:
        """Return the first due jobs of one scope, as many as have a place."""
        return await self._reader.run(lambda db: next_jobs(db, scope_id, cap, queues, ability))

    async def blocked_jobs(
        self,
        ability: Ability,
        *,
        at: datetime,
        started_at: datetime,
        after: str = "",
        limit: int = 500,
    ) -> Sequence[str]:
        """Return blocked jobs that may be tried again."""
        parameters = {"after": after, "limit": limit, **able(ability)}
        parameters |= {"at": from_time(at), "started_at": from_time(started_at)}
        return [job_id for (job_id,) in await self._reader.rows(sql.BLOCKED_JOBS, parameters)]

    async def unlisted_jobs(self, seconds: float, *, at: datetime, limit: int = 500) -> Sequence[str]:
        """Return jobs that nobody can run."""
        parameters = {"since": from_time(at - timedelta(seconds=seconds)), "limit": limit}
        return [job_id for (job_id,) in await self._reader.rows(sql.UNLISTED_JOBS, parameters)]

    async def jobs_with_signals(self, owner: str) -> Sequence[str]:
        """Return jobs of `owner` for which signals wait."""
        found = await self._reader.rows(sql.JOBS_WITH_SIGNALS, (owner,))
        return [job_id for (job_id,) in found]

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return timers that have fallen due."""
        found = await self._reader.rows(
            f"SELECT {_TIMER} FROM runtime_timers WHERE due_at <= ? ORDER BY due_at LIMIT ?",  # noqa: S608
            (from_time(now), limit),
        )
        return [timer_record(row) for row in found]

    async def timers_named(
        self, key: str, *, limit: int = 10_000, after: tuple[datetime, str] | None = None
    ) -> Sequence[Timer]:
        """Return the timers of a key, of all jobs."""
        due_at, job_id = after or (EPOCH, "")
        found = await self._reader.rows(
            f"SELECT {_TIMER} FROM runtime_timers WHERE key = ? AND (due_at, job_id) > (?, ?) "  # noqa: S608
            "ORDER BY due_at, job_id LIMIT ?",
            (key, from_time(due_at), job_id, limit),
        )
        return [timer_record(row) for row in found]

    async def next_timer(self) -> datetime | None:
        """Return when the next timer falls due."""
        ((due_at,),) = await self._reader.rows("SELECT min(due_at) FROM runtime_timers")
        return None if due_at is None else to_time(due_at)

    async def get_timer(self, job_id: str, key: str) -> Timer | None:
        """Return a timer that has not been cleared, or `None`."""
        found = await self._reader.rows(
            f"SELECT {_TIMER} FROM runtime_timers WHERE job_id = ? AND key = ?",  # noqa: S608
            (job_id, key),
        )
        return timer_record(found[0]) if found else None

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`."""
        found = await self._reader.rows(f"SELECT {_JOB} FROM runtime_jobs WHERE job_id = ?", (job_id,))  # noqa: S608
        job = _job(found[0]) if found else None
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def find_job(self, scope_id: str, idempotency_key: str) -> JobRecord | None:
        """Return the job created under a key, or `None`."""
        found = await self._reader.rows(
            f"SELECT {_JOB} FROM runtime_jobs WHERE scope_id = ? AND idempotency_key = ? AND successor_id IS NULL",  # noqa: S608
            (scope_id, idempotency_key),
        )
        return _job(found[0]) if found else None

    async def chain_head(self, chain_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return the job of a chain in whose place no other goes on, or `None`."""
        found = await self._reader.rows(_CHAIN_HEAD, (chain_id, chain_id))
        job = _job(found[0]) if found else None
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def list_jobs(self, filter: JobFilter) -> Sequence[JobRecord]:  # noqa: A002 -- the port's name
        """Return jobs, newest first."""
        return [_job(row) for row in await self._select(lambda queries: queries.list_jobs(filter))]

    async def stopped_jobs(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Return which of these jobs have ended or are blocked."""
        found = await self._reader.rows(sql.STOPPED_JOBS, (orjson.dumps(list(job_ids)).decode(),))
        return [job_id for (job_id,) in found]

    async def count_jobs(self, filter: JobFilter) -> int:  # noqa: A002
        """Return how many jobs match."""
        ((count,),) = await self._select(lambda queries: queries.count_jobs(filter))
        return int(count)

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        """Return how many jobs of a scope wait for a worker, up to `most`."""
        ((count,),) = await self._reader.rows(sql.WAITING_IN_SCOPE, (scope_id, most))
        return int(count)

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        found = await self._reader.rows(
            f"SELECT {_ACTION} FROM runtime_actions WHERE action_id = ?",  # noqa: S608 -- names of our own
            (action_id,),
        )
        action = rows.action_record(decode(rows.ACTION, found[0])) if found else None
        return action if action is not None and scope_id in (None, action.scope_id) else None

    async def find_action(self, token_hash: str) -> ActionRecord | None:
        """Return the action one of whose resume tokens has this hash."""
        found = await self._reader.rows(sql.ACTION_BY_HASH, (token_hash,))
        if not found:
            return None
        ((action_id, approver),) = found
        action = await self.get_action(action_id)
        return None if action is None else replace(action, token_of=approver)

    async def list_actions(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        status: ActionStatus | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return actions, newest first."""
        found = await self._select(
            lambda queries: queries.list_actions(
                scope_id=scope_id, job_id=job_id, status=status, limit=limit, before=before
            )
        )
        return [rows.action_record(decode(rows.ACTION, row)) for row in found]

    async def counters(self, keys: Sequence[tuple[str, str]]) -> Sequence[Counters]:
        """Return counters of `(budget_id, window)` pairs."""

        def read(db: sqlite3.Connection) -> list[Counters]:
            found = (db.execute(sql.COUNTERS, key).fetchone() for key in keys)
            return [Counters() if row is None else counters_of(row) for row in found]

        return await self._reader.run(read)

    async def get_ledger_entry(self, scope_id: str, entry_id: str) -> LedgerEntry | None:
        """Return one entry of a scope, or `None`."""
        found = await self._reader.rows(
            f"SELECT {', '.join(rows.LEDGER)} FROM runtime_ledger WHERE event_id = ? AND scope_id = ?",  # noqa: S608
            (entry_id, scope_id),
        )
        return rows.ledger_entry(decode(rows.LEDGER, found[0])) if found else None

    async def ledger_positions(self) -> tuple[int, int]:
        """Return the places of the first and the last ledger entry; with one writer, nothing comes in between later."""
        ((first, last),) = await self._reader.rows("SELECT min(id), max(id) FROM runtime_ledger")
        return (first or 0, last or 0)

    async def spent(self, since: datetime, *, after: int, upto: int) -> Sequence[SpentBy]:
        """Add up the entries at some places."""
        found = await self._reader.rows(sql.SPENT_SINCE, (from_time(since), after, upto))
        return [spent_by(row) for row in found]

    async def standing_budgets(self) -> Sequence[Budget]:
        """Return all standing budgets, by id."""
        found = await self._reader.rows("SELECT limits FROM runtime_budgets ORDER BY budget_id")
        return [Budget.from_dict(orjson.loads(limits)) for (limits,) in found]

    async def get_policy(self, name: str, version: str) -> StoredPolicy | None:
        """Return a version of a policy, or `None`."""
        found = await self._reader.rows(
            "SELECT document FROM runtime_policies WHERE name = ? AND version = ?", (name, version)
        )
        return StoredPolicy(name, version, orjson.loads(found[0][0])) if found else None

    async def next_message(self, address: Address) -> InboxMessage | None:
        """Return the message that comes first, or `None`."""
        found = await self._reader.run(lambda db: read_messages(db, inbox.NEXT, *address))
        return found[0] if found else None

    async def get_message(self, message_id: str, *, scope_id: str) -> InboxMessage | None:
        """Return a message of a scope, or `None`."""
        found = await self._reader.run(lambda db: read_messages(db, inbox.ONE, message_id, scope_id))
        return found[0] if found else None

    async def list_messages(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[InboxMessage]:
        """Return messages that wait, by position."""
        return await self._reader.run(lambda db: read_messages(db, inbox.LIST, *address, after, limit))

    async def count_messages(self, address: Address) -> int:
        """Return how many messages wait."""
        return await self._reader.run(lambda db: inbox.unclaimed(db, address))

    async def ledger_entries(self, filter: LedgerFilter) -> Sequence[LedgerEntry]:  # noqa: A002
        """Return entries in the order they were written."""
        found = await self._select(lambda queries: queries.list_ledger(filter, as_stored=from_time))
        return [rows.ledger_entry(decode(rows.LEDGER, row)) for row in found]

    async def _select(self, build: Callable[[Any], Any]) -> list[tuple[Any, ...]]:
        """Run a statement that `build` makes with the module `queries`.

        A reader's thread makes it: the first import of SQLAlchemy takes longer than the event loop should stand still.
        """

        def read(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
            from sqlalchemy.dialects import sqlite

            from agent_runtime.storage import queries

            compiled = build(queries).compile(
                dialect=sqlite.dialect(paramstyle="qmark"), compile_kwargs={"render_postcompile": True}
            )
            names = compiled.positiontup or ()
            return db.execute(str(compiled), [compiled.params[name] for name in names]).fetchall()

        return await self._reader.run(read)

    async def register_worker(self, worker: WorkerRecord) -> bool:
        """Store or renew a worker's row."""
        row = encode(rows.WORKER, rows.worker_row(worker))
        queues, at = worker.queues or ("",), from_time(worker.heartbeat_at)
        listed = [(queue, operator, at) for queue in queues for operator in worker.operators]

        def put(db: sqlite3.Connection) -> bool:
            known = db.execute(sql.HAS_WORKER, (worker.worker_id,)).fetchone()[0]
            db.execute(sql.PUT_WORKER, row)
            db.executemany(sql.LIST_OPERATOR, listed)
            return bool(known)

        renewed: bool = await self._writer.run(put)
        return renewed

    async def prune(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete jobs that ended before a moment."""
        bounds = {"before": from_time(before), "limit": limit, "events": max_events}

        def delete(db: sqlite3.Connection) -> int:
            ended = db.execute(sql.ENDED_JOBS, bounds).fetchall()
            for statement in sql.DELETE_JOB:
                db.executemany(statement, ended)
            return len(ended)

        deleted: int = await self._writer.run(delete)
        return deleted

    async def forget(self, what: Forgettable, *, before: datetime, limit: int = 1000) -> int:
        """Delete what nobody has used since a moment. Long tables are looked through where nobody waits for it."""
        bounds = (from_time(before), limit)
        if what == "ledger":
            old = await self._reader.rows(LEDGER.format(before="?1", limit="?2"), bounds)
            delete = "DELETE FROM runtime_ledger WHERE id = ?"
            await self._writer.run(lambda db: db.executemany(delete, old))
            return len(old)

        def forgotten(db: sqlite3.Connection) -> int:
            return [db.execute(statement, bounds).rowcount for statement in forget(what, dollar=False)][-1]

        count: int = await self._writer.run(forgotten)
        return count

    async def prune_content(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the content of jobs that ended before a moment."""
        bounds = {"before": from_time(before), "limit": limit, "events": max_events}

        def empty(db: sqlite3.Connection) -> int:
            ended = db.execute(sql.ENDED_JOBS_WITH_CONTENT, bounds).fetchall()
            db.executemany(sql.DELETE_CONTENT, ended)
            db.executemany(sql.MARK_WITHOUT_CONTENT, ended)
            return len(ended)

        emptied: int = await self._writer.run(empty)
        return emptied

    async def owned_jobs(self, worker_id: str) -> Sequence[tuple[str, int]]:
        """Return the jobs a worker owns."""
        found = await self._reader.rows(
            "SELECT job_id, fence FROM runtime_jobs WHERE owner = ?", (worker_id,)
        )
        return [(job_id, fence) for job_id, fence in found]

    async def free_job(self, job_id: str, *, fence: int) -> bool:
        """Take a job from its owner."""
        freed: int = await self._writer.run(lambda db: db.execute(sql.FREE_JOB, (job_id, fence)).rowcount)
        return freed == 1

    async def expire_workers(self, older_than: float) -> Sequence[str]:
        """Do nothing: the executor's lock tells whether the one worker lives."""
        return ()

    async def list_workers(self) -> Sequence[WorkerRecord]:
        """Return registered workers."""
        found = await self._reader.rows(f"SELECT {', '.join(rows.WORKER)} FROM runtime_workers")  # noqa: S608
        return [rows.worker_record(decode(rows.WORKER, row)) for row in found]

    async def remove_worker(self, worker_id: str, *, died: bool = False) -> None:
        """Delete a worker's row and free the jobs it owned."""

        def remove(db: sqlite3.Connection) -> None:
            db.execute(sql.DELETE_WORKER, (worker_id,))
            db.execute(sql.FREE_JOBS, (died, worker_id))

        await self._writer.run(remove)


def _job(row: Sequence[Any]) -> JobRecord:
    return rows.job_record(decode(rows.JOB, row))
