"""Resident agents."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from agent_runtime.ports.agents import (
    NOTHING,
    AgentChange,
    AgentEvent,
    AgentMessage,
    AgentView,
    Answer,
    Look,
    MessageKind,
    MessageStatus,
    NewAgentEvent,
    StoredAgent,
)
from agent_runtime.ports.journal import Listener
from agent_runtime.storage.json_columns import write_json
from agent_runtime.storage.rows import agents as rows
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.journal import extend_trail
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import decode, encode, from_time, to_time
from agent_runtime.storage.sqlite.writer import Writer

_NAMES: Final = (*("scope", "agent", "limit", "now", "load", "key", "message", "count", "seq"),)
_PLACES: Final = {
    **{name: f":{name}" for name in _NAMES},
    "among": "IN (SELECT value FROM json_each(:among))",
}


def _named(statement: str) -> str:
    return statement.format(**_PLACES)


_ONE: Final = _named(rows.ONE)
_ALL: Final = _named(rows.ALL)
_OF_SCOPE: Final = _named(rows.OF_SCOPE)
_COUNT: Final = _named(rows.COUNT)
_DUE: Final = _named(rows.DUE)
_NEXT: Final = rows.NEXT
_FOR_LOAD: Final = _named(rows.FOR_LOAD)
_SUBSCRIBERS: Final = _named(rows.SUBSCRIBERS)
_MEMORY: Final = _named(rows.MEMORY)
_FORGET: Final = tuple(map(_named, rows.FORGET))
_UNSUBSCRIBE: Final = _named(rows.UNSUBSCRIBE)
_KNOWN: Final = _named(rows.KNOWN)
_BY_ID: Final = _named(rows.BY_ID)
_READY: Final = _named(rows.READY)
_NEXT_READY: Final = _named(rows.NEXT_READY)
_NEXT_EXPIRY: Final = _named(rows.NEXT_EXPIRY)
_CLAIMED: Final = _named(rows.CLAIMED)
_EXPIRED: Final = _named(rows.EXPIRED)
_LAST_POSITION: Final = _named(rows.LAST_POSITION)
_WHOLE: Final = _named(rows.WHOLE)
_CONTENTS: Final = _named(rows.CONTENTS)
_ENTRIES: Final = _named(rows.ENTRIES)
_UNDELIVERED: Final = _named(rows.UNDELIVERED)
_DELIVERED: Final = _named(rows.DELIVERED)
_LAST_SEQ: Final = _named(rows.LAST_SEQ)
_NEXT_SEQ: Final = _named(rows.NEXT_SEQ)
_PUT_AGENT: Final = sql.insert("runtime_agents", rows.AGENT, verb="INSERT OR REPLACE")
_PUT_MEMORY: Final = (
    "INSERT OR REPLACE INTO runtime_agent_memory (scope_id, agent_id, content) VALUES (?, ?, ?)"
)
_SUBSCRIBE: Final = "INSERT INTO runtime_agent_subscriptions (scope_id, pattern, agent_id) VALUES (?, ?, ?)"
_PUT_MESSAGE: Final = sql.insert("runtime_agent_messages", rows.MESSAGE)
_CHANGE_MESSAGE: Final = (
    f"UPDATE runtime_agent_messages SET {', '.join(f'{name} = ?' for name in rows.CHANGED)}, "  # noqa: S608
    "result = coalesce(?, result) WHERE scope_id = ? AND message_id = ?"
)
_PUT_EVENT: Final = sql.insert("runtime_agent_events", rows.EVENT)


def forget_agent(db: sqlite3.Connection, scope_id: str, agent_id: str) -> None:
    """Take an agent away with all that is its own."""
    for statement in _FORGET:
        db.execute(statement, {"scope": scope_id, "agent": agent_id})


class Agents:
    """Keeps resident agents, their mailboxes, their memory and the histories of scopes."""

    _reader: Reader
    _writer: Writer
    _listeners: list[Listener]

    async def change_agent(
        self,
        scope_id: str,
        agent_id: str,
        change: Callable[[AgentView], AgentChange[Answer]],
        *,
        at: datetime,
        look: Look = NOTHING,
    ) -> Answer:
        """Show a function an agent and write what it makes of it."""

        def write(db: sqlite3.Connection) -> AgentChange[Answer]:
            view = _view(db, scope_id, agent_id, at, look)
            made = change(view)
            _apply(db, scope_id, agent_id, view, made, at)
            return made

        def tell(made: AgentChange[Answer]) -> None:
            if made.remove or made.agent is not None or made.messages or made.events:
                self._tell_of_agent(scope_id, agent_id)

        return (await self._writer.run(write, tell)).answer

    def _tell_of_agent(self, scope_id: str, agent_id: str) -> None:
        for listener in tuple(self._listeners):
            listener.agents_changed([(scope_id, agent_id)])

    async def get_agent(self, scope_id: str, agent_id: str) -> StoredAgent | None:
        """Return an agent, or `None`."""
        found = await self._reader.rows(_ONE, {"scope": scope_id, "agent": agent_id})
        return _agents(found)[0] if found else None

    async def list_agents(
        self, scope_id: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[StoredAgent]:
        """Return agents by scope and name."""
        page = {"scope": after[0] if scope_id is None else scope_id, "agent": after[1], "limit": limit}
        return _agents(await self._reader.rows(_ALL if scope_id is None else _OF_SCOPE, page))

    async def count_agents(self, scope_id: str, *, most: int) -> int:
        """Return how many agents a scope has, or `most` if it has more."""
        return int((await self._reader.rows(_COUNT, {"scope": scope_id, "limit": most}))[0][0])

    async def due_agents(self, now: datetime, *, limit: int = 100) -> Sequence[StoredAgent]:
        """Return agents that somebody has to look after now."""
        return _agents(await self._reader.rows(_DUE, {"now": from_time(now), "limit": limit}))

    async def next_agent_look(self) -> datetime | None:
        """Return when the next agent has to be looked after."""
        found = await self._reader.rows(_NEXT)
        return to_time(found[0][0]) if found else None

    async def agents_waiting_for_load(self, load: float, *, limit: int = 100) -> Sequence[StoredAgent]:
        """Return sleeping agents that wait until the load is below something that it is below of."""
        return _agents(await self._reader.rows(_FOR_LOAD, {"load": load, "limit": limit}))

    async def subscribers(
        self, scope_id: str, patterns: Sequence[str], *, after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        """Return names of agents that listen to one of these patterns."""
        asked = {"scope": scope_id, "agent": after, "limit": limit, "among": write_json(list(patterns))}
        return [name for (name,) in await self._reader.rows(_SUBSCRIBERS, asked)]

    async def agent_memory(self, scope_id: str, agent_id: str) -> bytes | None:
        """Return what an agent remembers."""
        found = await self._reader.rows(_MEMORY, {"scope": scope_id, "agent": agent_id})
        return bytes(found[0][0]) if found else None

    async def get_agent_message(self, scope_id: str, message_id: str) -> AgentMessage | None:
        """Return a message with its content and its result, or `None`."""
        found = await self._reader.rows(_WHOLE, {"scope": scope_id, "message": message_id})
        return rows.message_record(decode(rows.MESSAGE, found[0]), rows.MESSAGE) if found else None

    async def list_agent_messages(
        self,
        scope_id: str,
        mailbox: str | None = None,
        *,
        kinds: Sequence[MessageKind] = (),
        statuses: Sequence[MessageStatus] = (),
        thread_id: str | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 100,
        max_bytes: int | None = None,
    ) -> Sequence[AgentMessage]:
        """Return messages of a scope, the newest first."""
        listed = _listed()
        statement = rows.messages_asked(
            listed,
            scope_id,
            mailbox,
            kinds=kinds,
            statuses=statuses,
            thread_id=thread_id,
            before=None if before is None else (from_time(before[0]), before[1]),
            limit=limit,
        )

        def read(db: sqlite3.Connection) -> list[AgentMessage]:
            found = db.execute(statement, listed.parameters).fetchall()
            page = _messages(row[:-1] for row in found[: rows.fitting((row[-1] for row in found), max_bytes)])
            asked = {"scope": scope_id, "among": write_json([one.message_id for one in page])}
            contents = dict(db.execute(_CONTENTS, asked).fetchall())
            return [replace(one, content=contents.get(one.message_id)) for one in page]

        return await self._reader.run(read)

    async def add_agent_event(self, scope_id: str, event: NewAgentEvent, *, at: datetime) -> AgentEvent:
        """Write an entry into the history of a scope that belongs to no change."""
        return await self._writer.run(
            lambda db: _write(db, scope_id, [event], at)[0], lambda _: self._tell_of_agent(scope_id, "")
        )

    async def event_delivered(self, scope_id: str, seq: int, *, delivered: int) -> None:
        """Write to how many agents a broadcast was brought."""
        asked = {"scope": scope_id, "seq": seq, "count": delivered}
        await self._writer.run(lambda db: db.execute(_DELIVERED, asked).rowcount)

    async def undelivered_events(self, *, before: datetime, limit: int = 100) -> Sequence[AgentEvent]:
        """Return broadcasts of which nobody has written to how many agents they were brought."""
        return _events(await self._reader.rows(_UNDELIVERED, {"now": from_time(before), "limit": limit}))

    async def agent_events(
        self,
        scope_id: str,
        *,
        after: int = 0,
        agent_id: str | None = None,
        types: Sequence[str] = (),
        dead: bool = False,
        limit: int = 100,
        max_bytes: int | None = None,
    ) -> Sequence[AgentEvent]:
        """Return the history of a scope, in order."""
        listed = _listed()
        statement = rows.events_asked(
            listed, scope_id, after=after, agent_id=agent_id, types=types, dead=dead, limit=limit
        )

        def read(db: sqlite3.Connection) -> list[AgentEvent]:
            found = db.execute(statement, listed.parameters).fetchall()
            places = [seq for seq, _ in found[: rows.fitting((length for _, length in found), max_bytes)]]
            return _events(db.execute(_ENTRIES, {"scope": scope_id, "among": write_json(places)}).fetchall())

        return await self._reader.run(read)

    async def last_agent_seq(self, scope_id: str) -> int:
        """Return the place of the newest entry of a scope's history, or zero."""
        found = await self._reader.rows(_LAST_SEQ, {"scope": scope_id})
        return int(found[0][0]) if found else 0


