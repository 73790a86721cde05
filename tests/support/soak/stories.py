"""One story: jobs, people, and processes that die, fight and come back, all from one seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from agent_runtime import (
    ActionAlreadyResolved,
    ActionRecord,
    AgentRuntimeError,
    Budget,
    BudgetSpec,
    ExecutionHandle,
    ExecutionRequest,
    InvalidInput,
    KernelOptions,
    Ledger,
    RuntimeKernel,
    StorageError,
)
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.faults import bury
from agent_runtime.values.deaths import CRASH_LOOP
from support.kernels import DOOMED, QUICK
from support.soak.checks import Ended, Findings, all_jobs, check_story
from support.soak.logs import check_logs
from support.soak.mirrors import Mirror, in_order
from support.soak.plans import JobPlan, Planner, approves
from support.soak.programs import HASTY, MAX_CRASHES, PRICES, STUMBLED, TOOL_OF, Soaked, make_engine
from support.soak.traces import check_traces
from support.soak.troubled_storage import TroubledStorage, Troubles
from support.soak.world import Life, ListedWorld, World

T = TypeVar("T")
PATIENCE = 120.0
"""Seconds of the loop's time after which a job counts as lost."""
OF_ALL = Budget(name="all", max_cost_total=20_000)
"""What all jobs together may spend in a tight story."""
LIMITS = {
    "none": None,
    "enough": BudgetSpec(max_cost=1_000_000),
    "tight": BudgetSpec(max_cost=2_500),
}


