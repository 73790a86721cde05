"""A tenant that queues as much as it can, as urgently as it can, keeps nobody else from being next."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from agent_runtime import Budget, ExecutionRequest, JobFailed, Ledger, OperatorContext, RetryPolicy
from agent_runtime.adapters.procrastinate import PostgresDispatcher
from agent_runtime.execution.outages import Queue
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ledger.budget_registry import Spender
from agent_runtime.ledger.room import BUDGET_TIMER, NEVER, RoomWanted
from agent_runtime.ports.commit import NewEvent, Timer
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.examples import commit, job
from agent_runtime.values.budget import Amount
from llm_client import (
    Agent,
    CompletionResult,
    ExecutionEngine,
    Message,
    ProviderUnavailable,
    RateLimits,
    RequestContext,
    RequestSpec,
    RetryConfig,
    ScriptedProvider,
    StreamEvent,
    ToolCall,
    Usage,
)
from llm_client.pausing import Slots
from llm_client.tools import threads
from llm_client.turns import LARGE
from support.gated import Gated
from support.kernels import BOUND, QUICK, kernel, opened, pending, status_becomes, until
from support.operators import ask

pytestmark = pytest.mark.timeout(BOUND * 6)

MOST_URGENT = 2**31 - 1
ONE = replace(QUICK, max_concurrency=1, sweep_interval=600.0)


async def flood(storage: Storage, number: int, scope_id: str = "loud") -> list[str]:
    """Store many urgent jobs of a scope; return their ids, in the order in which they come."""
    made = [job(scope_id=scope_id, operator="gated", priority=MOST_URGENT) for _ in range(number)]
    for first in range(0, number, 2_000):
        created = [(record, [NewEvent("job.created", content=b'"loud"')]) for record in made[first : first + 2_000]]  # fmt: skip
        await storage.commit(commit(create=created))
    return sorted(record.job_id for record in made)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database")) if request.param == "postgres" else str(request.param)


async def test_ten_thousand_urgent_jobs_that_were_there_first_keep_nobody_from_being_next(
    kind: str, tmp_path: Path
) -> None:
    """A worker finds them all when it starts."""
    gated = Gated()
    async with opened(kind, tmp_path) as storage:
        await flood(storage, 10_000)
        created = [NewEvent("job.created", content=b'"quiet"')]
        await storage.commit(
            commit(create=[(job(scope_id="quiet", operator="gated", priority=-100), created)])
        )
        async with kernel(storage, operators=[gated], options=ONE):
            for who in ("loud", "quiet"):
                gated.let_go(who)

            async def is_quiets_turn() -> bool:
                return "quiet" in gated.order

            await until(is_quiets_turn)
    assert gated.order.index("quiet") <= 1


async def test_who_comes_later_is_next_while_a_flood_is_worked_off(kind: str, tmp_path: Path) -> None:
    gated = Gated()
    async with opened(kind, tmp_path) as storage, kernel(storage, operators=[gated], options=ONE) as k:
        for number in range(300):
            await k.execute(
                ExecutionRequest(operator="gated", input=number, scope_id="loud", priority=MOST_URGENT)
            )

        async def has_begun() -> bool:
            return bool(gated.order)

        await until(has_begun)
        await k.execute(ExecutionRequest(operator="gated", input="quiet", scope_id="quiet", priority=-100))
        if kind not in ("memory", "sqlite"):
            await until(lambda: entries(kind, "quiet"))
        gated.everyone.set()

        async def is_quiets_turn() -> bool:
            return "quiet" in gated.order

        await until(is_quiets_turn)
    assert gated.order.index("quiet") <= 2  # the one inside, and one that was fetched already


async def test_within_a_scope_the_most_urgent_is_next(kind: str, tmp_path: Path) -> None:
    gated = Gated()
    async with opened(kind, tmp_path) as storage, kernel(storage, operators=[gated], options=ONE) as k:
        for who, priority in (("first", 0), ("low", 1), ("high", 9), ("middle", 5)):
            await k.execute(ExecutionRequest(operator="gated", input=who, scope_id="s", priority=priority))
        if kind not in ("memory", "sqlite"):

            async def all_are_queued() -> bool:
                return await entries(kind, "s") + len(gated.order) >= 4

            await until(all_are_queued)
        gated.everyone.set()

        async def all_were_there() -> bool:
            return len(gated.order) == 4

        await until(all_were_there)
    left = [who for who in gated.order if who != gated.order[0]]
    assert left == [who for who in ("high", "middle", "low", "first") if who in left]


async def test_priority_across_scopes_is_for_those_who_allow_it(tmp_path: Path) -> None:
    gated = Gated()
    options = replace(ONE, priority_across_scopes=True)
    async with opened("memory", tmp_path) as storage, kernel(storage, operators=[gated], options=options) as k:  # fmt: skip
        await k.execute(ExecutionRequest(operator="gated", input="inside", scope_id="loud"))
        await k.execute(ExecutionRequest(operator="gated", input="quiet", scope_id="quiet"))
        for number in range(3):
            await k.execute(ExecutionRequest(operator="gated", input=number, scope_id="loud", priority=1))
        gated.everyone.set()

        async def all_were_there() -> bool:
            return len(gated.order) == 5

        await until(all_were_there)
    assert gated.order == ["inside", 0, 1, 2, "quiet"]


async def entries(dsn: str, scope_id: str) -> int:
    """Return how many jobs of a scope wait in the shared queue."""
    connection = await asyncpg.connect(dsn)
    try:
        count = "SELECT count(*) FROM procrastinate_jobs p JOIN runtime_jobs j ON j.job_id = p.queueing_lock WHERE p.status = 'todo' AND j.scope_id = $1"
        return int(await connection.fetchval(count, scope_id))
    finally:
        await connection.close()


async def sweep(storage: Storage, dispatcher: PostgresDispatcher) -> None:
    """Sweep the shared queue as a worker does."""
    await dispatcher.sweep([due.job_id for due in await storage.due_jobs()])


async def test_a_scope_that_was_always_overtaken_moves_up(database: str) -> None:
    """Turns are given when a job gets its entry. Who has few jobs at any time would always come before a long line."""
    storage = PostgresStorage(database)
    await storage.open()
    dispatcher = PostgresDispatcher(database)
    await dispatcher.open()
    connection = await asyncpg.connect(database)
    priority = "SELECT priority FROM procrastinate_jobs WHERE queueing_lock = $1"
    try:
        line = await flood(storage, 300)
        await sweep(storage, dispatcher)
        first, last = line[0], line[-1]
        at_first = await connection.fetchval(priority, first)
        before = await connection.fetchval(priority, last)
        assert before < at_first
        await connection.execute("UPDATE runtime_jobs SET status = 'succeeded' WHERE job_id <> $1", last)
        await sweep(storage, dispatcher)
        assert await connection.fetchval(priority, last) == at_first
    finally:
        await connection.close()
        await dispatcher.stop(drain=0.0)
        await storage.aclose()


async def test_who_gets_more_urgent_all_the_time_has_each_turn_once(database: str) -> None:
    """Each of these comes before all that its scope has queued, so that each would be its scope's first."""
    storage = PostgresStorage(database)
    await storage.open()
    dispatcher = PostgresDispatcher(database)
    await dispatcher.open()
    connection = await asyncpg.connect(database)
    try:
        for priority in range(20):
            record = job(scope_id="loud", operator="gated", priority=priority)
            await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
            await sweep(storage, dispatcher)
        quiet = job(scope_id="quiet", operator="gated", priority=-100)
        await storage.commit(commit(create=[(quiet, [NewEvent("job.created")])]))
        await sweep(storage, dispatcher)
        order = "SELECT queueing_lock FROM procrastinate_jobs ORDER BY priority DESC, id"
        queued = [row[0] for row in await connection.fetch(order)]
    finally:
        await connection.close()
        await dispatcher.stop(drain=0.0)
        await storage.aclose()

    assert queued.index(quiet.job_id) <= 1
    assert queued[0] == record.job_id  # and within the scope the most urgent is first