def _listed() -> rows.Listed:
    return rows.Listed(
        mark=lambda _: "?",
        among=lambda mark: f"IN (SELECT value FROM json_each({mark}))",  # noqa: S608 -- a parameter
        as_list=lambda values: write_json(list(values)),
    )


def _view(db: sqlite3.Connection, scope_id: str, agent_id: str, at: datetime, look: Look) -> AgentView:
    """Return what a change is shown."""
    whose: dict[str, Any] = {"scope": scope_id, "agent": agent_id, "now": from_time(at)}

    def found(statement: str, **more: object) -> list[AgentMessage]:
        return _messages(db.execute(statement, {**whose, **more}))

    agents = _agents(db.execute(_ONE, whose).fetchall())
    known = None
    if look.dedupe_key is not None:
        known = next(iter(found(_KNOWN, key=look.dedupe_key)), None)
    asked = found(_BY_ID, among=write_json(list(look.message_ids))) if look.message_ids else []
    view = AgentView(
        agent=agents[0] if agents else None,
        messages={message.message_id: message for message in asked},
        known=known,
        claimed=found(_CLAIMED) if look.claimed else (),
        expired=found(_EXPIRED, limit=look.expired) if look.expired else (),
    )
    if look.ready:
        (ready_at, _), (expires_at, _) = (
            db.execute(statement, whose).fetchone() for statement in (_NEXT_READY, _NEXT_EXPIRY)
        )
        view = replace(
            view,
            ready=found(_READY, limit=look.ready),
            next_ready=None if ready_at is None else to_time(ready_at),
            next_expiry=None if expires_at is None else to_time(expires_at),
        )
    if look.memory:
        memory = db.execute(_MEMORY, whose).fetchone()
        view = replace(view, memory=None if memory is None else bytes(memory[0]))
    return view


