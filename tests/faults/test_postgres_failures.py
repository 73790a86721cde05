"""What a Postgres server and its network can do to a writer."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import asyncpg
import pytest

from agent_runtime import BudgetSpec, ExecutionRequest, RuntimeKernel, StorageError
from agent_runtime.errors import FenceLost, InvalidInput
from agent_runtime.ports.commit import Commit, NewEvent, Signal
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.storage_contract import NOW, commit, job
from agent_runtime.values.budget import Amount, Charge, LedgerEntry, LedgerFilter
from agent_runtime.values.event import RuntimeEvent
from support.answers import answer_questions, check_promises
from support.cutting_proxy import CuttingProxy
from support.kernels import BOUND, journal, until
from support.private_postgres import PrivatePostgres, private_postgres
from support.tcp_proxy import TcpProxy
from support.worker_child import OPERATORS, WORKER
from support.worker_pool import WorkerPool

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 9)]
Moment = Literal["before", "after"]


@pytest.fixture
def private() -> Iterator[PrivatePostgres]:
    with private_postgres() as server:
        server.postgres.execute("CREATE DATABASE runs")
        yield server


class Recorder:
    """Hears of commits."""

    def __init__(self) -> None:
        self.first_seqs: list[int] = []

    def committed(self, commit: Commit, first_seq: int) -> None:
        self.first_seqs.append(first_seq)

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """Hear of drained signals, of which there are none."""

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        """Hear of other processes' changes."""


async def claimed(storage: PostgresStorage) -> str:
    """Store a job and claim it."""
    record = job()
    await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
    assert await storage.claim(record.job_id, owner="w1", at=NOW) is not None
    return record.job_id


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_is_written_exactly_once(moment: Moment, database: str) -> None:
    async with CuttingProxy(database) as proxy:
        storage = PostgresStorage(proxy.dsn)
        await storage.open()
        job_id = await claimed(storage)
        proxy.cut = moment
        charge = Charge(budget_id="b", settle=Amount(tokens=7))
        first = await storage.commit(
            commit(
                job_id=job_id, fence=1, events=[NewEvent("custom.a"), NewEvent("custom.b")], charges=[charge]
            )
        )
        assert proxy.cuts == 1
        events = await storage.events(job_id, after_seq=first - 1)
        assert [event.type for event in events] == ["custom.a", "custom.b"]
        assert (await storage.counters([("b", "")]))[0].settled == Amount(tokens=7)
        await storage.aclose()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_commit_without_events_whose_answer_is_lost_happens_once_as_well(
    moment: Moment, database: str
) -> None:
    async with CuttingProxy(database) as proxy:
        storage = PostgresStorage(proxy.dsn)
        await storage.open()
        proxy.cut = moment
        await storage.commit(commit(charges=[Charge(budget_id="b", settle=Amount(tokens=7))]))
        assert proxy.cuts == 1
        assert (await storage.counters([("b", "")]))[0].settled == Amount(tokens=7)
        await storage.aclose()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_batch_of_strangers_whose_answer_is_lost_is_written_exactly_once(
    moment: Moment, database: str
) -> None:
    async with CuttingProxy(database) as proxy:
        storage = PostgresStorage(proxy.dsn)
        await storage.open()
        jobs = [await claimed(storage) for _ in range(20)]
        proxy.cut = moment
        await asyncio.gather(
            *(storage.commit(commit(job_id=one, fence=1, events=[NewEvent("custom.a")])) for one in jobs)
        )
        assert proxy.cuts == 1
        for one in jobs:
            assert [event.type for event in await storage.events(one, after_seq=2)] == ["custom.a"]
        await storage.aclose()


@pytest.mark.parametrize("bill", [[], [LedgerEntry(entry_id="e", type="model_usage", timestamp=NOW)]])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_extended_journal_whose_answer_is_lost_is_extended_and_billed_once_and_told_of(
    moment: Moment, bill: list[LedgerEntry], database: str
) -> None:
    async with CuttingProxy(database) as proxy:
        storage = PostgresStorage(proxy.dsn)
        await storage.open()
        job_id = await claimed(storage)
        heard = Recorder()
        storage.listen(heard)
        proxy.cut = moment
        events = [NewEvent("custom.a"), NewEvent("custom.b")]
        first = await storage.commit(commit(job_id=job_id, fence=1, events=events, ledger=bill))
        assert proxy.cuts == 1
        assert first == 3
        assert [event.type for event in await storage.events(job_id, after_seq=2)] == ["custom.a", "custom.b"]
        assert heard.first_seqs == [3]
        assert [entry.entry_id for entry in await storage.ledger_entries(LedgerFilter())] == [
            e.entry_id for e in bill
        ]
        assert await storage.commit(commit(job_id=job_id, fence=1, events=events)) == 5
        await storage.aclose()


