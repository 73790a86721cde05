"""A database as what commands work on: no kernel where a look is all, which takes as long to import as everything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Unpack

from agent_runtime.cli.backends.backend import LogPeriod, Rotated, Sent, StandingJob, Stopped
from agent_runtime.cli.chosen_jobs import ChosenJobs
from agent_runtime.cli.database import opened, reading, stored
from agent_runtime.cli.logs_database import opened_logs
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.terminal import user_name
from agent_runtime.errors import InvalidTransition
from agent_runtime.ports.clock import clock_of
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.api_key import ApiKey, Role
from agent_runtime.values.budget import LedgerEntry, LedgerFilter
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from agent_runtime.values.standing_budget import Budget, BudgetStatus
from agent_runtime.worker.standing import is_alive, standing
from llm_client.json_text import JsonValue

if TYPE_CHECKING:
    from agent_runtime.app import RuntimeKernel
    from agent_runtime.cli.database import Stored
    from agent_runtime.client.schedule_models import Fire, Schedule
    from agent_runtime.kernel.request import ExecutionRequest, ExecutionResult
    from agent_runtime.keys.manager import ApiKeyManager
    from agent_runtime.ledger.totals import UsageTotal
    from agent_runtime.settings import Settings

CANCEL_SECONDS: Final = 10.0
"""How long `stop` waits for a job's end."""
_PAGE: Final = 1000


class OpenDatabase:
    """A database that is opened when it is needed, and as far as it is.

    Args:
        settings: Which one.
        opened: Closes what was opened.
    """

    def __init__(self, settings: Settings, opened: AsyncExitStack) -> None:
        self.settings = settings
        self._opened = opened
        self._stored: Stored | None = None
        self._kernel: RuntimeKernel | None = None

    async def looked_at(self) -> Stored | RuntimeKernel:
        """Return what is enough to look at jobs and questions."""
        if self._kernel is not None:
            return self._kernel
        if self._stored is None:
            self._stored = await self._opened.enter_async_context(stored(self.settings))
        return self._stored

    async def kernel(self) -> RuntimeKernel:
        """Return a kernel, which executes nothing."""
        if self._kernel is None:
            self._kernel = await self._opened.enter_async_context(reading(self.settings))
        return self._kernel


class DatabaseJobs:
    """Jobs of a database."""

    def __init__(self, database: OpenDatabase) -> None:
        self._database = database

    async def list(self, wanted: JobFilter) -> Sequence[StandingJob]:
        """Return jobs, the newest first."""
        here = await self._database.looked_at()
        if wanted.before is not None:
            await here.jobs.get(wanted.before)
        found = await here.jobs.list(wanted)
        workers = await here.storage.list_workers()
        return [StandingJob(job, standing(job, workers)) for job in found]

    async def get(self, job_id: str) -> StandingJob:
        """Return a job."""
        here = await self._database.looked_at()
        job = await here.jobs.get(job_id)
        return StandingJob(job, standing(job, await here.storage.list_workers()))

    async def journal(self, job_id: str) -> Sequence[RuntimeEvent]:
        """Return all that its journal has by now."""
        here = await self._database.looked_at()
        found: list[RuntimeEvent] = []
        while page := await here.storage.events(job_id, after_seq=len(found)):
            found += page
        return found

    async def submit(self, request: ExecutionRequest, *, scope_id: str | None) -> JobRecord:
        """Store a job."""
        kernel = await self._database.kernel()
        handle = await kernel.execute(replace(request, scope_id=scope_id or DEFAULT_SCOPE))
        return await handle.job()

    async def stop(self, job_id: str, reason: str | None) -> Stopped:
        """Have a job end; one that nobody executes is ended here."""
        kernel = await self._database.kernel()
        head = await kernel.jobs.head(job_id)
        head = await kernel.jobs.cancel(head.job_id, reason)
        dispatcher = ChosenJobs()
        async with opened(
            self._database.settings, operators=known_operators(), dispatcher=dispatcher
        ) as executor:
            dispatcher.choose(head.job_id)
            try:
                async with asyncio.timeout(CANCEL_SECONDS):
                    ended = await executor.wait_for_end(head.job_id)
            except TimeoutError:
                return Stopped(head.job_id, None)
        return Stopped(head.job_id, JobStatus(ended.type.removeprefix("job.")))

    async def retry(self, job_id: str, *, from_step: str | None, new_keys: bool) -> str:
        """Have another job go on in the place of one."""
        kernel = await self._database.kernel()
        return (await kernel.retry(job_id, from_step=from_step, new_keys=new_keys)).job_id

    async def unblock(self, job_id: str) -> JobRecord:
        """Have a blocked job tried again."""
        return await (await self._database.kernel()).jobs.unblock(job_id)

    async def result(self, job_id: str) -> tuple[ExecutionResult, UsageTotal]:
        """Return what a job gave, and what it has cost."""
        kernel = await self._database.kernel()
        head = await kernel.jobs.head(job_id)
        if not head.status.is_terminal:
            state = standing(head, await kernel.storage.list_workers())
            raise InvalidTransition(f"job {head.job_id!r} has not ended: it is {state}")
        total = await kernel.ledger.total(job_id=head.job_id)
        return await kernel.handle(head.job_id).result(), total


