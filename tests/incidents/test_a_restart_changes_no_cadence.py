"""openclaw #59977, #22320: a restart began the cadence of a schedule anew, and beats came twice."""

import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from agent_runtime import ScheduleRules, Timing
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.testing.clock import FakeClock
from support.kernels import BOUND
from support.schedules import BEAT, NINE, Scene

pytestmark = pytest.mark.timeout(BOUND * 3)

EVERY_HALF_HOUR = Timing(every=1800.0, anchor=NINE)


async def test_a_day_of_many_deploys_has_the_beats_of_a_day(tmp_path: Path) -> None:
    clock, begun = FakeClock(NINE), 0
    for _ in range(14):
        storage = SQLiteStorage(tmp_path / "runs.db", durability="process")
        scene = Scene(storage, clock=clock)
        async with scene.kernel:
            await scene.kernel.schedules.put(
                "beat", BEAT, EVERY_HALF_HOUR, rules=ScheduleRules(overlap="parallel", window=7200.0)
            )
            clock.move(minutes=103)
            await scene.rest()
            fires = await scene.kernel.schedules.log("beat")
            upcoming = await scene.kernel.schedules.upcoming("beat", most=1)
        await storage.aclose()
        begun += len(scene.begun)
        assert (upcoming[0] - NINE) % timedelta(minutes=30) == timedelta(0)
    passed = [NINE + timedelta(minutes=30 * number) for number in range(1, 49)]
    assert sum(fire.count for fire in fires) == len(passed)
    told = [(fire.due_at, fire.last_due_at) for fire in reversed(fires)]
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(told))
    assert {moment for both in told for moment in both} <= set(passed)
    assert begun == sum(fire.outcome == "fired" for fire in fires)
    assert {str(fire.outcome) for fire in fires} <= {"fired", "coalesced"}