@pytest.mark.parametrize("woken", [False, True], ids=["new", "woken"])
async def test_a_tenant_whose_long_jobs_have_all_places_keeps_no_other_from_beginning(
    kind: str, tmp_path: Path, woken: bool
) -> None:
    """Nobody interrupts a job that runs: one place is kept for scopes of which none does."""
    gated = Gated()
    options = replace(ONE, max_concurrency=2)
    async with opened(kind, tmp_path) as storage, kernel(storage, operators=[gated, ask], options=options) as k:  # fmt: skip
        asker = await k.execute(ExecutionRequest(operator="ask", scope_id="quiet"))
        question = await pending(asker)
        await status_becomes(asker, "waiting_action")
        for number in range(9):
            await k.execute(ExecutionRequest(operator="gated", input=number, scope_id="loud", priority=MOST_URGENT))  # fmt: skip

        async def has_all_places() -> bool:
            return gated.inside == 2

        await until(has_all_places)
        if woken:
            await asker.resolve_action(question.action_id, {"value": 7})
            assert (await asker.result(timeout=BOUND)).output == 7
        else:
            gated.let_go("quiet")
            quiet = await k.execute(ExecutionRequest(operator="gated", input="quiet", scope_id="quiet"))
            await quiet.result(timeout=BOUND)
        assert [who for who in gated.order if who != "quiet"] == gated.order[:2]
        assert gated.inside == 2
        gated.everyone.set()


