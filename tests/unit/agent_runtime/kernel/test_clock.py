"""Time inside a job goes forward, whatever is done to a clock."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent_runtime import ActionSpec, ExecutionRequest, OperatorContext
from agent_runtime.ports.clock import ServerClock
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock
from support.kernels import BOUND, journal, kernel, pending

pytestmark = pytest.mark.timeout(BOUND * 3)


async def test_a_clock_that_is_set_back_takes_nothing_in_a_job_back() -> None:
    clock = FakeClock()

    async def told(context: OperatorContext, given: Any) -> list[str]:
        first = context.now()
        await context.action(ActionSpec(type="input"))
        return [first.isoformat(), context.now().isoformat()]

    async with kernel(MemoryStorage(), operators=[told], clock=clock) as k:
        handle = await k.execute(ExecutionRequest(operator="told"))
        question = await pending(handle)
        clock.move(hours=-5)
        await handle.resolve_action(question.action_id, {"value": 1})
        first, second = (await handle.result(timeout=BOUND)).output
        assert first <= second
        moments = [event.timestamp for event in await journal(handle)]
        assert moments == sorted(moments)


def test_between_two_looks_a_servers_time_goes_on_with_this_machines() -> None:
    local = FakeClock()
    clock = ServerClock(local)
    assert clock.now() == local.now()
    server = datetime(2030, 1, 1, tzinfo=UTC)
    clock.learn(server, asked_at=local.monotonic())
    local.move(seconds=90)
    assert clock.now() == server + timedelta(seconds=90)


def test_the_middle_of_question_and_answer_is_when_the_server_looked() -> None:
    local = FakeClock()
    clock = ServerClock(local)
    asked_at = local.monotonic()
    local.move(seconds=4)
    server = datetime(2030, 1, 1, tzinfo=UTC)
    clock.learn(server, asked_at=asked_at)
    assert clock.now() == server + timedelta(seconds=2)
    later = local.monotonic()
    local.move(seconds=10)
    clock.learn(server, asked_at=later)  # an answer that took so long tells less than the one before
    assert clock.now() == server + timedelta(seconds=12)
    local.move(seconds=120)
    clock.learn(server, asked_at=local.monotonic())
    assert clock.now() == server + timedelta(seconds=0)


def test_small_corrections_do_not_make_time_go_back() -> None:
    local = FakeClock()
    clock = ServerClock(local)
    server = datetime(2030, 1, 1, tzinfo=UTC)
    clock.learn(server, asked_at=local.monotonic())
    before = clock.now()
    clock.learn(server - timedelta(milliseconds=40), asked_at=local.monotonic())
    assert clock.now() == before
    clock.learn(server - timedelta(hours=1), asked_at=local.monotonic())
    assert clock.now() == server - timedelta(hours=1)
