"""Compressing what is large beside the event loop, on its way into a database."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from agent_runtime.ports.commit import Commit, NewEvent, Signal
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.values.content import COMPRESS_ASIDE, is_compressed
from agent_runtime.values.message import InboxMessage
from llm_client.turns import aside

T = TypeVar("T", NewEvent, Signal, MessageChange)


async def compressed(commit: Commit) -> Commit:
    """Return a commit whose large contents are compressed, in a thread; nearly always the commit itself."""
    made = any(_is_large(event) for _, events in commit.create for event in events)
    told: list[NewEvent | Signal | InboxMessage | MessageChange] = [*commit.events, *commit.signals]
    told += [*commit.messages, *commit.message_changes]
    if not made and not any(_is_large(one) for one in told):
        return commit
    return await aside(_compressed, commit)


def _compressed(commit: Commit) -> Commit:
    return replace(
        commit,
        events=_events(commit.events),
        create=[(job, _events(events)) for job, events in commit.create],
        signals=[_smaller(signal) for signal in commit.signals],
        messages=[replace(one, content=_shorter(one.content)) for one in commit.messages],
        message_changes=[_smaller(change) for change in commit.message_changes],
    )


def _events(events: Sequence[NewEvent]) -> list[NewEvent]:
    return [_smaller(event) for event in events]


def _smaller(one: T) -> T:
    return one._replace(content=_shorter(one.content)) if _is_large(one) else one


def _shorter(content: bytes | None) -> bytes | None:
    return zlib.compress(content, 1) if content is not None and _is_long(content) else content


def _is_large(one: NewEvent | Signal | InboxMessage | MessageChange) -> bool:
    return one.content is not None and _is_long(one.content)


def _is_long(content: bytes) -> bool:
    return len(content) > COMPRESS_ASIDE and not is_compressed(content)
