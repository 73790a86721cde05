"""What every `Storage` must do with the chains of its jobs, and with the trails of its scopes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent_runtime.audit.chain import Salts, first_head
from agent_runtime.audit.manager import AuditManager
from agent_runtime.audit.trail import AuditTrail
from agent_runtime.errors import FenceLost
from agent_runtime.ports.audit import Note
from agent_runtime.ports.commit import Commit, JobChange, NewEvent, Signal
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.testing.feed_contract import all_of, created, ended
from agent_runtime.values.job import JobRecord, JobStatus

LATER = NOW + timedelta(days=1)


async def told(storage: Storage, record: JobRecord, number: int) -> Signal:
    """Send a job a signal with content."""
    signal = Signal(
        f"s{number}", record.job_id, "custom.told", f"{record.job_id}:{number}", {"n": 1e300}, b'"yes"'
    )
    await storage.commit(commit(signals=[signal]))
    return signal


class AuditContract:
    """The suite."""

    async def test_what_claims_commits_and_drained_signals_write_is_chained(self, storage: Storage) -> None:
        record = await created(storage, content=b'"in"')
        await told(storage, record, 1)
        claim = await storage.claim(record.job_id, owner="w1", at=NOW)
        assert claim is not None
        fence = claim.job.fence
        for number in range(3):
            step = NewEvent(
                "step.completed", f"op:{number}", {"float": 10.0, "long": 2**70, "nul": "\x00"}, b"{}"
            )
            await storage.commit(
                commit(job_id=record.job_id, fence=fence, events=[step, NewEvent("custom.x")])
            )
        await told(storage, record, 2)
        held = commit(job_id=record.job_id, fence=fence, events=[NewEvent("custom.held", None, {}, b"1")])
        await storage.drain_signals(record.job_id, fence=fence, at=NOW, held=held)
        await storage.commit(commit(job_id=record.job_id, fence=fence, events=[NewEvent("custom.last")]))

        report = await AuditManager(storage).verify(record.job_id)

        assert report.findings == ()
        (audited,) = await storage.audited([record.job_id])
        entries = await storage.audited_entries(record.job_id)
        assert [entry.seq for entry in entries] == list(range(1, audited.last_seq + 1))
        assert report.entries == len(entries) == 12
        assert audited.head == entries[-1].link
        assert len({entry.link for entry in entries}) == len(entries)

    async def test_a_commit_that_is_refused_or_repeated_leaves_the_chain_as_it_is(
        self, storage: Storage
    ) -> None:
        record = await created(storage)
        claim = await storage.claim(record.job_id, owner="w1", at=NOW)
        assert claim is not None
        once = commit(job_id=record.job_id, fence=claim.job.fence, events=[NewEvent("custom.x")])
        await storage.commit(once)
        (before,) = await storage.audited([record.job_id])
        await storage.commit(once)
        stale = commit(job_id=record.job_id, fence=claim.job.fence - 1, events=[NewEvent("custom.y")])
        with pytest.raises(FenceLost):
            await storage.commit(stale)
        assert await storage.audited([record.job_id]) == [before]
        assert (await AuditManager(storage).verify()).is_intact

    async def test_jobs_of_the_same_entries_have_chains_and_salts_of_their_own(
        self, storage: Storage
    ) -> None:
        one, other = await created(storage, content=b'"yes"'), await created(storage, content=b'"yes"')
        first, second = await storage.audited([one.job_id]), await storage.audited([other.job_id])
        assert first[0].head != second[0].head
        assert first[0].salts != second[0].salts
        assert len(first[0].salts) == 32
        assert first[0].head != first_head(one.job_id, "default")

    async def test_pages_hold_so_many_entries_and_so_many_bytes(self, storage: Storage) -> None:
        record = job()
        events = [NewEvent("custom.x", None, {"n": n}, bytes(10)) for n in range(7)]
        await storage.commit(commit(create=[(record, events)]))
        assert [e.seq for e in await storage.audited_entries(record.job_id, after_seq=2, limit=3)] == [
            3,
            4,
            5,
        ]
        assert [e.seq for e in await storage.audited_entries(record.job_id, max_bytes=25)] == [1, 2]
        assert [e.seq for e in await storage.audited_entries(record.job_id, max_bytes=1)] == [1]
        assert await storage.audited_entries("nothing") == []

    async def test_audited_jobs_come_by_id_and_of_one_scope(self, storage: Storage) -> None:
        records = [await created(storage, scope_id=scope) for scope in ("a", "b", "a")]
        ids = sorted(record.job_id for record in records if record.scope_id == "a")
        assert [one.job_id for one in await storage.audited_jobs(scope_id="a")] == ids
        assert [one.job_id for one in await storage.audited_jobs(scope_id="a", limit=1)] == ids[:1]
        assert [one.job_id for one in await storage.audited_jobs(scope_id="a", after=ids[0])] == ids[1:]
        assert len(await storage.audited_jobs()) == 3

    async def test_the_chain_verifies_when_content_was_pruned_and_nobody_can_try_what_it_was(
        self, storage: Storage
    ) -> None:
        record = await ended(storage)
        before = await storage.audited_entries(record.job_id)
        assert await storage.prune_content(before=LATER) == 1
        report = await AuditManager(storage).verify(record.job_id)
        assert (report.findings, report.pruned) == ((), 1)
        (audited,) = await storage.audited([record.job_id])
        assert Salts.read(audited.salts).content == b""
        assert audited.content_pruned_at is not None
        after = await storage.audited_entries(record.job_id)
        assert [entry.link for entry in after] == [entry.link for entry in before]
        assert after[-1].content is None
        assert len(after[-1].content_digest or b"") == 32

    async def test_a_trail_has_each_ended_job_once_in_its_order(self, storage: Storage) -> None:
        jobs = [await ended(storage) for _ in range(3)]
        going = await created(storage)
        other = await ended(storage, scope_id="other")
        trail, entries = AuditTrail(storage), await all_of(storage)
        await trail.project(entries)
        await trail.project(entries)
        found = await storage.trail("default")
        assert [entry.job_id for entry in found] == [record.job_id for record in jobs]
        assert [entry.number for entry in found] == [1, 2, 3]
        assert going.job_id not in {entry.job_id for entry in found}
        assert [entry.job_id for entry in await storage.trail("other")] == [other.job_id]
        assert await storage.trail("default", after=1, limit=1) == [found[1]]
        heads = await storage.trail_heads()
        assert [(head.scope_id, head.number) for head in heads] == [("default", 3), ("other", 1)]
        report = await AuditManager(storage).verify(heads=heads)
        assert (report.findings, report.trail, report.heads) == ((), 4, tuple(heads))

    async def test_a_trail_passes_over_what_is_not_its_own(self, storage: Storage) -> None:
        other, going = await ended(storage, scope_id="other"), await created(storage)
        assert (
            await storage.extend_trail("default", at=NOW, ended=[other.job_id, going.job_id, "nothing"]) == 0
        )
        assert await storage.extend_trail("default", at=NOW, notes=[Note("erased", {"n": 10.0})]) == 1
        (said,) = await storage.trail("default")
        assert (said.kind, said.job_id, said.at, said.data) == ("erased", None, NOW, {"n": 10})
        assert (await AuditManager(storage).verify()).is_intact

    async def test_a_job_that_was_pruned_is_not_missing(self, storage: Storage) -> None:
        record = await ended(storage)
        await storage.extend_trail("default", at=NOW, ended=[record.job_id])
        assert await storage.prune(before=LATER) == 1
        report = await AuditManager(storage).verify()
        assert (report.findings, report.gone) == ((), 1)

    async def test_a_head_that_was_kept_of_another_trail_is_told(self, storage: Storage) -> None:
        await storage.extend_trail("default", at=NOW, notes=[Note("erased", {}), Note("erased", {})])
        (head,) = await storage.trail_heads()
        for kept, problem in (
            (head._replace(link=bytes(32)), "head"),
            (head._replace(number=3), "cut_off"),
            (head._replace(scope_id="gone"), "head"),
        ):
            report = await AuditManager(storage).verify(heads=[kept])
            assert [finding.problem for finding in report.findings] == [problem]

    async def test_a_job_that_ends_meanwhile_verifies(self, storage: Storage) -> None:
        record = await created(storage)
        claim = await storage.claim(record.job_id, owner="w1", at=NOW)
        assert claim is not None
        change = JobChange(status=JobStatus.SUCCEEDED, completed_at=NOW, release=True)
        end = Commit(
            at=NOW,
            job_id=record.job_id,
            fence=claim.job.fence,
            events=[NewEvent("job.succeeded")],
            job=change,
        )
        await storage.commit(end)
        assert (await AuditManager(storage).verify(record.job_id, scope_id="default")).is_intact
