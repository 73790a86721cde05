"""Jobs brought to any worker by procrastinate, a task queue in Postgres.

The queue holds one entry per wake of a due job, never one per step, and never a future one: timers are ours. An entry
says no more than "look at this job"; the claim decides whether there is anything to do, so that a second entry, a late
one or one of a dead worker does no harm, and a lost one is found by the sweep.

procrastinate's own worker fetches the entries. It gives up when its connection fails, and is started again; the jobs
that run in this process do not notice. The package itself takes long to import: that is done in a thread, when the
queue is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from agent_runtime.adapters.heard_queues import TAKEN_UP, HeardQueues
from agent_runtime.adapters.queue_entries import (
    IDLE,
    MOVE_BACK,
    MOVE_UP,
    NEXT_READY,
    UNHEARD,
    due,
    entry_queue,
    entry_queues,
)
from agent_runtime.adapters.worker_slots import Slots
from agent_runtime.errors import SchemaMismatch, StorageClosed, StorageError
from agent_runtime.extras import import_optional
from agent_runtime.ports.dispatcher import RUN_CLEAN_UP_SECONDS, Advance
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from llm_client.background import (
    BackgroundLoop,
    Backoff,
    drained,
    ended,
    in_background,
    is_news,
    promptly,
    stopped,
)
from llm_client.logs import logger_of

if TYPE_CHECKING:
    import procrastinate
    from procrastinate.jobs import Job

    from agent_runtime.adapters.queue_pool import QueueConnections

logger = logger_of(__name__)
T = TypeVar("T")

TASK: Final = "agent_runtime.advance"
POLL_SECONDS: Final = 1.0
"""How often a worker looks for entries besides being told. procrastinate can miss a notification that arrives while it
looks."""
CONNECTIONS: Final = 4
CONNECT_TIMEOUT: Final = 5.0
STATEMENT_TIMEOUT: Final = 30.0
DUE_LIMIT: Final = 1000
"""Jobs of which it is asked at once whether they have an entry."""
LOOKED_AT: Final = 2000
"""Jobs that a sweep looks at besides the first ones, whatever waits ahead of them; the next one goes on behind."""
DEFER_LIMIT: Final = 200
"""Entries made at once: the event loop builds all of them in one go."""
NO_LINE: Final = "-"
"""A name that no entry has, for a process that knows no operator."""
LISTED_SECONDS: Final = 0.5
"""How often a worker looks whether there are lines it does not listen to yet."""
BATCH_TRIES: Final = 3
RETRY_SECONDS: Final = 1.0
WORKER_DELAYS: Final = (0.1, 5.0)
"""Seconds between two workers of procrastinate's: at first, and at most."""


class _Place(NamedTuple):
    """Of a ready job, in the order of lines."""

    operator: str
    queue: str
    job_id: str


_START: Final = _Place("", "", "")


