"""Ids of tool calls as a vendor takes them: another vendor's may be too long for it, written in other letters, or the same in each turn.

Moonshot's are `functions.look:0`, some servers count from `call_0` in every answer, gateways give more than a hundred letters. Results are
matched by id within their turn, so that any id will do as long as the call and its result have the same; what a vendor takes stays as it is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

from llm_client.messages import CallPart, Message, Part

_OTHERS: Final = re.compile(r"[^A-Za-z0-9_-]")
_KEPT: Final = 40
_SIGN: Final = 8


def plain_id(call_id: str) -> str:
    """Return an id of letters, digits, `_` and `-` (`^[a-zA-Z0-9_-]+$`, as Anthropic's API demands)."""
    if call_id and _OTHERS.search(call_id) is None:
        return call_id
    return f"{_OTHERS.sub('_', call_id)[:_KEPT]}_{_sign(call_id)}"


def short_id(call_id: str, most: int) -> str:
    """Return an id of at most so many letters."""
    return call_id if len(call_id) <= most else f"{call_id[: most - _SIGN - 1]}_{_sign(call_id)}"


def with_ids(
    messages: Sequence[Message], written: Callable[[str], str], *, unique: bool = False
) -> Sequence[Message]:
    """Return messages whose calls, and the results of each turn, have ids that a vendor takes.

    Args:
        messages: The conversation.
        written: Gives an id as the vendor takes it: the same one each time, and what is taken as it is.
        unique: Whether no id may come twice in a conversation; then the later ones get a number, in their order.
    """
    ids = [call.id for message in messages for call in message.tool_calls]
    if all(written(each) == each for each in ids) and (not unique or len(set(ids)) == len(ids)):
        return messages
    found: list[Message] = []
    taken: set[str] = set()
    turn: dict[str, deque[str]] = {}
    for message in messages:
        if message.tool_calls:
            turn = {}
            for call in message.tool_calls:
                turn.setdefault(call.id, deque()).append(_free(written(call.id), taken if unique else set()))
            found.append(_renamed(message, turn))
        elif message.role == "tool" and message.tool_call_id is not None:
            found.append(replace(message, tool_call_id=_next(turn, message.tool_call_id, written)))
        else:
            found.append(message)
    return found


def _renamed(message: Message, turn: dict[str, deque[str]]) -> Message:
    """Return a model's turn under its new ids."""
    calls, parts = _counted(turn), _counted(turn)
    content = message.content
    renamed: tuple[Part, ...] | str = content
    if not isinstance(content, str):
        renamed = tuple(
            replace(part, call_id=parts(part.call_id)) if isinstance(part, CallPart) else part
            for part in content
        )
    return replace(
        message,
        content=renamed,
        tool_calls=tuple(replace(call, id=calls(call.id)) for call in message.tool_calls),
    )


def _counted(ids: Mapping[str, Iterable[str]]) -> Callable[[str], str]:
    """Return what gives the next id for an id that may be there several times."""
    left = {call_id: deque(each) for call_id, each in ids.items()}

    def take(call_id: str) -> str:
        return left[call_id].popleft() if left.get(call_id) else call_id

    return take


def _next(turn: dict[str, deque[str]], call_id: str, written: Callable[[str], str]) -> str:
    """Return the id of the call that a result answers."""
    ids = turn.get(call_id)
    if not ids:
        return written(call_id)
    return ids.popleft() if len(ids) > 1 else ids[0]


def _free(call_id: str, taken: set[str]) -> str:
    """Return an id that no call before has."""
    number, free = 1, call_id
    while free in taken:
        number += 1
        free = f"{call_id}-{number}"
    taken.add(free)
    return free


def _sign(call_id: str) -> str:
    return sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:_SIGN]
