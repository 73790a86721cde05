"""What every `Storage` must do with schedules and their log."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from agent_runtime.audit.erasure import ErasureSubject
from agent_runtime.audit.manager import AuditManager
from agent_runtime.ports.audit import Note
from agent_runtime.ports.schedules import CHANGED, CREATED, REMOVED, Fire, FireOutcome, StoredSchedule
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW

MINUTE = timedelta(minutes=1)
NOTE = Note(CREATED, {"by": "me"})


def schedule(schedule_id: str = "beat", scope_id: str = "default", **values: object) -> StoredSchedule:
    """Return a schedule that is due now."""
    made = StoredSchedule(
        scope_id=scope_id,
        schedule_id=schedule_id,
        timing={"every": 60.0},
        rules={},
        content=b"{}",
        next_due=NOW,
        look_at=NOW,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(made, **values)  # type: ignore[arg-type]  # fields by name


def fire(minute: int = 0, outcome: str = "fired", of: StoredSchedule | None = None, **values: object) -> Fire:
    """Return a time of a schedule."""
    of = of or schedule()
    at = NOW + minute * MINUTE
    made = Fire(
        scope_id=of.scope_id,
        schedule_id=of.schedule_id,
        due_at=at,
        last_due_at=at,
        outcome=FireOutcome(outcome),
        decided_at=None if outcome == "pending" else at,
    )
    return replace(made, **values)  # type: ignore[arg-type]  # fields by name


def after(seen: StoredSchedule, **values: object) -> StoredSchedule:
    """Return the revision that comes after the one that was seen."""
    return replace(seen, revision=seen.revision + 1, **values)  # type: ignore[arg-type]  # fields by name


async def kept(storage: Storage, *schedules: StoredSchedule) -> None:
    """Store schedules."""
    for one in schedules:
        assert await storage.add_schedule(one, note=NOTE)


async def log(storage: Storage, before: datetime | None = None, limit: int = 100) -> list[tuple[int, str]]:
    """Return the log of a schedule: the minutes of its times, and what became of them."""
    found = await storage.list_fires("default", "beat", before=before, limit=limit)
    return [((one.due_at - NOW) // MINUTE, str(one.outcome)) for one in found]


class SchedulesContract:
    """The suite."""

    async def test_a_schedule_comes_back_as_it_was_written(self, storage: Storage) -> None:
        full = schedule(
            "the\x00beat",
            "tenant \x1a",
            revision=2**40,
            timing={"cron": "*/15 * * * *", "timezone": "Europe/Berlin"},
            rules={"cap": 3, "note": "\x00"},
            principal_id="ada",
            check_name="news",
            content=b"\x00\xff",
            holder="worker-1",
            last_id="job-1",
            paused_at=NOW,
            created_by="grace",
            updated_at=NOW + MINUTE,
        )
        plain = schedule(next_due=None, look_at=None)
        await kept(storage, full, plain)
        assert await storage.get_schedule(full.scope_id, full.schedule_id) == full
        assert await storage.get_schedule("default", "beat") == plain
        assert await storage.get_schedule("default", full.schedule_id) is None
        assert "\\xff" not in repr(full)

    async def test_a_scope_has_one_schedule_of_a_name(self, storage: Storage) -> None:
        await kept(storage, schedule(), schedule(scope_id="other"))
        assert not await storage.add_schedule(schedule(content=b"2"), note=NOTE)
        assert await storage.get_schedule("default", "beat") == schedule()
        assert [entry.kind for entry in await storage.trail("default")] == [CREATED]

    async def test_schedules_are_listed_by_scope_and_name(self, storage: Storage) -> None:
        made = [schedule(name, scope) for scope in ("a", "b") for name in ("x", "y", "z")]
        await kept(storage, *reversed(made))
        assert list(await storage.list_schedules()) == made
        assert list(await storage.list_schedules(after=("a", "y"), limit=2)) == made[2:4]
        assert list(await storage.list_schedules("b")) == made[3:]
        assert list(await storage.list_schedules("b", after=("b", "x"), limit=1)) == [made[4]]
        assert list(await storage.list_schedules("c")) == []
        assert [await storage.count_schedules(scope, most=2) for scope in ("a", "c")] == [2, 0]
        assert await storage.count_schedules("a", most=5) == 3

    async def test_of_those_who_have_seen_one_revision_one_changes_it(self, storage: Storage) -> None:
        await kept(storage, schedule())
        takers = [after(schedule(), holder=f"worker-{number}") for number in range(8)]
        took = await asyncio.gather(
            *(storage.replace_schedule(one, fires=[fire(0, "pending")]) for one in takers)
        )
        assert sorted(took) == [False] * 7 + [True]
        assert await storage.get_schedule("default", "beat") == takers[took.index(True)]
        assert not await storage.replace_schedule(after(schedule("none")))
        assert await log(storage) == [(0, "pending")]

    async def test_a_refused_change_writes_nothing(self, storage: Storage) -> None:
        await kept(storage, schedule())
        stale = replace(schedule(), revision=3)
        assert not await storage.replace_schedule(stale, fires=[fire()], note=Note(CHANGED, {}))
        assert await log(storage) == []
        assert [entry.kind for entry in await storage.trail("default")] == [CREATED]

    async def test_a_time_ends_once(self, storage: Storage) -> None:
        await kept(storage, schedule())
        seen = after(schedule())
        times = [fire(0, "pending"), fire(1, "firing"), fire(2, "skipped", reason="why\x00", count=7)]
        assert await storage.replace_schedule(seen, fires=times)
        assert list(await storage.open_fires("default", "beat")) == times[:2]
        assert list(await storage.open_fires("default", "beat", limit=1)) == times[:1]

        ends = [fire(0, "fired", started_id="job-1"), fire(1, "missed"), fire(2, "fired")]
        assert await storage.replace_schedule(after(seen), fires=ends)
        assert list(await storage.list_fires("default", "beat")) == [times[2], ends[1], ends[0]]
        assert await storage.open_fires("default", "beat") == []

    async def test_the_end_of_a_time_keeps_how_many_it_stands_for(self, storage: Storage) -> None:
        await kept(storage, schedule())
        run = fire(0, "pending", last_due_at=NOW + 5 * MINUTE, count=6)
        assert await storage.replace_schedule(after(schedule()), fires=[run])
        assert await storage.replace_schedule(after(after(schedule())), fires=[fire(0, "missed")])
        (ended,) = await storage.list_fires("default", "beat")
        assert (ended.outcome, ended.count, ended.last_due_at) == ("missed", 6, NOW + 5 * MINUTE)

    async def test_the_log_is_read_from_its_newest_time(self, storage: Storage) -> None:
        await kept(storage, schedule(), schedule("other"), schedule(scope_id="b"))
        assert await storage.replace_schedule(after(schedule()), fires=[fire(n) for n in range(5)])
        for other in (schedule("other"), schedule(scope_id="b")):
            assert await storage.replace_schedule(after(other), fires=[fire(9, of=other)])
        assert [minute for minute, _ in await log(storage)] == [4, 3, 2, 1, 0]
        assert [minute for minute, _ in await log(storage, limit=2)] == [4, 3]
        assert [minute for minute, _ in await log(storage, before=NOW + 3 * MINUTE, limit=2)] == [2, 1]

    async def test_what_has_fired_is_counted(self, storage: Storage) -> None:
        await kept(storage, schedule())
        outcomes = ("fired", "skipped", "firing", "pending", "fired", "missed", "coalesced")
        fires = [fire(number, outcome) for number, outcome in enumerate(outcomes)]
        assert await storage.replace_schedule(after(schedule()), fires=fires)
        counted = [
            await storage.count_fired("default", "beat", since=NOW + minute * MINUTE) for minute in (0, 1, 5)
        ]
        assert counted == [3, 2, 0]
        assert await storage.count_fired("other", "beat", since=NOW) == 0

    async def test_what_is_due_is_found_in_the_order_in_which_it_waits(self, storage: Storage) -> None:
        late, soon = schedule("late", look_at=NOW + 2 * MINUTE), schedule("soon", look_at=NOW + MINUTE)
        checked = schedule("checked", check_name="news", look_at=NOW)
        await kept(storage, late, soon, checked, schedule("never", look_at=None))
        assert await storage.due_schedules(NOW) == []
        assert list(await storage.due_schedules(NOW + 2 * MINUTE)) == [soon, late]
        assert list(await storage.due_schedules(NOW + 2 * MINUTE, limit=1)) == [soon]
        everything = await storage.due_schedules(NOW + 2 * MINUTE, checks=["news", "other"])
        assert list(everything) == [checked, soon, late]
        assert await storage.next_look() == NOW + MINUTE
        assert await storage.next_look(checks=["news"]) == NOW

    async def test_nothing_has_to_be_looked_after_where_nothing_is(self, storage: Storage) -> None:
        assert await storage.next_look() is None
        await kept(storage, schedule(look_at=None))
        assert await storage.next_look() is None
        assert await storage.due_schedules(NOW) == []

    async def test_a_schedule_that_is_removed_leaves_its_log(self, storage: Storage) -> None:
        await kept(storage, schedule(), schedule("other"))
        fires = [fire(0, "fired"), fire(1, "pending"), fire(2, "firing")]
        assert await storage.replace_schedule(after(schedule()), fires=fires)
        removed = Note(REMOVED, {"by": "me"})
        assert await storage.drop_schedule("default", "beat", at=NOW + MINUTE, note=removed)
        assert not await storage.drop_schedule("default", "beat", at=NOW + MINUTE, note=removed)
        assert not await storage.drop_schedule("b", "other", at=NOW, note=removed)
        assert await storage.get_schedule("default", "beat") is None
        assert await log(storage) == [(2, "skipped"), (1, "skipped"), (0, "fired")]
        skipped, *_ = await storage.list_fires("default", "beat")
        assert (skipped.reason, skipped.decided_at) == ("it was removed", NOW + MINUTE)
        kinds = [entry.kind for entry in await storage.trail("default")]
        assert kinds == [CREATED, CREATED, REMOVED]
        assert (await AuditManager(storage).verify()).is_intact

    async def test_what_people_do_is_in_the_trail_and_what_is_fired_is_not(self, storage: Storage) -> None:
        await kept(storage, schedule())
        first = after(schedule(), updated_at=NOW + MINUTE)
        assert await storage.replace_schedule(first, note=Note(CHANGED, {"by": "me"}))
        assert await storage.replace_schedule(after(first), fires=[fire()])
        told = await storage.trail("default")
        assert [(entry.kind, entry.at) for entry in told] == [(CREATED, NOW), (CHANGED, NOW + MINUTE)]

    async def test_schedules_on_behalf_of_somebody_who_is_erased_are_gone(self, storage: Storage) -> None:
        hers = schedule("hers", principal_id="ada", created_by="ada")
        made = schedule("made", created_by="ada", principal_id="bot")
        others = [schedule("other"), schedule("hers", "b", principal_id="ada", created_by="ada")]
        await kept(storage, hers, made, *others)
        assert await storage.replace_schedule(after(hers), fires=[fire(0, "pending", of=hers)])

        report = await AuditManager(storage).erase(
            ErasureSubject(scope_id="default", principal_id="ada"), by="me"
        )

        assert report.rows == 2
        assert await storage.get_schedule("default", "hers") is None
        (ended,) = await storage.list_fires("default", "hers")
        assert ended.outcome == "skipped"
        assert await storage.get_schedule("default", "made") == replace(made, created_by=report.pseudonym)
        assert [await storage.get_schedule(one.scope_id, one.schedule_id) for one in others] == others
        *_, said = await storage.trail("default")
        assert said.kind == REMOVED
        assert said.data == {"schedule_id": "hers", "by": None, "pseudonym": report.pseudonym}

    async def test_times_that_are_over_are_forgotten(self, storage: Storage) -> None:
        await kept(storage, schedule())
        fires = [fire(0), fire(1, "skipped"), fire(2, "pending"), fire(3, "firing"), fire(4), fire(5)]
        assert await storage.replace_schedule(after(schedule()), fires=fires)
        before = NOW + 5 * MINUTE
        assert await storage.forget("fires", before=before, limit=2) == 2
        assert await storage.forget("fires", before=before, limit=2) == 1
        assert await storage.forget("fires", before=before) == 0
        assert [minute for minute, _ in await log(storage)] == [5, 3, 2]
