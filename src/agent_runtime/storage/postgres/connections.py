"""The connections of one process: a pool, of which one connection writes and one listens; and what the driver's errors mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from agent_runtime.errors import (
    ConfigurationError,
    InvalidInput,
    SchemaMismatch,
    StorageClosed,
    StorageError,
    StorageFull,
    StorageReadOnly,
)
from llm_client.background import promptly
from llm_client.logs import logger_of

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

logger = logger_of(__name__)
T = TypeVar("T")

MIGRATE = "run `agent-runtime migrate`, or `await storage.setup()`"

_LOST_STATES = ("08", "57P")
"""SQLSTATE classes after which a connection cannot be used: connection exceptions, shutdown by an administrator."""
_RETRY_STATES = ("40001", "40P01", "55P03")
"""Serialization failure, deadlock, lock not available."""
_UNSTORABLE_STATES = ("22", "54")
"""SQLSTATE classes of what no try will ever store: values that a column cannot hold, and limits of the program."""
POOL_SIZE: Final = 10
LEAST_CONNECTIONS: Final = 3
"""One writes, one listens, and one is left to read."""
CONNECT_TIMEOUT: Final = 5.0
STATEMENT_TIMEOUT: Final = 30.0
"""Seconds after which a server that does not answer is given up."""
LEAST_VERSION: Final = 13

NO_JIT: Final = "SET jit = off"
"""Our statements are short. One about many jobs may look dear to the server, which then takes seconds to compile it."""
_PLANNED_ANEW: Final = "SET plan_cache_mode = force_custom_plan"
"""For what reads: a plan made while a table was small scans it, and would be kept until the server has counted its rows anew."""
_AS_WRITER: Final = f"""
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; {NO_JIT};
SET plan_cache_mode = auto; SET default_transaction_isolation = 'read committed'
"""
"""Every statement that writes finds its rows by key; a plan made while a table was small must not scan it when it is
large. Said once for each connection, it costs a transaction nothing."""
_AS_OTHERS: Final = """
RESET enable_seqscan; RESET enable_hashjoin; RESET enable_mergejoin; RESET default_transaction_isolation
"""


class Unreachable(StorageError):
    """The server does not answer. Whoever else waits for it need not ask again to learn the same."""


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, so that nobody knows what the server made of the last statement."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "").startswith(_LOST_STATES)
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction was refused only because of another one, and may be tried again as it is."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _RETRY_STATES


def translated(error: BaseException) -> StorageError | InvalidInput:
    """Return the error that says what happened: the caller's, if the server can never hold what it was given.

    Never contains a parameter or an address.
    """
    if isinstance(error, asyncpg.PostgresError) and str(error.sqlstate or "").startswith(_UNSTORABLE_STATES):
        return InvalidInput(
            f"a value cannot be stored ({type(error).__name__}); nothing of this change was written"
        )
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError):
        return SchemaMismatch(f"the database lacks tables of this version of agent-runtime: {MIGRATE}")
    if isinstance(error, asyncpg.DiskFullError):
        return StorageFull("the disk of the Postgres server is full; nothing of this change was written")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return StorageReadOnly("the Postgres server is read-only; is it a replica?")
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        return StorageError("the Postgres server does not accept this user or password")
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return StorageError("the Postgres server has no such database; create it first")
    if isinstance(error, asyncpg.InterfaceError) and "pool is clos" in str(error):
        return StorageClosed()
    if is_lost(error):
        return Unreachable(f"the Postgres server cannot be reached ({type(error).__name__})")
    if is_conflict(error):
        return StorageError("other transactions got in the way too often; nothing was written")
    if isinstance(error, asyncpg.PostgresError):
        return StorageError(
            f"Postgres refused a statement ({type(error).__name__}): {error.args[0] if error.args else ''}"
        )
    return StorageError(f"Postgres: {type(error).__name__}")


DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


@contextlib.contextmanager
def mapped() -> Iterator[None]:
    """Raise driver errors as ours."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translated(error) from error


