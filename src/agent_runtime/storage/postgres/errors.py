"""The driver's errors as ours, sorted by what a writer can do about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from agent_runtime.errors import (
    InvalidInput,
    SchemaMismatch,
    StorageClosed,
    StorageError,
    StorageFull,
    StorageReadOnly,
)

MIGRATE = "run `agent-runtime migrate`, or `await storage.setup()`"

_LOST_STATES = ("08", "57P")
"""SQLSTATE classes after which a connection cannot be used: connection exceptions, shutdown by an administrator."""
_RETRY_STATES = ("40001", "40P01", "55P03")
"""Serialization failure, deadlock, lock not available."""
_UNSTORABLE_STATES = ("22", "54")
"""SQLSTATE classes of what no try will ever store: values that a column cannot hold, and limits of the program."""


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


@contextmanager
def mapped() -> Iterator[None]:
    """Raise driver errors as ours."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translated(error) from error
