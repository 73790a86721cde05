"""Resident agents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

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
from agent_runtime.ports.change_notifier import ChangeNotifier
from agent_runtime.ports.journal import Listener, RemoteChange
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.journal import extend_trail
from agent_runtime.storage.postgres.locks import lock_number
from agent_runtime.storage.postgres.values import decode, encode, from_text, to_text
from agent_runtime.storage.rows import Columns
from agent_runtime.storage.rows import agents as rows

if TYPE_CHECKING:
    from agent_runtime.storage.postgres.connections import Connection


def _numbered(statement: str, *names: str) -> str:
    places = {name: f"${number}" for number, name in enumerate(names, 1)}
    if "among" in places:
        places["among"] = f"= ANY({places['among']})"
    return statement.format(**places)


def _insert(table: str, columns: Columns, conflict: str = "") -> str:
    marks = (
        f"${number}{'::jsonb' if kind == 'json' else ''}" for number, kind in enumerate(columns.values(), 1)
    )
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(marks)}) {conflict}"  # noqa: S608 -- names of our own


_KEY: Final = ("scope", "agent")
_ONE: Final = _numbered(rows.ONE, *_KEY)
_ALL: Final = _numbered(rows.ALL, *_KEY, "limit")
_OF_SCOPE: Final = _numbered(rows.OF_SCOPE, *_KEY, "limit")
_COUNT: Final = _numbered(rows.COUNT, "scope", "limit")
_DUE: Final = _numbered(rows.DUE, "now", "limit")
_FOR_LOAD: Final = _numbered(rows.FOR_LOAD, "load", "limit")
_SUBSCRIBERS: Final = _numbered(rows.SUBSCRIBERS, *_KEY, "limit", "among")
_MEMORY: Final = _numbered(rows.MEMORY, *_KEY)
_FORGET: Final = tuple(_numbered(statement, *_KEY) for statement in rows.FORGET)
_UNSUBSCRIBE: Final = _numbered(rows.UNSUBSCRIBE, *_KEY)
_KNOWN: Final = _numbered(rows.KNOWN, *_KEY, "key")
_BY_ID: Final = _numbered(rows.BY_ID, *_KEY, "among")
_READY: Final = _numbered(rows.READY, *_KEY, "now", "limit")
_NEXT_READY: Final = _numbered(rows.NEXT_READY, *_KEY, "now")
_NEXT_EXPIRY: Final = _numbered(rows.NEXT_EXPIRY, *_KEY, "now")
_CLAIMED: Final = _numbered(rows.CLAIMED, *_KEY)
_EXPIRED: Final = _numbered(rows.EXPIRED, *_KEY, "now", "limit")
_LAST_POSITION: Final = _numbered(rows.LAST_POSITION, *_KEY)
_WHOLE: Final = _numbered(rows.WHOLE, "scope", "message")
_CONTENTS: Final = _numbered(rows.CONTENTS, "scope", "among")
_ENTRIES: Final = _numbered(rows.ENTRIES, "scope", "among")
_UNDELIVERED: Final = _numbered(rows.UNDELIVERED, "now", "limit")
_DELIVERED: Final = _numbered(rows.DELIVERED, "scope", "seq", "count")
_LAST_SEQ: Final = _numbered(rows.LAST_SEQ, "scope")
_NEXT_SEQ: Final = _numbered(rows.NEXT_SEQ, "scope", "count")
_CHANGED: Final = ", ".join(f"{name} = excluded.{name}" for name in rows.AGENT)
_PUT_AGENT: Final = _insert(
    "runtime_agents", rows.AGENT, f"ON CONFLICT (scope_id, agent_id) DO UPDATE SET {_CHANGED}"
)
_PUT_MEMORY: Final = """
INSERT INTO runtime_agent_memory (scope_id, agent_id, content) VALUES ($1, $2, $3)
ON CONFLICT (scope_id, agent_id) DO UPDATE SET content = excluded.content
"""
_SUBSCRIBE: Final = """
INSERT INTO runtime_agent_subscriptions (scope_id, pattern, agent_id) SELECT $1, pattern, $2 FROM unnest($3::text[]) AS v(pattern)
"""
_PUT_MESSAGE: Final = _insert("runtime_agent_messages", rows.MESSAGE)
_SET: Final = ", ".join(f"{name} = ${number}" for number, name in enumerate(rows.CHANGED, 4))
_CHANGE_MESSAGE: Final = f"""
UPDATE runtime_agent_messages SET {_SET}, result = coalesce($3, result) WHERE scope_id = $1 AND message_id = $2 RETURNING 1
"""  # noqa: S608
_PUT_EVENT: Final = _insert("runtime_agent_events", rows.EVENT)


async def lock_agents(connection: Connection, scope_id: str, agent_ids: Sequence[str]) -> None:
    """Let nobody else change agents, be they there or not, until the transaction ends. Comes before all other locks, in one order."""
    names = {f"agent:{len(scope_id)}:{scope_id}:{agent_id}" for agent_id in agent_ids}
    if names:
        await connection.execute(sql.LOCK_NAMES, sorted(map(lock_number, names)))


async def forget_agent(connection: Connection, scope: str, agent: str) -> None:
    """Take an agent away with all that is its own; the names are those of the database."""
    for statement in _FORGET:
        await connection.execute(statement, scope, agent)


class Agents:
    """Keeps resident agents, their mailboxes, their memory and the histories of scopes."""

    _connections: Connections
    _listeners: list[Listener]
    _notifier: ChangeNotifier

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
        key = (to_text(scope_id), to_text(agent_id))

        async def make(connection: Connection) -> AgentChange[Answer]:
            await lock_agents(connection, scope_id, [agent_id])
            view = await _view(connection, key, at, look)
            made = change(view)
            await _apply(connection, key, view, made, at)
            return made

        made = await self._connections.change(make)
        if made.remove or made.agent is not None or made.messages or made.events:
            self._tell_of_agent(scope_id, agent_id)
        return made.answer

    def _tell_of_agent(self, scope_id: str, agent_id: str) -> None:
        self._notifier.publish(RemoteChange("agent", ""))
        for listener in tuple(self._listeners):
            listener.agents_changed([(scope_id, agent_id)])

    async def get_agent(self, scope_id: str, agent_id: str) -> StoredAgent | None:
        """Return an agent, or `None`."""
        found = await self._connections.fetch(_ONE, to_text(scope_id), to_text(agent_id))
        return _agents(found)[0] if found else None

    async def list_agents(
        self, scope_id: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[StoredAgent]:
        """Return agents by scope and name."""
        begin = after[0] if scope_id is None else scope_id
        statement = _ALL if scope_id is None else _OF_SCOPE
        return _agents(await self._connections.fetch(statement, to_text(begin), to_text(after[1]), limit))

    async def count_agents(self, scope_id: str, *, most: int) -> int:
        """Return how many agents a scope has, or `most` if it has more."""
        return int((await self._connections.fetch(_COUNT, to_text(scope_id), most))[0][0])

    async def due_agents(self, now: datetime, *, limit: int = 100) -> Sequence[StoredAgent]:
        """Return agents that somebody has to look after now."""
        return _agents(await self._connections.fetch(_DUE, now, limit))

    async def next_agent_look(self) -> datetime | None:
        """Return when the next agent has to be looked after."""
        found = await self._connections.fetch(rows.NEXT)
        at: datetime | None = found[0][0] if found else None
        return at

    async def agents_waiting_for_load(self, load: float, *, limit: int = 100) -> Sequence[StoredAgent]:
        """Return sleeping agents that wait until the load is below something that it is below of."""
        return _agents(await self._connections.fetch(_FOR_LOAD, load, limit))

    async def subscribers(
        self, scope_id: str, patterns: Sequence[str], *, after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        """Return names of agents that listen to one of these patterns."""
        asked = (to_text(scope_id), to_text(after), limit, list(map(to_text, patterns)))
        return [from_text(row[0]) for row in await self._connections.fetch(_SUBSCRIBERS, *asked)]

    async def agent_memory(self, scope_id: str, agent_id: str) -> bytes | None:
        """Return what an agent remembers."""
        found = await self._connections.fetch(_MEMORY, to_text(scope_id), to_text(agent_id))
        return bytes(found[0][0]) if found else None

    async def get_agent_message(self, scope_id: str, message_id: str) -> AgentMessage | None:
        """Return a message with its content and its result, or `None`."""
        found = await self._connections.fetch(_WHOLE, to_text(scope_id), to_text(message_id))
        return rows.message_record(decode(rows.MESSAGE, tuple(found[0])), rows.MESSAGE) if found else None

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
            to_text(scope_id),
            None if mailbox is None else to_text(mailbox),
            kinds=kinds,
            statuses=statuses,
            thread_id=None if thread_id is None else to_text(thread_id),
            before=None if before is None else (before[0], to_text(before[1])),
            limit=limit,
        )
        found = [tuple(row) for row in await self._connections.fetch(statement, *listed.parameters)]
        page = _messages(row[:-1] for row in found[: rows.fitting((row[-1] for row in found), max_bytes)])
        asked = [to_text(one.message_id) for one in page]
        contents = {
            from_text(row[0]): row[1]
            for row in await self._connections.fetch(_CONTENTS, to_text(scope_id), asked)
        }
        return [replace(one, content=contents.get(one.message_id)) for one in page]

    async def add_agent_event(self, scope_id: str, event: NewAgentEvent, *, at: datetime) -> AgentEvent:
        """Write an entry into the history of a scope that belongs to no change."""
        written = await self._connections.change(
            lambda connection: _write(connection, to_text(scope_id), [event], at)
        )
        self._tell_of_agent(scope_id, "")
        return replace(written[0], scope_id=scope_id)

    async def event_delivered(self, scope_id: str, seq: int, *, delivered: int) -> None:
        """Write to how many agents a broadcast was brought."""
        await self._connections.change(
            lambda connection: connection.execute(_DELIVERED, to_text(scope_id), seq, delivered)
        )

    async def undelivered_events(self, *, before: datetime, limit: int = 100) -> Sequence[AgentEvent]:
        """Return broadcasts of which nobody has written to how many agents they were brought."""
        return _events(await self._connections.fetch(_UNDELIVERED, before, limit))

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
            listed,
            to_text(scope_id),
            after=after,
            agent_id=None if agent_id is None else to_text(agent_id),
            types=types,
            dead=dead,
            limit=limit,
        )
        found = await self._connections.fetch(statement, *listed.parameters)
        places = [row[0] for row in found[: rows.fitting((row[1] for row in found), max_bytes)]]
        return _events(await self._connections.fetch(_ENTRIES, to_text(scope_id), places))

    async def last_agent_seq(self, scope_id: str) -> int:
        """Return the place of the newest entry of a scope's history, or zero."""
        found = await self._connections.fetch(_LAST_SEQ, to_text(scope_id))
        return int(found[0][0]) if found else 0


