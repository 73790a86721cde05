"""`client.jobs`: submit, find, follow, stop and retry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final, TypedDict, Unpack

from pydantic import ValidationError

from agent_runtime.client.failures import end_of
from agent_runtime.client.following import follow
from agent_runtime.client.models import (
    ChatMessage,
    Event,
    Job,
    Json,
    NewJob,
    PolicyName,
    Reason,
    Result,
    Retry,
    RunBudget,
)
from agent_runtime.client.resource import Resource
from agent_runtime.errors import InvalidInput
from agent_runtime.ports.ids import new_id
from agent_runtime.values.job import JobStatus

POLL_SECONDS: Final = 20.0
"""For which one request waits for a job's end."""
POLL_PAUSE: Final = 1.0
"""From one such request to the next at least."""


class JobFields(TypedDict, total=False):
    """What is said of a job when it is submitted; see `models.NewJob`."""

    operator: str | None
    prompt: str | None
    messages: list[ChatMessage] | None
    input: Json
    scope_id: str | None
    principal_id: str | None
    session_id: str | None
    run_id: str | None
    identity: str | None
    budgets: RunBudget | None
    policy: PolicyName | None
    retry_failed: bool
    deadline_seconds: float | None
    priority: int
    queue: str
    metadata: dict[str, Json]
    tags: dict[str, str]


