"""Writing a row without harm to whoever logs: failures are told, and a slow database is not waited for."""

from __future__ import annotations

import asyncio
from typing import Final

from agent_runtime.observability.sql.database import LogDatabase
from agent_runtime.observability.sql.writing import Change
from llm_client.background import in_background
from llm_client.logs import logger_of
from llm_client.public_text import text_of

logger = logger_of(__name__)

WAIT_SECONDS: Final = 1.0
"""How long whoever logs waits for the database; what takes longer goes on in the background."""


async def logged(database: LogDatabase, change: Change) -> None:
    """Write a change of a row, and return when it is written, or after `WAIT_SECONDS`."""
    task = in_background(_write(database, change), name="writing a log")
    await asyncio.wait((task,), timeout=WAIT_SECONDS)


async def _write(database: LogDatabase, change: Change) -> None:
    try:
        await database.write([change])
    except Exception as error:  # noqa: BLE001 -- logging never touches what it tells of
        logger.warning("a row of %s was not written: %s", change.table.name, text_of(error))
