"""Tool calls of one streamed answer, put together from pieces in any server's dialect.

A piece belongs to the call whose id it carries, else to the one at its index, else to the call that is open. A name that no
open call waits for opens a call. Servers break each of these rules: they count every parallel call as 0, give an id to each
piece, send the name late or again, or send neither id nor index; what a call's JSON still lacks then tells them apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from llm_client.json_text import (
    MAX_PARTS,
    Unread,
    check_depth,
    decoder_of,
    dumps,
    loads,
    parts_of,
    whole_text,
    whole_value,
)
from llm_client.messages import StreamEvent, ToolCall
from llm_client.spec import new_id

_BLANKS: Final = re.compile(r"[ \t\n\r]*+")
_LOOKED_AT: Final = 64 * 1024 * 1024
"""Characters of arguments that are looked at, in all, to tell calls of one answer apart. A server that says a call's name with each
of its pieces has them looked at again and again; beyond this all pieces are taken for the open call's."""
_A_PART: Final = 64
"""Characters that are read in the time of one list, object or comma."""
_REPETITIONS: Final = 1_000
"""How many objects may stand in the place of one."""
_WRAPPINGS: Final = 3
"""How often JSON may stand inside a JSON text."""


def make_tool_call(call_id: str, name: str, arguments: object, signature: str | None = None) -> ToolCall:
    """Build a tool call from what a model wrote: JSON text, or an object. What is no JSON object is kept as `malformed`.

    Nothing means no arguments: several vendors send it for tools without parameters. A vendor that gives no id gets a fresh
    one, since results are matched by id.
    """
    call_id = call_id or new_id("call")
    if isinstance(arguments, dict):
        return ToolCall(call_id, name, whole_value(arguments), signature=signature)
    text = written(arguments)
    decoded = _decoded(text)
    if decoded is None:
        return ToolCall(call_id, name, {}, malformed=whole_text(text), signature=signature)
    return ToolCall(call_id, name, whole_value(decoded), signature=signature)


def written(arguments: object) -> str:
    """Return arguments as the JSON text they are in most dialects."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else dumps(arguments).decode()


class _DistinctIds:
    """Ids that are all different: one that was there already gets a number behind it. Takes no longer the more there are."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def take(self, call_id: str) -> str:
        """Return an id that nobody else gets."""
        unique, number = call_id, self._last.get(call_id, 0)
        while unique in self._last:
            number += 1
            unique = f"{call_id}-{number}"
        self._last[call_id] = max(number, 1)
        self._last.setdefault(unique, 1)
        return unique


def _decoded(text: str) -> dict[str, Any] | None:
    """Return the object that a text of arguments means, `None` if it means none."""
    for _ in range(_WRAPPINGS):
        if not text.strip():
            return {}
        try:
            value = loads(text)
        except Unread:
            return None
        except orjson.JSONDecodeError:
            return _repeated(text)
        if not isinstance(value, str):
            return value if isinstance(value, dict) else {} if value is None else None
        text = value
    return None


def _repeated(text: str) -> dict[str, Any] | None:
    """Return the one object of a text that holds empty ones before it, or the same one again."""
    found: dict[str, Any] = {}
    text, at = text.strip(), 0
    try:
        decoder = decoder_of(text)
    except Unread:
        return None
    for _ in range(_REPETITIONS):
        if at == len(text):
            return found
        try:
            value, end = decoder.raw_decode(text, at)
            check_depth(value, text[at:end])
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict) or (found and value and value != found):
            return None
        found, at = value or found, _end_of_blanks(text, end)
    return None


def _end_of_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return at if blanks is None else blanks.end()


@dataclass(slots=True)
class OpenCall:
    """A tool call that is being written."""

    stub: ToolCall
    index: int | None = None
    stated_id: str = ""
    fragments: list[str] = field(default_factory=list)
    size: int = 0
    """Characters of them, parts counted as `_A_PART` more."""
    announced: bool = False
    """Whether its beginning has been told; a call without a name has none to tell."""
    closed: ToolCall | None = None
    data: dict[str, Any] = field(default_factory=dict)
    """What its vendor wants back with it."""

    @property
    def text(self) -> str:
        """The arguments as far as they have come."""
        return "".join(self.fragments)

    def is_whole(self) -> bool:
        """Whether the arguments are a JSON object already."""
        text = self.text
        return bool(text.strip()) and _decoded(text) is not None


