"""Writing a row without harm to whoever logs: failures are told, a slow database is not waited for, and what waits has a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary

from agent_runtime.observability.sql.database import LogDatabase, is_callers
from agent_runtime.observability.sql.texts import MAX_TEXT
from agent_runtime.observability.sql.writing import Change
from llm_client.background import in_background
from llm_client.logs import logger_of
from llm_client.public_text import text_of

logger = logger_of(__name__)

WAIT_SECONDS: Final = 1.0
"""How long whoever logs waits for the database; what takes longer goes on in the background."""
MOST_WAITING: Final = 128 * 1024 * 1024
"""Characters of the rows that wait to be written to one database; of one that stands still for long, later rows are lost."""
_OF_A_ROW: Final = 2_000
"""What a row takes beside its texts."""
_MANY: Final = 1_000
"""Items of a value that are not gone through: it counts as the most that is kept of one."""
_WAITING: Final[WeakKeyDictionary[LogDatabase, int]] = WeakKeyDictionary()


async def logged(database: LogDatabase, change: Change) -> None:
    """Write a change of a row, and return when it is written, or after `WAIT_SECONDS`.

    In the caller's own transaction it is written at once: in the background, a row that is refused would take with it what the caller
    says meanwhile.
    """
    size = _size_of(change)
    waiting = _WAITING.get(database, 0)
    if waiting + size > MOST_WAITING:
        logger.warning("a row of %s was not written: too much waits already", change.table.name)
        return
    _WAITING[database] = waiting + size
    if is_callers(database):
        await _write(database, change, size)
        return
    task = in_background(_write(database, change, size), name="writing a log")
    await asyncio.wait((task,), timeout=WAIT_SECONDS)


async def _write(database: LogDatabase, change: Change, size: int) -> None:
    try:
        await database.write([change])
    except Exception as error:  # noqa: BLE001 -- logging never touches what it tells of
        logger.warning("a row of %s was not written: %s", change.table.name, text_of(error))
    finally:
        _WAITING[database] = max(0, _WAITING.get(database, 0) - size)


def _size_of(change: Change) -> int:
    """Return about how many characters a row has."""
    size, below = _OF_A_ROW, list(change.values.values())
    while below:
        item = below.pop()
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, Mapping | list | tuple) and len(item) > _MANY:
            size += MAX_TEXT
        elif isinstance(item, Mapping):
            below += (*item, *item.values())
        elif isinstance(item, list | tuple):
            below += item
        size += 8
    return size