class Connections:
    """A pool of our own over an address, or a caller's.

    Args:
        source: A pool that the caller opens and closes, or the address of a database.
    """

    def __init__(self, source: str | Pool) -> None:
        self._dsn = source if isinstance(source, str) else None
        self._pool: Pool | None = None if isinstance(source, str) else source
        self._writer: Connection | None = None
        self._taken: set[Connection] = set()
        self.statement_timeout = STATEMENT_TIMEOUT

    async def open(self) -> None:
        """Open the pool, or check the caller's.

        Raises:
            StorageError: The server cannot be reached, or is too old.
            ConfigurationError: The caller's pool is too small.
        """
        if self._dsn is not None and self._pool is None:
            self._pool = await self._create_pool(self._dsn)
        pool = self.pool
        if pool.get_max_size() < LEAST_CONNECTIONS:
            raise ConfigurationError(
                f"the pool has room for {pool.get_max_size()} connections; give it at least {LEAST_CONNECTIONS} "
                "(max_size): one writes, one listens, the others read"
            )
        with mapped(), _address_hidden():
            version = await self.run(_server_version)
        if version < LEAST_VERSION:
            raise SchemaMismatch(
                f"Postgres {version} is too old; agent-runtime needs {LEAST_VERSION} or newer"
            )

    async def _create_pool(self, dsn: str) -> Pool:
        import asyncpg

        with mapped(), _address_hidden():
            pool: Pool = await asyncpg.create_pool(
                dsn,
                min_size=0,  # a pool that keeps one tells of each try to get it back, with a traceback
                max_size=POOL_SIZE,
                timeout=CONNECT_TIMEOUT,
                command_timeout=STATEMENT_TIMEOUT,
                max_inactive_connection_lifetime=300,
                init=_prepared,
                reset=_leave_as_it_is,
            )
        return pool

    @property
    def pool(self) -> Pool:
        """The pool."""
        if self._pool is None:
            raise StorageClosed
        return self._pool

    async def acquire(self) -> Connection:
        """Take a connection out of the pool, for as long as it is needed; `give_back` it, and nothing else."""
        connection = await self.pool.acquire(timeout=CONNECT_TIMEOUT)
        self._taken.add(connection)
        return connection

    async def give_back(self, connection: Connection, *, failure: BaseException | None = None) -> None:
        """Return a connection to the pool; one whose last use may have left it in the middle of something is closed."""
        if failure is not None and (is_lost(failure) or not isinstance(failure, Exception)):
            await self.discard(connection)
            return
        self._taken.discard(connection)
        with contextlib.suppress(*DRIVER_ERRORS, StorageClosed):
            await self.pool.release(connection)

    async def discard(self, connection: Connection) -> None:
        """Close a connection without a word to the server: one that does not answer would be waited for."""
        self._taken.discard(connection)
        with contextlib.suppress(*DRIVER_ERRORS, StorageClosed):
            connection.terminate()
            await self.pool.release(connection)

    async def run(self, use: Callable[[Connection], Awaitable[T]], *, patient: bool = False) -> T:
        """Do something with a connection of the pool. Who is cancelled meanwhile is let go at once.

        Args:
            use: Is given the connection.
            patient: Wait for as long as it takes.

        Raises:
            Exception: What the driver raises, `TimeoutError` when there is no answer in time.
        """
        seconds = None if patient else self.statement_timeout
        return await promptly(self._use(use), seconds=seconds, name="postgres statement")

    async def _use(self, use: Callable[[Connection], Awaitable[T]]) -> T:
        connection = await self.acquire()
        try:
            result = await use(connection)
        except BaseException as error:
            await self.give_back(connection, failure=error)
            raise
        await self.give_back(connection)
        return result

    async def change(self, make: Callable[[Connection], Awaitable[T]]) -> T:
        """Make a change in one transaction, all of it or nothing.

        Raises:
            StorageError: The server cannot be reached, or refuses.
        """

        async def transact(connection: Connection) -> T:
            async with connection.transaction():
                return await make(connection)

        with mapped():
            return await self.run(transact)

    async def fetch(self, statement: str, *parameters: object) -> Sequence[asyncpg.Record]:
        """Return all rows of a query; it is asked again when the connection turns out to be stale.

        Raises:
            StorageError: The server cannot be reached, or refuses.
        """

        async def ask(connection: Connection) -> Sequence[asyncpg.Record]:
            found: Sequence[asyncpg.Record] = await connection.fetch(statement, *parameters)
            return found

        try:
            return await self.run(ask)
        except DRIVER_ERRORS as error:
            if not is_lost(error):
                raise translated(error) from error
        with mapped():
            return await self.run(ask)

    async def writer(self) -> Connection:
        """Return the connection that writes, a fresh one when the last was lost. For one task only."""
        if self._writer is not None and is_closed(self._writer):
            await self.abandon_writer()
        if self._writer is None:
            connection = self._writer = await self.acquire()
            try:
                await connection.execute(_AS_WRITER, timeout=self.statement_timeout)
            except BaseException:
                await self.abandon_writer()
                raise
        return self._writer

    async def abandon_writer(self) -> None:
        """Give up the connection that writes, with whatever it was doing; the server rolls it back."""
        connection, self._writer = self._writer, None
        if connection is not None:
            await self.discard(connection)

    async def return_writer(self) -> None:
        """Give the connection that writes back as it was taken; the next one who writes takes another."""
        connection, self._writer = self._writer, None
        if connection is None:
            return
        try:
            own = _PLANNED_ANEW if self._dsn is not None else "RESET plan_cache_mode; RESET jit"
            as_others = f"{_AS_OTHERS}; {own}"
            await connection.execute(as_others, timeout=CONNECT_TIMEOUT)
        except BaseException as error:
            await self.discard(connection)
            if not isinstance(error, DRIVER_ERRORS):
                raise
        else:
            await self.give_back(connection)

    async def aclose(self) -> None:
        """Give back every connection that was taken; close a pool of our own. Takes a bounded time."""
        pool = self._pool
        if pool is None:
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self.return_writer()
                for connection in tuple(self._taken):  # of somebody who was cancelled
                    await self.discard(connection)
                if self._dsn is not None:
                    self._pool = None
                    await pool.close()
        except BaseException as error:
            self._abort(pool)
            if not isinstance(error, DRIVER_ERRORS):
                raise

    def _abort(self, pool: Pool) -> None:
        """Close what is ours without a word to the server."""
        for connection in self._taken:
            with contextlib.suppress(*DRIVER_ERRORS):  # it may have gone back to the pool already
                connection.terminate()
        if self._dsn is not None:
            self._pool = None
            pool.terminate()
        self._taken.clear()
        self._writer = None


