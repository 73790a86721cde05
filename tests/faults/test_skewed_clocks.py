"""Machines whose clocks are hours or days off, beside others on one Postgres database: the server's time decides."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from agent_runtime import (
    ActionManager,
    ActionSpec,
    Budget,
    ExecutionContext,
    ExecutionRequest,
    JobManager,
    JobSpec,
    Ledger,
    OperatorContext,
    RuntimeKernel,
)
from agent_runtime.errors import BudgetExceededError
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ports.clock import SystemClock
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.clock import FakeClock
from support.kernels import BOUND, QUICK, status_becomes

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]
SKEWS = [
    timedelta(hours=3),
    timedelta(minutes=62),
    timedelta(days=3),
    timedelta(hours=-3),
    timedelta(days=-3),
]
NEAR = timedelta(minutes=5)
skews = pytest.mark.parametrize("skew", SKEWS, ids=str)


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Set this machine's clock, as whoever looks after it would."""
    now = SystemClock.now

    def off_by(skew: timedelta) -> None:
        monkeypatch.setattr(SystemClock, "now", lambda self: now(self) + skew)

    return off_by


@asynccontextmanager
async def machine(dsn: str) -> AsyncIterator[PostgresStorage]:
    """A process that comes to the database now, with the clock that its machine has."""
    storage = PostgresStorage(dsn)
    await storage.open()
    yield storage
    await storage.aclose()


async def server_time(dsn: str) -> datetime:
    connection = await asyncpg.connect(dsn)
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    await connection.close()
    return now


async def naps(context: OperatorContext, given: float) -> str:
    await context.sleep(given)
    return context.now().isoformat()


@skews
async def test_timers_fire_when_the_server_says_so(
    module_database: str, set_clock: Callable[[timedelta], None], skew: timedelta
) -> None:
    """Not those of others early, where the machine is ahead, nor anybody's late, where it is behind."""
    async with machine(module_database) as sane:
        async with RuntimeKernel(storage=sane, operators=[naps], options=QUICK, dispatch="local") as k:
            long = await k.execute(ExecutionRequest(operator="naps", input=1800.0))
            await status_becomes(long, "sleeping")
        set_clock(skew)
        async with (
            machine(module_database) as skewed,
            RuntimeKernel(storage=skewed, operators=[naps], options=QUICK, dispatch="local") as k,
        ):
            short = await k.execute(ExecutionRequest(operator="naps", input=0.05, deadline_seconds=1800.0))
            woken_at = (await short.result(timeout=BOUND)).content
            assert abs(datetime.fromisoformat(woken_at) - await server_time(module_database)) < NEAR
            assert (
                await k.handle(long.job_id).status()
            ) == "sleeping"  # looked at when the short one was due
            record = await short.job()
            assert record.deadline is not None
            assert abs(record.deadline - await server_time(module_database)) < timedelta(seconds=1800) + NEAR
            await k.handle(long.job_id).cancel()
            await status_becomes(k.handle(long.job_id), "cancelled")


@skews
async def test_a_limit_is_not_granted_twice_because_somebody_lives_in_another_window(
    module_database: str, set_clock: Callable[[timedelta], None], skew: timedelta
) -> None:
    scope = f"scope{skew}"
    budget = Budget(scope_id=scope, max_requests_hourly=3, max_requests_daily=3, max_requests_monthly=3)
    context = ExecutionContext(scope_id=scope)
    async with machine(module_database) as sane:
        mine = Ledger(StorageView(sane))
        await mine.save_budget(budget)
        for _ in range(2):
            await mine.settle(await mine.reserve(context))
        set_clock(skew)
        async with machine(module_database) as skewed:
            theirs = Ledger(StorageView(skewed))
            await theirs.settle(await theirs.reserve(context))
            with pytest.raises(BudgetExceededError):
                await theirs.reserve(context)
        with pytest.raises(BudgetExceededError):
            await mine.reserve(context)


@skews
async def test_what_managers_write_alone_bears_the_servers_time(
    module_database: str, set_clock: Callable[[timedelta], None], skew: timedelta
) -> None:
    set_clock(skew)
    async with machine(module_database) as skewed:
        view = StorageView(skewed)
        action = await ActionManager(view).require_action(ActionSpec(type="input", timeout_seconds=600))
        job = await JobManager(view).create(JobSpec(deadline_seconds=600))
        now = await server_time(module_database)
        assert action.expires_at is not None
        assert job.deadline is not None
        for moment in (action.created_at, action.expires_at, job.created_at, job.deadline):
            assert abs(moment - now) < timedelta(seconds=600) + NEAR


async def test_a_clock_that_is_given_wins(module_database: str) -> None:
    given = FakeClock(datetime(2031, 1, 1, tzinfo=UTC))
    async with (
        machine(module_database) as storage,
        RuntimeKernel(storage=storage, clock=given, worker=False) as k,
    ):
        assert k.clock.now() == given.now()
        job = await JobManager(StorageView(storage), clock=given).create(JobSpec())
        assert job.created_at == given.now()