async def test_the_spare_slot_is_free_again_when_another_job_has_ended(kind: str, tmp_path: Path) -> None:
    """Whoever has it keeps an ordinary place from then on, so that a third scope can begin as well."""
    gated = Gated()
    options = replace(ONE, max_concurrency=2)
    async with opened(kind, tmp_path) as storage, kernel(storage, operators=[gated], options=options) as k:

        async def begin(who: str, scope_id: str) -> None:
            await k.execute(ExecutionRequest(operator="gated", input=who, scope_id=scope_id))

        async def are_inside(number: int) -> None:
            async def came() -> bool:
                return len(gated.order) >= number

            await until(came)

        for who in ("loud 1", "loud 2", "loud 3"):
            await begin(who, "loud")
        await are_inside(2)
        await begin("quiet", "quiet")
        await are_inside(3)
        gated.let_go(gated.order[0])
        await begin("third", "third")
        await are_inside(4)
        assert sorted(gated.order[2:]) == ["quiet", "third"]
        gated.everyone.set()


async def test_the_spare_slot_can_be_turned_off(kind: str, tmp_path: Path) -> None:
    gated = Gated()
    options = replace(ONE, max_concurrency=2, spare_slot=False)
    async with opened(kind, tmp_path) as storage, kernel(storage, operators=[gated], options=options) as k:
        handles = {
            who: await k.execute(ExecutionRequest(operator="gated", input=who, scope_id=who))
            for who in "abcd"
        }
        for who, handle in handles.items():
            gated.let_go(who)
            await handle.result(timeout=BOUND)
        assert gated.most <= 2


