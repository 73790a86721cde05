"""Locks: who executes, who changes tables, and who may still write to one.

**The executor's place**, where jobs come without a shared queue, is an advisory lock. It belongs to a connection and goes with it, so it dies
with its process.

**A change of a table** waits for everybody who has read it and whose transaction is still open: a dump, a forgotten psql.
Whoever comes to the table meanwhile, if only to read, queues behind the change. So it waits for moments only, lets the
others pass, and tries again; and when that does not help it says who is in the way.

**A table is settled** up to the ids that can be seen, when those are gone who may have written to it until then: ids are drawn before their
transaction commits, so a lower one may come late. Whoever inserts has the table's lock before an id is drawn, and lets it go
when what was written can be seen.

**What is counted** – how many jobs of a scope run and wait, as far as a batch has to know: for caps and for bounded queues – is counted under
the scope's lock, held as long as the transaction lasts, so that no two transactions count the same free slot. These locks come before all
rows, in one order everywhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from agent_runtime.errors import StorageError
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import (
    CONNECT_TIMEOUT,
    DRIVER_ERRORS,
    Connections,
    is_closed,
    mapped,
)
from agent_runtime.storage.postgres.values import from_text, to_text
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import QueueBounds, ScopeCaps
from llm_client.logs import logger_of

if TYPE_CHECKING:
    from agent_runtime.storage.postgres.connections import Connection

logger = logger_of(__name__)
T = TypeVar("T")

LOCK: Final = 0x61677274
"""The number of the lock: "agrt"."""
LOCK_MS: Final = 1500
"""How long a change waits for a table, and everybody else behind it."""
PAUSES: Final = (0.5, 1.0, 2.0)
"""Seconds between the tries, in which others get their turn."""
_ONE_AT_A_TIME: Final = 0x61676D67
"""Number of the advisory lock that lets one process migrate at a time: "agmg"."""
_IN_THE_WAY: Final = r"""
SELECT a.pid, coalesce(nullif(a.application_name, ''), 'without a name') AS application,
  extract(epoch FROM clock_timestamp() - min(a.xact_start))::float8 AS seconds
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relname ~ '^(runtime|procrastinate)_' AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 3
"""
PATIENCE: Final = 60.0
"""Seconds to wait for transactions that write."""
LOOK_SECONDS: Final = 0.005
WRITERS: Final = """
SELECT virtualtransaction, pid FROM pg_locks
WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation = to_regclass($1) AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid()
"""


class ExecutorLock:
    """An advisory lock on the database, held by a connection of its own."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._connection: Connection | None = None

    def is_held(self) -> bool:
        """Whether it is ours now; it is lost with its connection."""
        return self._connection is not None and not is_closed(self._connection)

    async def acquire(self) -> bool:
        """Take the lock if nobody holds it; return whether it is ours."""
        if self.is_held():
            return True
        await self.release()
        with mapped():
            connection = await self._connections.acquire()
            try:
                is_ours = await connection.fetchval(
                    "SELECT pg_try_advisory_lock($1)", LOCK, timeout=CONNECT_TIMEOUT
                )
            except BaseException as error:
                await self._connections.give_back(connection, failure=error)
                raise
            if not is_ours:
                await self._connections.give_back(connection)
                return False
        self._connection = connection
        return True

    async def release(self) -> None:
        """Give the lock up."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if not is_closed(connection):
                await connection.execute("SELECT pg_advisory_unlock_all()", timeout=CONNECT_TIMEOUT)
        except BaseException as error:  # the lock goes with its connection
            await self._connections.discard(connection)
            if not isinstance(error, DRIVER_ERRORS):
                raise
        else:
            await self._connections.give_back(connection)


async def change_tables(connections: Connections, change: Callable[[Connection], Awaitable[T]]) -> T:
    """Change tables in one transaction, one process at a time.

    Raises:
        StorageError: Somebody's transaction keeps the tables; it says whose. Nothing was changed.
    """

    async def attempt(connection: Connection) -> T:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _ONE_AT_A_TIME)
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
            return await change(connection)

    with mapped():
        for pause in (*PAUSES, None):
            try:
                return await connections.run(attempt, patient=True)
            except asyncpg.LockNotAvailableError:
                blockers = await connections.fetch(_IN_THE_WAY)
                if pause is None:
                    raise StorageError(_sentence(blockers)) from None
                logger.warning("%s; trying again", _sentence(blockers))
                await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _sentence(blockers: Any) -> str:
    who = ", ".join(
        f"process {row['pid']} ({row['application']}), whose transaction is {row['seconds']:.0f} s old"
        for row in blockers
    )
    return (
        f"the tables cannot be changed while others use them, and nothing was changed: {who or 'somebody'} is in the way; "
        "let it end, or end it with pg_terminate_backend"
    )


async def writers_gone(connections: Connections, table: str) -> None:
    """Wait for the transactions that may have written to a table until now.

    Raises:
        StorageError: One of them does not end.
    """
    writing = dict(map(tuple, await connections.fetch(WRITERS, table)))
    give_up_at = asyncio.get_running_loop().time() + PATIENCE
    while writing:
        if asyncio.get_running_loop().time() > give_up_at:
            pids = ", ".join(sorted(str(pid) for pid in writing.values()))
            raise StorageError(f"a transaction that may write {table} does not end (server process {pids})")
        await asyncio.sleep(LOOK_SECONDS)
        left = {name for name, _ in await connections.fetch(WRITERS, table)}
        writing = {name: pid for name, pid in writing.items() if name in left}


def able_parameters(ability: Ability | None) -> tuple[list[str] | None, list[str]]:
    """Return the parameters that say what whoever asks can run."""
    if ability is None:
        return None, []
    return list(map(to_text, sorted(ability.operators))), list(map(to_text, ability.versions))


Capped = dict[tuple[str, str], int]
"""Caps by scope and queue."""


@dataclass(slots=True)
class SlotNeeds:
    """What the claims of a batch have to count."""

    claims: dict[str, ScopeCaps] = field(default_factory=dict)
    """Caps by the job that is to be claimed."""
    ability: Ability | None = None
    """What whoever claims can run; all claims of a process are made with the same."""


@dataclass(slots=True)
class Slots:
    """The counts, as the operations of the batch leave them. Scopes that nobody asked about are missing."""

    running: dict[str, int] = field(default_factory=dict)
    waiting: dict[str | None, int] = field(default_factory=dict)
    """By scope; that of `None` is the number in all scopes."""
    first: set[str] = field(default_factory=set)
    """The jobs that come first for the slots there were when the batch began."""

    def has_room(self, scope_id: str, cap: int, job_id: str) -> bool:
        """Whether a job of a scope with a cap may be claimed. What is not known is tried again later."""
        return job_id in self.first and self.running.get(scope_id, cap) < cap

    def move(self, scope_id: str, *, running: int, waiting: int) -> None:
        """Count a job that has begun or stopped to run or wait."""
        if scope_id in self.running:
            self.running[scope_id] += running
        for key in (scope_id, None):
            if key in self.waiting:
                self.waiting[key] += waiting


async def lock_scopes(connection: Connection, needs: SlotNeeds, queues: Mapping[str, QueueBounds]) -> Capped:
    """Take the locks of everything that is counted; return the scopes and queues of the claims under a cap."""
    capped: Capped = {}
    if needs.claims:
        found = await connection.fetch(sql.SCOPES_OF_JOBS, [to_text(job_id) for job_id in needs.claims])
        for job_id, scope_id, queue in (map(from_text, row) for row in found):
            cap = needs.claims[job_id].of(scope_id)
            if cap is not None:
                capped[scope_id, queue] = cap
    names = {f"run:{scope_id}" for scope_id, _ in capped}
    if any(bounds.total is not None for bounds in queues.values()):
        names.add("queue")
    names |= {f"queue:{scope}" for scope, bounds in queues.items() if bounds.per_scope is not None}
    if names:
        await connection.execute(sql.LOCK_NAMES, sorted(map(lock_number, names)))
    return capped


async def count_slots(
    connection: Connection, needs: SlotNeeds, queues: Mapping[str, QueueBounds], capped: Capped
) -> Slots:
    """Count, under the locks and after the batch's jobs are locked, so that nothing counted can change but by us."""
    slots = Slots(running=dict.fromkeys((scope_id for scope_id, _ in capped), 0))
    if capped:
        found = await connection.fetch(sql.RUNNING_IN, list(map(to_text, slots.running)))
        slots.running.update((from_text(scope_id), number) for scope_id, number in found)
    for (scope_id, queue), cap in capped.items():
        first = await connection.fetch(
            sql.NEXT_JOBS, to_text(scope_id), cap, [to_text(queue)], *able_parameters(needs.ability)
        )
        slots.first.update(from_text(row[0]) for row in first)
    bounded = [scope for scope, bounds in queues.items() if bounds.per_scope is not None]
    if bounded:
        most = max(queues[scope].per_scope or 0 for scope in bounded)
        for scope, number in await connection.fetch(sql.WAITING_IN, list(map(to_text, bounded)), most):
            slots.waiting[from_text(scope)] = number
    totals = [bounds.total for bounds in queues.values() if bounds.total is not None]
    if totals:
        slots.waiting[None] = await connection.fetchval(sql.WAITING, max(totals))
    return slots


def lock_number(name: str) -> int:
    """Return the number of an advisory lock; two names with one number only wait for each other."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"agent-run").digest()
    return int.from_bytes(digest, "big", signed=True)