class Story:
    """Plays one seed on one storage.

    Args:
        seed: Decides everything.
        storage: The real storage, open.
        clock: What time it is.
        world: Where effects are noted; by default a list.
    """

    def __init__(self, seed: int, storage: Storage, clock: Clock, world: World | None = None) -> None:
        self._rng = random.Random(seed)
        random.seed(seed)  # by which back-offs are stretched
        self._storage = storage
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()
        self._over = asyncio.Event()
        self.world: World = world or ListedWorld()
        self.paused = False
        """A worker was paused: it may have had its effect when the job was another's, as the guarantees say."""
        self.findings = Findings()
        self.plans: dict[str, JobPlan] = {}
        self.followed: dict[str, list[int]] = {}
        self._copies: list[tuple[str, int]] = []
        """What a projection was handed: jobs and seqs."""
        self.deaths = 0
        self.retried: dict[str, str] = {}
        """The jobs that were retried, and as which they went on."""
        self._failing: set[str] = set()
        self._tight = self._rng.random() < 0.25
        self._most_deaths = self._rng.choice((0, 1, 2, 4, 6))
        self._rollout = self._rng.choice((0.0, self._rng.uniform(0.0, 3.0)))
        """When the second version of the code is everywhere; before, it is here and there."""
        self._began = 0.0
        self._troubles = Troubles(
            death=0.04,
            failure=self._rng.choice((0.0, 0.0, 0.03)),
            delay=self._rng.choice((0.0, 0.1, 0.5)),
            outage=self._rng.choice((0.0, 0.0, 0.005)),
        )

    def _life(self) -> Life:
        return Life(self.world, random.Random(self._rng.getrandbits(64)))

    def _copy(self, job_id: str, seq: int) -> None:
        self._copies.append((job_id, seq))

    def copies(self) -> list[tuple[str, int]]:
        """Return what a projection was handed: jobs and seqs."""
        return self._copies

    def _version(self) -> int:
        """Return which version of the code a process is started with."""
        return self._rng.choice((1, 2)) if self._seconds() < self._rollout else 2

    def _is_outdated(self, version: int) -> bool:
        return version == 1 and self._seconds() >= self._rollout

    def _seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    def _kernel(
        self, storage: Any, life: Life, base: KernelOptions = QUICK, *, version: int = 2, **more: Any
    ) -> RuntimeKernel:
        options = replace(
            base,
            code_version=f"v{version}",
            max_crashes=MAX_CRASHES,
            max_concurrency=self._rng.choice((1, 3, 100)),
            suspend_after=self._rng.choice((0.0, 0.01, 0.3)),
        )
        ledger = Ledger(StorageView(storage), clock=self._clock)
        if self._tight:
            ledger.set_budget(OF_ALL)
        return RuntimeKernel(
            engine=make_engine(),
            storage=storage,
            ledger=ledger,
            operators=[Soaked(life, version)],
            tools=[*TOOL_OF.values(), HASTY],
            projections=[Mirror(life, random.Random(self._rng.getrandbits(64)), self._copy)],
            clock=self._clock,
            prices=PRICES,
            options=options,
            **more,
        )

    async def play(self) -> list[str]:
        """Play it; return the promises that were broken."""
        planner, rng = Planner(self._rng), self._rng
        plans = [planner.job(tight=self._tight) for _ in range(rng.randint(1, 4))]
        self._failing = planner.failing
        self._began = asyncio.get_running_loop().time()
        async with self._kernel(self._storage, self._life(), worker=False) as desk:
            self._begin(self._people(desk))
            self._begin_lives()
            jobs = [asyncio.ensure_future(self._submit(desk, plan)) for plan in plans]
            try:
                async with asyncio.timeout(PATIENCE):
                    await asyncio.gather(*jobs)
                    await self._all_ended(desk)
            except TimeoutError:
                self.findings.said.append("the story never ends")
            await self._all_copied()
            self._over.set()
            await self._watch_the_till(desk, reserved=False)
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            async with asyncio.timeout(PATIENCE):
                for result in await asyncio.gather(*self._tasks, return_exceptions=True):
                    if isinstance(result, BaseException):
                        self.findings.said.append(f"a task of the story failed: {result!r}")
            ended = Ended(
                self.plans,
                self.followed,
                self.retried,
                in_order(self.copies()),
                self.world.all(),
                paused=self.paused,
            )
            await check_story(desk, ended, self.findings)
        await check_logs(self._storage, self._rng, self.findings)
        await check_traces(self._storage, self._rng, self.findings)
        return self.findings.said

    def _begin(self, what: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(what))

    async def _wait(self, most: float) -> bool:
        """Wait some time; return whether the story goes on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._rng.uniform(0, most)):
                await self._over.wait()
        return not self._over.is_set()

    # -- those who want something ---------------------------------------------------------------------------------

    async def _submit(self, desk: RuntimeKernel, plan: JobPlan) -> None:
        await asyncio.sleep(plan.submit_after)
        request = ExecutionRequest(
            operator="soaked",
            input=plan.program,
            budgets=LIMITS[plan.budget],
            deadline_seconds=plan.deadline,
            idempotency_key=plan.program["id"],
        )
        handles = [await insist(lambda: desk.execute(request)) for _ in range(self._rng.choice((1, 1, 2)))]
        handle = handles[-1]
        self.findings.check(len({each.job_id for each in handles}) == 1, "one key has given two jobs")
        self.plans[handle.job_id] = plan
        followed = self.followed[handle.job_id] = []
        meddler = asyncio.ensure_future(self._put_away(handle) if plan.poison else self._cancel(handle, plan))
        try:
            await insist(lambda: self._follow(handle, followed))
        finally:
            meddler.cancel()
            await asyncio.gather(meddler, return_exceptions=True)
        if plan.stumbles and plan.undisturbed:
            await self._retry(desk, handle)

    async def _retry(self, desk: RuntimeKernel, handle: ExecutionHandle) -> None:
        """Have a job that has stumbled go on, which two people may ask for at once."""
        failed = await insist(handle.job)
        if failed.status != "failed" or STUMBLED not in (failed.error or ""):
            return
        asking = (insist(lambda: desk.retry(failed.job_id)) for _ in range(self._rng.choice((1, 2))))
        heads = await asyncio.gather(*asking)
        self.findings.check(
            len({head.job_id for head in heads}) == 1, f"{failed.job_id} was retried as more than one"
        )
        self.retried[failed.job_id] = heads[0].job_id
        followed = self.followed[heads[0].job_id] = []
        await insist(lambda: self._follow(heads[0], followed))

    async def _put_away(self, handle: ExecutionHandle) -> None:
        """Cancel what kills every process, when it has been found out."""
        while (job := await insist(handle.job)).error_code != CRASH_LOOP or job.status != "blocked":
            await asyncio.sleep(0.2)
        await insist(lambda: handle.cancel("it kills"))

    async def _follow(self, handle: ExecutionHandle, followed: list[int]) -> None:
        """Wait for the result and read the events, going on where the storage failed."""
        try:
            await handle.result()
        except StorageError:
            raise
        except AgentRuntimeError:
            pass  # how it ended is looked at later
        async for event in handle.events(after_seq=followed[-1] if followed else 0):
            if event.seq is not None:
                followed.append(event.seq)

    async def _cancel(self, handle: ExecutionHandle, plan: JobPlan) -> None:
        if plan.cancel_after is not None:
            await asyncio.sleep(plan.cancel_after)
            await insist(lambda: handle.cancel("a change of mind"))

    async def _all_ended(self, desk: RuntimeKernel) -> None:
        while not all(job.status.is_terminal for job in (await insist(lambda: all_jobs(desk))).values()):
            await asyncio.sleep(0.1)

    async def _all_copied(self) -> None:
        """Wait until the projections are where the feed ends."""
        end = await insist(self._storage.feed_end)
        try:
            async with asyncio.timeout(PATIENCE):
                while {cursor.position for cursor in await insist(self._storage.cursors)} != {end}:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.findings.said.append(f"a projection never gets to {end}")

    async def _people(self, desk: RuntimeKernel) -> None:
        """Answer questions, sometimes two people at once, and truthfully about lost effects."""
        while await self._wait(0.2):
            with contextlib.suppress(StorageError):
                await self._watch_the_till(desk, reserved=True)
                for action in await desk.actions.list_pending():
                    if not action.payload.get("ignored") and self._rng.random() < 0.7:
                        await self._resolve(desk, action)

    async def _resolve(self, desk: RuntimeKernel, action: ActionRecord) -> None:
        """Answer a question, as many people as it wants; of a vote one of them may think better, or want another thing."""
        votes = [("ann", self._answer(action)) for _ in range(self._rng.choice((1, 1, 2)))]
        if action.quorum > 1:
            votes += [("bob", self._answer(action))]
            if action.type == "approval" and self._rng.random() < 0.5:
                votes += [("eve", {"approved": True, "arguments": {"amount": 1_000_000, "to": "mallory"}})]
                votes += [("ann", {"approved": True, "arguments": {"amount": 5, "to": "acme"}})]
            self._rng.shuffle(votes)
            votes += [("ann", self._answer(action)), ("Bob", self._answer(action))]
        for name, answer in votes:
            with contextlib.suppress(ActionAlreadyResolved, InvalidInput):
                await desk.actions.resolve_by_id(action.action_id, answer, resolved_by=name)

    async def _watch_the_till(self, desk: RuntimeKernel, *, reserved: bool) -> None:
        """See that what all have spent and reserved together is within the limit."""
        if self._tight:
            (line,) = (await desk.ledger.status(OF_ALL)).lines
            self.findings.check(line.left >= 0, f"overspent: {line}")
            self.findings.check(reserved or not line.reserved, f"reserved at the end: {line}")

    def _answer(self, action: ActionRecord) -> dict[str, Any]:
        if action.type != "reconcile":
            return {"approved": approves(action.payload["node"])}
        node = action.payload.get("step") or (action.payload.get("arguments") or {}).get("node")
        operation = action.payload["operation_id"]
        happened = any(h.node == node or h.operation == operation for h in self.world.all())
        if not happened:
            return {"outcome": "retry"}
        if node in self._failing:
            return {"outcome": "fail", "error": "as planned"}
        return {"outcome": "done", "result": f"did {node}"}

    # -- those who execute ----------------------------------------------------------------------------------------

    def _begin_lives(self) -> None:
        for _ in range(self._rng.choice((1, 1, 2))):
            self._begin(self._lives())

    async def _lives(self) -> None:
        """Be one process after another, until the story is over."""
        while await self._wait(0.5):
            life, rng = self._life(), random.Random(self._rng.getrandbits(64))
            mortal, version = self.deaths < self._most_deaths, self._version()
            troubles = self._troubles if mortal else Troubles(delay=self._troubles.delay)
            storage = TroubledStorage(self._storage, life, rng, troubles)
            kernel = self._kernel(storage, life, DOOMED if mortal else QUICK, version=version)
            living = asyncio.ensure_future(self._live(kernel, version, mortal=mortal))
            death = asyncio.ensure_future(storage.died.wait())
            await asyncio.wait((living, death), return_when=asyncio.FIRST_COMPLETED)
            death.cancel()
            if storage.died.is_set():
                self.deaths += 1
                living.cancel()
            await asyncio.gather(living, death, return_exceptions=True)
            if storage.died.is_set() or mortal:
                await bury(kernel, storage, self._storage)
            elif not living.cancelled() and (error := living.exception()) is not None:
                raise error

    async def _live(self, kernel: RuntimeKernel, version: int, *, mortal: bool) -> None:
        """Execute until the story is over, or until somebody stops this process in good order."""
        try:
            await kernel.start()
        except StorageError:
            return
        if mortal and self._rng.random() < 0.3:
            await self._wait(2.0)
            self.deaths += 1
        elif version == 1:
            while not self._is_outdated(version) and await self._wait(0.2):
                pass
        else:
            await self._over.wait()
        await kernel.aclose()


async def insist(do: Callable[[], Awaitable[T]]) -> T:
    """Do something again until the storage lets it be done; all of it may be done twice."""
    while True:
        try:
            return await do()
        except StorageError:
            await asyncio.sleep(0.2)
