"""`Storage` in a Postgres database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import StorageError
from agent_runtime.ports.change_notifier import ChangeNotifier
from agent_runtime.ports.clock import ServerClock
from agent_runtime.ports.commit import Commit, StoredPolicy, Timer
from agent_runtime.ports.journal import Claim, DueJob, Listener, RemoteChange
from agent_runtime.ports.retention import Forgettable
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage import rows
from agent_runtime.storage.compression import compressed
from agent_runtime.storage.forgetting import forget
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.apply import Claimed
from agent_runtime.storage.postgres.change_notifier import PostgresChangeNotifier
from agent_runtime.storage.postgres.claims import ClaimReader
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.executor_lock import ExecutorLock
from agent_runtime.storage.postgres.operations import ClaimOperation, CommitOperation, FoldOperation
from agent_runtime.storage.postgres.slots import able_parameters
from agent_runtime.storage.postgres.tables import check_tables, create_tables
from agent_runtime.storage.postgres.transaction import counters_of, spent_rows
from agent_runtime.storage.postgres.values import (
    EVENT_COLUMNS,
    decode,
    encode,
    event_record,
    from_json,
    from_text,
    timer_record,
    to_text,
)
from agent_runtime.storage.postgres.writer import Writer
from agent_runtime.storage.turns import Candidate, Rotation, Turns, number_of_scopes
from agent_runtime.values.ability import Ability
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.budget import Counters, LedgerEntry, LedgerFilter
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import EPOCH, RuntimeEvent
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from agent_runtime.values.message import Address, InboxMessage
from agent_runtime.values.opening import SpentBy
from agent_runtime.values.standing_budget import Budget
from llm_client.background import drained, in_background, stopped
from llm_client.logs import logger_of

if TYPE_CHECKING:
    import asyncpg

logger = logger_of(__name__)

CLOSE_SECONDS: Final = 5.0
"""How long closing waits for the server: to write what was handed in, to announce it, to give up the executor's place."""
_JOB = ", ".join(rows.JOB)
_ONE_JOB = f"SELECT {_JOB} FROM runtime_jobs WHERE job_id = $1"  # noqa: S608 -- names from `rows`
CHAIN_HEAD = f"""
SELECT {_JOB} FROM runtime_jobs
WHERE (job_id = $1 OR (chain_id = $1 AND predecessor_id IS NOT NULL)) AND successor_id IS NULL
"""  # noqa: S608
_ACTION = ", ".join(rows.ACTION)
_TIMER = ", ".join(rows.TIMER)
_LEDGER = ", ".join(rows.LEDGER)
_ALL = 2**31
_EVENTS = f"SELECT {EVENT_COLUMNS} FROM runtime_events WHERE job_id = $1"  # noqa: S608 -- names from `rows`


LEDGER_PATIENCE: Final = 60.0
"""Seconds to wait for transactions that write the ledger, before a budget that counts what it has is stored."""
RELIST: Final = timedelta(seconds=1)
"""How old the listing of an operator becomes before it is renewed."""


