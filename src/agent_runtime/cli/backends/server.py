"""A service as what commands work on: over HTTP, with a key and without access to the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack

from agent_runtime.cli.backends.answered import (
    action_of,
    entry_of,
    event_of,
    job_of,
    key_of,
    result_of,
    status_of,
    total_of,
)
from agent_runtime.cli.backends.backend import LogPeriod, Rotated, Sent, StandingJob, Stopped
from agent_runtime.cli.backends.refusals import explained
from agent_runtime.client import AsyncClient, models
from agent_runtime.client.failures import end_of
from agent_runtime.client.key_models import NewKey
from agent_runtime.errors import InvalidInput, InvalidTransition, ServiceError, UnknownJob, UnknownKey
from agent_runtime.ports.clock import SystemClock
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.api_key import ApiKey, Role
from agent_runtime.values.budget import LedgerEntry, LedgerFilter
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from agent_runtime.values.standing_budget import Budget, BudgetStatus
from llm_client.json_text import JsonValue

if TYPE_CHECKING:
    from agent_runtime.cli.backends.address import Server
    from agent_runtime.client.schedule_models import Fire, Schedule
    from agent_runtime.kernel.request import ExecutionRequest, ExecutionResult
    from agent_runtime.ledger.totals import UsageTotal

CANCEL_SECONDS: Final = 10.0
"""How long `stop` waits for a job's end."""
LOOK_SECONDS: Final = 1.0
"""How long one request waits for it."""
_PAGE: Final = 500
_TRIES: Final = 3
"""How often a request is sent: somebody sits in front of it who can do it again."""
Item = TypeVar("Item")


class ServedJob:
    """A job of a service that is followed to its end; others execute it.

    Args:
        client: Of the service.
        actions: Its questions.
        job_id: The job.
    """

    def __init__(self, client: AsyncClient, actions: ServerActions, job_id: str) -> None:
        self._client = client
        self._actions = actions
        self._job_id = job_id

    async def get_pending_actions(self) -> Sequence[ActionRecord]:
        """Return the questions that it waits for."""
        return await self._actions.list(job_id=self._job_id)

    async def events(self, after_seq: int = 0) -> AsyncGenerator[RuntimeEvent, None]:
        """Yield its events until it has ended."""
        async with aclosing(self._client.jobs.events(self._job_id, after_seq=after_seq)) as events:
            async for event in events:
                yield event_of(event)

    async def check_blocked(self) -> None:
        """Raise `JobBlocked` where it cannot go on by itself."""
        outcome = await self._client.jobs.outcome(self._job_id)
        failure = end_of(outcome)
        if failure is not None and outcome.status is JobStatus.BLOCKED:
            raise failure