def _job_of(fields: JobFields) -> NewJob:
    try:
        return NewJob(**fields)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        raise InvalidInput(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None


class JobFilters(TypedDict, total=False):
    """Which jobs are meant; what is left out is not looked at."""

    scope_id: str | None
    status: Sequence[JobStatus] | None
    operator: str | None
    principal_id: str | None
    session_id: str | None
    parent_job_id: str | None
    chain_id: str | None
    tags: Mapping[str, str] | None
    since: datetime | None


class AsyncJobs(Resource):
    """Jobs of the service."""

    async def submit(
        self,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        **fields: Unpack[JobFields],
    ) -> Job:
        """Submit a job. It is stored when this returns.

        Args:
            idempotency_key: A second request with it gives the first one's job. Without one, one is made for the tries of this call.
            traceparent: The trace that the job belongs to, as W3C Trace Context writes it.
            fields: A `prompt` or `messages` for the default agent, or an `operator` with its `input`, and what else `models.NewJob` has.

        Raises:
            InvalidInput: A field is wrong.
            IdempotencyConflict: The key was used for another request.
            QueueFull: Too many jobs wait, still after some tries.
        """
        return await self._sender.call(
            "POST",
            "/v1/jobs",
            Job,
            body=_job_of(fields),
            headers={"Idempotency-Key": idempotency_key or new_id("submit"), "traceparent": traceparent},
            again=True,
        )

    async def list(
        self, *, before: str | None = None, limit: int = 100, **filters: Unpack[JobFilters]
    ) -> AsyncGenerator[Job, None]:
        """Yield jobs, the newest first, page by page.

        Args:
            before: The last job that is known.
            limit: How many are asked for at once.
            filters: Which ones.
        """
        tags = filters.get("tags")
        jobs = self._sender.pages(
            "/v1/jobs",
            Job,
            query={
                "scope_id": filters.get("scope_id"),
                "status": filters.get("status"),
                "operator": filters.get("operator"),
                "principal_id": filters.get("principal_id"),
                "session_id": filters.get("session_id"),
                "parent_job_id": filters.get("parent_job_id"),
                "chain_id": filters.get("chain_id"),
                "tag": None if tags is None else [f"{name}={value}" for name, value in tags.items()],
                "since": filters.get("since"),
                "cursor": before,
                "limit": limit,
            },
        )
        async with aclosing(jobs):
            async for job in jobs:
                yield job

    async def get(self, job_id: str) -> Job:
        """Return a job. Raises `UnknownJob`."""
        return await self._sender.call("GET", "/v1/jobs/{job_id}", Job, path={"job_id": job_id})

    async def outcome(self, job_id: str, *, wait: float = 0) -> Result:
        """Return how a job has ended, whatever that was, or that it has not; of one in whose place others go on, the last one's.

        Args:
            job_id: The job.
            wait: Seconds to wait for its end; the service may allow less.
        """
        return await self._sender.call(
            "GET", "/v1/jobs/{job_id}/result", Result, path={"job_id": job_id}, query={"wait": wait}
        )

    async def result(self, job_id: str, *, timeout: float | None = None) -> Result:
        """Wait for a job's end, and return its result.

        Args:
            job_id: The job.
            timeout: Seconds to wait; the job goes on.

        Raises:
            UnknownJob: There is no such job.
            JobBlocked: It cannot go on by itself; it has not ended.
            JobFailed: It failed; `BudgetExceededError` and `PolicyDenied` when that was why.
            JobCancelled: It was cancelled.
            JobTimedOut: Its deadline passed.
            TimeoutError: `timeout` passed.
        """
        loop = asyncio.get_running_loop()
        wait = min(POLL_SECONDS, self._sender.timeout / 2)  # an answer is to come before it is given up
        async with asyncio.timeout(timeout):
            while True:
                asked_at = loop.time()
                outcome = await self.outcome(job_id, wait=wait)
                failure = end_of(outcome)
                if failure is not None:
                    raise failure
                if outcome.status is JobStatus.SUCCEEDED:
                    return outcome
                await asyncio.sleep(
                    asked_at + POLL_PAUSE - loop.time()
                )  # a service that ends waits for nothing

    async def cancel(self, job_id: str, *, reason: str | None = None) -> Job:
        """Ask a job to stop, or the one that goes on in its place. One that has ended stays as it is."""
        return await self._sender.call(
            "POST",
            "/v1/jobs/{job_id}/cancel",
            Job,
            path={"job_id": job_id},
            body=Reason(reason=reason),
            again=True,
        )

    async def retry(
        self,
        job_id: str,
        *,
        from_step: str | None = None,
        budgets: RunBudget | None = None,
        new_keys: bool = False,
    ) -> Job:
        """Have another job go on in the place of one that ended without success, and return it.

        Args:
            job_id: The one that has ended.
            from_step: Do this step anew, and all that came after it.
            budgets: Instead of the job's own.
            new_keys: Use new keys for what is done anew.

        Raises:
            InvalidTransition: It has not ended, or it has succeeded.
            RetryRefused: Effects would be repeated.
        """
        how = Retry(from_step=from_step, budgets=budgets, new_keys=new_keys)
        return await self._sender.call(
            "POST", "/v1/jobs/{job_id}/retry", Job, path={"job_id": job_id}, body=how
        )

    async def unblock(self, job_id: str) -> Job:
        """Have a blocked job tried again. Raises `InvalidTransition`: it is not blocked."""
        return await self._sender.call("POST", "/v1/jobs/{job_id}/unblock", Job, path={"job_id": job_id})

    async def history(
        self, job_id: str, *, after_seq: int = 0, content: bool = False, limit: int = 100
    ) -> AsyncGenerator[Event, None]:
        """Yield what the journal of a job has by now, in order.

        Args:
            job_id: The job.
            after_seq: `seq` of the last event that is known.
            content: With messages, arguments and results.
            limit: How many are asked for at once.
        """
        events = self._sender.pages(
            "/v1/jobs/{job_id}/events",
            Event,
            path={"job_id": job_id},
            query={"after_seq": after_seq, "content": content, "limit": limit},
            cursor="after_seq",
        )
        async with aclosing(events):
            async for event in events:
                yield event

    async def events(
        self, job_id: str, *, after_seq: int = 0, content: bool = False, cancel_on_leave: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of a job as they happen, until it has ended: each stored one once, and in between what models write now.

        A connection that is lost is made again, from where it was. Live text comes as `model.token` and `model.partial` events without
        a `seq`, which `AnswerTexts` joins. Of a job that goes on as another one, the last event's `data["continued_as"]` names that.

        Args:
            job_id: The job.
            after_seq: `seq` of the last event that is known.
            content: With messages, arguments and results.
            cancel_on_leave: Cancel the job when the connection ends before it has.

        Raises:
            UnknownJob: There is no such job.
            ServiceUnreachable: Connections are lost again and again.
        """
        events = follow(
            self._sender,
            "/v1/jobs/{job_id}/events",
            path={"job_id": job_id},
            query={
                "after_seq": after_seq,
                "content": content,
                "named": True,
                "cancel_on_leave": cancel_on_leave,
            },
        )
        async with aclosing(events):
            async for event in events:
                if event is not None:
                    yield event
