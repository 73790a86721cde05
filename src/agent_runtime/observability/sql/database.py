"""Where the logs stand: the database of a storage, or one that an application has made an SQLAlchemy engine for."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary, WeakValueDictionary, finalize

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.pool import StaticPool

from agent_runtime.errors import ConfigurationError, StorageError
from agent_runtime.extras import optional_packages
from agent_runtime.observability.sql.tables import metadata
from agent_runtime.observability.sql.writing import Change, write
from agent_runtime.ports.storage import Storage
from llm_client.logs import logger_of
from llm_client.public_text import public_text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

logger = logger_of(__name__)

T = TypeVar("T")
BUSY_SECONDS: Final = 10.0
READERS: Final = 2
MAX_PENDING: Final = 50_000
"""Rows that may wait to be written; of a database that stands still for long, later ones are lost."""
BATCH: Final = 100
"""Rows that are written at once: others write the same file."""


class LogDatabase(Protocol):
    """Runs what reads and writes the tables of the logs. Work is done on a connection of SQLAlchemy, in a transaction of its own."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns. Raises `StorageError`."""
        ...

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, which may write. Raises `StorageError`."""
        ...

    async def write(self, changes: Sequence[Change]) -> None:
        """Write changes of rows; those of several callers in one transaction where that is faster. Raises `StorageError`."""
        ...

    async def aclose(self) -> None:
        """Finish what was given, and leave the database."""
        ...


class RowRefused(StorageError):
    """The database does not take what a row says, however often it is tried."""


class Deadlock(StorageError):
    """Others waited for this transaction, and it for them; tried again, it goes through."""


_PATIENCE: Final = "SET LOCAL lock_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '60s'"
"""Everybody changes the same sums: whoever stands still in the middle of it must not have all others stand still."""
_DEADLOCKS: Final = ("40001", "40P01")
TRIES: Final = 3
_REFUSALS: Final = ("22", "23", "54")
"""Classes of SQLSTATE: of values, of constraints, and of what is too long."""


class _Failed:
    """Says what a database has against something, without what was to be written."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OverflowError | UnicodeEncodeError):  # drivers', which SQLAlchemy passes on
            raise RowRefused(f"the tables of the logs do not take it: {type(error).__name__}") from None
        if isinstance(error, SQLAlchemyError):
            refused = RowRefused if _is_refused(error) else StorageError
            kind = Deadlock if _state_of(error) in _DEADLOCKS else refused
            raise kind(f"the tables of the logs cannot be used: {_reason(error)}") from None


def _state_of(error: SQLAlchemyError) -> str | None:
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state if isinstance(state, str) else None


def _is_refused(error: SQLAlchemyError) -> bool:
    state = _state_of(error)
    if state is not None:
        return state.startswith(_REFUSALS)
    is_value = isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    return is_value or isinstance(error, DataError | IntegrityError)


def _reason(error: SQLAlchemyError) -> str:
    lines = str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__]
    return public_text(lines[0], 300)