def _apply(
    db: sqlite3.Connection,
    scope_id: str,
    agent_id: str,
    view: AgentView,
    made: AgentChange[Any],
    at: datetime,
) -> None:
    """Write what a change makes of an agent."""
    whose = {"scope": scope_id, "agent": agent_id}
    if made.remove:
        forget_agent(db, scope_id, agent_id)
    if made.agent is not None:
        db.execute(_PUT_AGENT, encode(rows.AGENT, rows.agent_row(made.agent)))
        if view.agent is None or view.agent.listens_to != made.agent.listens_to:
            db.execute(_UNSUBSCRIBE, whose)
            listens = [(scope_id, pattern, agent_id) for pattern in made.agent.listens_to]
            db.executemany(_SUBSCRIBE, listens)
    for message in made.messages:
        _put(db, message, whose)
    if made.memory is not None:
        db.execute(_PUT_MEMORY, (scope_id, agent_id, made.memory))
    if made.note is not None:
        extend_trail(db, scope_id, at, (), [made.note])
    if made.events:
        _write(db, scope_id, made.events, at)


def _put(db: sqlite3.Connection, message: AgentMessage, whose: dict[str, str]) -> None:
    """Store a message; of one that is there content stays, and its result where none is given."""
    columns = {name: rows.MESSAGE[name] for name in rows.CHANGED}
    changed = encode(columns, rows.changed_row(message))
    key = (message.scope_id, message.message_id)
    if db.execute(_CHANGE_MESSAGE, (*changed, message.result, *key)).rowcount:
        return
    position = db.execute(_LAST_POSITION, whose).fetchone()[0] + 1
    db.execute(_PUT_MESSAGE, encode(rows.MESSAGE, rows.message_row(replace(message, position=position))))


def _write(
    db: sqlite3.Connection, scope_id: str, events: Sequence[NewAgentEvent], at: datetime
) -> list[AgentEvent]:
    """Write entries to the end of a scope's history."""
    last = db.execute(_NEXT_SEQ, {"scope": scope_id, "count": len(events)}).fetchone()[0]
    first = last - len(events) + 1
    written = [rows.placed(scope_id, event, seq, at) for seq, event in enumerate(events, first)]
    db.executemany(_PUT_EVENT, [encode(rows.EVENT, rows.event_row(event)) for event in written])
    return written


def _agents(found: Iterable[Sequence[object]]) -> list[StoredAgent]:
    return [rows.agent_record(decode(rows.AGENT, row)) for row in found]


def _messages(found: Iterable[Sequence[object]]) -> list[AgentMessage]:
    return [rows.message_record(decode(rows.SHORT_MESSAGE, row)) for row in found]


def _events(found: Iterable[Sequence[object]]) -> list[AgentEvent]:
    return [rows.event_record(decode(rows.EVENT, row)) for row in found]
