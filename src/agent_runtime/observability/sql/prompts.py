"""What calls of jobs have asked: kept as what was new, and put together again when it is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, select

from agent_runtime.observability.sql.ids import place_of, run_row
from agent_runtime.observability.sql.tables import execution_logs, llm_call_logs
from agent_runtime.values.model_request import ModelRequest, RequestReader
from llm_client.codec import load_tool_call
from llm_client.messages import Message

MOST: Final = 64 * 1024 * 1024
"""Characters of one request, and of what it is put together of."""
GONE: Final = "<not kept>"
"""Stands for a message that was not kept, or is kept no longer."""


def messages_of(connection: Connection, row: RowMapping) -> tuple[Message, ...]:
    """Return all messages of the request that a row of the calls tells of; none where they were not kept."""
    job_id, operation_id = row["job_id"], row["operation_id"]
    if job_id is None or operation_id is None:
        return ()
    return _Requests(connection, row["scope_id"], job_id).messages(operation_id)


class _Requests:
    """The requests, answers and results of a job, looked up as they are referred to."""

    def __init__(self, connection: Connection, scope_id: str, job_id: str) -> None:
        self._connection = connection
        self._scope_id = scope_id
        self._job_id = job_id
        self._origin = ""
        calls = llm_call_logs.c
        asked = (
            select(calls.operation_id, calls.id)
            .where(
                calls.execution_log_id == run_row(job_id),
                calls.scope_id == scope_id,
                calls.request.is_not(None),
            )
            .order_by(calls.start_time, calls.attempt.desc())
        )
        self._rows = {place_of(one): id_ for one, id_ in connection.execute(asked)}
        """By place, in the order in which they were asked."""

    def messages(self, operation_id: str) -> tuple[Message, ...]:
        self._origin = operation_id.partition(":")[0]
        wanted = place_of(operation_id)
        needed, uses = self._needed(wanted)
        reader = RequestReader(answer=self._answer, result=self._result)
        for place, request in needed:
            try:
                reader.read(place, request)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError):
                # It was cut, or refers to one that has gone.
                reader.requests[place] = ModelRequest(messages=(Message.user(GONE),))
            for used in _referred(request):
                uses[used] -= 1
                if not uses[used] and used not in (
                    place,
                    wanted,
                ):  # each has all the messages of those before it
                    reader.requests.pop(used, None)
        found = reader.requests.get(wanted)
        return () if found is None else _within_bounds(found.messages)

    def _needed(self, wanted: str) -> tuple[list[tuple[str, Any]], Counter[str]]:
        """Return the requests that one is put together of, in their order, and how often each is referred to."""
        found: dict[str, Any] = {}
        uses: Counter[str] = Counter()
        todo, room = [wanted], MOST
        while todo:
            place = todo.pop()
            if place in found or place not in self._rows:
                continue
            request = found[place] = self._request(place) if room > 0 else None
            room -= len(json.dumps(request))
            referred = _referred(request)
            uses.update(referred)
            todo += referred
        return [(place, found[place]) for place in self._rows if place in found], uses

    def _request(self, place: str) -> Any:
        calls = llm_call_logs.c
        return self._connection.execute(
            select(calls.request).where(calls.id == self._rows[place])
        ).scalar_one_or_none()

    def _answer(self, place: str) -> Message:
        """Return the answer of a call: of this job, or of the one that it retries, under whose id it stands."""
        calls = llm_call_logs.c
        query = (
            select(calls.job_id, calls.response, calls.tool_calls)
            .where(
                calls.scope_id == self._scope_id,
                calls.operation_id == f"{self._origin}:{place}",
                calls.status.in_(("completed", "cancelled")),
            )
            .order_by((calls.job_id == self._job_id).desc(), calls.start_time.desc())
            .limit(1)
        )
        row = self._connection.execute(query).one_or_none()
        if row is None or (row.response is None and row.tool_calls is None):
            return Message.assistant(GONE)
        called = row.tool_calls if isinstance(row.tool_calls, list) else ()
        return Message.assistant(row.response or "", tool_calls=tuple(map(load_tool_call, called)))

    def _result(self, place: str) -> tuple[str, Mapping[str, Any]]:
        """Return the name of a tool and what its call came to."""
        logs = execution_logs.c
        query = (
            select(logs.action_type, logs.output_data)
            .where(logs.scope_id == self._scope_id, logs.operation_id == f"{self._origin}:{place}")
            .order_by((logs.execution_id == self._job_id).desc(), logs.start_time.desc())
            .limit(1)
        )
        row = self._connection.execute(query).one_or_none()
        if row is None or not isinstance(row.output_data, dict):
            return "" if row is None else row.action_type or "", {"content": GONE}
        return row.action_type or "", row.output_data


def _referred(request: Any) -> list[str]:
    """Return the places of the requests that one refers to."""
    parts = request.get("request") if isinstance(request, dict) else None
    if not isinstance(parts, list):
        return []
    return [
        part[0] for part in parts if isinstance(part, list) and len(part) == 3 and isinstance(part[0], str)
    ]


def _within_bounds(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return messages, unless all of them together are longer than anybody has sent: one may stand there many times."""
    sizes: dict[int, int] = {}
    room = MOST
    for message in messages:
        if id(message) not in sizes:
            sizes[id(message)] = len(_said(message))
        room -= sizes[id(message)]
        if room < 0:
            return (Message.user(GONE),)
    return messages


def text_of(messages: tuple[Message, ...]) -> str | None:
    """Return messages as one text, for people."""
    if not messages:
        return None
    return "\n\n".join(f"{message.role}: {_said(message)}" for message in messages)


def _said(message: Message) -> str:
    called = [f"[{call.name} {json.dumps(call.arguments, default=str)}]" for call in message.tool_calls]
    return "\n".join([*([message.text] if message.text or not called else []), *called])
