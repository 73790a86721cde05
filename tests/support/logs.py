"""The logs as they stand, and waiting for them to be as far as the journals."""

import asyncio
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from agent_runtime.observability import ExecutionLog, LLMCallLog, LogStore
from agent_runtime.observability.sql import rollups
from agent_runtime.observability.sql.database import database_of
from agent_runtime.observability.sql.records import columns_of
from agent_runtime.observability.sql.tables import (
    ROLLUPS,
    execution_logs,
    execution_rollups,
    llm_call_logs,
)
from agent_runtime.observability.sql.writing import as_written
from agent_runtime.ports.storage import Storage

Sums = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


async def follow(storage: Storage, name: str = "logs") -> None:
    """Return when a projection has dealt with everything that is there."""
    end = await storage.feed_end()
    async with asyncio.timeout(30):
        while not any(one.name == name and one.position >= end for one in await storage.cursors()):
            await asyncio.sleep(0.01)


async def everything(logs: LogStore) -> tuple[list[ExecutionLog], list[LLMCallLog]]:
    """Return all rows with their texts, without the times at which they were written."""

    def read(connection: Connection) -> tuple[list[ExecutionLog], list[LLMCallLog]]:
        found: list[Any] = []
        for table, record in ((execution_logs, ExecutionLog), (llm_call_logs, LLMCallLog)):
            query = select(*columns_of(table, content=True)).order_by(table.c.start_time, table.c.id)
            rows = [record.of(row) for row in connection.execute(query).mappings()]  # type: ignore[attr-defined]
            found.append([replace(row, created_at=None, updated_at=None) for row in rows])
        return found[0], found[1]

    return await _read(logs, read)


async def sums(logs: LogStore) -> Sums:
    """Return what is added up, without sums of nothing."""

    def read(connection: Connection) -> Sums:
        found: Sums = {}
        for table in ROLLUPS:
            keys = [column.name for column in table.primary_key]
            by_key = found.setdefault(table.name, {})
            for row in connection.execute(select(table)).mappings():
                values = as_written(row)
                key = tuple(values.pop(name) for name in keys)
                if any(values.values()):
                    by_key[key] = values
        return found

    return await _read(logs, read)


async def recounted(logs: LogStore) -> Sums:
    """Return what should be added up, from the rows themselves."""

    def read(connection: Connection) -> Sums:
        found: Sums = {table.name: {} for table in ROLLUPS}
        for table in (execution_logs, llm_call_logs):
            columns = [table.c[name] for name in rollups.COUNTED[table]]
            rows = [as_written(row) for row in connection.execute(select(*columns)).mappings()]
            moved = rollups.moved({table: ((None, row) for row in rows)})
            for rollup, by_key in moved.sums.items():
                for key, counted in by_key.items():
                    values: dict[str, Any] = dict(counted)
                    if rollup is execution_rollups:
                        durations = _durations(rows, key)
                        values["shortest_ms"] = min(durations, default=None)
                        values["longest_ms"] = max(durations, default=None)
                    found[rollup.name][key] = values
        return found

    return await _read(logs, read)


def _durations(rows: list[dict[str, Any]], key: tuple[Any, ...]) -> list[int]:
    names = ("scope_id", "agent_type", "execution_step", "status")
    begin = rollups.GRAINS[key[0]]
    return [
        row["duration_ms"]
        for row in rows
        if (key[0], begin(row["start_time"]), *(row[name] for name in names)) == key
        and row["duration_ms"] is not None
    ]


async def _read(logs: LogStore, read: Any) -> Any:
    return await database_of(logs._database).read(read)
