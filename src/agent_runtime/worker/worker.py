"""The life of a process as a worker: it comes to execute, shows that it lives, finds what was left behind, and leaves."""

from __future__ import annotations

from typing import Final

from agent_runtime.errors import StorageError
from agent_runtime.execution.executor import Executor
from agent_runtime.execution.services import RunServices
from agent_runtime.ports.commit import Commit, Signal
from agent_runtime.ports.dispatcher import Dispatcher, SelectiveDispatcher, SharedDispatcher
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.worker.agent_keeper import AgentKeeper
from agent_runtime.worker.changes import ChangeRouter
from agent_runtime.worker.heartbeat import Heartbeat
from agent_runtime.worker.place import Place
from agent_runtime.worker.projectors import Projectors
from agent_runtime.worker.ready_queue import ReadyQueue
from agent_runtime.worker.scheduler import Scheduler
from agent_runtime.worker.timers import TimerService
from llm_client.background import BackgroundLoop, Backoff, stopped
from llm_client.logs import logger_of

logger = logger_of(__name__)

STEPS_SHARE: Final = 0.75
"""Share of `drain_timeout` for steps in flight; the rest is for cancelling them, releasing their jobs and signing off."""

_UNLISTED_AT_ONCE = 100
"""Jobs that one sweep sets aside; what is beyond waits for the next."""


