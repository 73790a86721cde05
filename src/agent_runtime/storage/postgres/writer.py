"""The one task of a process that writes: what arrives together is committed together.

A commit of the server costs the same for one change as for a hundred. Operations that arrive while a transaction is
being written share the next one. One that is refused by what it finds undoes nothing but itself; when the server
refuses the whole, the operations are tried again one by one, so that only the culprit fails. When it does not answer, all
of them fail at once: to wait for it again for each of them would help nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from agent_runtime.errors import AgentRuntimeError, StorageClosed, StorageError
from agent_runtime.storage.ends import Ends
from agent_runtime.storage.handed import deliver
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import (
    DRIVER_ERRORS,
    Connections,
    Unreachable,
    is_conflict,
    is_lost,
    translated,
)
from agent_runtime.storage.postgres.locked_rows import LockedRows, Needs
from agent_runtime.storage.postgres.operations import CommitOperation, Operation
from agent_runtime.storage.postgres.transaction import append, learn, lock, write
from llm_client.background import BackgroundLoop, Backoff
from llm_client.logs import logger_of

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]

logger = logger_of(__name__)
T = TypeVar("T")

MAX_BATCH: Final = 200
"""Operations in one transaction; bounds how long one of them, and the rows it locks, wait for the others."""
CONFLICT_TRIES: Final = 20
"""How often a transaction is tried that others get in the way of."""
DELAYS: Final = (0.02, 1.0)
"""Seconds between two attempts to reach the server: at first, and at most."""


class OutcomeUnknown(Exception):
    """The connection was lost while the server was committing."""

    def __init__(self, transaction_id: str) -> None:
        super().__init__()
        self.transaction_id = transaction_id


class Writer:
    """Runs operations in batches, in the order they were handed in.

    Args:
        connections: Where its connection comes from.
        patience: Seconds to find out what became of a commit during which the connection was lost.
    """

    def __init__(self, connections: Connections, *, patience: float) -> None:
        self._connections = connections
        self._patience = patience
        self._queue: deque[Operation[object]] = deque()
        self._loop = BackgroundLoop(
            self._serve, name="writing to Postgres", logger=logger, backoff=Backoff(*DELAYS)
        )
        self._resting = False
        self._ends = Ends()

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    async def run(self, operation: Operation[T]) -> T:
        """Do what an operation says and return its result once that is on disk."""
        if not self._loop.is_running:
            raise StorageClosed
        self._queue.append(operation)
        self._loop.wake()
        result: T = await operation.future
        return result

    async def stop(self) -> None:
        """Finish what was handed in. When this is cancelled, whoever still waits learns that nobody knows."""
        try:
            await self._loop.finish()
        finally:
            _fail(list(self._queue), _closed())
            self._queue.clear()

    def rest(self, *, resting: bool) -> None:
        """Keep no connection while there is nothing to write, or keep it again."""
        self._resting = resting
        self._loop.wake()

    async def _serve(self) -> None:
        while self._queue:
            batch = self._next_batch()
            try:
                await self._write(batch)
            except BaseException:
                _fail(batch, _closed())
                raise
        if self._resting:
            await self._connections.return_writer()

    def _next_batch(self) -> list[Operation[object]]:
        """Take operations that do not depend on rows which only exist when an earlier one of them is written."""
        batch: list[Operation[object]] = []
        signalled: set[str] = set()
        any_signalled = actions_cancelled = timers_cleared = False
        while self._queue and len(batch) < MAX_BATCH:
            operation = self._queue[0]
            needs = Needs()
            operation.need(needs)
            if needs.signals_of and (any_signalled or not signalled.isdisjoint(needs.signals_of)):
                break
            if (needs.actions and actions_cancelled) or (needs.timers and timers_cleared):
                break
            if isinstance(operation, CommitOperation):
                if operation.commit.new_actions and actions_cancelled:
                    break
                signalled.update(signal.job_id for signal in operation.commit.signals)
                signalled.update(job.job_id for job, _ in operation.commit.create)  # perhaps told to stop
                any_signalled |= operation.commit.cancel_children_of is not None
                actions_cancelled |= operation.commit.cancel_actions_of is not None
                timers_cleared |= operation.commit.clear_timers_of is not None
            batch.append(self._queue.popleft())
        return batch

    async def _write(self, batch: list[Operation[object]], *, careful: bool = False) -> None:
        """Write a batch and tell everybody. `careful` looks first whether it has been written before."""
        plain = [] if careful else _extensions(batch, self._ends)
        written = await self._append(plain) if plain else set()
        if written:
            deliver([operation for operation in batch if operation in written])
            batch = [operation for operation in batch if operation not in written]
        if not batch:
            return
        try:
            await self._transact(batch, careful=careful)
        except StorageError as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 -- every failure is handed to the operation that caused it
            if len(batch) > 1 or not careful:
                await self._write_each(batch)
            else:
                _fail(batch, error)
        else:
            deliver(batch)

    async def _write_each(self, batch: list[Operation[object]]) -> None:
        """Write operations one by one, so that only the culprit fails. When the server goes away, so do all that are left."""
        for place, operation in enumerate(batch):
            await self._write([operation], careful=True)
            if isinstance(operation.error, Unreachable):
                _fail(batch[place + 1 :], operation.error)
                return

    async def _append(self, batch: list[CommitOperation]) -> set[Operation[object]]:
        """Extend journals in one round trip; return the operations that are done, be it because nobody knows.

        The statement commits by itself. What it does not find under its fence, and what the server refuses, is left to
        a transaction, which can tell why.
        """
        pid = 0
        try:
            connection = await self._connections.writer()
            pid = connection.get_server_pid()
            async with asyncio.timeout(self._connections.statement_timeout):
                first_seqs = await append(connection, batch, self._ends)
        except BaseException as error:
            for operation in batch:
                self._ends.forget(operation.commit.job_id)
            await self._connections.abandon_writer()
            if not isinstance(error, DRIVER_ERRORS):
                raise
            return await self._appended(batch, pid) if pid and is_lost(error) else set()
        for place, first_seq in first_seqs.items():
            batch[place].result = first_seq
        return {batch[place] for place in first_seqs}

    async def _appended(self, batch: list[CommitOperation], pid: int) -> set[Operation[object]]:
        """Find out which operations were written by a connection that was lost; if nobody can tell, that is their end.

        The journal knows them by their commits' ids. Should the server, cut off from us, write them later than it is
        asked, whatever is written second fails: no id can be there twice.
        """

        async def ask(connection: Connection) -> dict[str, int] | None:
            if await connection.fetchval(sql.IS_AT_WORK, pid):
                return None
            found = await connection.fetch(sql.COMMITTED, [operation.commit_id for operation in batch])
            return {commit_id: first_seq for commit_id, first_seq in found}  # noqa: C416 -- rows are no pairs to a type checker

        try:
            first_seqs = await self._find_out(ask)
        except StorageError as error:
            for operation in batch:
                operation.error = error
            return set(batch)
        for operation in batch:
            operation.result = first_seqs.get(operation.commit_id or "")
        return {operation for operation in batch if operation.result is not None}

    async def _transact(self, batch: list[Operation[object]], *, careful: bool) -> None:
        """Make one transaction of a batch; tried again when another one got in its way, or the connection was stale.

        Raises:
            StorageError: The server cannot be reached; nothing was written.
            Exception: The server refused a statement, or others got in the way too often.
        """
        for attempt in range(1, CONFLICT_TRIES + 1):
            try:
                return await self._attempt(batch, careful=careful)
            except OutcomeUnknown as unknown:
                if await self._was_written(batch, unknown.transaction_id):
                    return None
            except DRIVER_ERRORS as error:
                if is_conflict(error) and attempt < CONFLICT_TRIES:
                    await asyncio.sleep(0.002 * attempt)
                elif not is_lost(error):
                    raise
                elif attempt > 1:
                    raise translated(error) from error
        raise Unreachable("the connection was lost during every try to commit; nothing was written")

    async def _attempt(self, batch: list[Operation[object]], *, careful: bool) -> None:
        connection = await self._connections.writer()
        for operation in batch:
            operation.result, operation.error, operation.repeated = None, None, False
        try:
            async with asyncio.timeout(self._connections.statement_timeout):
                changed = await self._change(connection, batch, careful=careful)
        except BaseException:
            await self._connections.abandon_writer()
            raise
        if changed is None:
            return
        rows, transaction_id = changed
        try:
            async with asyncio.timeout(self._connections.statement_timeout):
                await connection.execute("COMMIT")
        except BaseException as error:
            await self._connections.abandon_writer()
            if is_lost(error):
                raise OutcomeUnknown(transaction_id) from error
            raise
        learn(self._ends, rows)

    async def _change(
        self, connection: Connection, batch: list[Operation[object]], *, careful: bool
    ) -> tuple[LockedRows, str] | None:
        """Make a batch's changes up to the COMMIT; return them, and the transaction's id. `None` when there is nothing to commit."""
        await connection.execute(sql.BEGIN)
        if careful:
            await _recognise(connection, batch)
        todo = [operation for operation in batch if not operation.repeated]
        needs = Needs()
        for operation in todo:
            operation.need(needs)
        rows = await lock(connection, needs)
        for operation in todo:
            try:
                operation.result = operation.apply(rows)
            except AgentRuntimeError as error:
                operation.error = error
        refused = [operation for operation in todo if operation.error is not None]
        if refused:
            await _recognise(connection, refused)
        if len(refused) == len(todo):
            await connection.execute("ROLLBACK")
            return None
        return rows, await write(connection, rows)

    async def _was_written(self, batch: list[Operation[object]], transaction_id: str) -> bool:
        """Find out what became of a transaction during whose commit the connection was lost.

        Raises:
            StorageError: The server does not come back in time.
        """
        marks = [
            operation.commit_id for operation in batch if operation.commit_id and operation.error is None
        ]

        async def ask(connection: Connection) -> bool | None:
            status = await connection.fetchval(sql.TRANSACTION_STATUS, transaction_id)
            if status == "in progress":
                return None
            if marks:  # the journal itself knows better than a server that may have been replaced
                return bool(await connection.fetch(sql.COMMITTED, marks[:1]))
            return bool(status == "committed")

        return await self._find_out(ask)

    async def _find_out(self, ask: Callable[[Connection], Awaitable[T | None]]) -> T:
        """Ask the server about a commit during which the connection was lost, until there is an answer.

        Raises:
            StorageError: The server does not come back in time.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._patience
        backoff = Backoff(*DELAYS)
        while loop.time() < give_up_at:
            try:
                async with asyncio.timeout(self._connections.statement_timeout):
                    answer = await ask(await self._connections.writer())
                if answer is not None:
                    return answer
            except (*DRIVER_ERRORS, StorageError) as error:
                logger.warning(
                    "the connection was lost during a commit; its fate is not known yet: %s",
                    type(error).__name__,
                )
                await self._connections.abandon_writer()
            await backoff.pause()
        raise Unreachable(
            "the connection was lost during a commit and the server has not come back; it is not known whether it was written"
        )


