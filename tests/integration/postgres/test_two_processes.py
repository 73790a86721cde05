"""Two storages on one database, as two processes have them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence

import asyncpg
import pytest

from agent_runtime.errors import BudgetRejected, FenceLost
from agent_runtime.ports.commit import Commit, JobChange, NewEvent, Signal
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.storage_contract import NOW, commit, job
from agent_runtime.values.budget import Amount, Charge, LedgerEntry, Limits
from agent_runtime.values.capacity import ScopeCaps
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobStatus
from agent_runtime.values.opening import OpeningBalance
from agent_runtime.values.standing_budget import Budget
from support.kernels import until

Pair = tuple[PostgresStorage, PostgresStorage]


@pytest.fixture
async def pair(database: str) -> AsyncIterator[Pair]:
    first, second = PostgresStorage(database), PostgresStorage(database)
    await first.open()
    await second.open()
    yield first, second
    await first.aclose()
    await second.aclose()


class Ear:
    """Remembers what other processes have done."""

    def __init__(self) -> None:
        self.heard: set[tuple[str, str]] = set()
        self.anything = 0

    def committed(self, commit: Commit, first_seq: int) -> None:
        """Not of interest."""

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """Not of interest."""

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        self.anything += changes is None
        self.heard.update((change.kind, change.job_id) for change in changes or ())


async def hears(ear: Ear, kind: str, job_id: str) -> None:
    """Wait until a change was heard."""

    async def heard() -> bool:
        return (kind, job_id) in ear.heard

    await until(heard)


async def test_what_one_process_writes_the_other_hears(pair: Pair) -> None:
    first, second = pair
    ear, own = Ear(), Ear()
    second.listen(ear)
    first.listen(own)
    await until(lambda: asyncio.sleep(0, second._notifier.listening.is_set()))
    parent, child = job(), job()
    await first.commit(commit(create=[(parent, [NewEvent("job.created")])]))
    await hears(ear, "created", parent.job_id)
    await first.claim(parent.job_id, owner="w", at=NOW)
    await hears(ear, "appended", parent.job_id)
    child = job(parent_job_id=parent.job_id)
    await first.commit(commit(create=[(child, [])], signals=[Signal("s", parent.job_id, "custom.s")]))
    await hears(ear, "signalled", parent.job_id)
    change = JobChange(status=JobStatus.FAILED, release=True)
    ended = [NewEvent("job.failed")]
    await first.commit(
        commit(job_id=parent.job_id, fence=1, events=ended, job=change, cancel_children_of=parent.job_id)
    )
    await hears(ear, "ended", parent.job_id)
    await hears(ear, "signalled", child.job_id)
    assert own.heard == set()


async def test_a_listener_whose_connection_was_cut_looks_at_everything_again(
    pair: Pair, database: str
) -> None:
    _, second = pair
    ear = Ear()
    second.listen(ear)
    await until(lambda: asyncio.sleep(0, second._notifier.listening.is_set()))
    ear.anything = 0
    administrator = await asyncpg.connect(database)
    await administrator.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )
    await administrator.close()
    await until(lambda: asyncio.sleep(0, ear.anything))
    record = job()
    await second.commit(commit(create=[(record, [NewEvent("job.created")])]))
    assert await second.get_job(record.job_id) is not None


async def test_of_two_processes_that_claim_a_job_one_gets_it(pair: Pair) -> None:
    for _ in range(20):
        record = job()
        await pair[0].commit(commit(create=[(record, [NewEvent("job.created")])]))
        claims = await asyncio.gather(
            *(storage.claim(record.job_id, owner=f"w{n}", at=NOW) for n, storage in enumerate(pair))
        )
        assert len([claim for claim in claims if claim is not None]) == 1


async def test_two_processes_do_not_overspend_whatever_order_they_name_their_budgets_in(pair: Pair) -> None:
    limits = Limits(tokens=1000)

    def reserve(*budgets: str) -> Commit:
        return commit(
            charges=[Charge(budget_id=one, reserve=Amount(tokens=7), limits=limits) for one in budgets]
        )

    outcomes = await asyncio.gather(
        *(pair[0].commit(reserve("a", "b")) for _ in range(200)),
        *(pair[1].commit(reserve("b", "a")) for _ in range(200)),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {int, BudgetRejected}
    counters = await pair[0].counters([("a", ""), ("b", "")])
    assert [one.reserved.tokens for one in counters] == [994, 994]


async def test_a_worker_without_sign_of_life_loses_its_jobs_and_its_fence(pair: Pair) -> None:
    first, second = pair
    for name, storage in (("w1", first), ("w2", second)):
        await storage.register_worker(WorkerRecord(worker_id=name, started_at=NOW, heartbeat_at=NOW))
    record = job()
    await first.commit(commit(create=[(record, [NewEvent("job.created")])]))
    assert await first.claim(record.job_id, owner="w1", at=NOW) is not None
    assert await second.expire_workers(60.0) == []
    assert await second.expire_workers(0.0) == [record.job_id]
    assert await second.list_workers() == []
    assert not await first.register_worker(WorkerRecord(worker_id="w1", started_at=NOW, heartbeat_at=NOW))
    assert await second.claim(record.job_id, owner="w2", at=NOW) is not None
    with pytest.raises(FenceLost):
        await first.commit(commit(job_id=record.job_id, fence=1, events=[NewEvent("custom.late")]))


async def test_a_worker_is_dead_only_after_its_own_time_out(pair: Pair) -> None:
    first, second = pair
    for name, info in (("slow", {"timeout": 60.0}), ("quick", {"timeout": 0.0}), ("mute", {})):
        await first.register_worker(WorkerRecord(worker_id=name, started_at=NOW, heartbeat_at=NOW, info=info))
    record = job()
    await first.commit(commit(create=[(record, [NewEvent("job.created")])]))
    assert await first.claim(record.job_id, owner="slow", at=NOW) is not None
    assert await second.expire_workers(30.0) == []
    assert {worker.worker_id for worker in await second.list_workers()} == {"slow", "quick", "mute"}
    assert await second.expire_workers(0.0) == []
    assert [worker.worker_id for worker in await second.list_workers()] == ["slow"]


async def test_one_process_executes_where_there_is_no_shared_queue(pair: Pair) -> None:
    first, second = pair
    assert await first.acquire_executor()
    assert await first.acquire_executor()
    assert not await second.acquire_executor()
    await first.release_executor()
    assert await second.acquire_executor()
    await second.release_executor()
    await second.release_executor()
    assert await first.acquire_executor()
    assert not await second.acquire_executor()
    await first.aclose()
    assert await second.acquire_executor()


async def test_two_processes_never_count_the_same_free_place(pair: Pair, database: str) -> None:
    """The first has counted and not yet committed when a more urgent job comes, which the second tries to claim."""
    first, second = pair
    caps = ScopeCaps(default=1)
    usual = job()
    await first.commit(commit(create=[(usual, [NewEvent("job.created")])]))
    connection = await asyncpg.connect(database)
    hold_up = connection.transaction()
    await hold_up.start()
    await connection.execute(  # the place in the journal that the first claim is going to write
        "INSERT INTO runtime_events (job_id, seq, type, at, data) VALUES ($1, 2, 'x', now(), '{}')",
        usual.job_id,
    )
    early = asyncio.ensure_future(first.claim(usual.job_id, owner="w1", at=NOW, caps=caps))
    await until(lambda: _waiting_for_locks(second, 1))
    urgent = job(priority=9)
    await second.commit(commit(create=[(urgent, [NewEvent("job.created")])]))
    late = asyncio.ensure_future(second.claim(urgent.job_id, owner="w2", at=NOW, caps=caps))
    await until(lambda: _either(late.done(), _waiting_for_locks(first, 2)))
    await hold_up.rollback()
    assert await early is not None
    assert await late is None
    await connection.close()


async def _waiting_for_locks(storage: PostgresStorage, number: int) -> bool:
    """Whether so many connections wait for a lock."""
    statement = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    return bool((await storage._connections.fetch(statement))[0][0] >= number)


async def _either(known: bool, other: Awaitable[bool]) -> bool:
    return await other or known


async def test_a_budget_that_begins_loses_nothing_that_another_process_counts_meanwhile(pair: Pair) -> None:
    first, second = pair
    budget = Budget(scope_id="a", max_tokens_daily=1)
    key = (budget.budget_id, "day")
    begins = commit(budgets=[budget], openings=[OpeningBalance(budget=budget, window="day", since=NOW)])
    counted = Charge(budget_id=key[0], window="day", settle=Amount(tokens=1))

    def entry(entry_id: str) -> LedgerEntry:
        return LedgerEntry(entry_id=entry_id, type="tool_usage", scope_id="a", input_tokens=1, timestamp=NOW)

    async def spend(name: str) -> None:
        for number in range(5):
            await first.commit(commit(charges=[counted], ledger=[entry(f"{name}:{number}")]))

    for turn in range(1, 21):
        await first.commit(commit(ledger=[entry(f"{turn}:without the budget")]))
        await asyncio.gather(spend(f"{turn}"), second.commit(begins))
        (counters,) = await first.counters([key])
        assert counters.settled.tokens == turn * 6