class Vanishing(TcpProxy):
    """Forwards to a server until that is gone; then counts who still tries to talk to it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.gone = False
        self.tries = 0

    def watch(self) -> Callable[[bytes], bool]:
        def cuts(data: bytes) -> bool:
            self.tries += self.gone
            return self.gone

        return cuts

    async def last(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let nothing more through."""


async def test_who_waits_together_for_a_server_that_is_gone_is_told_together(database: str) -> None:
    """Each of them may cost a time-out: two hundred that are tried one by one would wait for half an hour."""
    async with Vanishing(database) as proxy:
        storage = PostgresStorage(proxy.url, patience=0.1)
        await storage.open()
        jobs = [await claimed(storage) for _ in range(50)]
        signals = [commit(signals=[Signal(f"s{place}", job_id, "x")]) for place, job_id in enumerate(jobs)]
        proxy.gone = True
        answers = await asyncio.gather(*(storage.commit(one) for one in signals), return_exceptions=True)
        assert {isinstance(answer, StorageError) for answer in answers} == {True}
        assert 1 <= proxy.tries < 20
        proxy.gone = False
        await asyncio.gather(*(storage.commit(one) for one in signals))
        assert [len(await storage.drain_signals(job_id, fence=1, at=NOW)) for job_id in jobs] == [1] * 50
        await storage.aclose()


@pytest.mark.parametrize("bad", ["secret-\ud800", "secret-" + random.Random(7).randbytes(8000).hex()])
async def test_what_can_never_be_stored_is_its_callers_error_and_nobody_elses(
    bad: str, database: str
) -> None:
    """Tried again, it would be refused again: the server's own limits, and text that is none."""
    storage = PostgresStorage(database)
    await storage.open()
    jobs = [await claimed(storage) for _ in range(5)]
    refused, *written = await asyncio.gather(
        storage.commit(commit(signals=[Signal(bad, jobs[0], "x")])),
        *(storage.commit(commit(signals=[Signal("s", job_id, "x")])) for job_id in jobs),
        return_exceptions=True,
    )
    assert isinstance(refused, InvalidInput)
    assert "secret" not in str(refused)
    assert not any(isinstance(answer, BaseException) for answer in written)
    assert [len(await storage.drain_signals(job_id, fence=1, at=NOW)) for job_id in jobs] == [1] * 5
    await storage.aclose()


async def test_a_journal_that_a_lost_connection_is_still_extending_is_extended_once(database: str) -> None:
    async with CuttingProxy(database) as proxy:
        storage = PostgresStorage(proxy.dsn)
        await storage.open()
        job_id = await claimed(storage)
        blocker = await asyncpg.connect(database)
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("SELECT 1 FROM runtime_jobs WHERE job_id = $1 FOR UPDATE", job_id)
        proxy.cut = "during"
        writing = asyncio.create_task(
            storage.commit(commit(job_id=job_id, fence=1, events=[NewEvent("custom.a")]))
        )
        async with asyncio.timeout(BOUND):
            await proxy.was_cut.wait()
        await transaction.rollback()
        assert await asyncio.wait_for(writing, BOUND) == 3
        assert [event.type for event in await storage.events(job_id, after_seq=2)] == ["custom.a"]
        await blocker.close()
        await storage.aclose()


async def test_what_another_fence_extends_and_bills_is_refused_as_a_whole(database: str) -> None:
    storage = PostgresStorage(database)
    await storage.open()
    job_id, other = await claimed(storage), await claimed(storage)
    bills = [LedgerEntry(entry_id=name, type="model_usage", timestamp=NOW) for name in ("stale", "good")]
    stale, good = await asyncio.gather(
        storage.commit(commit(job_id=job_id, fence=2, events=[NewEvent("custom.a")], ledger=bills[:1])),
        storage.commit(commit(job_id=other, fence=1, events=[NewEvent("custom.b")], ledger=bills[1:])),
        return_exceptions=True,
    )
    assert isinstance(stale, FenceLost)
    assert good == 3
    assert [entry.entry_id for entry in await storage.ledger_entries(LedgerFilter())] == ["good"]
    assert [event.type for event in await storage.events(job_id, after_seq=2)] == []
    await storage.aclose()


