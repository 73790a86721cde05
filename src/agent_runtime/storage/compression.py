"""Compressing what is large beside the event loop, on its way into a database."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from agent_runtime.ports.journal import Commit, NewEvent, Signal
from agent_runtime.values.content import COMPRESS_ASIDE, is_compressed

T = TypeVar("T", NewEvent, Signal)


async def compressed(commit: Commit) -> Commit:
    """Return a commit whose large contents are compressed, in a thread; nearly always the commit itself."""
    made = any(_is_large(event) for _, events in commit.create for event in events)
    if not made and not any(map(_is_large, commit.events)) and not any(map(_is_large, commit.signals)):
        return commit
    return await asyncio.to_thread(_compressed, commit)


def _compressed(commit: Commit) -> Commit:
    return replace(
        commit,
        events=_events(commit.events),
        create=[(job, _events(events)) for job, events in commit.create],
        signals=[_smaller(signal) for signal in commit.signals],
    )


def _events(events: Sequence[NewEvent]) -> list[NewEvent]:
    return [_smaller(event) for event in events]


def _smaller(one: T) -> T:
    if not _is_large(one) or one.content is None:
        return one
    return one._replace(content=zlib.compress(one.content, 1))


def _is_large(one: NewEvent | Signal) -> bool:
    content = one.content
    return content is not None and len(content) > COMPRESS_ASIDE and not is_compressed(content)