class ServerJobs:
    """Jobs of a service."""

    def __init__(self, client: AsyncClient, actions: ServerActions) -> None:
        self._client = client
        self._actions = actions

    async def list(self, wanted: JobFilter) -> Sequence[StandingJob]:
        """Return jobs, the newest first; what a list leaves out of one is asked for."""
        if wanted.before is not None:
            await self.get(wanted.before)
        found = self._client.jobs.list(
            scope_id=wanted.scope_id,
            principal_id=wanted.principal_id,
            session_id=wanted.session_id,
            status=None if wanted.status is None else sorted(wanted.status),
            operator=wanted.operator,
            tags=wanted.tags,
            since=wanted.since,
            before=wanted.before,
            limit=min(wanted.limit, _PAGE),
        )
        jobs = await _first(found, wanted.limit)
        return [_standing(job) if job.left_out is None else await self.get(job.job_id) for job in jobs]

    async def get(self, job_id: str) -> StandingJob:
        """Return a job."""
        return _standing(await self._client.jobs.get(job_id))

    async def head(self, job_id: str) -> StandingJob:
        """Return the job that goes on in a job's place."""
        return await self.get((await self._client.jobs.outcome(job_id)).job_id)

    def followed(self, job_id: str) -> ServedJob:
        """Return a job to follow."""
        return ServedJob(self._client, self._actions, job_id)

    async def journal(self, job_id: str) -> Sequence[RuntimeEvent]:
        """Return all that its journal has by now."""
        return [
            event_of(event) async for event in self._client.jobs.history(job_id, content=True, limit=_PAGE)
        ]

    async def submit(self, request: ExecutionRequest, *, scope_id: str | None) -> JobRecord:
        """Store a job."""
        budgets, policy = request.budgets, request.policy_ref
        job = await self._client.jobs.submit(
            idempotency_key=request.idempotency_key,
            operator=request.operator,
            prompt=request.prompt,
            input=request.input,
            scope_id=scope_id,
            principal_id=request.principal_id,
            identity=request.identity,
            budgets=None if budgets is None else models.RunBudget.model_validate(budgets.to_dict()),
            policy=None if policy is None else models.PolicyName(name=policy.name, version=policy.version),
            deadline_seconds=request.deadline_seconds,
            priority=request.priority,
            queue=request.queue,
            tags=dict(request.tags),
        )
        return job_of(job)

    async def stop(self, job_id: str, reason: str | None) -> Stopped:
        """Have a job end, and wait for that for a while."""
        outcome = await self._client.jobs.outcome(job_id)
        if outcome.status.is_terminal:
            raise InvalidTransition(f"job {outcome.job_id!r} has ended: it is {outcome.status}")
        stopped = await self._client.jobs.cancel(outcome.job_id, reason=reason)
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                while True:
                    ended = await self._client.jobs.outcome(stopped.job_id, wait=LOOK_SECONDS)
                    if ended.status.is_terminal:
                        return Stopped(ended.job_id, ended.status)
                    await asyncio.sleep(LOOK_SECONDS / 4)  # what is blocked is answered at once
        except TimeoutError:
            return Stopped(stopped.job_id, None)

    async def retry(self, job_id: str, *, from_step: str | None, new_keys: bool) -> str:
        """Have another job go on in the place of one."""
        return (await self._client.jobs.retry(job_id, from_step=from_step, new_keys=new_keys)).job_id

    async def unblock(self, job_id: str) -> JobRecord:
        """Have a blocked job tried again."""
        return job_of(await self._client.jobs.unblock(job_id))

    async def result(self, job_id: str) -> tuple[ExecutionResult, UsageTotal]:
        """Return what a job gave, and what it has cost."""
        outcome = await self._client.jobs.outcome(job_id)
        if not outcome.status.is_terminal:
            state = (await self.get(outcome.job_id)).standing
            raise InvalidTransition(f"job {outcome.job_id!r} has not ended: it is {state}")
        failure = end_of(outcome)
        if failure is not None:
            raise failure
        costs = await self._client.ledger.costs(job_id=outcome.job_id)
        return result_of(outcome), total_of(costs.total)


class ServerActions:
    """Questions of a service."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(
        self,
        *,
        job_id: str | None = None,
        scope_id: str | None = None,
        status: ActionStatus | None = ActionStatus.PENDING,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return questions, the newest first; what a list leaves out of one is asked for."""
        if before is not None:
            await self.get(before)
        found = self._client.actions.list(
            job_id=job_id, scope_id=scope_id, status=status, before=before, limit=min(limit, _PAGE)
        )
        actions = await _first(found, limit)
        return [action_of(one) if one.left_out is None else await self.get(one.action_id) for one in actions]

    async def get(self, action_id: str) -> ActionRecord:
        """Return a question."""
        return action_of(await self._client.actions.get(action_id))

    async def resolve_by_id(
        self, action_id: str, resolution: Mapping[str, JsonValue], *, resolved_by: str | None = None
    ) -> ActionRecord:
        """Answer a question as the one whose key this is, or for somebody else where it may."""
        try:
            return action_of(
                await self._client.actions.resolve(action_id, resolution, resolved_by=resolved_by)
            )
        except ServiceError as error:
            if error.status != 403:
                raise
            raise InvalidInput(str(error)) from error