def _extensions(batch: list[Operation[object]], ends: Ends) -> list[CommitOperation]:
    """Return a batch all of whose operations only extend journals, each another one, whose ends are known; of any other batch, nothing."""
    plain = [
        operation
        for operation in batch
        if isinstance(operation, CommitOperation)
        and operation.only_extends
        and ends.of(operation.commit.job_id) is not None
    ]
    jobs = {operation.commit.job_id for operation in plain}
    return plain if len(plain) == len(jobs) == len(batch) else []


async def _recognise(connection: Connection, operations: list[Operation[object]]) -> None:
    """Find the operations that the journal already holds: these have been made before."""
    by_id = {operation.commit_id: operation for operation in operations if operation.commit_id is not None}
    if by_id:
        for commit_id, seq in await connection.fetch(sql.COMMITTED, list(by_id)):
            operation = by_id[commit_id]
            operation.result, operation.error, operation.repeated = seq, None, True


def _closed() -> StorageError:
    return Unreachable(
        "the storage was closed while the server did not answer; it is not known what was written"
    )


def _fail(batch: list[Operation[object]], error: Exception) -> None:
    """Tell callers that nothing of what they wanted is known to be written."""
    for operation in batch:
        operation.error = translated(error) if isinstance(error, DRIVER_ERRORS) else error
    deliver(batch)
