"""The execution logs of a service: those of its storage, written as far as the journals tell before they are read."""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from agent_runtime.errors import AgentRuntimeError
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.observability import JournalLogs, LogStore, metadata, update_logs
from agent_runtime.observability.sql.database import has_logs
from llm_client.background import begin, drained, is_news
from llm_client.logs import logger_of
from llm_client.turns import aside

logger = logger_of(__name__)

PATIENCE: Final = 2.0
"""Seconds for which a request waits until the rows say what the journals do. After that it reads what is there; the rest goes on being written."""

LAST_SECONDS: Final = 1.0


class ServedLogs:
    """Reads the logs, and has them written first by whoever comes first; the others wait for it.

    Args:
        kernel: Whose jobs they are about.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._store: LogStore | None = None
        self._told: JournalLogs | None = None
        self._asked = 0
        self._known = 0
        """Up to which question the rows say what the journals said when it was asked."""
        self._nothing: Engine | None = None
        self._writing: asyncio.Task[bool] | None = None

    async def store(self) -> LogStore:
        """Return the logs, written up to now; empty ones where the storage keeps none. Raises `StorageError`."""
        store = await self._opened()
        if self._told is not None:
            self._asked += 1
            await self._up_to(self._asked)
        return store

    async def aclose(self) -> None:
        """Let what is being written end, for a moment, and close the connections: who breaks off keeps the others waiting for their turn."""
        if self._writing is not None:
            await drained((self._writing,), seconds=LAST_SECONDS)
        if self._store is not None:
            await self._store.aclose()
        if self._nothing is not None:
            self._nothing.dispose()

    async def _opened(self) -> LogStore:
        if self._store is None:
            await self._kernel.start()
            storage = self._kernel.storage
            if has_logs(storage):
                told = await aside(JournalLogs, storage)  # which looks its prices up
                self._told = self._told or told
                self._store = LogStore(storage)
            else:
                self._nothing = self._nothing or await aside(_empty)
                self._store = LogStore(self._nothing)
        return self._store

    async def _up_to(self, question: int) -> None:
        """Wait until the rows say what the journals said when a question was asked, for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while self._known < question and (left := until - loop.time()) > 0:
            if self._writing is None or self._writing.done():
                self._writing = begin(self._write(self._asked), name="writing the logs of the service")
            await asyncio.wait({self._writing}, timeout=left)
            if self._writing.done() and not self._writing.result():
                return

    async def _write(self, upto: int) -> bool:
        """Write what the journals tell; return whether that was all that a question up to this one asks for."""
        try:
            if await update_logs(self._kernel.storage, self._told) > 0:
                return False  # another process is at it
        except AgentRuntimeError as error:  # whoever reads is told, if the rows cannot be read either
            if is_news(said := str(error)):
                logger.warning("the execution logs are not up to date: %s", said)
            return False
        self._known = max(self._known, upto)
        return True


def _empty() -> Engine:
    """Return a database in which nothing stands: the logs of a storage on connections of its caller's are elsewhere."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    return engine