class CallAssembler:
    """Routes the pieces of an answer's tool calls, whatever they carry, and says each step as an event."""

    def __init__(self) -> None:
        self.calls: list[OpenCall] = []
        self._ids = _DistinctIds()
        self._looked_at = 0
        self._parts = 0
        self.has_reopened = False
        """Whether a call went on that was taken for ended."""

    def take(
        self, *, index: object, call_id: str, name: str, arguments: object
    ) -> tuple[OpenCall, list[StreamEvent]]:
        """Take one piece.

        Args:
            index: The server's number of the call, if it is one.
            call_id: The server's id of it, or nothing.
            name: The tool's name, or nothing.
            arguments: A piece of JSON text, or a whole object.
        """
        number = index if isinstance(index, int) and not isinstance(index, bool) else None
        text = written(arguments)
        call = self._find(number, call_id, name, text)
        if call is None:
            call = self.open(call_id, name, index=number)
        events: list[StreamEvent] = []
        if name and not call.stub.name:
            call.stub = replace(call.stub, name=name)
        if call_id and not call.stated_id:
            call.stated_id = call_id
            if not call.announced:
                call.stub = replace(call.stub, id=self._ids.take(call_id))
        if call.stub.name and not call.announced:
            events.append(self.announce(call))
        if text:
            events += self.add(call, text)
        return call, events

    def open(
        self, call_id: str, name: str, *, index: int | None = None, signature: str | None = None
    ) -> OpenCall:
        """Begin a call."""
        unique = self._ids.take(call_id or new_id("call"))
        call = OpenCall(ToolCall(unique, name, signature=signature), index, call_id)
        self.calls.append(call)
        return call

    def announce(self, call: OpenCall) -> StreamEvent:
        """Say that a call has begun; what was written of it before goes with the next piece."""
        call.announced = True
        return StreamEvent(type="tool_call_start", tool_call=call.stub)

    def add(self, call: OpenCall, fragment: str) -> list[StreamEvent]:
        """Take a piece of a call's arguments."""
        held = not call.announced
        if call.closed is not None:  # by a reason to end that came too early
            self._parts -= parts_of(call.text)
            call.closed, self.has_reopened = None, True
        call.fragments.append(fragment)
        call.size += len(fragment) + _A_PART * parts_of(fragment)
        if held:
            return []
        return [StreamEvent(type="tool_call_delta", text=whole_text(fragment), tool_call=call.stub)]

    def close(self, call: OpenCall) -> list[StreamEvent]:
        """End a call, whose arguments are now complete."""
        if call.closed is not None:
            return []
        events = [] if call.announced else [self.announce(call)]
        return [*events, StreamEvent(type="tool_call_end", tool_call=self.finish(call))]

    def finish(self, call: OpenCall) -> ToolCall:
        """Return a call with its arguments. All calls together may have as many parts as one text: beyond, they are not read."""
        if call.closed is None:
            stub, text = call.stub, call.text
            self._parts += parts_of(text)
            if self._parts > MAX_PARTS:
                call.closed = replace(stub, malformed=whole_text(text))
            else:
                call.closed = make_tool_call(stub.id, stub.name, text, stub.signature)
        return call.closed

    def close_all(self) -> list[StreamEvent]:
        """End every call that has not ended yet."""
        return [event for call in self.calls for event in self.close(call)]

    def _find(self, index: int | None, call_id: str, name: str, text: str) -> OpenCall | None:
        """Return the call a piece belongs to, `None` if it begins one."""
        if not self.calls:
            return None
        if call_id:
            known = [call for call in self.calls if call.stated_id == call_id]
            if known:
                return self._of_same_id(known, index, name, text)
        latest = self._at(index)
        if latest is None:
            return None
        if name:
            return latest if self._goes_on(latest, index, call_id, name, text) else None
        if call_id and latest.stated_id and index is None:
            return None  # an id of its own, whose name comes later
        if call_id and latest.stated_id and not text:
            return None
        return latest

    def _of_same_id(self, known: list[OpenCall], index: int | None, name: str, text: str) -> OpenCall | None:
        """Tell the pieces of one call from several calls with the same id."""
        for call in reversed(known):
            if index is None or call.index is None or call.index == index:
                other = bool(name and call.stub.name and name != call.stub.name)
                again = bool(name and text and self._is_whole(call))
                return None if other or (again and not _repeats(call, index, text)) else call
        return None if name else known[-1]

    def _at(self, index: int | None) -> OpenCall | None:
        """Return the call at an index, the open one where nothing is said, or the one it must mean."""
        if index is None:
            return self.calls[-1]
        there = [call for call in self.calls if call.index == index]
        if there:
            return next((call for call in reversed(there) if not self._is_whole(call)), there[-1])
        # Some servers number the first pieces 0 and count only in the later ones.
        return self.calls[index] if 0 <= index < len(self.calls) else self.calls[-1]

    def _goes_on(self, call: OpenCall, index: int | None, call_id: str, name: str, text: str) -> bool:
        """Whether a piece with a name belongs to a call that is there, instead of beginning one."""
        if index is not None and call.index is not None and call.index != index:
            return False
        if not call.stub.name:
            return not (call_id and call.stated_id)
        if call.stub.name != name:
            return False
        if not self._may_look(call):
            return True
        so_far = call.text
        if not so_far.strip():
            return bool(text) or not call_id or not call.stated_id
        return bool(text) and not call.is_whole() and _could_follow(so_far, text)

    def _is_whole(self, call: OpenCall) -> bool:
        return self._may_look(call) and call.is_whole()

    def _may_look(self, call: OpenCall) -> bool:
        """Count a look at what a call has so far. `False` once too much was looked at."""
        if self._looked_at <= _LOOKED_AT:
            self._looked_at += call.size
        return self._looked_at <= _LOOKED_AT


def _repeats(call: OpenCall, index: int | None, text: str) -> bool:
    """Whether a piece says the whole of a call again, under its id and at its place, as some servers do at the end."""
    return index is not None and call.index == index and _decoded(text) == _decoded(call.text)


def _could_follow(so_far: str, text: str) -> bool:
    """Whether two pieces can be the beginning of one JSON object."""
    from pydantic_core import from_json

    try:
        from_json(so_far + text, allow_partial="trailing-strings")
    except ValueError:
        return False
    return True