class ThreadedDatabase:
    """A database behind a synchronous engine: one thread writes, others read. What waits when the process ends is written then.

    A SQLite file has one writer at a time, and who waits for it looks again every now and then. So between two transactions of ours in a
    storage's file there is as much time for others as the first has taken.

    Args:
        engine: The engine.
        is_ours: Whether the engine is closed with this.
    """

    def __init__(self, engine: Engine, *, is_ours: bool = False) -> None:
        self._engine = engine
        self._is_in_memory = isinstance(engine.pool, StaticPool)
        self._dispose = finalize(self, engine.dispose) if is_ours else None
        self._makes_room = is_ours and engine.dialect.name == "sqlite"
        self._next_at = 0.0
        """When the next transaction may begin, by `time.monotonic`."""
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._changing = threading.Lock()
        self._pending: deque[tuple[Sequence[Change], Future[None]]] = deque()
        self._waiting = 0
        self._is_closing = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="log-writer")
        self._readers = (  # of a database in memory there is one connection
            self._writer
            if self._is_in_memory
            else ThreadPoolExecutor(READERS, thread_name_prefix="log-reader")
        )

    def _begin_anew_in_a_fork(self) -> None:
        """Leave threads and connections to the process that this one was forked from."""
        if self._process != os.getpid():
            if not self._is_in_memory:
                self._engine.dispose(close=False)
            self._start()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns."""
        self._begin_anew_in_a_fork()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, which may write."""
        self._begin_anew_in_a_fork()
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._run, work)

    async def write(self, changes: Sequence[Change]) -> None:
        """Write changes of rows."""
        await asyncio.wrap_future(self.given(changes))

    def given(self, changes: Sequence[Change]) -> Future[None]:
        """Take changes of rows, to be written after all that were given before; return what tells when they are. Raises `StorageError`."""
        self._begin_anew_in_a_fork()
        done: Future[None] = Future()
        with self._changing:
            if self._waiting + len(changes) > MAX_PENDING:
                raise StorageError(f"{self._waiting} rows of the logs wait to be written already")
            self._waiting += len(changes)
            self._pending.append((changes, done))
            if len(self._pending) == 1:
                self._writer.submit(self._write_pending)
        return done

    async def aclose(self) -> None:
        """Finish what was given, and close the connections of an engine of ours: another one may have further users."""
        self._begin_anew_in_a_fork()
        if self._dispose is None:
            await asyncio.get_running_loop().run_in_executor(self._writer, _nothing)
            return
        self._is_closing = True
        for pool in {self._writer, self._readers}:
            await asyncio.to_thread(pool.shutdown)
        self._dispose()

    def _read(self, work: Callable[[Connection], T]) -> T:
        with _Failed(), self._engine.connect() as connection:
            return work(connection)

    def _run(self, work: Callable[[Connection], T]) -> T:
        if self._makes_room:
            time.sleep(max(0.0, self._next_at - time.monotonic()))
        began = time.monotonic()
        try:
            for number in range(TRIES):
                try:
                    return self._run_once(work)
                except Deadlock:
                    if number == TRIES - 1:
                        raise
            raise AssertionError("unreachable: the last try returns or raises")
        finally:
            ended = time.monotonic()
            self._next_at = ended + (ended - began)

    def _run_once(self, work: Callable[[Connection], T]) -> T:
        with _Failed(), self._engine.connect().execution_options(writes=True) as connection:
            result = work(connection)
            connection.commit()
            return result

    def _write_pending(self) -> None:
        while True:
            with self._changing:
                taken: list[tuple[Sequence[Change], Future[None]]] = []
                rows = 0
                while self._pending and (not taken or rows + len(self._pending[0][0]) <= BATCH):
                    taken.append(self._pending.popleft())
                    rows += len(taken[-1][0])
                self._waiting -= rows
            if not taken:
                return
            has_failed = not self._write_batch(taken)
            with self._changing:
                if has_failed and self._is_closing:  # nobody waits for each of the rest to fail
                    taken, self._waiting = list(self._pending), 0
                    self._pending.clear()
                    for _, done in taken:
                        _told(done, StorageError("the logs were closed before their database took this row"))
                if not self._pending:
                    return

    def _write_batch(self, taken: Sequence[tuple[Sequence[Change], Future[None]]]) -> bool:
        """Write what callers have given; return whether the database could be written at all."""
        try:
            self._run(partial(write, changes=[change for changes, _ in taken for change in changes]))
        except Exception as error:  # noqa: BLE001 -- told to whoever waits
            is_away = isinstance(error, StorageError) and not isinstance(error, RowRefused)
            if len(taken) > 1 and not is_away:  # one of them may be what the database refuses
                written = [self._write_batch([one]) for one in taken]
                return all(written)
            for _, done in taken:
                _told(done, error)
            return not is_away
        for _, done in taken:
            _told(done, None)
        return True


def _nothing() -> None:
    """Be done when everything before is."""


def _told(done: Future[None], error: Exception | None) -> None:
    if not done.set_running_or_notify_cancel():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


class AsyncDatabase:
    """A database behind an application's asynchronous engine, or the connection that a session of it is bound to."""

    def __init__(self, bind: AsyncEngine | AsyncConnection) -> None:
        self._bind = bind
        self._one = asyncio.Lock()
        self._in_turn = asyncio.Lock()

    @property
    def is_callers(self) -> bool:
        """Whether rows are written into the caller's own transaction, so that nothing may be written while he does something else."""
        from sqlalchemy.ext.asyncio import AsyncEngine

        return not isinstance(self._bind, AsyncEngine)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns."""
        return await self.run(work)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, which may write."""
        from sqlalchemy.ext.asyncio import AsyncEngine

        for number in range(TRIES if isinstance(self._bind, AsyncEngine) else 1):
            try:
                return await self._run_once(work)
            except Deadlock:
                if number == TRIES - 1 or not isinstance(self._bind, AsyncEngine):
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _run_once(self, work: Callable[[Connection], T]) -> T:
        from sqlalchemy.ext.asyncio import AsyncEngine

        with _Failed():
            if isinstance(self._bind, AsyncEngine):
                async with self._bind.connect() as connection:
                    result = await connection.run_sync(work)
                    await connection.commit()
                    return result
            # The transaction is the caller's: what is written goes with it, and nothing of it is ended here.
            async with self._one, self._bind.begin_nested():
                return await self._bind.run_sync(work)

    async def write(self, changes: Sequence[Change]) -> None:
        """Write changes of rows, in the order they are given: the end of a row must not be overtaken by its beginning."""
        async with self._in_turn:
            await self.run(partial(write, changes=changes))

    async def aclose(self) -> None:
        """Leave the engine, which is the application's, as it is."""


