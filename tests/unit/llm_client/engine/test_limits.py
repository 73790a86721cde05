"""Token buckets: rates, order, and giving back."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import ConfigurationError, ExecutionEngine, FunctionProvider, Message, RateLimits, RequestSpec
from llm_client.engine.limits import RateLimiter, TokenBucket
from llm_client.testing.cache_contract import FakeTime


class Sleeper:
    """Sleeps by moving a clock, and remembers how long."""

    def __init__(self, time: FakeTime) -> None:
        self.time = time
        self.naps: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.time.now += seconds


def bucket(per_minute: float) -> tuple[TokenBucket, Sleeper]:
    time = FakeTime()
    sleeper = Sleeper(time)
    return TokenBucket(per_minute, clock=time, sleep=sleeper), sleeper


async def test_a_full_bucket_gives_a_minutes_worth_at_once() -> None:
    full, sleeper = bucket(60)
    for _ in range(60):
        await full.take(1)

    assert sleeper.naps == []


async def test_an_empty_bucket_makes_one_wait_until_it_has_filled() -> None:
    empty, sleeper = bucket(60)
    await empty.take(60)
    await empty.take(1)
    await empty.take(2)

    assert sleeper.naps == pytest.approx([1, 1, 1])


async def test_more_than_a_bucket_holds_waits_for_a_full_one_and_leaves_a_debt() -> None:
    small, sleeper = bucket(60)
    await small.take(30)
    await small.take(180)
    full = sum(sleeper.naps)
    await small.take(1)

    assert (full, sum(sleeper.naps) - full) == pytest.approx((30, 121))


async def test_who_stops_waiting_has_taken_nothing_and_lets_the_next_one_wait() -> None:
    time = FakeTime()
    naps: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def sleep(_seconds: float) -> None:
        await naps.put(nap := asyncio.Event())
        await nap.wait()

    shared = TokenBucket(60, clock=time, sleep=sleep)
    await shared.take(60)
    first, second = (asyncio.create_task(shared.take(amount)) for amount in (60, 1))
    await naps.get()
    first.cancel()
    nap = await naps.get()  # the second one's turn
    owed = shared.level
    time.now += 1
    nap.set()
    await second

    assert (owed, shared.level, first.cancelled()) == (0, 0, True)


async def test_who_waits_goes_on_when_others_give_back_what_they_did_not_use() -> None:
    time = FakeTime()
    gate = RateLimiter(RateLimits(tokens_per_minute=1000))
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        time.now += seconds
        gate.settle(10**9, 10)

    gate._tokens = TokenBucket(1000, clock=time, sleep=sleep)
    await gate.enter(10**9)  # a request may name any bound
    await gate.enter(100)

    assert naps == pytest.approx([1])


@pytest.mark.parametrize(
    ("estimated", "used", "minutes"), [(-(10**9), 0, 0), (10**9, 0, 0), (0, 10**12, 10), (10**12, 10**12, 10)]
)
async def test_no_request_keeps_others_waiting_for_ever(estimated: int, used: int, minutes: int) -> None:
    gate = RateLimiter(RateLimits(tokens_per_minute=1000))
    await gate.enter(estimated)
    gate.settle(estimated, used)

    assert gate._tokens is not None
    assert gate._tokens.level == pytest.approx(1000 - 1000 * minutes, abs=1)


async def test_an_estimate_is_replaced_by_the_real_usage() -> None:
    gate = RateLimiter(RateLimits(tokens_per_minute=1000))
    await gate.enter(400)
    gate.settle(400, 100)
    gate.settle(0, 50)

    assert gate._tokens is not None
    assert gate._tokens.level == pytest.approx(850, abs=1)


@given(st.lists(st.floats(0.1, 50), min_size=1, max_size=40))
def test_in_any_stretch_no_more_goes_out_than_a_bucketful_and_what_flows_in(amounts: list[float]) -> None:
    async def run() -> None:
        limited, sleeper = bucket(60)
        begin = sleeper.time.now
        spent = 0.0
        for amount in amounts:
            await limited.take(amount)
            spent += amount
            assert spent <= 60 + (sleeper.time.now - begin) + 1e-6

    asyncio.run(run())


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        RateLimits(requests_per_minute=0)


async def test_an_engine_counts_retries_against_its_rate() -> None:
    engine = ExecutionEngine(
        FunctionProvider(lambda _: "hi"),
        rate_limits=RateLimits(requests_per_minute=1000, tokens_per_minute=1e6),
    )
    await engine.complete(RequestSpec(messages=[Message.user("x" * 400)], max_tokens=50))

    gate = engine._attempts._rates
    assert gate is not None
    assert gate._requests is not None
    assert gate._requests.level == pytest.approx(999, abs=1)
