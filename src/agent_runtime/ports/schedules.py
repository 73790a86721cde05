"""Schedules, and what became of the times at which they were due, as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from agent_runtime.ports.audit import Note
from llm_client.json_text import JsonObject

CREATED: Final = "schedule.created"
CHANGED: Final = "schedule.changed"
PAUSED: Final = "schedule.paused"
RESUMED: Final = "schedule.resumed"
REMOVED: Final = "schedule.removed"
"""What a trail is told of schedules."""


class FireOutcome(StrEnum):
    """What became of a time at which a schedule was due. Each time ends as exactly one of the last four."""

    PENDING = "pending"
    """Nobody has decided yet."""
    FIRING = "firing"
    """It is decided that it fires, and not written yet that it has."""
    FIRED = "fired"
    SKIPPED = "skipped"
    COALESCED = "coalesced"
    """A later one stands for it."""
    MISSED = "missed"

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return self in OPEN


OPEN: Final = frozenset({FireOutcome.PENDING, FireOutcome.FIRING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """A time at which a schedule was due, or a run of such times with one outcome."""

    scope_id: str
    schedule_id: str
    due_at: datetime
    """The first of them; no two of one schedule begin at one time."""
    last_due_at: datetime
    """The last of them."""
    count: int = 1
    """How many they are."""
    outcome: FireOutcome
    reason: str | None = None
    """Why it was skipped or missed, in words that everybody may read."""
    decided_at: datetime | None = None
    started_id: str | None = None
    """The job, or the message, that it has brought about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSchedule:
    """A schedule."""

    scope_id: str
    schedule_id: str
    """Its name, among those of its scope."""
    revision: int = 1
    """Counts its changes; who changes it says which one they have seen."""
    timing: JsonObject
    """When it is due."""
    rules: JsonObject
    """What becomes of times that pass, and of those that come too soon."""
    principal_id: str | None = None
    """On whose behalf that is which it starts."""
    check_name: str | None = None
    """What is asked before it fires; only processes that know it look after the schedule."""
    content: bytes = field(repr=False)
    """What it starts, as JSON; private."""
    next_due: datetime | None
    """The first time that nothing has been decided about; `None` when it is never due again."""
    look_at: datetime | None
    """When somebody has to look after it: it is due, something is open, or who has taken it may have died. `None`: never."""
    holder: str | None = None
    """The process that has taken it, until `look_at`."""
    last_id: str | None = None
    """The job or message that it has started last."""
    paused_at: datetime | None = None
    created_at: datetime
    created_by: str | None = None
    updated_at: datetime


class Schedules(Protocol):
    """Keeps schedules, and their times in a log. What people do to one is written together with a note in the trail of its scope."""

    async def add_schedule(self, schedule: StoredSchedule, *, note: Note) -> bool:
        """Store a schedule; return whether it was, which it is not where its scope has one of its name."""
        ...

    async def replace_schedule(
        self, schedule: StoredSchedule, *, fires: Sequence[Fire] = (), note: Note | None = None
    ) -> bool:
        """Store a schedule in place of the revision before it, and what becomes of its times, all of it or nothing.

        A time that is in the log already gets another outcome only while it is open.

        Args:
            schedule: As it is from now on. Its `revision` is one more than the one that was seen.
            fires: Times to put into the log, or to end.
            note: What the trail is told, at the time of `updated_at`.

        Returns:
            Whether it was: otherwise somebody else has changed or removed it since.
        """
        ...

    async def drop_schedule(self, scope_id: str, schedule_id: str, *, at: datetime, note: Note) -> bool:
        """Remove a schedule; its log stays, in which what is open is skipped. Return whether there was one."""
        ...

    async def get_schedule(self, scope_id: str, schedule_id: str) -> StoredSchedule | None:
        """Return a schedule, or `None`."""
        ...

    async def list_schedules(
        self, scope_id: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[StoredSchedule]:
        """Return schedules by scope and name, from the one after `after`. A given `scope_id` hides all others."""
        ...

    async def count_schedules(self, scope_id: str, *, most: int) -> int:
        """Return how many schedules a scope has, or `most` if it has more."""
        ...

    async def due_schedules(
        self, now: datetime, *, checks: Sequence[str] = (), limit: int = 100
    ) -> Sequence[StoredSchedule]:
        """Return schedules that somebody has to look after now, those first that have waited longest.

        Args:
            now: What time it is.
            checks: What whoever asks can be asked; schedules with another check are left to others.
            limit: How many at most.
        """
        ...

    async def next_look(self, *, checks: Sequence[str] = ()) -> datetime | None:
        """Return when the next schedule has to be looked after; `checks` as for `due_schedules`."""
        ...

    async def list_fires(
        self, scope_id: str, schedule_id: str, *, before: datetime | None = None, limit: int = 100
    ) -> Sequence[Fire]:
        """Return the log of a schedule, the newest times first, from the one before `before`."""
        ...

    async def open_fires(self, scope_id: str, schedule_id: str, *, limit: int = 100) -> Sequence[Fire]:
        """Return times of a schedule that are open, the oldest first."""
        ...

    async def count_fired(self, scope_id: str, schedule_id: str, *, since: datetime) -> int:
        """Return how many of a schedule's times, since a moment, have fired or are about to."""
        ...