class PostgresStorage:
    """Storage in a database that any number of processes share.

    Args:
        source: The address of the database, `postgresql://user@host/name`, or an `asyncpg` pool of the caller's, which
            the caller closes.
        patience: Seconds to find out what became of a commit during which the connection was lost.
        notifier: How processes hear of each other's changes, the same for all of them; by default LISTEN and NOTIFY.
    """

    is_durable = True
    is_shared = True

    def __init__(
        self,
        source: str | asyncpg.Pool[Any],
        *,
        patience: float = 30.0,
        notifier: ChangeNotifier | None = None,
    ) -> None:
        self._dsn = source if isinstance(source, str) else None
        self._connections = Connections(source)
        self._writer = Writer(self._connections, patience=patience)
        self._notifier = notifier or PostgresChangeNotifier(self._connections)
        self._claims = ClaimReader(self._connections)
        self._lock = ExecutorLock(self._connections)
        self._listeners: list[Listener] = []
        self._rotation = Rotation()
        self.clock = ServerClock()
        """What time it is on the server."""
        self._opening: asyncio.Lock | None = None
        self._resting: asyncio.Task[None] | None = None
        self._is_open = False

    def __repr__(self) -> str:
        return "PostgresStorage(…)"

    @property
    def dsn(self) -> str | None:
        """The address it was given; `None` over a caller's pool."""
        return self._dsn

    async def setup(self) -> None:
        """Create the tables, or bring older ones up to date. Idempotent; as `agent-runtime migrate` does."""
        was_open = self._is_open
        await self._connections.open()
        try:
            await create_tables(self._connections)
        finally:
            if not was_open:
                await self._connections.aclose()

    async def open(self) -> None:
        """Connect and check the tables.

        Raises:
            SchemaMismatch: The tables are missing, or of another version; the message says what to run.
            StorageError: The server cannot be reached.
        """
        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if self._is_open:
                return
            try:
                await self._connections.open()
                await check_tables(self._connections)
                await self.look_at_clock()
            except BaseException:
                await self._connections.aclose()
                raise
            self._writer.start()
            self._is_open = True
            if self._listeners:
                self._notifier.start(self._on_remote_change)
            self._writer.rest(resting=self._dsn is None and not self._listeners)

    async def acquire_executor(self) -> bool:
        """Take the advisory lock of the one process that executes without a shared queue, unless another has it.

        Where jobs come from a shared queue any number of workers execute, and nobody asks for this.
        """
        await self.open()
        await self._rested()
        if self._lock.is_held():
            return True
        if not await self._lock.acquire():
            return False
        await self._connections.fetch(sql.DELETE_LOCAL_WORKERS)
        await self._connections.fetch(sql.FREE_ABANDONED_JOBS)
        return True

    async def aclose(self) -> None:
        """Finish what was handed in, give up the executor's place and disconnect; a server that does not answer is not
        waited for.
        """  # noqa: D205 -- one thought
        was_open, self._is_open = self._is_open, False
        using = (self._rested, self._writer.stop, self._notifier.stop, self._lock.release)
        if not await stopped(*(using if was_open else ()), self._connections.aclose, seconds=CLOSE_SECONDS):
            logger.warning("the Postgres server does not answer; the storage is closed without it")

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every later commit."""
        self._listeners.append(listener)
        if self._is_open and len(self._listeners) == 1:
            self._notifier.start(self._on_remote_change)
            self._writer.rest(resting=False)

    def unlisten(self, listener: Listener) -> None:
        """Stop telling `listener`. With the last one, every connection that is not in use is given back."""
        self._listeners.remove(listener)
        if self._is_open and not self._listeners:
            self._writer.rest(resting=self._dsn is None)
            self._resting = in_background(self._rest(), name="postgres rest")

    async def _rest(self) -> None:
        """Hear of nobody and execute nothing, unless somebody listens again by now."""
        if not self._listeners:
            await self._notifier.stop()
        if not self._listeners:
            await self._lock.release()

    async def _rested(self) -> None:
        """Wait until what nobody needed any more has been given up."""
        if self._resting is not None:
            await drained((self._resting,))

    def _on_remote_change(self, changes: Sequence[RemoteChange] | None) -> None:
        for listener in tuple(self._listeners):
            listener.on_remote_change(changes)

    async def commit(self, commit: Commit) -> int:
        """Write all of `commit` or nothing."""
        commit = await compressed(commit)

        def tell(first_seq: int) -> None:
            self._tell_committed(operation, first_seq)

        future = asyncio.get_running_loop().create_future()
        operation = CommitOperation(future, tell, commit=commit)
        first_seq: int = await self._writer.run(operation)
        return first_seq

    def _tell_committed(self, operation: CommitOperation, first_seq: int) -> None:
        self._announce(operation.commit, (*operation.cancelled, *operation.mailed))
        for listener in tuple(self._listeners):
            listener.committed(operation.commit, first_seq)
            if operation.mailed:
                listener.mailed(operation.mailed)

    def _announce(self, commit: Commit, woken: Sequence[str]) -> None:
        tell = self._notifier.publish
        for job, _ in commit.create:
            if job.operator is not None:
                tell(RemoteChange("created", job.job_id))
        for job_id in (*(signal.job_id for signal in commit.signals), *woken):
            tell(RemoteChange("signalled", job_id))
        status = None if commit.job is None else commit.job.status
        if status is not None and (status.is_terminal or status is JobStatus.BLOCKED):
            tell(RemoteChange("ended", commit.job_id or ""))
        elif commit.events:
            tell(RemoteChange("appended", commit.job_id or ""))
        for timer in commit.set_timers:
            tell(RemoteChange("timer", timer.job_id))

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

        def tell(claimed: Claimed | None) -> None:
            if claimed is not None:
                self._tell_folded(job_id, claimed.new_events)

        future = asyncio.get_running_loop().create_future()
        operation = ClaimOperation(
            future, tell, job_id=job_id, owner=owner, at=at, caps=caps, suspects=suspects, ability=ability
        )
        claimed: Claimed | None = await self._writer.run(operation)
        return None if claimed is None else await self._claims.read(claimed, owner=owner)

    async def fold(
        self, job_id: str, *, fence: int, at: datetime, held: Commit | None = None
    ) -> Sequence[RuntimeEvent]:
        """Append what is held, then the waiting signals, to the journal of a job that is ours."""
        first = None if held is None else await compressed(held)
        future = asyncio.get_running_loop().create_future()

        def tell(events: Sequence[RuntimeEvent]) -> None:
            if operation.held is not None:
                self._tell_committed(operation.held, operation.held_seq)
            self._tell_folded(job_id, events)

        operation = FoldOperation(
            future,
            tell,
            job_id=job_id,
            fence=fence,
            at=at,
            held=CommitOperation(future, commit=first) if first else None,
        )
        folded: Sequence[RuntimeEvent] | int = await self._writer.run(operation)
        if not isinstance(folded, int):
            return folded
        assert first is not None  # noqa: S101 -- only a commit is found to have been made before
        return await self.events(job_id, after_seq=folded + len(first.events) - 1, limit=_ALL)

    def _tell_folded(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        if events:
            self._notifier.publish(RemoteChange("appended", job_id))
            for listener in tuple(self._listeners):
                listener.folded(job_id, events)

    async def events(
        self, job_id: str, *, scope_id: str | None = None, after_seq: int = 0, limit: int = 1000
    ) -> Sequence[RuntimeEvent]:
        """Return a job's entries after `after_seq`."""
        statement = f"{_EVENTS} AND seq > $2 ORDER BY seq LIMIT $3"
        return await self._events(job_id, scope_id, statement, after_seq, limit)

    async def tail(self, job_id: str, limit: int, *, scope_id: str | None = None) -> Sequence[RuntimeEvent]:
        """Return a job's last entries."""
        newest_first = await self._events(job_id, scope_id, f"{_EVENTS} ORDER BY seq DESC LIMIT $2", limit)
        return newest_first[::-1]

    async def _events(
        self, job_id: str, scope_id: str | None, statement: str, *parameters: int
    ) -> Sequence[RuntimeEvent]:
        found = await self._connections.fetch(statement, to_text(job_id), *parameters)
        if not found:
            return []
        ((stored,),) = await self._connections.fetch(
            "SELECT scope_id FROM runtime_jobs WHERE job_id = $1", to_text(job_id)
        )
        owner = from_text(stored)
        if scope_id not in (None, owner):
            return []
        return [event_record(job_id, owner, tuple(row)) for row in found]

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of jobs."""
        found = await self._connections.fetch(sql.LAST_EVENTS, list(map(to_text, job_ids)))
        return [event_record(from_text(row[0]), from_text(row[1]), tuple(row)[2:]) for row in found]

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
            return await self._due_in_turns(limit, caps, ability)
        parameters: list[Any] = [limit, *able_parameters(ability)]
        if among is not None:
            parameters.append([to_text(job_id) for job_id in among])
        if caps:
            scopes = [to_text(scope_id) for scope_id in caps.scopes]
            parameters += [scopes, list(caps.scopes.values()), caps.default]
        statement = sql.due_jobs(capped=bool(caps), among=among is not None, across_scopes=across_scopes)
        found = await self._connections.fetch(statement, *parameters)
        return [DueJob(job_id, priority, from_text(scope_id)) for job_id, priority, scope_id in found]

    async def _due_in_turns(self, limit: int, caps: ScopeCaps, ability: Ability | None) -> list[DueJob]:
        fetch, able = self._connections.fetch, able_parameters(ability)
        running = {from_text(scope_id): number for scope_id, number in await fetch(sql.RUNNING)}
        number, rotation = number_of_scopes(limit, running, caps), self._rotation

        async def scopes(after: str) -> list[str]:
            found = await fetch(sql.READY_SCOPES, to_text(after), number)
            return [from_text(scope_id) for (scope_id,) in found]

        here = await scopes(rotation.after)
        start = await scopes("") if rotation.after and len(here) < number else []
        turns = Turns(rotation.chosen(here, start, number), running, caps=caps, limit=limit)
        for others in (sql.WOKEN, sql.STOPPING) if caps else (sql.WOKEN,):
            turns.add(map(_candidate, await fetch(others, *able)))
        while turns.wanted:
            wanted = list(map(to_text, turns.wanted)), list(turns.wanted.values())
            found = await fetch(sql.FIRST_READY, *wanted, *able)
            turns.read(map(_candidate, found))
        return turns.first()

    async def next_jobs(
        self, scope_id: str, *, cap: int, queues: Sequence[str] = (), ability: Ability | None = None
    ) -> Sequence[tuple[str, int]]:
        """Return the first due jobs of one scope, as many as have a place."""
        names = [to_text(queue) for queue in queues]
        found = await self._connections.fetch(
            sql.NEXT_JOBS, to_text(scope_id), cap, names, *able_parameters(ability)
        )
        return [(job_id, priority) for job_id, priority in found]

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
        found = await self._connections.fetch(
            sql.BLOCKED_JOBS, to_text(after), limit, *able_parameters(ability), at, started_at
        )
        return [from_text(job_id) for (job_id,) in found]

    async def unlisted_jobs(self, seconds: float, *, at: datetime, limit: int = 500) -> Sequence[str]:
        """Return jobs that nobody can run, by the server's clock."""
        interval = timedelta(seconds=seconds)
        lines = await self._connections.fetch(sql.UNLISTED_LINES, interval)
        operators, queues = [line[0] for line in lines], [line[1] for line in lines]
        found = await self._connections.fetch(sql.UNLISTED_JOBS, interval, limit, operators, queues)
        return [from_text(job_id) for (job_id,) in found]

    async def jobs_with_signals(self, owner: str) -> Sequence[str]:
        """Return jobs of `owner` for which signals wait."""
        return [job_id for (job_id,) in await self._connections.fetch(sql.JOBS_WITH_SIGNALS, owner)]

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return timers that have fallen due."""
        statement = f"SELECT {_TIMER} FROM runtime_timers WHERE due_at <= $1 ORDER BY due_at LIMIT $2"  # noqa: S608
        return [timer_record(tuple(row)) for row in await self._connections.fetch(statement, now, limit)]

    async def timers_named(
        self, key: str, *, limit: int = 10_000, after: tuple[datetime, str] | None = None
    ) -> Sequence[Timer]:
        """Return the timers of a key, of all jobs."""
        due_at, job_id = after or (EPOCH, "")
        statement = (
            f"SELECT {_TIMER} FROM runtime_timers WHERE key = $1 AND (due_at, job_id) > ($2, $3) "  # noqa: S608
            "ORDER BY due_at, job_id LIMIT $4"
        )
        found = await self._connections.fetch(statement, to_text(key), due_at, to_text(job_id), limit)
        return [timer_record(tuple(row)) for row in found]

    async def get_timer(self, job_id: str, key: str) -> Timer | None:
        """Return a timer that has not been cleared, or `None`."""
        statement = f"SELECT {_TIMER} FROM runtime_timers WHERE job_id = $1 AND key = $2"  # noqa: S608
        found = await self._connections.fetch(statement, to_text(job_id), to_text(key))
        return timer_record(tuple(found[0])) if found else None

    async def next_timer(self) -> datetime | None:
        """Return when the next timer falls due."""
        ((due_at,),) = await self._connections.fetch("SELECT min(due_at) FROM runtime_timers")
        moment: datetime | None = due_at
        return moment

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`."""
        job = await self._job(_ONE_JOB, job_id)
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def find_job(self, scope_id: str, idempotency_key: str) -> JobRecord | None:
        """Return the job created under a key, or `None`."""
        statement = f"""
        SELECT {_JOB} FROM runtime_jobs WHERE scope_id = $1 AND idempotency_key = $2 AND successor_id IS NULL
        """  # noqa: S608
        return await self._job(statement, scope_id, idempotency_key)

    async def chain_head(self, chain_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return the job of a chain in whose place no other goes on, or `None`."""
        job = await self._job(CHAIN_HEAD, chain_id)
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def _job(self, statement: str, *parameters: str) -> JobRecord | None:
        found = await self._connections.fetch(statement, *map(to_text, parameters))
        return _job(found[0]) if found else None

    async def list_jobs(self, filter: JobFilter) -> Sequence[JobRecord]:  # noqa: A002 -- the port's name
        """Return jobs, newest first."""
        return [_job(row) for row in await self._select(lambda queries: queries.list_jobs(filter))]

    async def stopped_jobs(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Return which of these jobs have ended or are blocked."""
        found = await self._connections.fetch(sql.STOPPED_JOBS, list(map(to_text, job_ids)))
        return [from_text(job_id) for (job_id,) in found]

    async def count_jobs(self, filter: JobFilter) -> int:  # noqa: A002
        """Return how many jobs match."""
        ((count,),) = await self._select(lambda queries: queries.count_jobs(filter))
        return int(count)

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        """Return how many jobs of a scope wait for a worker, up to `most`."""
        ((_, count),) = await self._connections.fetch(sql.WAITING_IN, [to_text(scope_id)], most)
        return int(count)

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        statement = f"SELECT {_ACTION} FROM runtime_actions WHERE action_id = $1"  # noqa: S608 -- names of ours
        found = await self._connections.fetch(statement, to_text(action_id))
        action = _action(found[0]) if found else None
        return action if action is not None and scope_id in (None, action.scope_id) else None

    async def find_action(self, token_hash: str) -> ActionRecord | None:
        """Return the action one of whose resume tokens has this hash."""
        found = await self._connections.fetch(sql.ACTION_BY_HASH, to_text(token_hash))
        if not found:
            return None
        action_id, approver = (None if value is None else from_text(value) for value in found[0])
        action = await self.get_action(action_id or "")
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
        return [_action(row) for row in found]

    async def counters(self, keys: Sequence[tuple[str, str]]) -> Sequence[Counters]:
        """Return counters of `(budget_id, window)` pairs."""
        budgets, windows = [to_text(key[0]) for key in keys], [to_text(key[1]) for key in keys]
        found = await self._connections.fetch(sql.COUNTERS, budgets, windows)
        known = {(budget_id, window): counters_of(amounts) for budget_id, window, *amounts in found}
        return [known.get(key, Counters()) for key in zip(budgets, windows, strict=True)]

    async def get_ledger_entry(self, scope_id: str, entry_id: str) -> LedgerEntry | None:
        """Return one entry of a scope, or `None`."""
        statement = f"SELECT {_LEDGER} FROM runtime_ledger WHERE event_id = $1 AND scope_id = $2"  # noqa: S608
        found = await self._connections.fetch(statement, to_text(entry_id), to_text(scope_id))
        return _entry(found[0]) if found else None

    async def next_message(self, address: Address) -> InboxMessage | None:
        """Return the message that comes first, or `None`."""
        found = await self._connections.fetch(sql.NEXT_MESSAGE, *map(to_text, address))
        return _message(found[0]) if found else None

    async def get_message(self, message_id: str, *, scope_id: str) -> InboxMessage | None:
        """Return a message of a scope, or `None`."""
        found = await self._connections.fetch(
            f"{sql.MESSAGES} WHERE message_id = $1 AND scope_id = $2", to_text(message_id), to_text(scope_id)
        )
        return _message(found[0]) if found else None

    async def list_messages(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[InboxMessage]:
        """Return messages that wait, by position."""
        found = await self._connections.fetch(sql.LIST_MESSAGES, *map(to_text, address), after, limit)
        return [_message(row) for row in found]

    async def count_messages(self, address: Address) -> int:
        """Return how many messages wait."""
        found = await self._connections.fetch(sql.COUNT_UNCLAIMED, *map(to_text, address))
        return found[0][0] if found else 0

    async def ledger_entries(self, filter: LedgerFilter) -> Sequence[LedgerEntry]:  # noqa: A002
        """Return entries in the order they were written."""
        found = await self._select(lambda queries: queries.list_ledger(filter))
        return [_entry(row) for row in found]

    async def ledger_positions(self) -> tuple[int, int]:
        """Return the places of the first and the last ledger entry.

        Places are given before they are committed. Those who may have one below the last are waited for.
        """
        ((first, last),) = await self._connections.fetch(sql.LEDGER_POSITIONS)
        writing = {name for (name,) in await self._connections.fetch(sql.LEDGER_WRITERS)}
        give_up_at = asyncio.get_running_loop().time() + LEDGER_PATIENCE
        while writing:
            if asyncio.get_running_loop().time() > give_up_at:
                raise StorageError("a transaction that writes the ledger does not end; nothing was stored")
            await asyncio.sleep(0.005)
            writing &= {name for (name,) in await self._connections.fetch(sql.LEDGER_WRITERS)}
        return first, last

    async def spent(self, since: datetime, *, after: int, upto: int) -> Sequence[SpentBy]:
        """Add up the entries at some places."""
        return spent_rows(await self._connections.fetch(sql.SPENT_SINCE, since, after, upto))

    async def standing_budgets(self) -> Sequence[Budget]:
        """Return all standing budgets, by id."""
        found = await self._connections.fetch("SELECT limits FROM runtime_budgets ORDER BY budget_id")
        return [Budget.from_dict(from_json(limits)) for (limits,) in found]

    async def get_policy(self, name: str, version: str) -> StoredPolicy | None:
        """Return a version of a policy, or `None`."""
        found = await self._connections.fetch(
            "SELECT document FROM runtime_policies WHERE name = $1 AND version = $2",
            to_text(name),
            to_text(version),
        )
        return StoredPolicy(name, version, from_json(found[0][0])) if found else None

    async def _select(self, build: Callable[[Any], Any]) -> Sequence[Any]:
        """Run a statement that `build` makes with the module `queries`."""
        statement, parameters = await asyncio.to_thread(_compiled, build)
        return await self._connections.fetch(statement, *parameters)

    async def register_worker(self, worker: WorkerRecord) -> bool:
        """Store or renew a worker's row; return whether there was one to renew."""
        row = encode(rows.WORKER, rows.worker_row(worker))
        asked_at = self.clock.monotonic()
        ((is_new, now),) = await self._connections.fetch(sql.PUT_WORKER, *([value] for value in row))
        self.clock.learn(now, asked_at=asked_at)
        queues, operators = list(map(to_text, worker.queues)) or [""], list(map(to_text, worker.operators))
        await self._connections.fetch(sql.LIST_OPERATORS, queues, operators, RELIST)
        return not is_new

    async def look_at_clock(self) -> None:
        """Ask the server for its time."""
        asked_at = self.clock.monotonic()
        ((now,),) = await self._connections.fetch("SELECT clock_timestamp()")
        self.clock.learn(now, asked_at=asked_at)

    async def list_workers(self) -> Sequence[WorkerRecord]:
        """Return registered workers."""
        found = await self._connections.fetch(f"SELECT {', '.join(rows.WORKER)} FROM runtime_workers")  # noqa: S608
        return [rows.worker_record(decode(rows.WORKER, tuple(row))) for row in found]

    async def remove_worker(self, worker_id: str, *, died: bool = False) -> None:
        """Delete a worker's row and free the jobs it owned."""
        await self._connections.fetch(sql.DELETE_WORKER, worker_id)
        await self._connections.fetch(sql.FREE_JOBS, worker_id, died)

    async def prune(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete jobs that ended before a moment."""
        return len(await self._connections.fetch(sql.PRUNE, before, limit, max_events))

    async def forget(self, what: Forgettable, *, before: datetime, limit: int = 1000) -> int:
        """Delete what nobody has used since a moment."""
        count = 0
        for statement in forget(what, dollar=True):
            count = len(await self._connections.fetch(f"{statement} RETURNING 1", before, limit))
        return count

    async def prune_content(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the content of jobs that ended before a moment."""
        return len(await self._connections.fetch(sql.PRUNE_CONTENT, before, limit, max_events))

    async def owned_jobs(self, worker_id: str) -> Sequence[tuple[str, int]]:
        """Return the jobs a worker owns."""
        found = await self._connections.fetch(sql.OWNED_JOBS, worker_id)
        return [(job_id, fence) for job_id, fence in found]

    async def free_job(self, job_id: str, *, fence: int) -> bool:
        """Take a job from its owner."""
        return bool(await self._connections.fetch(sql.FREE_JOB, job_id, fence))

    async def expire_workers(self, older_than: float) -> Sequence[str]:
        """Delete the rows of workers that have not renewed them for so many seconds, by the server's clock.

        The jobs of all workers that have no row are freed and returned.
        """
        await self._connections.fetch(sql.DELETE_STALE_WORKERS, timedelta(seconds=older_than))
        freed = await self._connections.fetch(sql.FREE_ABANDONED_JOBS)
        return [job_id for (job_id,) in freed]


def _compiled(build: Callable[[Any], Any]) -> tuple[str, list[Any]]:
    """Return a statement's SQL and parameters. In a thread: the first import of SQLAlchemy takes its time."""
    from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

    from agent_runtime.storage import queries

    dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]  # as SQLAlchemy has it
    compiled = build(queries).compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    values = [compiled.params[name] for name in compiled.positiontup or ()]
    return str(compiled), [to_text(value) if isinstance(value, str) else value for value in values]


def _job(row: Any) -> JobRecord:
    return rows.job_record(decode(rows.JOB, tuple(row)))


def _message(row: Any) -> InboxMessage:
    return rows.message_record(decode(rows.MESSAGE, tuple(row)))


def _action(row: Any) -> ActionRecord:
    return rows.action_record(decode(rows.ACTION, tuple(row)))


def _entry(row: Any) -> LedgerEntry:
    return rows.ledger_entry(decode(rows.LEDGER, tuple(row)))


def _candidate(row: Sequence[Any]) -> Candidate:
    job_id, priority, scope_id, queue, *stops = row
    return Candidate(job_id, priority, from_text(scope_id), from_text(queue), *stops)
