"""dbos-transact-py #803: a host that was suspended for hours fired every tick it had missed."""

from typing import Any

import pytest

from agent_runtime import ScheduleRules
from support.kernels import BOUND
from support.schedules import BEAT, MINUTELY, scene

pytestmark = pytest.mark.timeout(BOUND * 3)


@pytest.mark.parametrize(("catch_up", "begun"), [("last", 1), ("none", 1), ("all", 20)])
async def test_hours_in_a_running_process_are_caught_up_as_the_rules_say(catch_up: Any, begun: int) -> None:
    """The process is not started anew: its clock is eight hours further when it looks next, as after a lid was opened."""
    async with scene() as s:
        rules = ScheduleRules(catch_up=catch_up, cap=20, overlap="parallel")
        await s.kernel.schedules.put("beat", BEAT, MINUTELY, rules=rules)
        s.clock.move(minutes=1)
        await s.outcomes("fired")
        s.clock.move(hours=8)
        for _ in range(4):
            await s.rest()
        assert len(s.begun) == 1 + begun
        log = await s.log()
        assert sum(count for _, _, count, _ in log) == 481
        assert [outcome for _, outcome, _, _ in log].count("fired") == 1 + begun
        s.clock.move(minutes=1)
        await s.rest()
        assert len(s.begun) == 2 + begun
