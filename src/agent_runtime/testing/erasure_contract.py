"""What every `Storage` must do when somebody's content is erased."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from agent_runtime.audit.erasure import ErasureSubject
from agent_runtime.audit.manager import AuditManager
from agent_runtime.errors import ContentPruned, InvalidInput, InvalidTransition, UnknownJob
from agent_runtime.ports.audit import Note
from agent_runtime.ports.commit import JobChange, NewEvent
from agent_runtime.ports.erasure import ErasedSubject
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, JobFields, action, commit, job
from agent_runtime.testing.inbox_contract import message
from agent_runtime.values.action import ActionToken
from agent_runtime.values.budget import Amount, Charge, LedgerEntry, LedgerFilter
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from agent_runtime.values.message import Address
from agent_runtime.values.standing_budget import Budget

MARK = "Ada Lovelace"
NAMED: JobFields = {
    "principal_id": MARK,
    "session_id": f"{MARK}'s session",
    "run_id": f"{MARK}'s run",
    "identity": f"{MARK}'s inbox",
    "request_hash": "hash",
    "parent_operation_id": f"parent:{MARK}",
    "metadata": {"name": MARK},
    "tags": {"name": MARK},
}


async def finished(storage: Storage, record: JobRecord) -> JobRecord:
    """Store a job that says a name wherever it can, and end it."""
    first = NewEvent("job.created", None, {"n": 1}, f'"{MARK}"'.encode())
    await storage.commit(commit(create=[(record, [first])]))
    claim = await storage.claim(record.job_id, owner="w", at=NOW)
    assert claim is not None
    entry = LedgerEntry(
        entry_id=f"{record.job_id}:1#1",
        type="model_usage",
        job_id=record.job_id,
        scope_id=record.scope_id,
        principal_id=record.principal_id,
        session_id=record.session_id,
        run_id=record.run_id,
        input_tokens=7,
        cost=Decimal("0.5"),
        timestamp=NOW,
        metadata={"reason": MARK, "was": {"cost": 3}},
    )
    step = NewEvent("step.completed", f"{record.job_id}:{MARK}", {"name": MARK}, f'"{MARK}"'.encode())
    asked = action(record.job_id, payload={"title": MARK}, scope_id=record.scope_id)
    await storage.commit(
        commit(
            job_id=record.job_id,
            fence=claim.job.fence,
            events=[step, NewEvent("custom.x")],
            ledger=[entry],
            new_actions=[asked],
            new_tokens=[ActionToken(f"token-{record.job_id}", asked.action_id, MARK)],
        )
    )
    change = JobChange(status=JobStatus.FAILED, error=MARK, completed_at=NOW, release=True)
    end = NewEvent("job.failed", None, {"error": MARK})
    done = commit(
        job_id=record.job_id,
        fence=claim.job.fence,
        events=[end],
        job=change,
        cancel_actions_of=record.job_id,
    )
    await storage.commit(done)
    return record


async def everything(storage: Storage, job_ids: list[str]) -> str:
    """Return what can be read of jobs, and of what belongs to them, as text."""
    jobs = await storage.list_jobs(JobFilter(limit=1000))
    said = [repr(jobs), repr(await storage.ledger_entries(LedgerFilter()))]
    for job_id in job_ids:
        said += [repr(await storage.events(job_id)), repr(await storage.list_actions(job_id=job_id))]
    said += [repr(await storage.standing_budgets())]
    return "\n".join(said)


class Remembering:
    """An eraser that remembers whom it was told of."""

    name = "elsewhere"
    tables = frozenset[str]()

    def __init__(self) -> None:
        self.told: list[ErasedSubject] = []

    async def erase(self, subject: ErasedSubject) -> int:
        """Remember."""
        self.told.append(subject)
        return len(subject.job_ids)

    async def prune_content(self, *, before: datetime) -> int:
        """Nothing is old here."""
        del before
        return 0


class ErasureContract:
    """The suite."""

    async def test_what_a_persons_jobs_say_is_erased_and_amounts_stay(self, storage: Storage) -> None:
        mine = await finished(storage, replace(job(**NAMED), idempotency_key=f"key of {MARK}"))
        child = await finished(storage, job(parent_job_id=mine.job_id, depth=1))
        other = await finished(storage, job(principal_id="Grace"))
        before = await storage.audited_entries(mine.job_id)
        audit, eraser = AuditManager(storage), Remembering()
        subject = ErasureSubject(scope_id="default", principal_id=MARK)

        report = await audit.erase(subject, by="me", reason="asked", erasers=[eraser])

        assert (report.jobs, report.entries, report.elsewhere) == (2, 11, {"elsewhere": 2})
        ids = [mine.job_id, child.job_id]
        assert [set(told.job_ids) for told in eraser.told] == [set(ids), set()]
        assert (eraser.told[1].principal_id, eraser.told[1].pseudonym) == (MARK, report.pseudonym)
        assert await storage.find_job("default", f"key of {MARK}") is None
        left = await everything(storage, ids)
        others = await everything(storage, [])
        assert left.count(MARK) == others.count(MARK) > 0  # what the other's job says of her
        gone = await storage.get_job(mine.job_id)
        assert gone is not None
        assert (gone.status, gone.completed_at, gone.last_seq) == (JobStatus.FAILED, NOW, 5)
        assert {gone.principal_id, gone.session_id, gone.run_id, gone.identity} == {report.pseudonym}
        ledger = {entry.job_id: entry for entry in await storage.ledger_entries(LedgerFilter())}
        kept = ledger[mine.job_id]
        assert (kept.principal_id, kept.cost, kept.input_tokens) == (report.pseudonym, Decimal("0.5"), 7)
        assert kept.metadata == {"was": {"cost": 3}}
        assert ledger[child.job_id].principal_id is None
        assert ledger[other.job_id].principal_id == "Grace"
        after = await storage.audited_entries(mine.job_id)
        assert [entry.link for entry in after] == [entry.link for entry in before]
        assert {(entry.operation_id, entry.content, str(entry.data)) for entry in after} == {
            (None, None, "{}")
        }
        verified = await audit.verify()
        assert (verified.findings, verified.erased) == ((), 2)
        (salts,) = {one.salts for one in await storage.audited(ids)}
        assert salts == b""

    async def test_the_trail_says_who_has_erased_what_and_names_nobody(self, storage: Storage) -> None:
        mine = await finished(storage, job(**NAMED))
        subject = ErasureSubject(scope_id="default", principal_id=MARK)
        report = await AuditManager(storage).erase(subject, by="me", reason="asked")
        (said,) = await storage.trail("default")
        assert said.kind == "erased"
        assert said.data == {
            "what": "principal",
            "by": "me",
            "reason": "asked",
            "pseudonym": report.pseudonym,
            "job_ids": [mine.job_id],
        }

    async def test_jobs_that_have_not_ended_are_refused_and_nothing_is_erased(self, storage: Storage) -> None:
        mine = await finished(storage, job(**NAMED))
        await storage.commit(commit(create=[(job(**NAMED), [NewEvent("job.created")])]))
        before = await storage.events(mine.job_id)
        with pytest.raises(InvalidTransition, match="1 of 2 jobs have not ended"):
            await AuditManager(storage).erase(ErasureSubject(scope_id="default", principal_id=MARK), by="me")
        assert await storage.events(mine.job_id) == before
        assert await storage.trail("default") == []

    async def test_a_job_is_erased_with_its_children_and_those_that_went_on_as_it(
        self, storage: Storage
    ) -> None:
        first = await finished(storage, job())
        child = await finished(storage, job(parent_job_id=first.job_id, depth=1))
        successor = await finished(storage, job(chain_id=first.job_id, predecessor_id=first.job_id))
        grandchild = await finished(storage, job(parent_job_id=child.job_id, depth=2))
        other = await finished(storage, job())
        report = await AuditManager(storage).erase(
            ErasureSubject(scope_id="default", job_id=successor.job_id), by="me"
        )
        family = [first.job_id, child.job_id, successor.job_id, grandchild.job_id]
        assert report.jobs == len(family)
        assert all(one.erased_at is not None for one in await storage.audited(family))
        assert [one.erased_at for one in await storage.audited([other.job_id])] == [None]

    async def test_no_job_goes_on_in_place_of_one_that_was_erased(self, storage: Storage) -> None:
        """A retry may have read it before."""
        erased = await finished(storage, job())
        await AuditManager(storage).erase(ErasureSubject(scope_id="default", job_id=erased.job_id), by="me")
        retry = job(chain_id=erased.job_id, predecessor_id=erased.job_id)
        with pytest.raises(ContentPruned):
            await storage.commit(commit(create=[(retry, [NewEvent("job.created")])]))
        assert await storage.get_job(retry.job_id) is None

    async def test_a_child_is_refused_because_its_parent_has_its_result(self, storage: Storage) -> None:
        parent = await finished(storage, job())
        child = await finished(storage, job(parent_job_id=parent.job_id, depth=1))
        subject = ErasureSubject(scope_id="default", job_id=child.job_id)
        with pytest.raises(InvalidInput, match=parent.job_id):
            await AuditManager(storage).erase(subject, by="me")

    async def test_another_scopes_job_is_not_there(self, storage: Storage) -> None:
        mine = await finished(storage, job(scope_id="a", principal_id=MARK))
        audit = AuditManager(storage)
        with pytest.raises(UnknownJob):
            await audit.erase(ErasureSubject(scope_id="b", job_id=mine.job_id), by="me")
        report = await audit.erase(ErasureSubject(scope_id="b", principal_id=MARK), by="me")
        assert (report.jobs, report.rows) == (0, 0)
        assert (await storage.events(mine.job_id))[0].content is not None

    async def test_an_erasure_that_was_interrupted_is_made_again(self, storage: Storage) -> None:
        mine = await finished(storage, job(**NAMED))
        child = await finished(storage, job(parent_job_id=mine.job_id, depth=1))
        some = [mine.job_id, child.job_id]
        await storage.begin_erasing(some, scope_id="default", at=NOW, note=Note("erased", {}))
        assert await storage.erase_entries(mine.job_id, limit=2) == 2
        assert await storage.erase_entries(mine.job_id, max_bytes=1) == 1
        assert (await AuditManager(storage).verify()).is_intact
        report = await AuditManager(storage).erase(
            ErasureSubject(scope_id="default", principal_id=MARK), by="me"
        )
        assert (report.jobs, report.entries) == (2, 8)
        assert (await AuditManager(storage).verify()).is_intact
        assert MARK not in await everything(storage, some)

    async def test_content_that_was_pruned_is_erased_with_the_rest(self, storage: Storage) -> None:
        mine = await finished(storage, job(**NAMED))
        assert await storage.prune_content(before=NOW + timedelta(days=1)) == 1
        await AuditManager(storage).erase(ErasureSubject(scope_id="default", job_id=mine.job_id), by="me")
        assert (await AuditManager(storage).verify()).is_intact
        assert MARK not in await everything(storage, [mine.job_id])
        assert await storage.prune(before=NOW + timedelta(days=1)) == 1

    async def test_mail_that_was_received_or_is_a_persons_goes_and_others_stays(
        self, storage: Storage
    ) -> None:
        mine = await finished(storage, job(principal_id=MARK))
        own, desk = Address("default", MARK), Address("default", "desk")
        chain = Address("default", mine.chain_id)
        sent = [message(MARK, to=own, dedupe_key="k"), message(MARK, to=chain), message("other", to=desk)]
        await storage.commit(commit(messages=sent))
        await AuditManager(storage).erase(ErasureSubject(scope_id="default", principal_id=MARK), by="me")
        assert [await storage.count_messages(one) for one in (own, chain, desk)] == [0, 0, 1]
        assert [len(await storage.list_messages(one)) for one in (own, chain, desk)] == [0, 0, 1]
        await storage.commit(commit(messages=[message("again", to=own, dedupe_key="k")]))
        assert await storage.count_messages(own) == 1

    async def test_a_persons_budgets_go_and_what_they_have_spent_stays_under_a_pseudonym(
        self, storage: Storage
    ) -> None:
        everybodys = Budget(principal_id="*", max_tokens_total=5)
        hers = Budget(scope_id="default", principal_id=MARK, max_tokens_total=5)
        others = Budget(scope_id="other", principal_id=MARK, max_tokens_total=5)
        names = [one.counter_id("default", MARK, None) for one in (everybodys, hers)]
        charges = [Charge(name, settle=Amount(tokens=3)) for name in names if name is not None]
        used = LedgerEntry(entry_id="e", type="tool_usage", principal_id=MARK, timestamp=NOW)
        await storage.commit(commit(budgets=[everybodys, hers, others], charges=charges, ledger=[used]))

        report = await AuditManager(storage).erase(
            ErasureSubject(scope_id="default", principal_id=MARK), by="me"
        )

        assert report.rows == 4
        assert {one.budget_id for one in await storage.standing_budgets()} == {
            everybodys.budget_id,
            others.budget_id,
        }
        under = everybodys.counter_id("default", report.pseudonym, None)
        now, *before = await storage.counters([(name, "") for name in (under, *names) if name is not None])
        assert now.settled.tokens == 3
        assert [one.settled.tokens for one in before] == [0, 0]
        (entry,) = await storage.ledger_entries(LedgerFilter())
        assert entry.principal_id == report.pseudonym

    @pytest.mark.parametrize("called", ["ada", "*"])
    async def test_a_budget_that_others_have_as_well_stays(self, storage: Storage, called: str) -> None:
        budgets = [
            Budget(scope_id="*", principal_id=called, max_tokens_total=5),
            Budget(scope_id="*", session_id=called, max_tokens_total=5),
            Budget(scope_id="default", principal_id="*", max_tokens_total=5),
            Budget(scope_id="default", session_id="*", max_tokens_total=5),
            Budget(scope_id="default", name=called, max_tokens_total=5),
        ]
        await storage.commit(commit(budgets=budgets))

        for scope_id in ("default", "*"):
            for subject in (
                ErasureSubject(scope_id=scope_id, principal_id=called),
                ErasureSubject(scope_id=scope_id, session_id=called),
            ):
                await AuditManager(storage).erase(subject, by="me")

        assert {one.budget_id for one in await storage.standing_budgets()} == {
            one.budget_id for one in budgets
        }

    @pytest.mark.parametrize(
        "given", [{}, {"principal_id": "a", "job_id": "b"}, {"session_id": "a", "job_id": "b"}]
    )
    def test_an_erasure_has_one_subject(self, given: dict[str, str]) -> None:
        with pytest.raises(InvalidInput, match="whose content"):
            ErasureSubject(scope_id="default", **given)