class DatabaseActions:
    """Questions of a database."""

    def __init__(self, database: OpenDatabase) -> None:
        self._database = database

    async def list(
        self,
        *,
        job_id: str | None = None,
        scope_id: str | None = None,
        status: ActionStatus | None = ActionStatus.PENDING,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return questions, the newest first."""
        here = await self._database.looked_at()
        if before is not None:
            await here.actions.get(before)
        return await here.storage.list_actions(
            job_id=job_id, scope_id=scope_id, status=status, limit=limit, before=before
        )

    async def get(self, action_id: str) -> ActionRecord:
        """Return a question."""
        return await (await self._database.looked_at()).actions.get(action_id)

    async def resolve_by_id(
        self, action_id: str, resolution: Mapping[str, JsonValue], *, resolved_by: str | None = None
    ) -> ActionRecord:
        """Answer a question."""
        kernel = await self._database.kernel()
        by = resolved_by or user_name()
        return await kernel.actions.resolve_by_id(action_id, resolution, resolved_by=by)


class DatabaseBudgets:
    """Budgets of a database."""

    def __init__(self, database: OpenDatabase) -> None:
        self._database = database

    async def list(self) -> Sequence[Budget]:
        """Return all of them."""
        return await (await self._database.kernel()).ledger.budgets()

    async def statuses(self, *, scope_id: str | None, principal_id: str | None) -> Sequence[BudgetStatus]:
        """Return where each stands."""
        ledger = (await self._database.kernel()).ledger
        return [
            await ledger.status_for(budget, scope_id=scope_id, principal_id=principal_id)
            for budget in await ledger.budgets()
        ]

    async def change(self, *, save: Sequence[Budget], delete: Sequence[str]) -> None:
        """Store some and delete others."""
        await (await self._database.kernel()).ledger.change_budgets(save=save, delete=delete)


class DatabaseSchedules:
    """Schedules of a database."""

    def __init__(self, database: OpenDatabase) -> None:
        self._database = database

    async def list(self, *, scope_id: str | None, limit: int) -> Sequence[Schedule]:
        """Return schedules by scope and name."""
        from agent_runtime.client.schedule_models import Schedule

        schedules = (await self._database.kernel()).schedules
        found: list[Schedule] = []
        after = ("", "")
        while len(found) < limit:
            most = min(_PAGE, limit - len(found))
            page = await schedules.list(scope_id=scope_id, after=after, limit=most)
            found += [Schedule.of(one) for one in page]
            if len(page) < most:
                break
            after = (page[-1].scope_id, page[-1].schedule_id)
        return found

    async def get(self, schedule_id: str, *, scope_id: str | None, upcoming: int) -> Schedule:
        """Return a schedule, and its next due times."""
        from agent_runtime.client.schedule_models import Schedule

        schedules, scope = (await self._database.kernel()).schedules, scope_id or DEFAULT_SCOPE
        found = await schedules.get(schedule_id, scope_id=scope)
        due = await schedules.upcoming(schedule_id, scope_id=scope, most=upcoming)
        return Schedule.of(found, due, content=True)

    async def fires(self, schedule_id: str, *, scope_id: str | None, limit: int) -> Sequence[Fire]:
        """Return what became of a schedule's times."""
        from agent_runtime.client.schedule_models import Fire

        schedules, scope = (await self._database.kernel()).schedules, scope_id or DEFAULT_SCOPE
        found: list[Fire] = []
        while len(found) < limit:
            most = min(_PAGE, limit - len(found))
            before = found[-1].due_at if found else None
            page = await schedules.log(schedule_id, scope_id=scope, before=before, limit=most)
            found += map(Fire.of, page)
            if len(page) < most:
                break
        if not found:
            await schedules.get(schedule_id, scope_id=scope)
        return found

    async def pause(self, schedule_id: str, *, scope_id: str | None) -> Schedule:
        """Let a schedule fire no more."""
        from agent_runtime.client.schedule_models import Schedule

        schedules, scope = (await self._database.kernel()).schedules, scope_id or DEFAULT_SCOPE
        return Schedule.of(await schedules.pause(schedule_id, scope_id=scope, by=user_name()))

    async def resume(self, schedule_id: str, *, scope_id: str | None) -> Schedule:
        """Let a schedule fire again."""
        from agent_runtime.client.schedule_models import Schedule

        schedules, scope = (await self._database.kernel()).schedules, scope_id or DEFAULT_SCOPE
        return Schedule.of(await schedules.resume(schedule_id, scope_id=scope, by=user_name()))

    async def pause_all(self, *, scope_id: str | None) -> int:
        """Pause all."""
        return await (await self._database.kernel()).schedules.pause_all(scope_id=scope_id, by=user_name())

    async def resume_all(self, *, scope_id: str | None) -> int:
        """Resume all."""
        return await (await self._database.kernel()).schedules.resume_all(scope_id=scope_id, by=user_name())

    async def remove(self, schedule_id: str, *, scope_id: str | None) -> None:
        """Remove a schedule."""
        schedules = (await self._database.kernel()).schedules
        await schedules.remove(schedule_id, scope_id=scope_id or DEFAULT_SCOPE, by=user_name())


class DatabaseKeys:
    """Keys of a database."""

    def __init__(self, database: OpenDatabase) -> None:
        self._database = database

    async def _keys(self) -> ApiKeyManager:
        from agent_runtime.keys.manager import ApiKeyManager

        return ApiKeyManager((await self._database.looked_at()).storage)

    async def list(self, *, scope_id: str | None, after: str | None, limit: int) -> Sequence[ApiKey]:
        """Return keys in the order in which they were made."""
        return await (await self._keys()).list(scope_id=scope_id, after=after, limit=limit)

    async def create(
        self,
        *,
        name: str,
        role: Role,
        scope_id: str | None,
        principal_id: str | None,
        expires_in: timedelta | None,
        by: str | None,
    ) -> tuple[ApiKey, str]:
        """Make a key."""
        manager = await self._keys()
        return await manager.create(
            name=name,
            role=role,
            scope_id=scope_id,
            principal_id=principal_id,
            expires_at=None if expires_in is None else await self.now() + expires_in,
            created_by=by or user_name(),
        )

    async def rotate(
        self, key_id: str, *, overlap: timedelta, scope_id: str | None, by: str | None
    ) -> Rotated:
        """Make a key in the place of another one."""
        manager = await self._keys()
        key, text = await manager.rotate(key_id, overlap=overlap, scope_id=scope_id, by=by or user_name())
        return Rotated(key, text, (await manager.get(key_id)).expires_at)

    async def revoke(self, key_id: str, *, scope_id: str | None, by: str | None) -> ApiKey:
        """Let a key hold no more."""
        return await (await self._keys()).revoke(key_id, scope_id=scope_id, by=by or user_name())

    async def now(self) -> datetime:
        """Return the time of the database."""
        return clock_of((await self._database.looked_at()).storage).now()


class DatabaseLogs:
    """Logs of a database."""

    def __init__(self, database: OpenDatabase) -> None:
        self._settings = database.settings

    async def summary(self, **period: Unpack[LogPeriod]) -> Mapping[str, Any]:
        """Return what a period adds up to."""
        async with opened_logs(self._settings) as (store, _):
            return await store.summary(**period)

    async def delete(self, execution_id: str, *, scope_id: str | None) -> tuple[int, int]:
        """Delete the rows of an execution."""
        from agent_runtime.observability.deleting import delete_logs

        async with opened_logs(self._settings) as (store, storage):
            return await delete_logs(store, storage, execution_id, scope_id=scope_id, by=user_name())


class DatabaseBackend:
    """A database.

    Args:
        database: Opened when it is needed.
    """

    def __init__(self, database: OpenDatabase) -> None:
        self._database = database
        self.jobs = DatabaseJobs(database)
        self.actions = DatabaseActions(database)
        self.budgets = DatabaseBudgets(database)
        self.schedules = DatabaseSchedules(database)
        self.keys = DatabaseKeys(database)
        self.logs = DatabaseLogs(database)

    async def knows(self, operator: str | None) -> bool:
        """Whether a worker knows an operator."""
        here = await self._database.looked_at()
        return any(operator in worker.operators for worker in await here.storage.list_workers())

    async def executes(self) -> bool:
        """Whether anybody executes jobs now."""
        here = await self._database.looked_at()
        return any(map(is_alive, await here.storage.list_workers()))

    async def send(
        self, to: str, message: JsonValue, *, dedupe_key: str | None, scope_id: str | None
    ) -> Sent:
        """Send a message to an identity."""
        kernel, scope = await self._database.kernel(), scope_id or DEFAULT_SCOPE
        sent = await kernel.send(to, message, dedupe_key=dedupe_key, scope_id=scope)
        return Sent(sent.message_id, sent.position, await kernel.inbox.count(to, scope_id=scope))

    async def spending(self, wanted: LedgerFilter) -> AsyncGenerator[LedgerEntry, None]:
        """Yield entries of the ledger."""
        here = await self._database.looked_at()
        if wanted.job_id is not None:
            await here.jobs.get(wanted.job_id, scope_id=wanted.scope_id)
        wanted = replace(wanted, limit=_PAGE)
        while page := await here.storage.ledger_entries(wanted):
            for entry in page:
                yield entry
            wanted = replace(wanted, after=page[-1].position)


@asynccontextmanager
async def database_backend(settings: Settings) -> AsyncIterator[DatabaseBackend]:
    """Give a database, which is opened when it is needed."""
    async with AsyncExitStack() as stack:
        yield DatabaseBackend(OpenDatabase(settings, stack))