class ServerBudgets:
    """Budgets of a service."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self) -> Sequence[Budget]:
        """Return all that the key may see."""
        return [status.budget for status in await self.statuses(scope_id=None, principal_id=None)]

    async def statuses(self, *, scope_id: str | None, principal_id: str | None) -> Sequence[BudgetStatus]:
        """Return where each stands."""
        found = self._client.budgets.list(scope_id=scope_id, principal_id=principal_id, limit=_PAGE)
        return [status_of(budget) async for budget in found]

    async def change(self, *, save: Sequence[Budget], delete: Sequence[str]) -> None:
        """Store some and delete others."""
        new = [models.NewBudget.model_validate(budget.to_dict()) for budget in save]
        await self._client.budgets.change(save=new, delete=delete)


class ServerSchedules:
    """Schedules of a service."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client.schedules

    async def list(self, *, scope_id: str | None, limit: int) -> Sequence[Schedule]:
        """Return schedules by scope and name; what a list leaves out of one is asked for."""
        listed = await _first(self._client.list(scope_id=scope_id, limit=min(limit, _PAGE)), limit)
        return [
            one
            if one.left_out is None
            else await self._client.get(one.schedule_id, scope_id=one.scope_id, upcoming=1)
            for one in listed
        ]

    async def get(self, schedule_id: str, *, scope_id: str | None, upcoming: int) -> Schedule:
        """Return a schedule, and its next due times."""
        return await self._client.get(schedule_id, scope_id=scope_id, content=True, upcoming=upcoming)

    async def fires(self, schedule_id: str, *, scope_id: str | None, limit: int) -> Sequence[Fire]:
        """Return what became of a schedule's times."""
        found = self._client.fires(schedule_id, scope_id=scope_id, limit=min(limit, _PAGE))
        return await _first(found, limit)

    async def pause(self, schedule_id: str, *, scope_id: str | None) -> Schedule:
        """Let a schedule fire no more."""
        return await self._client.pause(schedule_id, scope_id=scope_id)

    async def resume(self, schedule_id: str, *, scope_id: str | None) -> Schedule:
        """Let a schedule fire again."""
        return await self._client.resume(schedule_id, scope_id=scope_id)

    async def pause_all(self, *, scope_id: str | None) -> int:
        """Pause all."""
        return await self._client.pause_all(scope_id=scope_id)

    async def resume_all(self, *, scope_id: str | None) -> int:
        """Resume all."""
        return await self._client.resume_all(scope_id=scope_id)

    async def remove(self, schedule_id: str, *, scope_id: str | None) -> None:
        """Remove a schedule."""
        await self._client.delete(schedule_id, scope_id=scope_id)


class ServerKeys:
    """Keys of a service."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, *, scope_id: str | None, after: str | None, limit: int) -> Sequence[ApiKey]:
        """Return keys in the order in which they were made."""
        found = self._client.keys.list(scope_id=scope_id, after=after, limit=min(limit, _PAGE))
        return [key_of(key) for key in await _first(found, limit)]

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
        _check_nobody_else(by)
        new = NewKey(
            name=name,
            role=role,
            scope_id=scope_id,
            all_scopes=scope_id is None,
            principal_id=principal_id,
            expires_at=None if expires_in is None else await self.now() + expires_in,
        )
        made = await self._client.keys.create(new)
        return key_of(made), made.text

    async def rotate(
        self, key_id: str, *, overlap: timedelta, scope_id: str | None, by: str | None
    ) -> Rotated:
        """Make a key in the place of another one."""
        _check_nobody_else(by)
        await self._check_scope(key_id, scope_id)
        made = await self._client.keys.rotate(key_id, overlap_seconds=overlap.total_seconds())
        return Rotated(key_of(made), made.text, made.replaced_expires_at)

    async def revoke(self, key_id: str, *, scope_id: str | None, by: str | None) -> ApiKey:
        """Let a key hold no more."""
        _check_nobody_else(by)
        await self._check_scope(key_id, scope_id)
        return key_of(await self._client.keys.revoke(key_id))

    async def now(self) -> datetime:
        """Return the time of this machine: keys expire within its difference to the service's."""
        return SystemClock().now()

    async def _check_scope(self, key_id: str, scope_id: str | None) -> None:
        if scope_id is not None and (await self._client.keys.get(key_id)).scope_id != scope_id:
            raise UnknownKey("no API key has this id, or none of this scope")