def _listed() -> rows.Listed:
    return rows.Listed(
        mark=lambda number: f"${number}",
        among=lambda mark: f"= ANY({mark})",
        as_list=lambda values: list(map(to_text, values)),
    )


async def _view(connection: Connection, key: tuple[str, str], at: datetime, look: Look) -> AgentView:
    """Return what a change is shown."""

    async def found(statement: str, *parameters: object) -> list[AgentMessage]:
        return _messages(map(tuple, await connection.fetch(statement, *key, *parameters)))

    agents = _agents(await connection.fetch(_ONE, *key))
    known = None
    if look.dedupe_key is not None:
        known = next(iter(await found(_KNOWN, to_text(look.dedupe_key))), None)
    asked = await found(_BY_ID, list(map(to_text, look.message_ids))) if look.message_ids else []
    view = AgentView(
        agent=agents[0] if agents else None,
        messages={message.message_id: message for message in asked},
        known=known,
        claimed=await found(_CLAIMED) if look.claimed else (),
        expired=await found(_EXPIRED, at, look.expired) if look.expired else (),
    )
    if look.ready:
        view = replace(
            view,
            ready=await found(_READY, at, look.ready),
            next_ready=await connection.fetchval(_NEXT_READY, *key, at),
            next_expiry=await connection.fetchval(_NEXT_EXPIRY, *key, at),
        )
    if look.memory:
        view = replace(view, memory=await connection.fetchval(_MEMORY, *key))
    return view


