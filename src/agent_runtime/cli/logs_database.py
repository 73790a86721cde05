"""The logs of a database, opened as far as its journals are by now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from agent_runtime.cli.database import JOBS, LOGS, stored
from agent_runtime.cli.output.amounts import counted
from agent_runtime.cli.output.printable import say
from agent_runtime.errors import StorageReadOnly

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runtime.observability import LogStore
    from agent_runtime.ports.storage import Storage
    from agent_runtime.settings import Settings

_MANY: Final = 20_000
"""Entries whose writing takes so long that people are told."""


def _logs_alone(settings: Settings) -> Path | None:
    """Return the SQLite file in which an application keeps logs without jobs, if this is one."""
    from agent_runtime.storage.opening import sqlite_path, sqlite_tables

    path = sqlite_path(settings.storage)
    is_there = path is not None and path.exists()
    return path if path is not None and is_there and sqlite_tables(path, {JOBS, LOGS}) == {LOGS} else None


@asynccontextmanager
async def opened_logs(settings: Settings) -> AsyncIterator[tuple[LogStore, Storage]]:
    """Open the logs of a database, as far as its journals are by now, if there are any: an application may keep logs alone."""
    from agent_runtime.observability import LogStore, update_logs
    from agent_runtime.storage.opening import open_storage

    alone = await asyncio.to_thread(_logs_alone, settings)
    if alone is not None:
        from sqlalchemy import create_engine

        store = LogStore(create_engine(f"sqlite:///{alone}"))
        try:
            yield store, open_storage("memory://")  # where no jobs are
        finally:
            await store.aclose()
        return

    is_told = False

    def tell(left: int) -> None:
        nonlocal is_told
        if left > _MANY and not is_told:
            is_told = True
            say(f"agent-runtime: writing the logs of {counted(left, 'entry', 'entries')}", err=True)

    async with stored(settings) as here:
        store = LogStore(here.storage)
        try:
            left = await update_logs(here.storage, told=tell)
            if left:
                behind = counted(left, "position")
                say(f"agent-runtime: the logs are {behind} behind the journals", err=True)
        except StorageReadOnly as error:
            say(f"agent-runtime: the logs are as old as they are: {error}", err=True)
        try:
            yield store, here.storage
        finally:
            await store.aclose()