async def test_jobs_that_wait_for_a_budget_hide_nobody_elses_from_those_who_wake_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of them there are: those of the other one are looked at next."""
    monkeypatch.setattr("agent_runtime.ledger.ledger.MOST_WAITS", 2)
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def waits(scope_id: str, number: int, due_at: datetime) -> Timer:
        wanted = RoomWanted(
            spender=Spender(scope_id=scope_id), model="m", provider="p", need=Amount(requests=1), reason="", until=None
        )  # fmt: skip
        data = wanted.to_dict(now.isoformat())
        return Timer(f"{scope_id}-{number}", BUDGET_TIMER, due_at, "job.retry_requested", None, data)

    loud = [waits("loud", number, now + timedelta(days=1)) for number in range(3)]
    async with opened(kind, tmp_path) as storage:
        ledger = Ledger(StorageView(storage))
        ledger.set_budget(Budget(scope_id="loud", max_requests_total=0, exceed_strategy="wait"))
        ledger.set_budget(Budget(scope_id="quiet", max_requests_total=9, exceed_strategy="wait"))
        await storage.commit(commit(set_timers=[*loud, waits("quiet", 0, NEVER)]))
        found = [[timer.job_id for timer in await ledger.waits_with_room()] for _ in range(4)]
    assert found.count(["quiet-0"]) == 1
    assert found.count([]) == 3


class Slow:
    """A vendor that answers each request after a moment, and fails on one that it cannot stand."""

    name, model = "slow", "m"

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def complete(self, spec: RequestSpec, context: RequestContext) -> CompletionResult:
        self.asked.append(said := spec.messages[-1].text)
        await asyncio.sleep(0.002)
        if said == "poison":
            raise ProviderUnavailable("it has died of that", status=500)
        return CompletionResult(content="fine", model="m", usage=Usage(input_tokens=1, output_tokens=1))

    async def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
        raise NotImplementedError
        yield

    async def aclose(self) -> None:
        """Nothing is open."""


async def ask_model(context: OperatorContext, given: list[str]) -> int:
    """Ask the model everything at once."""
    specs = [RequestSpec(messages=(Message(role="user", content=text),)) for text in given]
    return len(await context.gather(*(context.model(spec) for spec in specs)))


def _of(who: str, number: int) -> ExecutionRequest:
    return ExecutionRequest(operator="work", input=[who] * number, scope_id=who)


@pytest.mark.parametrize(
    "bounded",
    [{"max_concurrency": 2}, {"rate_limits": RateLimits(requests_per_minute=1_200), "max_concurrency": None}],
    ids=["places", "rates"],
)
async def test_countless_calls_of_one_tenant_keep_nobody_elses_from_the_model(
    bounded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Slow()
    engine = ExecutionEngine(vendor, **bounded)
    rates = engine._attempts._rates
    bucket = None if rates is None else rates._requests
    line = engine._slots if bucket is None else bucket._turn
    if bucket is not None:
        monkeypatch.setattr(bucket, "_level", 0.0)  # a minute that was not quiet
    async with kernel(engine=engine, operators={"work": ask_model}) as runtime:
        loud = await runtime.execute(_of("loud", 300))
        await until(lambda: _is_waited_for(line, 200))
        before = len(vendor.asked)
        quiet = await runtime.execute(_of("quiet", 1))
        await quiet.result(timeout=BOUND)
        await loud.cancel()

    assert vendor.asked.index("quiet") - before < 100


async def _is_waited_for(slots: Slots | None, number: int) -> bool:
    return slots is not None and sum(map(len, slots._waiters.values())) >= number


async def test_nor_do_its_plain_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Slots(1)
    monkeypatch.setattr(threads, "_PLACES", {asyncio.get_running_loop(): places})
    gate, done = threading.Event(), list[str]()

    def note(who: str) -> None:
        gate.wait(BOUND)
        done.append(who)

    async def work(context: OperatorContext, given: list[str]) -> int:
        return len(await context.gather(*(context.step(note, who) for who in given)))

    async with kernel(operators={"work": work}) as runtime:
        loud = await runtime.execute(_of("loud", 200))
        await until(lambda: _is_waited_for(places, 100))
        quiet = await runtime.execute(_of("quiet", 1))
        await until(lambda: _is_waited_for_by(places, "quiet"))
        gate.set()
        await quiet.result(timeout=BOUND)
        before = done.index("quiet")
        await loud.cancel()

    assert before <= 2


async def _is_waited_for_by(slots: Slots, whose: str) -> bool:
    return whose in slots._waiters


async def test_what_a_vendor_fails_on_for_one_tenant_is_asked_for_the_others() -> None:
    vendor = Slow()
    engine = ExecutionEngine(vendor, retry=RetryConfig(attempts=1))
    async with kernel(engine=engine, operators={"work": ask_model}, retry=RetryPolicy.none()) as runtime:
        for _ in range(5):  # as many as open a circuit
            poisoned = await runtime.execute(
                ExecutionRequest(operator="work", input=["poison"], scope_id="loud")
            )
            with pytest.raises(JobFailed):
                await poisoned.result(timeout=BOUND)
        quiet = await runtime.execute(_of("quiet", 1))
        assert (await quiet.result(timeout=BOUND)).output == 1

    assert vendor.asked.count("poison") == 5


async def test_nor_is_a_tool_that_breaks_for_one_tenant_refused_to_the_others() -> None:
    fetched: list[str] = []

    async def fetch(url: str) -> str:
        fetched.append(url)
        if url == "nowhere":
            raise ConnectionError("nobody answers there")
        return "found"

    answers = [ToolCall("c", "fetch", {"url": "nowhere"}), "no"] * 5 + [
        ToolCall("c", "fetch", {"url": "somewhere"}),
        "yes",
    ]
    agent = Agent(provider=ScriptedProvider(answers), tools=[fetch])
    async with kernel(agent=agent) as runtime:
        for scope_id in (*["loud"] * 5, "quiet"):
            asked = await runtime.execute(ExecutionRequest(prompt="?", scope_id=scope_id))
            await asked.result(timeout=BOUND)

    assert fetched == ["nowhere"] * 5 + ["somewhere"]


def test_countless_jobs_that_wait_out_an_outage_keep_nobody_elses_from_waking() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    wakes = Queue()
    loud = [wakes.slot(now, now, "loud") for _ in range(20_000)]
    assert (loud[-1] - loud[0]).total_seconds() > 1_900, "they find out one after the other"
    assert wakes.slot(now, now, "quiet") == now


async def test_what_tools_wait_for_in_asyncios_own_threads_keeps_nobody_from_reading() -> None:
    """The names of hosts are looked up there, and what plain functions take long for is done there."""
    over = threading.Event()

    async def look_up() -> bool:
        return await asyncio.to_thread(over.wait, BOUND)

    async def work(context: OperatorContext, given: list[str]) -> int:
        return len(await context.gather(*(context.step(look_up) for _ in given)))

    async def read(context: OperatorContext, given: str) -> int:
        return len(given)

    async with kernel(operators={"work": work, "read": read}) as runtime:
        loud = await runtime.execute(_of("loud", 60))
        await status_becomes(loud, "running")
        await asyncio.sleep(0.2)  # until they wait
        long = "x" * 2 * LARGE
        try:
            quiet = await runtime.execute(ExecutionRequest(operator="read", input=long, scope_id="quiet"))
            assert (await quiet.result(timeout=BOUND / 4)).output == len(long)
        finally:
            over.set()
        await loud.result(timeout=BOUND)