async def _apply(
    connection: Connection, key: tuple[str, str], view: AgentView, made: AgentChange[Any], at: datetime
) -> None:
    """Write what a change makes of an agent. The scope's counter comes last: whoever else writes to its history waits for it."""
    if made.remove:
        await forget_agent(connection, *key)
    if made.agent is not None:
        await connection.execute(_PUT_AGENT, *encode(rows.AGENT, rows.agent_row(made.agent)))
        if view.agent is None or view.agent.listens_to != made.agent.listens_to:
            await connection.execute(_UNSUBSCRIBE, *key)
            await connection.execute(_SUBSCRIBE, *key, list(map(to_text, made.agent.listens_to)))
    for message in made.messages:
        await _put(connection, message, key)
    if made.memory is not None:
        await connection.execute(_PUT_MEMORY, *key, made.memory)
    if made.note is not None:
        await extend_trail(connection, from_text(key[0]), at, (), [made.note])
    if made.events:
        await _write(connection, key[0], made.events, at)


async def _put(connection: Connection, message: AgentMessage, key: tuple[str, str]) -> None:
    """Store a message; of one that is there content stays, and its result where none is given."""
    columns = {name: rows.MESSAGE[name] for name in rows.CHANGED}
    changed = encode(columns, rows.changed_row(message))
    message_key = (to_text(message.scope_id), to_text(message.message_id))
    if await connection.fetchval(_CHANGE_MESSAGE, *message_key, message.result, *changed):
        return
    position = await connection.fetchval(_LAST_POSITION, *key) + 1
    placed = replace(message, position=position)
    await connection.execute(_PUT_MESSAGE, *encode(rows.MESSAGE, rows.message_row(placed)))


async def _write(
    connection: Connection, scope: str, events: Sequence[NewAgentEvent], at: datetime
) -> list[AgentEvent]:
    """Write entries to the end of a scope's history."""
    last = await connection.fetchval(_NEXT_SEQ, scope, len(events))
    first = last - len(events) + 1
    written = [rows.placed(from_text(scope), event, seq, at) for seq, event in enumerate(events, first)]
    await connection.executemany(_PUT_EVENT, [encode(rows.EVENT, rows.event_row(event)) for event in written])
    return written


def _agents(found: Iterable[Any]) -> list[StoredAgent]:
    return [rows.agent_record(decode(rows.AGENT, tuple(row))) for row in found]


def _messages(found: Iterable[Sequence[object]]) -> list[AgentMessage]:
    return [rows.message_record(decode(rows.SHORT_MESSAGE, row)) for row in found]


def _events(found: Iterable[Any]) -> list[AgentEvent]:
    return [rows.event_record(decode(rows.EVENT, tuple(row))) for row in found]
