"""Which messages a job's journal holds already, and where: a message is written once, and referred to afterwards.

A request to a model is written as parts, in the order of its messages (`values/model_request.py` reads them):

* a number: so many of the entry's own `messages`, which are new;
* `[place, first, count]`: messages of the request of the model call at that place;
* `[place]`: the answer of that call;
* `[place, call_id]`: the result of the tool call at that place.

A place is the operation id without the job. A conversation that grows refers to all of the request before it in one
part, one of which a window shows a piece in two or three: what a turn writes does not grow with the conversation. Places
are referred to only after what they stand for was committed, or is about to be by the commit that refers to it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any, Final

from llm_client.codec import dump_message
from llm_client.json_text import dumps
from llm_client.messages import Message, ToolCall
from llm_client.messages import Part as MessagePart

MAX_REQUESTS: Final = 64
"""Requests whose order of messages is remembered. Of older ones it is only known which messages they had."""
MAX_REMEMBERED: Final = 50_000
"""Message objects whose digests are remembered."""

Address = tuple[str, int | str | None]
"""A place, and what of it: a message of its request, a tool call's result, or the answer."""
Part = int | list[Any]


@dataclass(frozen=True, slots=True)
class Described:
    """A request's messages as they are written."""

    parts: list[Part]
    fresh: list[Message]
    """Those that the journal does not hold yet."""

    @property
    def basis(self) -> str | None:
        """The first model call that the request refers to."""
        return next((part[0] for part in self.parts if isinstance(part, list) and len(part) == 3), None)


@dataclass(slots=True)
class Transcripts:
    """The messages of one job's model calls."""

    _where: dict[bytes, Address] = field(default_factory=dict)
    _requests: OrderedDict[str, Sequence[bytes]] = field(default_factory=OrderedDict)
    _tools: dict[str, Sequence[str]] = field(default_factory=dict)
    _digests: dict[int, tuple[Message, bytes]] = field(default_factory=dict)
    """By identity; holding the message keeps its identity from being used again."""
    _last: tuple[tuple[Message, ...], list[bytes]] = ((), [])
    """A request's messages, and their digests, which are asked for several times; the next request mostly goes on from them."""
    _changed: dict[tuple[int, tuple[str, ...]], tuple[Message, Message]] = field(default_factory=dict)

    def digest(self, message: Message) -> bytes:
        """Return what tells a message from all others."""
        known = self._digests.get(id(message))
        if known is not None:
            return known[1]
        text = dumps(dump_message(message), default=repr)
        digest = hashlib.blake2b(text, digest_size=16).digest()
        if len(self._digests) >= MAX_REMEMBERED:
            self._digests.clear()
        self._digests[id(message)] = message, digest
        return digest

    def digests(self, messages: Sequence[Message]) -> list[bytes]:
        """Return what tells a request's messages from all others."""
        last, known = self._last
        if messages is last:
            return known
        goes_on = len(messages) >= len(last) and all(map(is_, last, messages))
        found = [*(known if goes_on else ()), *map(self.digest, messages[len(last) if goes_on else 0 :])]
        if isinstance(messages, tuple):  # which nobody changes
            self._last = messages, found
        return found

    async def changed(
        self,
        messages: Sequence[Message],
        kinds: tuple[str, ...],
        change: Callable[[Sequence[Message], tuple[str, ...]], Awaitable[Sequence[Message]]],
    ) -> tuple[Message, ...]:
        """Return messages as `change` leaves them, each of them changed once."""
        known = {id(message): self._changed.get((id(message), kinds)) for message in messages}
        fresh = [message for message in messages if known[id(message)] is None]
        if fresh:
            if len(self._changed) >= MAX_REMEMBERED:
                self._changed.clear()
            for before, after in zip(fresh, await change(fresh, kinds), strict=True):
                known[id(before)] = self._changed[(id(before), kinds)] = before, after
                self._changed[(id(after), kinds)] = after, after
        return tuple(pair[1] for message in messages if (pair := known[id(message)]) is not None)

    def describe(self, messages: Sequence[Message]) -> Described:
        """Return a request's messages as parts."""
        digests = self.digests(messages)
        parts: list[Part] = []
        fresh: list[Message] = []
        position = 0
        while position < len(messages):
            address = self._where.get(digests[position])
            if address is None:
                fresh.append(messages[position])
                if parts and isinstance(parts[-1], int):
                    parts[-1] += 1
                else:
                    parts.append(1)
                position += 1
                continue
            place, what = address
            if isinstance(what, int):
                count = self._shared(place, what, digests[position:])
                parts.append([place, what, count])
                position += count
            else:
                parts.append([place] if what is None else [place, what])
                position += 1
        return Described(parts, fresh)

    def _shared(self, place: str, first: int, digests: Sequence[bytes]) -> int:
        """Return how many messages in a row are those of an earlier request from `first` on; one at least."""
        request = self._requests.get(place)
        count = 1
        while count < len(digests):
            if request is not None:
                goes_on = request[first + count : first + count + 1] == [digests[count]]
            else:
                goes_on = self._where.get(digests[count]) == (place, first + count)
            if not goes_on:
                break
            count += 1
        return count

    def tools_of(self, described: Described) -> Sequence[str]:
        """Return the tools of the call that a request refers to first: those it has as well need not be written."""
        return self._tools.get(described.basis or "", ())

    def note_request(self, place: str, messages: Sequence[Message], tools: Sequence[str]) -> None:
        """Learn that the journal holds a request."""
        digests = self.digests(messages)
        self._requests[place], self._tools[place] = digests, tools
        for index, digest in enumerate(digests):
            self._where[digest] = (place, index)
        if len(self._requests) > MAX_REQUESTS:
            self._requests.popitem(last=False)

    def note_answer(self, place: str, message: Message) -> None:
        """Learn that the journal holds an answer."""
        self._where[self.digest(message)] = (place, None)

    def note_result(self, place: str, call: ToolCall, said: str | Sequence[MessagePart]) -> None:
        """Learn that the journal holds the result of a tool call, as the model reads it."""
        self._where[self.digest(Message.tool(said, call.id, call.name))] = (place, call.id)