async def test_a_claim_whose_answer_is_lost_is_a_claim(database: str) -> None:
    async with CuttingProxy(database) as proxy:
        storage = PostgresStorage(proxy.dsn)
        await storage.open()
        record = job()
        await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
        proxy.cut = "after"
        claim = await storage.claim(record.job_id, owner="w1", at=NOW)
        assert claim is not None
        assert [event.type for event in claim.events] == ["job.created", "job.started"]
        assert claim.job.fence == 1
        await storage.aclose()


async def test_a_server_that_does_not_come_back_is_reported_and_nothing_hangs(
    private: PrivatePostgres,
) -> None:
    storage = PostgresStorage(private.postgres.dsn("runs"), patience=0.5)
    await storage.setup()
    await storage.open()
    job_id = await claimed(storage)
    await asyncio.to_thread(private.crash)
    with pytest.raises(StorageError, match="cannot be reached"):
        await storage.commit(commit(job_id=job_id, fence=1, events=[NewEvent("custom.a")]))
    with pytest.raises(StorageError, match="cannot be reached"):
        await storage.events(job_id)
    await storage.aclose()


async def test_a_commit_is_durable_when_the_server_crashes_right_after_it(private: PrivatePostgres) -> None:
    storage = PostgresStorage(private.postgres.dsn("runs"))
    await storage.setup()
    await storage.open()
    job_id = await claimed(storage)
    repeated = Commit(
        commit_id=new_commit_id(), at=NOW, job_id=job_id, fence=1, events=[NewEvent("custom.a")]
    )
    first = await storage.commit(repeated)
    await private.restart()
    assert await storage.commit(repeated) == first
    assert [event.type for event in await storage.events(job_id)][2:] == ["custom.a"]
    await storage.aclose()


async def test_jobs_survive_the_crash_of_the_server(
    private: PrivatePostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = private.postgres.dsn("runs")
    await PostgresStorage(dsn).setup()
    with WorkerPool(dsn, tmp_path, size=2) as pool:
        monkeypatch.setenv("EFFECTS_FILE", str(pool.world))
        storage = PostgresStorage(dsn)
        async with RuntimeKernel(storage=storage, operators=OPERATORS, options=WORKER, worker=False) as k:
            busy = ExecutionRequest(operator="slow", input={"steps": 40, "seconds": 0.05})
            handles = [await k.execute(busy) for _ in range(10)]
            for _ in range(2):
                await private.restart()
            mixed = await k.execute(
                ExecutionRequest(operator="mixed", budgets=BudgetSpec(max_cost=1_000_000))
            )
            for handle in handles:
                assert len((await handle.result(timeout=BOUND * 6)).output["pids"]) == 40
                ends = [event.type for event in await journal(handle) if event.is_terminal]
                assert ends == ["job.succeeded"]
            async with asyncio.timeout(BOUND):
                await answer_questions(mixed, pool.world)
            await check_promises(mixed, pool.world, k)
        await storage.aclose()


async def test_an_outage_is_one_line_a_minute(
    private: PrivatePostgres, caplog: pytest.LogCaptureFixture
) -> None:
    storage = PostgresStorage(private.postgres.dsn("runs"), patience=0.5)
    await storage.setup()
    async with RuntimeKernel(storage=storage, operators=OPERATORS, options=WORKER) as k:
        await asyncio.to_thread(private.crash)
        await asyncio.sleep(8)  # longer than each of the drivers waits for a connection
        await asyncio.to_thread(private.start)
        handle = await k.execute(ExecutionRequest(operator="slow", input={"steps": 1, "seconds": 0.0}))
        await handle.result(timeout=BOUND * 2)
    await storage.aclose()
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.exc_info or record.exc_text for record in told] == [None]
    assert "the Postgres server cannot be reached" in caplog.text


async def test_a_worker_whose_server_is_away_can_be_stopped(
    private: PrivatePostgres, caplog: pytest.LogCaptureFixture
) -> None:
    storage = PostgresStorage(private.postgres.dsn("runs"), patience=0.5)
    await storage.setup()
    k = RuntimeKernel(storage=storage, operators=OPERATORS, options=WORKER)
    await k.start()
    await asyncio.to_thread(private.crash)

    async def noticed() -> bool:
        return "the Postgres server cannot be reached" in caplog.text

    await until(noticed)
    async with asyncio.timeout(BOUND * 2):
        await k.aclose()
        await storage.aclose()