@contextlib.contextmanager
def _address_hidden() -> Iterator[None]:
    """Refuse an address that is none, which is read with the first connection: what the driver says may quote it, and with it the password."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(
            "the address of the database is not valid; write postgresql://user:password@host:5432/name"
        ) from error.__class__("hidden")


async def first_rows(
    connections: Connections, ids: tuple[str, Sequence[object]], part: str, *, limit: int, max_bytes: int
) -> tuple[Sequence[tuple[Any, ...]], bool]:
    """Return the first rows of a list, and whether others come behind them.

    Args:
        connections: Where they are.
        ids: The query that gives the ids of up to `limit` + 1 of them, in order.
        part: The statement of `queries.part`.
        limit: How many rows at most.
        max_bytes: Bytes of their long columns; the first row is given in any case.
    """
    text, parameters = ids
    known = [row[0] for row in await connections.fetch(text, *parameters)]
    if not known[:limit]:
        return [], bool(known)
    found = await connections.fetch(part, known[:limit], max_bytes)
    upto = found[-1][0] if found else limit
    return [tuple(row)[1:] for row in found], upto < len(known)


def is_closed(connection: Connection) -> bool:
    """Whether a connection of a pool is of no use any more. The pool takes a broken one back by itself."""
    import asyncpg

    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


async def _server_version(connection: Connection) -> int:
    return connection.get_server_version().major


async def _prepared(connection: Any) -> None:
    """Prepare a connection of our own pool."""
    await connection.execute(f"{NO_JIT}; {_PLANNED_ANEW}")


async def _leave_as_it_is(connection: Any) -> None:
    """Skip the round trip that resets a connection: those of our own pool are never left in another state."""
