"""Deleting what is old."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import orjson

from agent_runtime.audit.chain import Salts
from agent_runtime.ports.audit import Note
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.retention import Forgettable
from agent_runtime.storage import erasing, erasing_agents
from agent_runtime.storage.cursors import last_of_page
from agent_runtime.storage.forgetting import LEDGER, forget
from agent_runtime.storage.json_columns import read_json
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.agents import forget_agent
from agent_runtime.storage.sqlite.journal import extend_trail
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.schedules import drop_schedule
from agent_runtime.storage.sqlite.values import from_json, from_time
from agent_runtime.storage.sqlite.writer import Writer

_AMONG: Final = "IN (SELECT value FROM json_each(:ids))"
_MARK: Final = erasing.MARK.format(at=":at", among=_AMONG, scope=":scope")
_BESIDE: Final = tuple(statement.format(among=_AMONG) for statement in erasing.BESIDE)
_SALTS: Final = erasing.SALTS.format(job=":job")
_ERASED_SIZES: Final = erasing.SIZES.format(length="length", job=":job", limit=":limit")
_ERASED_ENTRIES: Final = erasing.ENTRIES.format(job=":job", upto=":upto")
_ERASE_ENTRY: Final = erasing.ERASE_ENTRY.format(data=":data", content=":content", id=":id")
_EMPTY_JOBS: Final = erasing.EMPTY_JOBS.format(pseudonym=":pseudonym", nothing=":nothing", among=_AMONG)
_INBOXES_OF_JOBS: Final = erasing.INBOXES_OF_JOBS.format(among=_AMONG)
_LEDGER_OF_JOBS: Final = erasing.LEDGER_OF_JOBS.format(among=_AMONG)
_LEDGER_OF: Final = {
    name: erasing.LEDGER_OF_NAME.format(scope=":scope", name=name, value=":value")
    for name in ("principal_id", "session_id")
}
_UNDER_PSEUDONYM: Final = erasing.UNDER_PSEUDONYM.format(
    pseudonym=":pseudonym", metadata=":metadata", id=":id"
)
_RENAME_COUNTERS: Final = erasing.RENAME_COUNTERS.format(new=":new", old=":old")
_DROP_BUDGET: Final = erasing.DROP_BUDGET.format(id=":id")
_MAIL_OF_PERSON: Final = tuple(
    statement.format(scope=":scope", value=":value") for statement in erasing.MAIL_OF_PERSON
)
_REVOKE_KEYS: Final = erasing.REVOKE_KEYS.format(at=":at", scope=":scope", value=":value")
_NAMES_OF_KEYS: Final = tuple(
    statement.format(scope=":scope", value=":value", pseudonym=":pseudonym")
    for statement in erasing.NAMES_OF_KEYS
)

_SCHEDULES_OF: Final = erasing.SCHEDULES_OF.format(scope=":scope", value=":value")
_NAMES_OF_SCHEDULES: Final = erasing.NAMES_OF_SCHEDULES.format(
    scope=":scope", value=":value", pseudonym=":pseudonym"
)
_PLACES: Final = {
    "scope": ":scope",
    "value": ":value",
    "pseudonym": ":pseudonym",
    "sender": "json_extract(data, '$.from')",
    "message": "json_extract(data, '$.message_id')",
}
_AGENTS_OF: Final = erasing_agents.AGENTS_OF.format(**_PLACES)
_EMPTY_AGENTS: Final = tuple(one.format(**_PLACES) for one in erasing_agents.EMPTY)
_RENAME_IN_AGENTS: Final = tuple(one.format(**_PLACES) for one in erasing_agents.RENAME)


def _ids(job_ids: Sequence[str]) -> str:
    return orjson.dumps(list(job_ids)).decode()


class Retention:
    """Deletes what is old."""

    _reader: Reader
    _writer: Writer
    clock: Clock

    async def prune(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete jobs that ended before a moment."""
        bounds = {"before": from_time(before), "limit": limit, "events": max_events}

        def delete(db: sqlite3.Connection) -> int:
            ended = db.execute(sql.ENDED_JOBS, bounds).fetchall()
            (last,) = db.execute(sql.LAST_POSITION).fetchone()
            for statement in (*sql.DELETE_JOB, sql.MARK_GONE):
                db.executemany(statement, ended)
            for statement in sql.KEEP_POSITION:
                db.execute(statement, {"last": last})
            return len(ended)

        deleted: int = await self._writer.run(delete)
        return deleted

    async def forget(self, what: Forgettable, *, before: datetime, limit: int = 1000) -> int:
        """Delete what nobody has used since a moment. Long tables are looked through where nobody waits for it."""
        bounds = {"before": from_time(before), "limit": limit}
        if what == "ledger":
            old = await self._reader.rows(LEDGER.format(before=":before", limit=":limit"), bounds)
            delete = "DELETE FROM runtime_ledger WHERE id = ?"
            await self._writer.run(lambda db: db.executemany(delete, old))
            return len(old)

        def forgotten(db: sqlite3.Connection) -> int:
            return [db.execute(statement, bounds).rowcount for statement in forget(what, dollar=False)][-1]

        count: int = await self._writer.run(forgotten)
        return count

    async def prune_content(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the content of jobs that ended before a moment."""
        bounds = {"before": from_time(before), "limit": limit, "events": max_events}

        def empty(db: sqlite3.Connection) -> int:
            ended = db.execute(sql.ENDED_JOBS_WITH_CONTENT, bounds).fetchall()
            db.executemany(sql.DELETE_CONTENT, ended)
            db.executemany(sql.MARK_WITHOUT_CONTENT, ended)
            return len(ended)

        emptied: int = await self._writer.run(empty)
        return emptied

    async def begin_erasing(
        self, job_ids: Sequence[str], *, scope_id: str, at: datetime, note: Note
    ) -> Sequence[str]:
        """Mark jobs of a scope as erased, and say so in its trail."""

        def mark(db: sqlite3.Connection) -> list[str]:
            asked = {"ids": _ids(job_ids), "scope": scope_id, "at": from_time(at)}
            marked = [job_id for (job_id,) in db.execute(_MARK, asked).fetchall()]
            for statement in _BESIDE:
                db.execute(statement, {"ids": _ids(marked)})
            if marked:
                extend_trail(db, scope_id, at, (), [note])
            return marked

        return await self._writer.run(mark)

    async def erase_entries(self, job_id: str, *, limit: int = 500, max_bytes: int = 8 * 1024 * 1024) -> int:
        """Put digests in the place of a marked job's next entries."""

        def erase(db: sqlite3.Connection) -> int:
            page: dict[str, object] = {"job": job_id, "limit": limit}
            row = db.execute(_SALTS, page).fetchone()
            upto = last_of_page(db.execute(_ERASED_SIZES, page), max_bytes)
            if row is None or upto is None:
                return 0
            salts, entries = (
                Salts.read(row[0]),
                db.execute(_ERASED_ENTRIES, {**page, "upto": upto}).fetchall(),
            )
            for number, seq, operation_id, data, content, known in entries:
                made = erasing.digests(salts, seq, operation_id, read_json(data), content, known)
                db.execute(_ERASE_ENTRY, {"id": number, "data": made[0], "content": made[1]})
            return len(entries)

        return await self._writer.run(erase)

    async def finish_erasing(self, job_ids: Sequence[str], *, pseudonym: str) -> None:
        """Forget the salts of marked jobs, and names in their rows and ledger entries."""
        asked = {"ids": _ids(job_ids), "pseudonym": pseudonym, "nothing": b""}

        def finish(db: sqlite3.Connection) -> None:
            _rename_ledger(db, db.execute(_LEDGER_OF_JOBS, asked).fetchall(), pseudonym)
            db.execute(_INBOXES_OF_JOBS, asked)
            db.execute(_EMPTY_JOBS, asked)

        await self._writer.run(finish)

    async def erase_names(
        self, *, scope_id: str, principal_id: str | None, session_id: str | None, pseudonym: str
    ) -> int:
        """Put a pseudonym in the place of a person or a session, in what belongs to no job."""

        def rename(db: sqlite3.Connection) -> int:
            count = 0
            for column, value in (("principal_id", principal_id), ("session_id", session_id)):
                if value is not None:
                    found = db.execute(_LEDGER_OF[column], {"scope": scope_id, "value": value}).fetchall()
                    count += _rename_ledger(db, found, pseudonym)
            for (name,) in db.execute(erasing.COUNTERS_LIKE).fetchall():
                if parts := erasing.is_about(name, scope_id, principal_id, session_id):
                    new = erasing.renamed(parts, principal_id, session_id, pseudonym)
                    count += db.execute(_RENAME_COUNTERS, {"new": new, "old": name}).rowcount
            for (name,) in db.execute(erasing.BUDGETS).fetchall():
                if erasing.is_about(name, scope_id, principal_id, session_id):
                    count += db.execute(_DROP_BUDGET, {"id": name}).rowcount
            for statement in _MAIL_OF_PERSON if principal_id is not None else ():
                count += db.execute(statement, {"scope": scope_id, "value": principal_id}).rowcount
            if principal_id is not None:
                person = (db, scope_id, principal_id, pseudonym, self.clock.now())
                count += _erase_keys(*person) + _erase_schedules(*person) + _erase_agents(*person)
            return count

        return await self._writer.run(rename)


def _rename_ledger(db: sqlite3.Connection, found: Sequence[tuple[int, str]], pseudonym: str) -> int:
    """Put a pseudonym in the place of names in ledger entries."""
    for number, metadata in found:
        kept = from_json(erasing.kept_of(read_json(metadata)))
        db.execute(_UNDER_PSEUDONYM, {"id": number, "metadata": kept, "pseudonym": pseudonym})
    return len(found)


def _erase_keys(
    db: sqlite3.Connection, scope_id: str, principal_id: str, pseudonym: str, at: datetime
) -> int:
    """Revoke a person's API keys of a scope, and put a pseudonym in the place of the person in all keys of it."""
    whose = {"scope": scope_id, "value": principal_id, "pseudonym": pseudonym, "at": from_time(at)}
    revoked = sorted(key_id for (key_id,) in db.execute(_REVOKE_KEYS, whose).fetchall())
    extend_trail(db, scope_id, at, (), erasing.revoked_by_erasure(revoked, pseudonym))
    return sum(db.execute(statement, whose).rowcount for statement in _NAMES_OF_KEYS)


def _erase_schedules(
    db: sqlite3.Connection, scope_id: str, principal_id: str, pseudonym: str, at: datetime
) -> int:
    """Remove the schedules on behalf of a person, and put a pseudonym in the place of the person in all others of the scope."""
    whose = {"scope": scope_id, "value": principal_id, "pseudonym": pseudonym}
    found = [schedule_id for (schedule_id,) in db.execute(_SCHEDULES_OF, whose).fetchall()]
    for schedule_id in found:
        drop_schedule(db, scope_id, schedule_id, at, erasing.removed_by_erasure(schedule_id, pseudonym))
    return len(found) + db.execute(_NAMES_OF_SCHEDULES, whose).rowcount


def _erase_agents(
    db: sqlite3.Connection, scope_id: str, principal_id: str, pseudonym: str, at: datetime
) -> int:
    """Remove the agents on behalf of a person, and what the person has said to others of the scope."""
    whose = {"scope": scope_id, "value": principal_id, "pseudonym": pseudonym}
    found = [agent_id for (agent_id,) in db.execute(_AGENTS_OF, whose).fetchall()]
    for agent_id in found:
        forget_agent(db, scope_id, agent_id)
        extend_trail(db, scope_id, at, (), [erasing_agents.removed_by_erasure(agent_id, pseudonym)])
    done = sum(db.execute(statement, whose).rowcount for statement in _EMPTY_AGENTS)
    return len(found) + done + sum(db.execute(statement, whose).rowcount for statement in _RENAME_IN_AGENTS)
