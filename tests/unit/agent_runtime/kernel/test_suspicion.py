"""Jobs whose claims have died: what is asked of them, what forgives them, and how they share a process."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionHandle,
    ExecutionRequest,
    JobCancelled,
    OperatorContext,
    RuntimeKernel,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury
from agent_runtime.values.deaths import OpenClaim
from support.kernels import BOUND, DOOMED, QUICK, journal, kernel, pending, status_becomes, until

pytestmark = pytest.mark.timeout(BOUND * 3)


class Gates:
    """Effects that last until they are let go."""

    def __init__(self) -> None:
        self.inside: set[str] = set()
        self.open: dict[str, asyncio.Event] = {}

    def gate(self, name: str) -> asyncio.Event:
        return self.open.setdefault(name, asyncio.Event())

    async def pass_(self, name: str) -> str:
        self.inside.add(name)
        try:
            await self.gate(name).wait()
        finally:
            self.inside.discard(name)
        return name

    async def reached(self, *names: str) -> None:
        async def reached() -> bool:
            return set(names) <= self.inside

        await until(reached)


@pytest.fixture
def gates() -> Gates:
    return Gates()


def operators(gates: Gates) -> list[Any]:
    async def first_then_second(context: OperatorContext, given: str) -> list[str]:
        one = await context.step(gates.pass_, f"{given}1", name="first", effect="read")
        return [one, await context.step(gates.pass_, f"{given}2", name="second", effect="read")]

    async def beside(context: OperatorContext, given: str) -> list[Any]:
        async def quick() -> str:
            return await context.step(gates.pass_, f"{given}2", name="quick", effect="read")

        async def slow() -> str:
            return await context.step(gates.pass_, f"{given}1", name="slow", effect="idempotent")

        return await context.gather(slow(), quick())

    async def stand(context: OperatorContext, given: str) -> None:
        await context.step(gates.pass_, f"{given}1", name="first", effect="read")
        await context.action(ActionSpec(type="confirm"))
        await context.step(gates.pass_, f"{given}2", name="second", effect="read")

    return [first_then_second, beside, stand]


async def life(storage: MemoryStorage, gates: Gates, *reached: str, written: str | None = None) -> None:
    """Let a process live until jobs are inside effects, and an outcome of one is on disk, and die there."""
    dying = DyingStorage(storage, lambda commit: False)
    doomed = kernel(dying, operators=operators(gates), options=DOOMED)
    await doomed.start()
    await gates.reached(*reached)
    if written is not None:
        await until(lambda: has_outcome(storage, written))
    await bury(doomed, dying, storage)


async def has_outcome(storage: MemoryStorage, job_id: str) -> bool:
    return any(event.type == "step.completed" for event in await storage.events(job_id))


async def condemned(storage: MemoryStorage, gates: Gates, operator: str, *names: str) -> list[str]:
    """Bring jobs to their first step and let their processes die twice; return their ids."""
    async with kernel(storage, operators=operators(gates), worker=False) as k:
        handles = [await k.execute(ExecutionRequest(operator=operator, input=name)) for name in names]
    for _ in range(2):
        await life(storage, gates, *(f"{name}1" for name in names))
    return [handle.job_id for handle in handles]


def suspected(k: RuntimeKernel, job_ids: list[str]) -> list[ExecutionHandle]:
    return [k.handle(job_id) for job_id in job_ids]


async def test_an_outcome_of_what_was_open_forgives_and_a_suspect_leaves_tracks(gates: Gates) -> None:
    storage = MemoryStorage()
    jobs = await condemned(storage, gates, "first_then_second", "a")
    async with kernel(storage, operators=operators(gates)) as k:
        (handle,) = suspected(k, jobs)
        await gates.reached("a1")
        assert (await handle.job()).counted == (2, 0, OpenClaim.LONE_SUSPECT)
        assert [event.type for event in await journal(handle)][-1] == "step.started"
        gates.gate("a1").set()
        await gates.reached("a2")
        assert (await handle.job()).counted == (0, 0, OpenClaim.PLAIN)
        assert [event.type for event in await journal(handle)][-1] == "step.completed"
        gates.gate("a2").set()
        await handle.result(timeout=BOUND)


async def test_an_outcome_beside_what_was_open_gives_up_the_place_and_forgives_nothing(gates: Gates) -> None:
    storage = MemoryStorage()
    jobs = await condemned(storage, gates, "beside", "a")
    async with kernel(storage, operators=operators(gates)) as k:
        (handle,) = suspected(k, jobs)
        await gates.reached("a1", "a2")
        gates.gate("a2").set()

        async def written() -> bool:
            return [event.type for event in await journal(handle)][-1] == "step.completed"

        await until(written)
        assert (await handle.job()).counted == (2, 0, OpenClaim.PLAIN)
        gates.gate("a1").set()
        await handle.result(timeout=BOUND)
        assert (await handle.job()).deaths == 0


async def test_two_suspects_run_one_after_the_other_in_a_process(gates: Gates) -> None:
    storage = MemoryStorage()
    jobs = await condemned(storage, gates, "first_then_second", "a", "b")
    async with kernel(storage, operators=operators(gates)) as k:
        one, other = suspected(k, jobs)
        innocent = await k.execute(ExecutionRequest(operator="first_then_second", input="c"))
        await gates.reached("a1", "c1")
        await gates_stay_closed(k)
        assert "b1" not in gates.inside
        assert (await other.job()).owner is None
        gates.gate("a1").set()  # its first outcome: the other's turn has come, long before the job ends
        await gates.reached("a2", "b1")
        for name in ("a2", "b1", "b2", "c1", "c2"):
            gates.gate(name).set()
        for handle in (one, other, innocent):
            await handle.result(timeout=BOUND)


async def gates_stay_closed(k: RuntimeKernel) -> None:
    """Look for due jobs a few times."""
    for _ in range(3):
        await k._changes.sweep()
        await asyncio.sleep(0)


async def test_a_suspect_that_lives_long_enough_is_not_blamed_and_holds_nobody_up(gates: Gates) -> None:
    storage = MemoryStorage()
    jobs = await condemned(storage, gates, "first_then_second", "a", "b")
    options = replace(QUICK, suspect_patience=0.05)
    async with kernel(storage, operators=operators(gates), options=options) as k:
        one, other = suspected(k, jobs)
        await gates.reached("a1", "b1")
        assert (await one.job()).counted == (2, 0, OpenClaim.PLAIN)
        for name in ("a1", "a2", "b1", "b2"):
            gates.gate(name).set()
        for handle in (one, other):
            await handle.result(timeout=BOUND)


async def test_a_suspect_that_comes_to_wait_for_a_person_is_forgiven(gates: Gates) -> None:
    storage = MemoryStorage()
    jobs = await condemned(storage, gates, "stand", "a")
    gates.gate("a1").set()
    async with kernel(storage, operators=operators(gates)) as k:
        (handle,) = suspected(k, jobs)
        await status_becomes(handle, "waiting_action")
        assert (await handle.job()).counted == (0, 0, OpenClaim.NONE)
        question = await pending(handle)
        gates.gate("a2").set()
        await handle.resolve_action(question.action_id, {"confirmed": True})
        await handle.result(timeout=BOUND)


async def test_a_worker_that_is_stopped_inside_a_long_step_condemns_nobody(gates: Gates) -> None:
    """A deploy every hour, and a call that takes longer: the worker signs off, whatever it has to leave unfinished."""
    storage = MemoryStorage()
    handle = None
    for _ in range(4):
        k = kernel(storage, operators=operators(gates), options=DOOMED)
        await k.start()
        if handle is None:
            handle = await k.execute(ExecutionRequest(operator="first_then_second", input="a"))
        await gates.reached("a1")
        await k.aclose()
    async with kernel(storage, operators=operators(gates)) as k:
        assert handle is not None
        await gates.reached("a1")
        assert (await k.handle(handle.job_id).job()).deaths == 0
        for name in ("a1", "a2"):
            gates.gate(name).set()
        await k.handle(handle.job_id).result(timeout=BOUND)


async def test_of_two_lives_that_get_on_neither_counts(gates: Gates) -> None:
    """Deaths that come far apart, with work done in between, are nobody's fault."""
    storage = MemoryStorage()
    async with kernel(storage, operators=operators(gates), worker=False) as k:
        handle = await k.execute(ExecutionRequest(operator="first_then_second", input="a"))
    await life(storage, gates, "a1")
    gates.gate("a1").set()
    await life(storage, gates, "a2", written=handle.job_id)
    await life(storage, gates, "a2")
    async with kernel(storage, operators=operators(gates)) as k:
        await gates.reached("a2")
        assert (await k.handle(handle.job_id).job()).deaths == 2
        gates.gate("a2").set()
        await k.handle(handle.job_id).result(timeout=BOUND)


async def test_the_end_of_a_suspect_is_the_next_ones_turn(gates: Gates) -> None:
    storage = MemoryStorage()
    jobs = await condemned(storage, gates, "first_then_second", "a", "b")
    async with kernel(storage, operators=operators(gates)) as k:
        one, other = suspected(k, jobs)
        await gates.reached("a1")
        await one.cancel()
        with pytest.raises(JobCancelled):
            await one.result(timeout=BOUND)
        await gates.reached("b1")
        for name in ("b1", "b2"):
            gates.gate(name).set()
        await other.result(timeout=BOUND)
