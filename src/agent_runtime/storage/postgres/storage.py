"""`Storage` in a Postgres database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.ports.change_notifier import ChangeNotifier
from agent_runtime.ports.clock import ServerClock
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.journal import Claim, Listener, RemoteChange
from agent_runtime.ports.live_channel import LiveChannel
from agent_runtime.storage.compression import compressed
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.actions import ActionLists, ActionReader
from agent_runtime.storage.postgres.agents import Agents
from agent_runtime.storage.postgres.apply import Claimed
from agent_runtime.storage.postgres.change_notifier import PostgresChangeNotifier
from agent_runtime.storage.postgres.claims import ClaimReader
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.due import DueWork
from agent_runtime.storage.postgres.feed import Feed
from agent_runtime.storage.postgres.inbox import InboxReader
from agent_runtime.storage.postgres.jobs import JobReader
from agent_runtime.storage.postgres.journal import Audit, JournalReader
from agent_runtime.storage.postgres.keys import ApiKeys
from agent_runtime.storage.postgres.ledger import LedgerReader, RuleReader
from agent_runtime.storage.postgres.locks import ExecutorLock
from agent_runtime.storage.postgres.operations import ClaimOperation, CommitOperation, DrainOperation
from agent_runtime.storage.postgres.retention import Retention
from agent_runtime.storage.postgres.schedules import Schedules
from agent_runtime.storage.postgres.tables import check_tables, create_tables
from agent_runtime.storage.postgres.workers import Workers
from agent_runtime.storage.postgres.writer import Writer
from agent_runtime.storage.turns import Rotation
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobStatus
from llm_client.background import drained, in_background, stopped
from llm_client.logs import logger_of

if TYPE_CHECKING:
    import asyncpg

logger = logger_of(__name__)

CLOSE_SECONDS: Final = 5.0
"""How long closing waits for the server: to write what was handed in, to announce it, to give up the executor's place."""
_ALL = 2**31


class PostgresStorage(
    JournalReader,
    DueWork,
    JobReader,
    ActionReader,
    ActionLists,
    LedgerReader,
    RuleReader,
    InboxReader,
    Workers,
    Retention,
    Feed,
    Audit,
    ApiKeys,
    Schedules,
    Agents,
):
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
        source: str | asyncpg.Pool[asyncpg.Record],
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
    def live_channel(self) -> LiveChannel:
        """How its processes tell each other what passes: as they tell each other of changes."""
        return self._notifier

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

    async def release_executor(self) -> None:
        """Give the advisory lock up."""
        await self._lock.release()

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

        def publish(first_seq: int) -> None:
            self._tell_committed(operation, first_seq)

        future = asyncio.get_running_loop().create_future()
        operation = CommitOperation(future, publish, commit=commit)
        first_seq: int = await self._writer.run(operation)
        return first_seq

    def _tell_committed(self, operation: CommitOperation, first_seq: int) -> None:
        self._announce(operation.commit, (*operation.cancelled, *operation.mailed))
        for listener in tuple(self._listeners):
            listener.committed(operation.commit, first_seq)
            if operation.mailed:
                listener.mailed(operation.mailed)

    def _announce(self, commit: Commit, woken: Sequence[str]) -> None:
        publish = self._notifier.publish
        for job, _ in commit.create:
            if job.operator is not None:
                publish(RemoteChange("created", job.job_id))
        for job_id in (*(signal.job_id for signal in commit.signals), *woken):
            publish(RemoteChange("signalled", job_id))
        status = None if commit.job is None else commit.job.status
        if status is not None and (status.is_terminal or status is JobStatus.BLOCKED):
            publish(RemoteChange("ended", commit.job_id or ""))
        elif commit.events:
            publish(RemoteChange("appended", commit.job_id or ""))
        for timer in commit.set_timers:
            publish(RemoteChange("timer", timer.job_id))

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
        """Take a job that is due and unowned, if its scope has a free slot."""

        def publish(claimed: Claimed | None) -> None:
            if claimed is not None:
                self._tell_drained(job_id, claimed.new_events)

        future = asyncio.get_running_loop().create_future()
        operation = ClaimOperation(
            future, publish, job_id=job_id, owner=owner, at=at, caps=caps, suspects=suspects, ability=ability
        )
        claimed: Claimed | None = await self._writer.run(operation)
        return None if claimed is None else await self._claims.read(claimed, owner=owner)

    async def drain_signals(
        self, job_id: str, *, fence: int, at: datetime, held: Commit | None = None
    ) -> Sequence[RuntimeEvent]:
        """Append what is held, then the waiting signals, to the journal of a job that is ours."""
        first = None if held is None else await compressed(held)
        future = asyncio.get_running_loop().create_future()

        def publish(events: Sequence[RuntimeEvent]) -> None:
            if operation.held is not None:
                self._tell_committed(operation.held, operation.held_seq)
            self._tell_drained(job_id, events)

        operation = DrainOperation(
            future,
            publish,
            job_id=job_id,
            fence=fence,
            at=at,
            held=CommitOperation(future, commit=first) if first else None,
        )
        written: Sequence[RuntimeEvent] | int = await self._writer.run(operation)
        if not isinstance(written, int):
            return written
        assert first is not None  # noqa: S101 -- only a commit is found to have been made before
        return await self.events(job_id, after_seq=written + len(first.events) - 1, limit=_ALL)

    def _tell_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        if events:
            self._notifier.publish(RemoteChange("appended", job_id))
            for listener in tuple(self._listeners):
                listener.signals_drained(job_id, events)


_OF_POOL: dict[int, tuple[Any, PostgresStorage]] = {}
"""Each open pool and its storage, by the pool's identity: stores over one pool must be views of one storage, or no
commit could join them. (A pool can neither carry an attribute nor be referred to weakly.)"""


class _View:
    """What the documented stores are: a view of the storage over a pool, or of a given storage."""

    is_bare = False

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record] | PostgresStorage) -> None:
        if isinstance(pool, PostgresStorage):
            self._storage = pool
            return
        for key in [key for key, (known, _) in _OF_POOL.items() if known.is_closing()]:
            del _OF_POOL[key]
        _, self._storage = _OF_POOL.setdefault(id(pool), (pool, PostgresStorage(pool)))

    @property
    def storage(self) -> PostgresStorage:
        """The storage it is a view of."""
        return self._storage


class PostgresJobStore(_View):
    """Jobs in Postgres."""


class PostgresActionStore(_View):
    """Actions in Postgres."""


class PostgresLedgerWriter(_View):
    """Ledger entries in Postgres."""
