"""What every `Storage` must do with the feed of all jobs' entries, and with the cursors of those who follow it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from agent_runtime.ports.commit import Commit, JobChange, NewEvent
from agent_runtime.ports.feed import FeedEntry
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.values.job import JobRecord, JobStatus

LATER = NOW + timedelta(seconds=10)
LATEST = NOW + timedelta(hours=1)


async def created(storage: Storage, *, scope_id: str = "default", content: bytes | None = None) -> JobRecord:
    """Store a job with its first event."""
    record = job(scope_id=scope_id)
    first = NewEvent("job.created", None, {"n": 1}, content)
    await storage.commit(commit(create=[(record, [first])]))
    return record


async def ended(storage: Storage, *, scope_id: str = "default") -> JobRecord:
    """Store a job that has succeeded: three entries."""
    record = await created(storage, scope_id=scope_id)
    claim = await storage.claim(record.job_id, owner="w1", at=NOW)
    assert claim is not None
    change = JobChange(status=JobStatus.SUCCEEDED, completed_at=NOW, release=True)
    last = NewEvent("job.succeeded", None, {}, b'"result"')
    await storage.commit(
        Commit(
            commit_id=new_commit_id(),
            at=NOW,
            job_id=record.job_id,
            fence=claim.job.fence,
            events=[last],
            job=change,
        )
    )
    return record


async def all_of(storage: Storage, after: int = 0) -> list[FeedEntry]:
    """Return what stands in the feed."""
    return list(await storage.feed(after=after, upto=await storage.feed_end()))


class FeedContract:
    """The suite."""

    async def test_an_empty_feed_ends_at_nothing(self, storage: Storage) -> None:
        assert await storage.feed_end() == 0
        assert await all_of(storage) == []

    async def test_the_feed_holds_every_entry_of_every_job_as_its_journal_does(
        self, storage: Storage
    ) -> None:
        jobs = [await ended(storage, scope_id="a\x00\x1a"), await ended(storage, scope_id="b")]
        found = await all_of(storage)
        assert [entry.position for entry in found] == sorted({entry.position for entry in found})
        assert found[-1].position == await storage.feed_end()
        for record in jobs:
            mine = [event for _, event in found if event.job_id == record.job_id]
            assert mine == list(await storage.events(record.job_id))
            assert {event.scope_id for event in mine} == {record.scope_id}

    async def test_a_page_begins_behind_a_position_and_ends_at_another(self, storage: Storage) -> None:
        for _ in range(5):
            await created(storage)
        first, second, third, fourth, _ = await all_of(storage)
        page = await storage.feed(after=first.position, upto=fourth.position, limit=2)
        assert page == [second, third]
        assert await storage.feed(after=third.position, upto=fourth.position) == [fourth]
        assert await storage.feed(after=fourth.position, upto=fourth.position) == []

    async def test_a_page_holds_no_more_content_than_it_may_but_one_entry(self, storage: Storage) -> None:
        for size in (300, 100, 100, 100, 0):
            await created(storage, content=bytes(size))
        found = await all_of(storage)
        end = found[-1].position
        large = await storage.feed(after=0, upto=end, max_bytes=200)
        assert [len(event.content or b"") for _, event in large] == [300]
        small = await storage.feed(after=large[-1].position, upto=end, max_bytes=200)
        assert [len(event.content or b"") for _, event in small] == [100, 100]

    async def test_long_data_counts_as_content_does(self, storage: Storage) -> None:
        """Of a page of a thousand entries, each may say a megabyte."""
        record = job()
        words = [f"word{number}" for number in range(10_000)]
        events = [NewEvent("custom.much", None, {"words": words}) for _ in range(4)]
        await storage.commit(commit(create=[(record, events)]))
        page = await storage.feed(after=0, upto=await storage.feed_end(), max_bytes=300_000)
        assert [event.seq for _, event in page] == [1, 2]
        audited = await storage.audited_entries(record.job_id, max_bytes=300_000)
        assert [entry.seq for entry in audited] == [1, 2]

    async def test_entries_of_one_job_stand_in_the_order_of_its_journal(self, storage: Storage) -> None:
        """However many write at once."""
        jobs = [await created(storage) for _ in range(5)]

        async def extend(record: JobRecord) -> None:
            claim = await storage.claim(record.job_id, owner=record.job_id, at=NOW)
            assert claim is not None
            for _ in range(8):
                event = NewEvent("custom.one")
                await storage.commit(
                    commit(job_id=record.job_id, fence=claim.job.fence, events=[event, event])
                )

        await asyncio.gather(*map(extend, jobs))
        found = await all_of(storage)
        for record in jobs:
            assert [event.seq for _, event in found if event.job_id == record.job_id] == list(range(1, 19))

    async def test_who_follows_while_others_write_misses_nothing(self, storage: Storage) -> None:
        seen: list[FeedEntry] = []
        writing = asyncio.gather(*(ended(storage) for _ in range(20)))
        while not writing.done() or len(seen) < 60:
            seen += await all_of(storage, after=seen[-1].position if seen else 0)
            await asyncio.sleep(0)
        await writing
        assert seen == await all_of(storage)
        assert len({event.event_id for _, event in seen}) == 60

    async def test_a_position_is_not_given_again_when_its_entry_was_pruned(self, storage: Storage) -> None:
        await created(storage)
        await ended(storage)
        end = await storage.feed_end()
        assert await storage.prune(before=LATER) == 1
        fresh = await created(storage)
        (entry,) = await all_of(storage, after=end)
        assert entry.event.job_id == fresh.job_id

    # -- cursors -------------------------------------------------------------------------------------------------

    async def test_a_cursor_is_kept_as_it_was_moved(self, storage: Storage) -> None:
        taken = await storage.take_cursor("tables\x00", holder="w1", at=NOW, until=LATER, begin=7)
        assert taken is not None
        assert (taken.name, taken.position, taken.holder, taken.held_until) == ("tables\x00", 7, "w1", LATER)
        moved_at = NOW + timedelta(seconds=1)
        assert await storage.move_cursor(
            "tables\x00", fence=taken.fence, position=9, at=moved_at, until=LATEST
        )
        (stored,) = await storage.cursors()
        assert (stored.position, stored.fence, stored.holder) == (9, taken.fence, "w1")
        assert (stored.held_until, stored.updated_at) == (LATEST, moved_at)

    async def test_one_at_a_time_follows_under_a_name(self, storage: Storage) -> None:
        first = await storage.take_cursor("tables", holder="w1", at=NOW, until=LATER)
        assert first is not None
        assert await storage.take_cursor("tables", holder="w2", at=NOW, until=LATEST) is None
        assert await storage.take_cursor("others", holder="w2", at=NOW, until=LATEST) is not None
        second = await storage.take_cursor("tables", holder="w2", at=LATER, until=LATEST, begin=99)
        assert second is not None
        assert (second.position, second.holder) == (first.position, "w2")
        assert not await storage.move_cursor("tables", fence=first.fence, position=1, at=LATER, until=LATEST)
        assert await storage.move_cursor("tables", fence=second.fence, position=2, at=LATER, until=LATEST)

    async def test_of_many_who_want_a_cursor_one_gets_it(self, storage: Storage) -> None:
        wanted = (storage.take_cursor("tables", holder=f"w{n}", at=NOW, until=LATER) for n in range(8))
        taken = [cursor for cursor in await asyncio.gather(*wanted) if cursor is not None]
        assert len(taken) == 1

    async def test_a_cursor_that_was_given_up_is_free_and_where_it_was(self, storage: Storage) -> None:
        first = await storage.take_cursor("tables", holder="w1", at=NOW, until=LATEST)
        assert first is not None
        assert await storage.move_cursor("tables", fence=first.fence, position=5, at=NOW, until=None)
        assert not await storage.move_cursor("tables", fence=first.fence, position=6, at=NOW, until=LATEST)
        second = await storage.take_cursor("tables", holder="w2", at=NOW, until=LATEST)
        assert second is not None
        assert second.position == 5

    async def test_who_takes_its_own_cursor_again_has_a_new_fence(self, storage: Storage) -> None:
        first = await storage.take_cursor("tables", holder="w1", at=NOW, until=LATEST)
        second = await storage.take_cursor("tables", holder="w1", at=NOW, until=LATEST)
        assert first is not None
        assert second is not None
        assert second.fence > first.fence
        assert not await storage.move_cursor("tables", fence=first.fence, position=6, at=NOW, until=LATEST)

    async def test_a_cursor_never_goes_back(self, storage: Storage) -> None:
        cursor = await storage.take_cursor("tables", holder="w1", at=NOW, until=LATEST, begin=5)
        assert cursor is not None
        assert not await storage.move_cursor("tables", fence=cursor.fence, position=4, at=NOW, until=LATEST)

    async def test_a_dropped_cursor_begins_anew(self, storage: Storage) -> None:
        cursor = await storage.take_cursor("tables", holder="w1", at=NOW, until=LATEST, begin=5)
        assert cursor is not None
        assert await storage.drop_cursor("tables")
        assert not await storage.drop_cursor("tables")
        assert not await storage.move_cursor("tables", fence=cursor.fence, position=6, at=NOW, until=LATEST)
        assert await storage.cursors() == []

    # -- what was not dealt with stays ---------------------------------------------------------------------------

    async def test_what_a_projection_has_not_dealt_with_is_not_pruned(self, storage: Storage) -> None:
        done, behind = await ended(storage), await ended(storage)
        entries = await all_of(storage)
        last_of_done = next(p for p, event in reversed(entries) if event.job_id == done.job_id)
        fast = await storage.take_cursor(
            "fast", holder="w1", at=NOW, until=LATEST, begin=await storage.feed_end()
        )
        slow = await storage.take_cursor("slow", holder="w1", at=NOW, until=LATEST, begin=last_of_done)
        assert fast is not None
        assert slow is not None
        assert await storage.prune_content(before=LATER) == 1
        assert await storage.prune(before=LATER) == 1
        assert await storage.get_job(done.job_id) is None
        (*_, kept) = await storage.events(behind.job_id)
        assert kept.body() == "result"
        assert await storage.move_cursor(
            "slow", fence=slow.fence, position=entries[-1].position, at=NOW, until=None
        )
        assert await storage.prune(before=LATER) == 1

    async def test_a_dropped_cursor_holds_nothing_back(self, storage: Storage) -> None:
        await ended(storage)
        assert await storage.take_cursor("tables", holder="w1", at=NOW, until=LATEST) is not None
        assert await storage.prune(before=LATER) == 0
        await storage.drop_cursor("tables")
        assert await storage.prune(before=LATER) == 1