class ServerLogs:
    """Logs of a service."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def summary(self, **period: Unpack[LogPeriod]) -> Mapping[str, Any]:
        """Return what a period adds up to."""
        return (await self._client.execution_logs.summary(**period)).model_dump()

    async def delete(self, execution_id: str, *, scope_id: str | None) -> tuple[int, int]:
        """Delete the rows of an execution."""
        gone = await self._client.execution_logs.delete(execution_id, scope_id=scope_id)
        return gone.executions, gone.llm_calls


class ServerBackend:
    """A service.

    Args:
        client: Of the service.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.actions = ServerActions(client)
        self.jobs = ServerJobs(client, self.actions)
        self.budgets = ServerBudgets(client)
        self.schedules = ServerSchedules(client)
        self.keys = ServerKeys(client)
        self.logs = ServerLogs(client)

    async def knows(self, operator: str | None) -> bool:
        """Whether a worker knows an operator."""
        return operator in (await self._client.executed()).operators

    async def executes(self) -> bool:
        """Whether anybody executes jobs now."""
        return (await self._client.executed()).is_executing

    async def send(
        self, to: str, message: JsonValue, *, dedupe_key: str | None, scope_id: str | None
    ) -> Sent:
        """Send a message to an identity."""
        sent = await self._client.messages.send(to, message, dedupe_key=dedupe_key, scope_id=scope_id)
        return Sent(sent.message_id, sent.position, sent.waiting)

    async def spending(self, wanted: LedgerFilter) -> AsyncGenerator[LedgerEntry, None]:
        """Yield entries of the ledger."""
        if wanted.job_id is not None:
            job = await self._client.jobs.get(wanted.job_id)
            if wanted.scope_id not in (None, job.scope_id):
                raise UnknownJob(f"no job {wanted.job_id!r}")
        entries = self._client.ledger.entries(
            limit=_PAGE,
            scope_id=wanted.scope_id,
            job_id=wanted.job_id,
            principal_id=wanted.principal_id,
            since=wanted.since,
            until=wanted.until,
        )
        async with aclosing(entries):
            async for entry in entries:
                yield entry_of(entry)

    async def explain(self, question: models.PolicyQuestion) -> models.PolicyAnswer:
        """Return what the service's policy decides, and what every rule had to say."""
        return await self._client.policies.explain(question)


@asynccontextmanager
async def server_backend(server: Server) -> AsyncIterator[ServerBackend]:
    """Give a service. What it refuses is raised with what to do about it."""
    try:
        async with AsyncClient(server.url, server.key, tries=_TRIES) as client:
            yield ServerBackend(client)
    except ServiceError as error:
        raise explained(error, server) from error


def _standing(job: models.Job) -> StandingJob:
    return StandingJob(job_of(job), job.standing)


async def _first(found: AsyncGenerator[Item, None], most: int) -> Sequence[Item]:
    """Return the first of what is listed."""
    first: list[Item] = []
    async with aclosing(found):
        async for one in found:
            first.append(one)
            if len(first) == most:
                break
    return first


def _check_nobody_else(by: str | None) -> None:
    """Refuse a name: the service knows who asks. Raises `InvalidInput`."""
    if by is not None:
        raise InvalidInput(
            "who does this is who the key names: with a server leave --by out, and use that person's key"
        )