class Worker:
    """Starts, keeps alive and stops the executing side of a kernel.

    Args:
        services: The kernel's.
        executor: Runs jobs.
        dispatcher: Brings them.
        timers: Looked after by whoever executes.
        scheduler: Looks after schedules where jobs are executed.
        keeper: Looks after resident agents there.
        ready: Where jobs go that lose their owner.
        changes: Hears of commits.
        heartbeat: The worker's.
        projectors: At work while this process executes.
        wanted: Whether this process is to execute, or only to submit and follow.
    """

    def __init__(
        self,
        services: RunServices,
        *,
        executor: Executor,
        dispatcher: Dispatcher,
        timers: TimerService,
        scheduler: Scheduler,
        keeper: AgentKeeper,
        ready: ReadyQueue,
        changes: ChangeRouter,
        heartbeat: Heartbeat,
        projectors: Projectors,
        wanted: bool,
    ) -> None:
        self._services = services
        self._storage = services.storage
        self._executor = executor
        self._dispatcher = dispatcher
        self._queue = dispatcher if isinstance(dispatcher, SharedDispatcher) else None
        self._timers = timers
        self._scheduler = scheduler
        self._keeper = keeper
        self._projectors = projectors
        self._ready = ready
        self._changes = changes
        self._wanted = wanted
        options = services.options
        self._interval = min(options.heartbeat_interval, options.sweep_interval)
        self._loop = BackgroundLoop(
            self._keep_up,
            name="looking after this worker",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(self._interval, self._interval),
        )
        self._sweeps = BackgroundLoop(
            self._sweep,
            name="looking for what others have left behind",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(self._interval, self._interval),
        )
        self._place: Place | None = None
        if wanted and isinstance(dispatcher, SelectiveDispatcher):
            self._place = Place(
                services, dispatcher=dispatcher, executor=executor, changes=changes, heartbeat=heartbeat
            )
            dispatcher.on_change = changes.on_news = self._loop.wake
        self._strays: dict[str, int] = {}
        """Jobs that the last sweep has found to be ours without being executed, with their fences."""
        self._stopping = False
        self._started_at = services.clock.now()
        self._heartbeat = heartbeat
        heartbeat.on_lost = self._taken_for_dead

    async def start(self) -> None:
        """Listen to the storage, and begin to execute if this process may."""
        self._stopping = False
        self._executor.undrain()
        if self._queue is not None:
            self._queue.list_operators(self._services.abilities.operators)
            await self._queue.open()
        self._changes.start()
        if self._wanted:
            await self._try_to_execute()
        if (
            self._place is not None
        ):  # in or out of it: nobody else may be there to fire the timers of its jobs
            self._timers.start()
        self._loop.start(after=self._interval)
        self._sweeps.start(after=self._services.options.sweep_interval)

    async def stop(self) -> None:
        """Begin no further step, let those in flight end, release the jobs, sign off: all within `drain_timeout`.

        What comes from a storage that has been silent – a claim, a fresh entry of the queue – begins nothing any more.
        """
        self._stopping = True
        self._executor.drain()
        options = self._services.options
        seconds = options.shutdown_seconds
        loops = (
            self._sweeps.stop,
            self._loop.stop,
            self._timers.stop,
            self._projectors.stop,
            self._changes.stop,
        )
        steps = (self._scheduler.stop, self._keeper.stop, self._drain, *loops, self._sign_off)
        if not await stopped(*steps, seconds=seconds):
            logger.warning("stopping took longer than %g s; what is left is for other workers", seconds)
        self._changes.executes = False

    async def _drain(self) -> None:
        """Let the steps in flight end. Heartbeats go on meanwhile, or others would take their jobs over."""
        options = self._services.options
        await self._dispatcher.stop(drain=options.drain_timeout * STEPS_SHARE)

    async def _sign_off(self) -> None:
        is_shown = self._place is not None and self._place.is_shown
        if not self._changes.executes and not is_shown:
            return
        try:
            await self._storage.remove_worker(self._services.owner)
        except StorageError as error:
            logger.warning("the worker could not sign off: %s", error)

    async def _try_to_execute(self) -> None:
        """Become a process that executes, if the storage lets us, and go on with what is due."""
        if self._queue is None and not await self._storage.acquire_executor():
            return
        await self._heartbeat.beat()
        if not self._stopping:
            self._executor.undrain()  # it was drained when the place was left
        self._changes.executes = True
        await self._dispatcher.start(self._executor.advance)
        await self._free_blocked()
        await self._changes.sweep()
        self._timers.start()
        self._scheduler.start()
        self._keeper.start()
        self._projectors.start()

    async def _free_blocked(self) -> None:
        """Give blocked jobs that this process can run now another chance: all of them, page by page."""
        services, after = self._services, ""
        while page := await self._storage.blocked_jobs(
            services.abilities.now(),
            at=services.clock.now(),
            started_at=self._started_at,
            after=after,
        ):
            signals = [
                Signal(f"retry:{services.owner}", job_id, RuntimeEventType.JOB_RETRY_REQUESTED)
                for job_id in page
            ]
            commit = Commit(at=services.clock.now(), signals=signals)
            await self._storage.commit(commit)
            after = page[-1]

    async def _block_unlisted(self) -> None:
        """Block due jobs whose operator nobody knows, and end those of them that are asked to stop."""
        services = self._services
        if not self._changes.executes:
            return
        for job_id in await self._storage.unlisted_jobs(
            services.options.unlisted_after, at=services.clock.now(), limit=_UNLISTED_AT_ONCE
        ):
            await self._executor.advance_unlisted(job_id)

    async def _keep_up(self) -> float:
        """Show that this worker lives. Sweeps are no part of it: a slow one would have the worker evicted."""
        await self._keep_executing()
        return self._interval

    async def _sweep(self) -> float:
        """Look for what others have left behind."""
        if not self._stopping:
            await self._free_forgotten()
            await self._block_unlisted()
            await self._wake_those_with_room()
            self._changes.sweep_soon()
        return self._services.options.sweep_interval

    async def _keep_executing(self) -> None:
        if self._stopping:
            if self._changes.executes:
                await self._heartbeat.beat()
            return
        if not self._changes.executes:
            await self._storage.look_at_clock()  # a heartbeat would have told the time
            if self._place is not None:
                await self._come_back(self._place)
            elif self._wanted:
                await self._try_to_execute()
            return
        if self._place is not None and await self._place.leave():
            self._loop.wake()  # a job may have become due meanwhile
            return
        await self._heartbeat.beat()
        await self._free_blocked()
        if not self._storage.is_shared:
            return
        for job_id in await self._storage.expire_workers(self._services.options.worker_timeout):
            self._ready.signalled(job_id)
        if self._queue is None and not await self._storage.acquire_executor():
            logger.warning("another process executes the jobs of this database now; this one stops")
            self._changes.executes = False
            self._executor.release_runs()

    async def _come_back(self, place: Place) -> None:
        """Take the place again if a job of ours can go on, or wait beside whoever has it."""
        if await place.is_wanted():
            await self._try_to_execute()
            if self._changes.executes:
                return
            place.is_taken()
        await place.wait()

    async def _wake_those_with_room(self) -> None:
        """Wake jobs that wait for a budget which has room by now: somebody has raised a limit, or given something back.

        Any process may find them; all of them send the same signal.
        """
        if not self._changes.executes and self._place is None:
            return
        found = await self._services.ledger.waits_with_room()
        if found:
            type_, now = RuntimeEventType.JOB_RETRY_REQUESTED, self._services.clock.now()
            signals = [Signal(f"room:{timer.data['since']}", timer.job_id, type_) for timer in found]
            cleared = [(timer.job_id, timer.key) for timer in found]
            await self._storage.commit(
                Commit(
                    at=now,
                    signals=signals,
                    clear_timers=cleared,
                    unblock=[timer.job_id for timer in found],
                )
            )

    async def _free_forgotten(self) -> None:
        """Free jobs that are said to be ours and are not: their claim succeeded, and its answer was lost.

        One that is found for the first time may be on its way to us still; it is freed when the next sweep finds it under the same fence.
        """
        if not self._changes.executes:
            return
        before, self._strays = self._strays, {}
        for job_id, fence in await self._storage.owned_jobs(self._services.owner):
            if job_id in self._executor.busy:
                continue
            if before.get(job_id) != fence:
                self._strays[job_id] = fence
            elif await self._storage.free_job(job_id, fence=fence):
                logger.warning("job %s was ours without being executed; it is due again", job_id)
                self._ready.signalled(job_id)

    def _taken_for_dead(self) -> None:
        """Give up the jobs in memory: others have freed them. The worker itself is registered again."""
        logger.warning("this worker was evicted, perhaps because it was paused; its jobs are given up")
        self._executor.release_runs()
