"""Deleting what is old."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.audit.chain import Salts
from agent_runtime.ports.audit import Note
from agent_runtime.ports.clock import ServerClock
from agent_runtime.ports.retention import Forgettable
from agent_runtime.storage import erasing, erasing_agents
from agent_runtime.storage.cursors import last_of_page
from agent_runtime.storage.forgetting import forget
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.agents import forget_agent, lock_agents
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.journal import extend_trail
from agent_runtime.storage.postgres.schedules import drop_schedule
from agent_runtime.storage.postgres.values import from_json, from_text, to_json, to_text

if TYPE_CHECKING:
    from agent_runtime.storage.postgres.connections import Connection

_AMONG: Final = "= ANY($1::text[])"
_MARK: Final = erasing.MARK.format(at="$3::timestamptz", among=_AMONG, scope="$2")
_BESIDE: Final = tuple(statement.format(among=_AMONG) for statement in erasing.BESIDE)
_SALTS: Final = erasing.SALTS.format(job="$1")
_ERASED_SIZES: Final = erasing.SIZES.format(length="octet_length", job="$1", limit="$2")
_ERASED_ENTRIES: Final = erasing.ENTRIES.format(job="$1", upto="$2")
_ERASE_ENTRY: Final = erasing.ERASE_ENTRY.format(id="$1", data="$2", content="$3")
_EMPTY_JOBS: Final = erasing.EMPTY_JOBS.format(pseudonym="$2::text", nothing="$3", among=_AMONG)
_INBOXES_OF_JOBS: Final = erasing.INBOXES_OF_JOBS.format(among=_AMONG)
_LEDGER_OF_JOBS: Final = erasing.LEDGER_OF_JOBS.format(among=_AMONG)
_LEDGER_OF: Final = {
    name: erasing.LEDGER_OF_NAME.format(scope="$1", name=name, value="$2")
    for name in ("principal_id", "session_id")
}
_UNDER_PSEUDONYM: Final = erasing.UNDER_PSEUDONYM.format(
    id="$1", pseudonym="$2::text", metadata="$3::text::jsonb"
)
_RENAME_COUNTERS: Final = erasing.RENAME_COUNTERS.format(new="$1", old="$2")
_DROP_BUDGET: Final = erasing.DROP_BUDGET.format(id="$1")
_MAIL_OF_PERSON: Final = tuple(
    statement.format(scope="$1", value="$2") for statement in erasing.MAIL_OF_PERSON
)
_REVOKE_KEYS: Final = erasing.REVOKE_KEYS.format(scope="$1", value="$2", at="$3")
_NAMES_OF_KEYS: Final = tuple(
    statement.format(scope="$1", value="$2", pseudonym="$3::text") for statement in erasing.NAMES_OF_KEYS
)
_SCHEDULES_OF: Final = erasing.SCHEDULES_OF.format(scope="$1", value="$2")
_NAMES_OF_SCHEDULES: Final = erasing.NAMES_OF_SCHEDULES.format(scope="$1", value="$2", pseudonym="$3::text")
_PLACES: Final = {
    "scope": "$1",
    "value": "$2",
    "pseudonym": "$3::text",
    "sender": "data ->> 'from'",
    "message": "data ->> 'message_id'",
}
_AGENTS_OF: Final = erasing_agents.AGENTS_OF.format(**_PLACES)
_EMPTY_AGENTS: Final = tuple(one.format(**_PLACES) for one in erasing_agents.EMPTY)
_RENAME_IN_AGENTS: Final = tuple(one.format(**_PLACES) for one in erasing_agents.RENAME)


class Retention:
    """Deletes what is old."""

    _connections: Connections
    clock: ServerClock

    async def prune(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete jobs that ended before a moment."""
        return len(await self._connections.fetch(sql.PRUNE, before, limit, max_events))

    async def forget(self, what: Forgettable, *, before: datetime, limit: int = 1000) -> int:
        """Delete what nobody has used since a moment."""
        count = 0
        for statement in forget(what, dollar=True):
            count = len(await self._connections.fetch(f"{statement} RETURNING 1", before, limit))
        return count

    async def prune_content(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the content of jobs that ended before a moment."""
        return len(await self._connections.fetch(sql.PRUNE_CONTENT, before, limit, max_events))

    async def begin_erasing(
        self, job_ids: Sequence[str], *, scope_id: str, at: datetime, note: Note
    ) -> Sequence[str]:
        """Mark jobs of a scope as erased, and say so in its trail."""

        async def mark(connection: Connection) -> list[str]:
            found = await connection.fetch(_MARK, _texts(job_ids), to_text(scope_id), at)
            marked = [row[0] for row in found]
            for statement in _BESIDE:
                await connection.execute(statement, marked)
            if marked:
                await extend_trail(connection, scope_id, at, (), [note])
            return [from_text(job_id) for job_id in marked]

        return await self._connections.change(mark)

    async def erase_entries(self, job_id: str, *, limit: int = 500, max_bytes: int = 8 * 1024 * 1024) -> int:
        """Put digests in the place of a marked job's next entries."""
        job = to_text(job_id)

        async def erase(connection: Connection) -> int:
            salt = await connection.fetchval(_SALTS, job)
            sizes = await connection.fetch(_ERASED_SIZES, job, limit)
            upto = last_of_page(((row[0], row[1]) for row in sizes), max_bytes)
            if salt is None or upto is None:
                return 0
            salts, entries = Salts.read(salt), await connection.fetch(_ERASED_ENTRIES, job, upto)
            made = []
            for number, seq, operation, data, content, known in map(tuple, entries):
                operation_id = None if operation is None else from_text(operation)
                made.append(
                    (number, *erasing.digests(salts, seq, operation_id, from_json(data), content, known))
                )
            await connection.executemany(_ERASE_ENTRY, made)
            return len(made)

        return await self._connections.change(erase)

    async def finish_erasing(self, job_ids: Sequence[str], *, pseudonym: str) -> None:
        """Forget the salts of marked jobs, and names in their rows and ledger entries."""

        async def finish(connection: Connection) -> None:
            found = await connection.fetch(_LEDGER_OF_JOBS, _texts(job_ids))
            await _rename_ledger(connection, found, pseudonym)
            await connection.execute(_INBOXES_OF_JOBS, _texts(job_ids))
            await connection.execute(_EMPTY_JOBS, _texts(job_ids), pseudonym, b"")

        await self._connections.change(finish)

    async def erase_names(
        self, *, scope_id: str, principal_id: str | None, session_id: str | None, pseudonym: str
    ) -> int:
        """Put a pseudonym in the place of a person or a session, in what belongs to no job."""

        async def rename(connection: Connection) -> int:
            count, scope = 0, to_text(scope_id)
            for column, value in (("principal_id", principal_id), ("session_id", session_id)):
                if value is not None:
                    found = await connection.fetch(_LEDGER_OF[column], scope, to_text(value))
                    count += await _rename_ledger(connection, found, pseudonym)
            for (name,) in await connection.fetch(erasing.COUNTERS_LIKE):
                if parts := erasing.is_about(from_text(name), scope_id, principal_id, session_id):
                    new = to_text(erasing.renamed(parts, principal_id, session_id, pseudonym))
                    count += _rows(await connection.execute(_RENAME_COUNTERS, new, name))
            for (name,) in await connection.fetch(erasing.BUDGETS):
                if erasing.is_about(from_text(name), scope_id, principal_id, session_id):
                    count += _rows(await connection.execute(_DROP_BUDGET, name))
            for statement in _MAIL_OF_PERSON if principal_id is not None else ():
                count += _rows(await connection.execute(statement, scope, to_text(principal_id or "")))
            if principal_id is not None:
                person = (connection, scope_id, principal_id, pseudonym, self.clock.now())
                count += await _erase_agents(*person)  # whose locks come before that of the trail
                count += await _erase_keys(*person) + await _erase_schedules(*person)
            return count

        return await self._connections.change(rename)


async def _erase_keys(
    connection: Connection, scope_id: str, principal_id: str, pseudonym: str, at: datetime
) -> int:
    """Revoke a person's API keys of a scope, and put a pseudonym in the place of the person in all keys of it."""
    whose = (to_text(scope_id), to_text(principal_id))
    revoked = sorted(row[0] for row in await connection.fetch(_REVOKE_KEYS, *whose, at))
    await extend_trail(connection, scope_id, at, (), erasing.revoked_by_erasure(revoked, pseudonym))
    done = [await connection.execute(statement, *whose, pseudonym) for statement in _NAMES_OF_KEYS]
    return sum(map(_rows, done))


async def _erase_schedules(
    connection: Connection, scope_id: str, principal_id: str, pseudonym: str, at: datetime
) -> int:
    """Remove the schedules on behalf of a person, and put a pseudonym in the place of the person in all others of the scope."""
    whose = (to_text(scope_id), to_text(principal_id))
    found = [from_text(row[0]) for row in await connection.fetch(_SCHEDULES_OF, *whose)]
    for schedule_id in found:
        note = erasing.removed_by_erasure(schedule_id, pseudonym)
        await drop_schedule(connection, scope_id, schedule_id, at, note)
    return len(found) + _rows(await connection.execute(_NAMES_OF_SCHEDULES, *whose, pseudonym))


async def _erase_agents(
    connection: Connection, scope_id: str, principal_id: str, pseudonym: str, at: datetime
) -> int:
    """Remove the agents on behalf of a person, and what the person has said to others of the scope."""
    whose = (to_text(scope_id), to_text(principal_id))
    seen = [from_text(row[0]) for row in await connection.fetch(_AGENTS_OF, *whose)]
    await lock_agents(connection, scope_id, seen)  # who changes one now would put it back
    found = [from_text(row[0]) for row in await connection.fetch(_AGENTS_OF, *whose)]
    for agent_id in found:
        await forget_agent(connection, whose[0], to_text(agent_id))
        note = erasing_agents.removed_by_erasure(agent_id, pseudonym)
        await extend_trail(connection, scope_id, at, (), [note])
    done = [await connection.execute(statement, *whose) for statement in _EMPTY_AGENTS]
    done += [await connection.execute(statement, *whose, pseudonym) for statement in _RENAME_IN_AGENTS]
    return len(found) + sum(map(_rows, done))


async def _rename_ledger(connection: Connection, found: Sequence[Any], pseudonym: str) -> int:
    """Put a pseudonym in the place of names in ledger entries."""
    rows = [
        (number, pseudonym, to_json(erasing.kept_of(from_json(metadata))))
        for number, metadata in map(tuple, found)
    ]
    await connection.executemany(_UNDER_PSEUDONYM, rows)
    return len(rows)


def _texts(values: Sequence[str]) -> list[str]:
    return [to_text(value) for value in values]


def _rows(status: str) -> int:
    """Return how many rows a statement has changed, from what the server says of it."""
    return int(status.rpartition(" ")[2])
