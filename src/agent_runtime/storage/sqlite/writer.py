"""The one thread that writes: what arrives together is committed together.

An fsync costs the same for one change as for a hundred. Operations that wait in the queue while a transaction is being
written share the next one. An operation that is refused undoes nothing but itself.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from agent_runtime.errors import StorageClosed
from agent_runtime.storage.handed import Handed, deliver
from agent_runtime.storage.sqlite.checkpoint import Checkpoints
from agent_runtime.storage.sqlite.commit import AlreadyCommitted
from agent_runtime.storage.sqlite.connection import BUSY_SECONDS, Durability, connect, ensure_schema
from agent_runtime.storage.sqlite.errors import translated
from llm_client.logs import logger_of

logger = logger_of(__name__)

MAX_BATCH: Final = 500
"""Operations in one transaction; bounds how long one of them waits for the others."""
FOREIGN_CHECK_SECONDS: Final = 0.05
"""How often to look whether another process has written."""

Write = Callable[[sqlite3.Connection], object]
T = TypeVar("T")


@dataclass(slots=True, eq=False, kw_only=True)
class _Operation(Handed):
    write: Write


class Writer:
    """Runs write operations in batches, in the order they were handed in."""

    def __init__(self, path: Path, *, durability: Durability, on_remote_change: Callable[[], None]) -> None:
        self._path = path
        self._durability: Durability = durability
        self._on_foreign_change = on_remote_change
        self._queue: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._version = 0

    async def start(self) -> None:
        """Open the file, make its tables and begin."""
        self._loop = asyncio.get_running_loop()
        self._queue = queue.SimpleQueue()
        opened: asyncio.Future[None] = self._loop.create_future()
        thread = threading.Thread(target=self._run, args=(opened,), name="sqlite-writer", daemon=True)
        thread.start()
        try:
            await opened
        except BaseException:
            self._queue.put(None)  # a caller who has gone leaves no thread behind
            raise
        self._thread = thread

    async def run(
        self, write: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None = None
    ) -> T:
        """Run `write` inside a transaction and return its result once that is on disk.

        `then` is called on the loop with the result, in commit order, even when the caller has been cancelled.
        """
        if self._thread is None or self._loop is None:
            raise StorageClosed
        operation = _Operation(self._loop.create_future(), then, write=write)
        self._queue.put(operation)
        result: T = await operation.future
        return result

    async def stop(self) -> None:
        """Finish what was handed in and close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(thread.join)

    def _run(self, opened: asyncio.Future[None]) -> None:
        operations = self._queue  # another `start` brings a queue of its own
        try:
            db = connect(self._path, durability=self._durability)
            try:
                ensure_schema(db, self._path)
                self._version = _data_version(db)
            except BaseException:
                db.close()
                raise
        except sqlite3.Error as error:
            self._tell(_answer, opened, translated(error, str(self._path)))
            return
        except BaseException as error:  # noqa: BLE001 -- handed to whoever waits in `start`
            self._tell(_answer, opened, error)
            return
        self._tell(_answer, opened, None)
        try:
            self._serve(db, operations)
        finally:
            db.close()

    def _serve(self, db: sqlite3.Connection, operations: queue.SimpleQueue[_Operation | None]) -> None:
        checkpoints = Checkpoints(self._path, busy_ms=int(BUSY_SECONDS * 1000))
        checkpoints.prepare(db)
        while True:
            try:
                operation = operations.get(timeout=FOREIGN_CHECK_SECONDS)
            except queue.Empty:
                self._check_foreign(db)
                continue
            batch: list[_Operation] = []
            while operation is not None:
                batch.append(operation)
                if len(batch) == MAX_BATCH:
                    break
                try:
                    operation = operations.get_nowait()
                except queue.Empty:
                    break
            stopping = operation is None
            if batch:
                self._write(db, batch)
                self._tell(deliver, batch)
                checkpoints.poll(db)
                self._check_foreign(db)
            if stopping:
                return

    def _write(self, db: sqlite3.Connection, batch: list[_Operation]) -> None:
        """Commit a batch in one transaction, without the operations that fail."""
        try:
            self._transact(db, batch)
        except BaseException as error:  # noqa: BLE001 -- every failure is handed to the operation that caused it
            _roll_back(db)
            if len(batch) == 1 or _is_locked(error):
                for operation in batch:
                    self._fail(operation, error)
            elif not self._write_selected(db, batch):
                for operation in batch:
                    self._write(db, [operation])

    def _transact(self, db: sqlite3.Connection, batch: list[_Operation]) -> None:
        db.execute("BEGIN IMMEDIATE")
        for operation in batch:
            operation.result = operation.write(db)
        db.execute("COMMIT")

    def _write_selected(self, db: sqlite3.Connection, batch: list[_Operation]) -> bool:
        """Commit those of a batch that are not refused; return whether there was a transaction to commit.

        SQLite gives up a whole transaction when, say, the disk is full; then each operation needs one of its own.
        """
        refused: list[tuple[_Operation, Exception]] = []
        try:
            db.execute("BEGIN IMMEDIATE")
            for operation in batch:
                db.execute("SAVEPOINT operation")
                try:
                    operation.result = operation.write(db)
                except Exception as error:  # noqa: BLE001 -- every failure is handed to the operation that caused it
                    db.execute("ROLLBACK TO operation")
                    refused.append((operation, error))
                db.execute("RELEASE operation")
            db.execute("COMMIT")
        except sqlite3.Error:
            _roll_back(db)
            return False
        for operation, refusal in refused:
            self._fail(operation, refusal)
        return True

    def _fail(self, operation: _Operation, error: BaseException) -> None:
        if isinstance(error, AlreadyCommitted):
            operation.result = error.first_seq
            operation.repeated = True
        elif isinstance(error, sqlite3.Error):
            operation.error = translated(error, str(self._path))
            operation.error.__cause__ = error
        else:
            operation.error = error

    def _check_foreign(self, db: sqlite3.Connection) -> None:
        try:
            version = _data_version(db)
        except sqlite3.Error as error:
            logger.warning("%s: cannot see whether another process has written: %s", self._path, error)
            return
        if version != self._version:
            self._version = version
            self._tell(self._on_foreign_change)

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None  # noqa: S101 -- set by `start`
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop was closed without closing the storage: nobody is left to be told
            return


def _answer(opened: asyncio.Future[None], error: BaseException | None) -> None:
    """Wake whoever waits in `start`, if somebody still does."""
    if opened.done():
        return
    if error is None:
        opened.set_result(None)
    else:
        opened.set_exception(error)


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


def _is_locked(error: BaseException) -> bool:
    """Whether another process held the file for too long: waiting again for each operation would help nobody."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY


def _data_version(db: sqlite3.Connection) -> int:
    """Return a number that changes when another connection has committed; never inside a transaction."""
    version: int = db.execute("PRAGMA data_version").fetchone()[0]
    return version
