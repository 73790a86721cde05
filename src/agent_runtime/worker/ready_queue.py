"""Jobs that became due without anybody saying how urgent they are: signalled ones, and those to whom a slot was left.

Their priorities are in the storage, not in the signal that wakes them. They are asked for together, so that a thousand
wake-ups cost one query.
"""

from __future__ import annotations

from agent_runtime.errors import StorageError
from agent_runtime.execution.abilities import Abilities
from agent_runtime.ports.dispatcher import Dispatcher, SharedDispatcher
from agent_runtime.ports.due import DueJob
from agent_runtime.ports.storage import Storage
from agent_runtime.values.capacity import ScopeCaps
from llm_client.background import BackgroundLoop, Backoff
from llm_client.logs import logger_of

logger = logger_of(__name__)

RETRY_SECONDS = 1.0


class ReadyQueue:
    """Submits jobs with their priorities.

    Args:
        storage: Knows which are due.
        dispatcher: Takes them. A queue that processes share looks up by itself what it has no room for.
        caps: How many jobs of a scope may run.
        across_scopes: Whether priority counts across scopes.
        queues: What this process executes; none for all.
        abilities: What it can run.
    """

    def __init__(
        self,
        storage: Storage,
        dispatcher: Dispatcher,
        *,
        caps: ScopeCaps,
        across_scopes: bool,
        queues: tuple[str, ...],
        abilities: Abilities,
    ) -> None:
        self._storage = storage
        self._dispatcher = dispatcher
        self._is_shared = isinstance(dispatcher, SharedDispatcher)
        self._caps = caps
        self._across_scopes = across_scopes
        self._queues = queues
        self._abilities = abilities
        self._signalled: dict[str, None] = {}
        self._left: dict[str, None] = {}
        self._loop = BackgroundLoop(
            self._submit_wanted,
            name="looking up due jobs",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS),
        )

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    async def stop(self) -> None:
        """Submit nothing more; the next start, or another process's sweep, finds what is due."""
        await self._loop.stop()

    def signalled(self, job_id: str) -> None:
        """Have a job advanced that may have become due."""
        if self._is_shared:
            self._dispatcher.submit(job_id)
        else:
            self._signalled[job_id] = None
            self._loop.wake()

    def left(self, scope_id: str) -> None:
        """Give the slot that a job of a scope has left to the job that comes next."""
        if self._caps.of(scope_id) is not None:
            self._left[scope_id] = None
            self._loop.wake()

    async def _submit_wanted(self) -> None:
        signalled, self._signalled = self._signalled, {}
        left, self._left = self._left, {}
        try:
            await self._submit_due(list(signalled), list(left))
        except StorageError:  # what fails unexpectedly would do so again: the sweep finds those
            self._signalled = signalled | self._signalled
            self._left = left | self._left
            raise

    async def _submit_due(self, signalled: list[str], left: list[str]) -> None:
        due: dict[str, DueJob] = {}
        ability = self._abilities.now()
        if signalled:
            found = await self._storage.due_jobs(
                among=signalled,
                limit=len(signalled),
                caps=self._caps,
                ability=ability,
                across_scopes=self._across_scopes,
            )
            due.update({job.job_id: job for job in found})
        for scope_id in left:
            cap = self._caps.of(scope_id) or 0
            next_jobs = await self._storage.next_jobs(scope_id, cap=cap, queues=self._queues, ability=ability)
            if self._is_shared:  # others may have to go on with those that this process does not serve
                next_jobs = [*next_jobs, *await self._storage.next_jobs(scope_id, cap=cap)]
            due.update({job_id: DueJob(job_id, priority, scope_id) for job_id, priority in next_jobs})
        for job in due.values():
            self._dispatcher.submit(job.job_id, priority=job.priority, scope_id=job.scope_id)