def is_callers(database: LogDatabase) -> bool:
    """Whether a database is the transaction of whoever logs."""
    return isinstance(database, AsyncDatabase) and database.is_callers


_KNOWN: Final[WeakValueDictionary[int, LogDatabase]] = WeakValueDictionary()
_IN_MEMORY: Final[WeakKeyDictionary[Storage, Engine]] = WeakKeyDictionary()
"""The logs of storages in memory, which go with them."""


class StorageDatabase:
    """The database of one of our storages, which is opened when it is first needed."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._opening = threading.Lock()
        self._opened: ThreadedDatabase | None = None
        self._in_turn: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns."""
        return await (await self._database()).read(work)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, which may write."""
        return await (await self._database()).run(work)

    async def write(self, changes: Sequence[Change]) -> None:
        """Write changes of rows, in the order they are given, also while the database is being opened."""
        async with self._in_turn.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            done = (await self._database()).given(changes)
        await asyncio.wrap_future(done)

    async def aclose(self) -> None:
        """Finish what was given, and close the connections; the storage stays as it is."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    async def _database(self) -> ThreadedDatabase:
        if self._opened is None:
            await self._storage.open()
            await asyncio.to_thread(self._open)
        assert self._opened is not None  # noqa: S101 -- just made
        return self._opened

    def _open(self) -> None:
        with self._opening:
            if self._opened is None:
                engine = _engine_of(self._storage)
                self._opened = ThreadedDatabase(engine, is_ours=engine is not _IN_MEMORY.get(self._storage))


def has_logs(storage: Storage) -> bool:
    """Whether logs can be kept in a storage's own database: not where it lives on a caller's connections."""
    is_reached = isinstance(getattr(storage, "path", None), Path) or isinstance(
        getattr(storage, "dsn", None), str
    )
    return is_reached or not storage.is_durable


def _engine_of(storage: Storage) -> Engine:
    address, dsn = getattr(storage, "address", None), getattr(storage, "dsn", None)
    if isinstance(address, str):
        file, _, query = address.partition("?")
        return _sqlite(URL.create("sqlite", database=file, query={"uri": "true", **dict(parse_qsl(query))}))
    if isinstance(dsn, str):
        with optional_packages():
            return _postgres(make_url(dsn).set(drivername="postgresql+psycopg"))
    if not has_logs(storage):
        raise ConfigurationError(
            "the logs cannot use the connections of this storage: give them an engine of their own"
        )
    engine = _IN_MEMORY.get(storage)
    if engine is None:
        engine = _IN_MEMORY[storage] = _sqlite(URL.create("sqlite"), poolclass=StaticPool)
        finalize(storage, engine.dispose)
        metadata.create_all(engine)
    return engine


def _postgres(url: URL) -> Engine:
    engine = create_engine(url, hide_parameters=True, pool_size=1 + READERS, pool_pre_ping=True)

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(_PATIENCE)

    return engine


def _sqlite(url: URL, **options: Any) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
        **options,
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # Who begins by reading and then writes finds the file changed by another process, and cannot go on.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def database_of(db: object) -> LogDatabase:
    """Return where logs are kept: one for each storage and engine, whoever asks.

    Args:
        db: A storage, an engine of SQLAlchemy, an `AsyncEngine`, or an `AsyncSession`, whose engine is used: its transaction is neither
            joined nor ended.

    Raises:
        ConfigurationError: It is nothing of these, or a database other than SQLite and Postgres.
    """
    if isinstance(db, ThreadedDatabase | AsyncDatabase | StorageDatabase):
        return db
    bind = _bind_of(db)
    if bind is None:
        raise ConfigurationError(
            f"logs are kept in a storage, an SQLAlchemy engine or an AsyncSession, not in a {type(db).__name__}"
        )
    found = _KNOWN.get(id(bind))
    if found is None:
        found = _KNOWN[id(bind)] = _made(bind)
    return found


def _bind_of(db: Any) -> Any:
    """Return what a database belongs to: an engine, the connection of a session, or a storage."""
    if isinstance(db, Engine):
        return db
    if (
        "sqlalchemy.ext.asyncio" in sys.modules
    ):  # nobody has a session of it otherwise, and importing it takes greenlet
        from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

        if isinstance(db, AsyncSession):
            db = db.bind
        if isinstance(db, AsyncEngine | AsyncConnection):
            return db
    return db if hasattr(db, "feed_end") else None


def _made(bind: Any) -> LogDatabase:
    dialect = getattr(getattr(bind, "dialect", None), "name", None)
    if dialect is None:
        return StorageDatabase(bind)
    if dialect not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"logs can be kept in SQLite and Postgres, not in {dialect}")
    return ThreadedDatabase(bind) if isinstance(bind, Engine) else AsyncDatabase(bind)
