"""What every `Storage` must do where a list is read in parts: none reads more bytes than was asked for, but one entry."""

from __future__ import annotations

from datetime import timedelta

from agent_runtime.ports.commit import ActionChange, NewEvent
from agent_runtime.ports.readers import Pending
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, action, commit, job
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import LedgerEntry, LedgerFilter
from agent_runtime.values.job import JobFilter, JobRecord

LONG = "x" * 100_000


class PartsContract:
    """The suite."""

    async def _journal(self, storage: Storage) -> JobRecord:
        """Store a job with entries of content and of long data."""
        record = job()
        events = [
            NewEvent("custom.content", None, {"n": 1}, LONG.encode()),
            NewEvent("custom.content", None, {"n": 2}, LONG.encode()),
            NewEvent("custom.data", None, {"said": LONG}, b'"short"'),
            NewEvent("custom.data", None, {"said": LONG}),
            NewEvent("custom.short", None, {"n": 5}, b'"short"'),
        ]
        await storage.commit(commit(create=[(record, events)]))
        return record

    async def test_a_part_of_a_journal_has_no_more_bytes_than_it_may_but_one_entry(
        self, storage: Storage
    ) -> None:
        record = await self._journal(storage)

        async def seqs(after: int, most: int, **more: bool) -> list[int | None]:
            page = await storage.events(record.job_id, after_seq=after, max_bytes=most, **more)  # type: ignore[arg-type]  # as given
            return [event.seq for event in page]

        assert await seqs(0, 1) == [1]
        assert await seqs(1, 150_000) == [2]
        assert await seqs(1, 250_000) == [2, 3]
        assert await seqs(0, 1_000_000) == [1, 2, 3, 4, 5]
        assert await seqs(0, 1, with_content=False) == [1, 2]
        assert await seqs(2, 150_000, with_content=False) == [3]
        assert await seqs(5, 1) == []
        found = await storage.events(record.job_id, limit=2, max_bytes=1_000_000, with_content=False)
        assert [event.seq for event in found] == [1, 2]
        assert await storage.events(record.job_id, scope_id="other", max_bytes=1_000_000) == []

    async def test_what_is_read_without_content_is_the_same_but_for_it(self, storage: Storage) -> None:
        record = await self._journal(storage)
        whole = await storage.events(record.job_id)
        public = await storage.events(record.job_id, with_content=False)
        assert [event.content for event in public] == [None] * 5
        assert [(event.seq, event.type, event.data) for event in public] == [
            (event.seq, event.type, event.data) for event in whole
        ]
        assert list(await storage.tail(record.job_id, 2, with_content=False)) == list(public[-2:])
        assert list(await storage.tail(record.job_id, 2)) == list(whole[-2:])
        end = await storage.feed_end()
        line = await storage.feed(after=0, upto=end, with_content=False)
        assert [entry.event for entry in line] == list(public)
        assert [entry.event for entry in await storage.feed(after=0, upto=end)] == list(whole)
        short = await storage.feed(after=0, upto=end, max_bytes=1, with_content=False)
        assert [entry.event.seq for entry in short] == [1, 2]

    async def test_a_part_of_the_jobs_has_no_more_bytes_than_it_may_but_one_job(
        self, storage: Storage
    ) -> None:
        labels = [{}, {"said": LONG}, {"said": LONG}, {}, {}]
        made = [job(metadata=one, scope_id="a") for one in labels]
        made += [job(tags={"said": LONG}, scope_id="a"), job(scope_id="b")]
        for record in made:
            await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
        newest = sorted((one.job_id for one in made[:6]), reverse=True)

        async def part(most: int, limit: int = 100, before: str | None = None) -> tuple[list[str], bool]:
            wanted = JobFilter(scope_id="a", limit=limit, before=before)
            found = await storage.part_of_jobs(wanted, max_bytes=most)
            whole = {one.job_id: one for one in await storage.list_jobs(JobFilter(limit=100))}
            assert list(found.items) == [whole[one.job_id] for one in found.items]
            return [one.job_id for one in found.items], found.has_more

        assert await part(1_000_000) == (newest, False)
        assert await part(1_000_000, limit=6) == (newest, False)
        assert await part(1_000_000, limit=5) == (newest[:5], True)
        assert await part(1) == (newest[:1], True)
        assert await part(150_000) == (newest[:3], True)
        assert await part(1, before=newest[2]) == (newest[3:4], True)
        assert await part(1, before=newest[4]) == (newest[5:], False)
        assert await part(1, before=newest[5]) == ([], False)

    async def test_a_part_of_the_actions_has_no_more_bytes_than_it_may_but_one_action(
        self, storage: Storage
    ) -> None:
        asked = [action(scope_id="a", payload={"said": LONG}) for _ in range(3)]
        asked += [action(scope_id="a", argument_schema={"description": LONG}), action(scope_id="a")]
        await storage.commit(commit(new_actions=[*asked, action(scope_id="b")]))
        end = ActionChange(action_id=asked[4].action_id, status=ActionStatus.CANCELLED)
        await storage.commit(commit(action_changes=[end]))
        newest = sorted((one.action_id for one in asked[:4]), reverse=True)

        async def part(most: int, limit: int = 100, before: str | None = None) -> tuple[list[str], bool]:
            found = await storage.part_of_actions(
                scope_id="a", status=ActionStatus.PENDING, max_bytes=most, limit=limit, before=before
            )
            return [one.action_id for one in found.items], found.has_more

        assert await part(1_000_000) == (newest, False)
        assert await part(1_000_000, limit=3) == (newest[:3], True)
        assert await part(1) == (newest[:1], True)
        assert await part(250_000) == (newest[:2], True)
        assert await part(1, before=newest[2]) == (newest[3:], False)
        found = await storage.part_of_actions(job_id="none", max_bytes=1)
        assert (list(found.items), found.has_more) == ([], False)

    async def test_pending_actions_are_counted_since_the_first_of_them(self, storage: Storage) -> None:
        assert await storage.pending_actions() == Pending(0, None)
        asked = [action(created_at=NOW + timedelta(minutes=number)) for number in range(4)]
        for one in asked:
            await storage.commit(commit(new_actions=[one]))
        assert await storage.pending_actions() == Pending(4, NOW)
        end = ActionChange(action_id=asked[0].action_id, status=ActionStatus.CANCELLED)
        await storage.commit(commit(action_changes=[end]))
        assert await storage.pending_actions() == Pending(3, NOW + timedelta(minutes=1))

    async def test_a_list_goes_on_behind_a_ledger_entry_that_was_pruned(self, storage: Storage) -> None:
        entries = [
            LedgerEntry(entry_id=f"e{number}", type="model_usage", timestamp=NOW + timedelta(days=number))
            for number in range(6)
        ]
        await storage.commit(commit(ledger=entries))
        page = await storage.ledger_entries(LedgerFilter(limit=3))
        await storage.forget("ledger", before=NOW + timedelta(days=2, hours=1))
        place = page[-1].position
        assert place is not None
        rest = await storage.ledger_entries(LedgerFilter(after=place))
        assert [one.entry_id for one in rest] == ["e3", "e4", "e5"]
        assert await storage.ledger_entries(LedgerFilter(after=rest[-1].position)) == []