class PostgresDispatcher:
    """A queue that all processes of a Postgres database share.

    A worker takes what it submits itself, up to half of what it may run at once; the rest goes through the queue. There,
    each queue has a line for each operator, and a worker listens to the lines of operators that it lists.

    Args:
        dsn: Address of the database that also holds the jobs; procrastinate brings its own driver.
        queues: Queues to execute jobs of; none for all.
        max_concurrency: Jobs advanced at the same time in this process.
        heartbeat_interval: Seconds between heartbeats of this process to the queue.
        worker_timeout: Seconds without one after which the queue takes a process for dead.
        caps: How many jobs of a scope may run; what has no slot gets no entry until it has.
        across_scopes: Whether priority counts across scopes; otherwise it counts within a scope, and scopes take turns.
        spare_slot: Whether one job more may be advanced here if none of its scope is being executed anywhere; with a
            `max_concurrency` of one, or with `across_scopes`, never.
    """

    def __init__(
        self,
        dsn: str,
        *,
        queues: Collection[str] = (),
        max_concurrency: int = 100,
        heartbeat_interval: float = 2.0,
        worker_timeout: float = 7.0,
        caps: ScopeCaps = NO_CAPS,
        across_scopes: bool = False,
        spare_slot: bool = True,
    ) -> None:
        self._dsn = dsn
        self._queues = tuple(queues)
        self._heard = HeardQueues(queues)
        self._operators: Callable[[], tuple[str, ...]] = tuple
        self._max_concurrency = max_concurrency
        self._heartbeat_interval = heartbeat_interval
        self._worker_timeout = worker_timeout
        self._caps = caps
        self._across_scopes = across_scopes
        self._app: procrastinate.App | None = None
        self._connections: QueueConnections | None = None
        self._advance: Advance | None = None
        self._own_share = max_concurrency // 2
        self._slots = Slots(max_concurrency, has_spare=spare_slot and not across_scopes)
        self._spare_runs: dict[str, asyncio.Task[None]] = {}
        """Runs that began in the spare slot."""
        self._spare_served = BackgroundLoop(
            self._serve_idle,
            name="looking for jobs of scopes of which none runs",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(LISTED_SECONDS, LISTED_SECONDS),
        )
        self._idle_after = ""
        """The scope that was given the spare slot last."""
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._worker = BackgroundLoop(
            self._work, name="reading the queue", logger=logger, backoff=Backoff(*WORKER_DELAYS)
        )
        self._worker_backoff = Backoff(*WORKER_DELAYS)
        self._reader: asyncio.Task[None] | None = None
        """procrastinate's own worker, as long as it runs."""
        self._released: list[str] = []
        self._wanted: dict[str, None] = {}
        self._looked_at = _START
        """The job at which the last sweep ended."""
        self._submitter = BackgroundLoop(
            self._submit_wanted,
            name="putting jobs into the queue",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS),
        )
        self._stopping = False

    def __repr__(self) -> str:
        return "PostgresDispatcher(…)"

    async def open(self) -> None:
        """Connect, and become able to submit."""
        if self._app is not None:
            return
        await asyncio.to_thread(_import_packages)
        import procrastinate

        from agent_runtime.adapters.queue_pool import QueueConnections, queue_pool

        self._connections = QueueConnections()
        connector = procrastinate.PsycopgConnector(
            conninfo=self._dsn,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CONNECT_TIMEOUT,
            configure=self._connections.configure,
            pool_factory=queue_pool,
        )
        app = procrastinate.App(connector=connector)
        app.task(name=TASK)(self._run_entry)

        async def connect() -> None:
            await app.open_async()

        with _mapped():
            await promptly(connect(), seconds=CONNECT_TIMEOUT * 2, name="open the queue")
        self._app = app
        try:
            await self._check_tables()
        except BaseException:
            await self._close()
            raise
        self._stopping = False
        self._submitter.start()

    async def _check_tables(self) -> None:
        (row,) = await self._query("SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS exist")
        if not row["exist"]:
            raise SchemaMismatch(
                "the database has no tables of the queue yet: run `agent-runtime migrate`, or `await storage.setup()`"
            )

    async def start(self, advance: Advance) -> None:
        """Begin to execute what was and will be submitted, here or elsewhere."""
        await self.open()
        self._advance = advance
        self._worker.start(after=0)
        if self._slots.has_spare:
            self._spare_served.start(after=LISTED_SECONDS)

    def list_operators(self, operators: Callable[[], tuple[str, ...]]) -> None:
        """Learn what this process can run."""
        self._operators = operators

    def submit(
        self,
        job_id: str,
        *,
        priority: int = 0,
        queue: str | None = None,
        operator: str | None = None,
        scope_id: str | None = None,
    ) -> None:
        """Ask for a job to be advanced: here, while this process has little to do and can run it, else anywhere.

        What is advanced here needs no entry; if the process dies before, the others' sweep finds the job.
        """
        del priority, scope_id  # they are looked up with everything else that an entry needs
        if not self._take(job_id, queue, operator):
            self._wanted[job_id] = None
            self._submitter.wake()

    def _take(self, job_id: str, queue: str | None, operator: str | None) -> bool:
        """Advance a job in this process, if there is room for it, its queue is served and its operator listed."""
        has_room = not self._stopping and len(self._runs) < self._own_share and job_id not in self._runs
        if self._advance is None or not has_room or operator not in self._operators():
            return False
        if self._queues and queue not in self._queues:
            return False
        self._run(self._advance, job_id)
        return True

    async def sweep(self, first: Sequence[str]) -> None:
        """Submit those of the first due jobs that have no entry, and some of the others, and clear away the entries of dead workers.

        What it costs does not grow with the number of jobs that wait.
        """
        await self._clear_stalled()
        await self._hear_new_queues()
        job_ids = list(dict.fromkeys((*first, *await self._next_ready())))
        for start in range(0, len(job_ids), DUE_LIMIT):
            await self._defer(await self._due(job_ids[start : start + DUE_LIMIT]))
        if first and not self._across_scopes:
            await self._query(MOVE_UP, job_ids=list(first))

    async def _next_ready(self) -> list[str]:
        """Return the jobs that come next in the round of all that are ready; those that need a slot under a cap are left out."""
        found = await self._query(NEXT_READY, **self._looked_at._asdict(), limit=LOOKED_AT)
        last = found[-1] if len(found) == LOOKED_AT else None
        self._looked_at = _START if last is None else _Place(last["operator"], last["queue"], last["job_id"])
        return [row["job_id"] for row in found if self._caps.of(row["scope_id"]) is None]

    async def _hear_new_queues(self) -> None:
        """Listen to queues that have come up, where this process serves all of them."""
        if not self._heard.serves_all or self._advance is None:
            return
        about = {"operators": list(self._operators()), "heard": list(self._heard)}
        found: list[str] = []
        for after in dict.fromkeys((self._heard.after, "")):
            rows = await self._query(UNHEARD, **about, after=after, limit=TAKEN_UP - len(found))
            found += (row["queue"] for row in rows if row["queue"] not in found)
            if len(found) == TAKEN_UP:
                break
        self._heard.take_up(found)

    async def _clear_stalled(self) -> None:
        """Finish the entries of dead workers. Their jobs, once freed, get new ones: an old entry cannot be retried
        while a newer one waits.
        """  # noqa: D205 -- one thought
        from procrastinate import exceptions
        from procrastinate.jobs import Status

        manager = self._opened.job_manager
        with _mapped():
            stalled = await self._answered(
                manager.get_stalled_jobs(task_name=TASK, seconds_since_heartbeat=self._worker_timeout)
            )
            for entry in stalled:
                with contextlib.suppress(exceptions.ConnectorException):  # another worker was faster
                    await self._answered(manager.finish_job(entry, Status.FAILED, delete_job=True))

    async def stop(self, *, drain: float) -> None:
        """Fetch nothing more, wait for what runs, then cancel it; what became due meanwhile goes to other workers."""
        self._stopping = True
        await stopped(self._stop_reading, lambda: self._end_runs(drain), self._leave_entries, self._close)

    async def _stop_reading(self) -> None:
        """Fetch no entries any more."""
        reader, self._reader = self._reader, None
        await stopped(self._spare_served.stop, self._worker.stop)
        if reader is not None and not reader.done():
            await promptly(ended(reader), seconds=CONNECT_TIMEOUT, name="end of procrastinate's worker")

    async def _end_runs(self, drain: float) -> None:
        """Let what runs end; what becomes due by that is left to others, too."""
        # A job may have both: in the spare slot, and for an entry that waits for another one.
        runs, self._released = (
            [*self._runs.values(), *self._spare_runs.values()],
            [*self._runs, *self._spare_runs],
        )
        await drained(runs, seconds=drain, again=RUN_CLEAN_UP_SECONDS)

    async def _leave_entries(self) -> None:
        """Leave what is due to others."""
        if not self._submitter.is_running:
            return
        await self._submitter.stop()
        self._wanted.update(dict.fromkeys(self._released))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._submit_wanted()
        except (StorageError, TimeoutError) as error:
            logger.warning("what this process leaves is found by the others' sweep: %s", error)

    async def _close(self) -> None:
        app, self._app = self._app, None
        if app is None:
            return
        try:
            with contextlib.suppress(StorageError), _mapped():
                await promptly(app.close_async(), seconds=CONNECT_TIMEOUT, name="close the queue")
        finally:
            if self._connections is not None:
                self._connections.abort()

    # -- submitting ------------------------------------------------------------------------------------------------

    async def _submit_wanted(self) -> None:
        """Put what was submitted into the queue, some at a time; a job submitted again meanwhile is looked at again."""
        while asked := list(islice(self._wanted, DUE_LIMIT)):
            for job_id in asked:
                del self._wanted[job_id]
            try:
                found = await self._due(asked)
                await self._defer(
                    [row for row in found if not self._take(row["job_id"], row["queue"], row["operator"])]
                )
            except BaseException:
                self._wanted = dict.fromkeys(asked) | self._wanted
                raise

    async def _due(self, job_ids: list[str]) -> list[dict[str, Any]]:
        """Return those of some jobs that are due and have no entry."""
        arguments: dict[str, Any] = {"job_ids": job_ids}
        if self._caps:
            scopes, caps = list(self._caps.scopes), list(self._caps.scopes.values())
            arguments |= {"scopes": scopes, "caps": caps, "cap": self._caps.default}
        query = due(capped=bool(self._caps), across_scopes=self._across_scopes)
        return await self._query(query, **arguments)

    async def _defer(self, rows: Sequence[dict[str, Any]]) -> None:
        """Make an entry for each job; all at once, or one by one where others are faster all the time."""
        for first in range(0, len(rows), DEFER_LIMIT):
            some = rows[first : first + DEFER_LIMIT]
            await self._defer_some(some)
            overtaking = {row["scope_id"] for row in some if row["overtakes"]}
            if overtaking:  # those who come later now give up their turns, so that a scope has each turn once
                await self._query(MOVE_BACK, scopes=list(overtaking))

    async def _defer_some(self, rows: Sequence[dict[str, Any]]) -> None:
        for _ in range(BATCH_TRIES):
            if not rows or await self._defer_all([_entry(row) for row in rows]):
                return
            rows = await self._due([row["job_id"] for row in rows])
        for row in rows:
            await self._defer_all([_entry(row)])

    async def _defer_all(self, entries: list[Job]) -> bool:
        """Make entries, all or none; return whether none of them existed."""
        from procrastinate import exceptions

        with _mapped():
            try:
                await self._answered(self._opened.job_manager.batch_defer_jobs_async(entries))
            except exceptions.AlreadyEnqueued:
                return False
        return True

    async def _query(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        with _mapped():
            connector = self._opened.connector
            return await self._answered(connector.execute_query_all_async(query, **arguments))

    async def _answered(self, asked: Coroutine[Any, Any, T]) -> T:
        """Wait for the server's answer, for a while; the driver itself has no limit, and may swallow a cancellation."""
        return await promptly(asked, seconds=STATEMENT_TIMEOUT, name="queue statement")

    @property
    def _opened(self) -> procrastinate.App:
        if self._app is None:
            raise StorageClosed
        return self._app

    # -- executing -------------------------------------------------------------------------------------------------

    async def _work(self) -> float:
        """Run procrastinate's worker, which ends when its connection fails, or its row is gone after a pause.

        Returns:
            Seconds until the next one; the longer, the shorter the last one has lived.
        """
        loop, lines = asyncio.get_running_loop(), self._lines()
        started_at = loop.time()
        worker = in_background(self._run_worker(self._opened, lines), name="procrastinate worker")
        self._reader = worker
        try:
            while not worker.done() and lines == self._lines():
                await asyncio.wait((worker,), timeout=LISTED_SECONDS)
        finally:  # it may lose a cancellation while its connection fails
            await ended(worker)
        delay = self._worker_backoff.next()
        if loop.time() - started_at > delay * 10:
            self._worker_backoff.reset()
            delay = self._worker_backoff.next()
        return delay

    def _lines(self) -> list[str]:
        """Return the names of the lines that this process can serve."""
        return entry_queues(self._heard, self._operators())

    async def _run_worker(self, app: procrastinate.App, lines: list[str]) -> None:
        """Run procrastinate's worker until it ends, for whatever reason."""
        try:
            await app.run_worker_async(
                queues=lines or [NO_LINE],
                concurrency=self._max_concurrency,
                wait=True,
                listen_notify=True,
                fetch_job_polling_interval=POLL_SECONDS,
                abort_job_polling_interval=3600.0,
                shutdown_graceful_timeout=0.0,
                update_heartbeat_interval=self._heartbeat_interval,
                stalled_worker_timeout=self._worker_timeout,
                delete_jobs="always",
                install_signal_handlers=False,
            )
        except Exception as error:  # noqa: BLE001 -- whatever ended it, it is started again
            if is_news(said := _unreachable(error.__cause__ or error)):
                logger.warning("the queue cannot be read now: %s", said)

    async def _run_entry(self, job_id: str) -> None:
        """Advance a job. procrastinate's worker may go away meanwhile; the job goes on."""
        while (earlier := self._runs.get(job_id)) is not None:
            await asyncio.wait((earlier,))
        if self._stopping or self._advance is None:
            self._wanted[job_id] = None
            return
        await asyncio.shield(self._run(self._advance, job_id))

    def _run(self, advance: Advance, job_id: str) -> asyncio.Task[None]:
        run = self._runs[job_id] = in_background(self._advance_one(advance, job_id), name=f"advance {job_id}")
        return run

    async def _advance_one(self, advance: Advance, job_id: str) -> None:
        try:
            await self._slots.take()
            await self._advance_in_place(advance, job_id)
        finally:
            del self._runs[job_id]

    async def _advance_in_place(self, advance: Advance, job_id: str) -> None:
        try:
            await advance(job_id)
        except Exception:
            logger.exception("job %s: advancing it failed unexpectedly", job_id)
        finally:
            self._slots.leave()

    async def _serve_idle(self) -> float:
        """While all slots are taken, look for a job of a scope of which none is being executed, and give it the spare one.

        No entry brings it: procrastinate's worker fetches none while it is busy, and what it has fetched may itself wait here.
        """
        if self._advance is not None and self._slots.spare_is_next:
            job_id = await self._find_idle()
            if job_id is not None and job_id not in self._spare_runs and self._slots.take_spare():
                run = in_background(self._advance_in_spare(self._advance, job_id), name=f"advance {job_id}")
                self._spare_runs[job_id] = run
        return LISTED_SECONDS

    async def _find_idle(self) -> str | None:
        """Return the first job of the next scope of which none is being executed, or `None`; scopes take turns."""
        held = [scope_id for scope_id, cap in self._caps.scopes.items() if cap == 0]
        for after in dict.fromkeys((self._idle_after, "")):
            found = await self._query(
                IDLE,
                after=after,
                held=held,
                operators=list(self._operators()),
                queues=list(self._queues),
            )
            if found:
                first = min(found, key=lambda row: str(row["scope_id"]))
                self._idle_after = first["scope_id"]
                return str(first["job_id"])
        self._idle_after = ""
        return None

    async def _advance_in_spare(self, advance: Advance, job_id: str) -> None:
        try:
            await self._advance_in_place(advance, job_id)
        finally:
            del self._spare_runs[job_id]


def _import_packages() -> None:
    """Import what the queue needs.

    Raises:
        MissingDependency: It is not installed.
    """
    import_optional("procrastinate")
    import_optional("agent_runtime.adapters.queue_pool")


def _entry(row: dict[str, Any]) -> Job:
    """Return an entry without `lock`, which would let an early wake hold up the next one."""
    from procrastinate.jobs import Job

    return Job(
        id=None,
        status=None,
        queue=entry_queue(row["queue"], row["operator"]),
        lock=None,
        queueing_lock=row["job_id"],
        priority=row["priority"],
        task_name=TASK,
        task_kwargs={"job_id": row["job_id"]},
    )


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """Raise the drivers' errors as `StorageError`s, without what they say of addresses."""
    import psycopg
    import psycopg_pool
    from procrastinate import exceptions

    try:
        yield
    except (
        exceptions.ConnectorException,
        psycopg.Error,
        psycopg_pool.PoolTimeout,
        OSError,
        TimeoutError,
    ) as error:
        cause = error.__cause__ or error
        if isinstance(cause, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedFunction):
            raise SchemaMismatch(
                "the database lacks tables of the queue: run `agent-runtime migrate`, or `await storage.setup()`"
            ) from error
        raise StorageError(_unreachable(cause)) from error


def _unreachable(cause: BaseException) -> str:
    return f"the Postgres server cannot be reached ({type(cause).__name__})"
