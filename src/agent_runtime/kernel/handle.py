"""A job from outside: its events, its result, its questions; in the process that runs it or in any other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from agent_runtime.actions.manager import ActionManager
from agent_runtime.errors import (
    BudgetExceededError,
    ContentPruned,
    InvalidTransition,
    JobCancelled,
    JobFailed,
    JobTimedOut,
    PolicyDenied,
    UnknownAction,
)
from agent_runtime.events.bus import EventBus
from agent_runtime.events.live_calls import LiveCalls
from agent_runtime.jobs.manager import JobManager
from agent_runtime.kernel.answers import Answers
from agent_runtime.kernel.following import Follower
from agent_runtime.kernel.request import ExecutionResult
from agent_runtime.operators.result import plain_output
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.storage import Storage
from agent_runtime.values.action import ActionRecord
from agent_runtime.values.checks import MAX_COUNT, check_whole
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord, JobStatus
from llm_client.codec import load_usage
from llm_client.usage import Usage


class JobHost(Protocol):
    """What a handle asks of its kernel."""

    jobs: JobManager
    actions: ActionManager
    bus: EventBus
    live: LiveCalls
    answers: Answers
    storage: Storage

    async def start(self) -> object:
        """Start it, if it has not been started."""

    async def wait_for_end(self, job_id: str, *, wait_blocked: bool = True) -> RuntimeEvent:
        """Return the event with which a job stops."""

    async def check_blocked(self, job_id: str) -> None:
        """Raise `JobBlocked` if a job is set aside."""


@after_the_journal()
class ExecutionHandle:
    """One job of a kernel.

    Args:
        kernel: The kernel whose storage holds the job.
        job_id: The job.
        end: Receives the terminal event of a job that this kernel has just accepted.
        scope_id: For whom: every method raises `UnknownJob` for another scope's job. `None` is trusted code.
    """

    def __init__(
        self,
        kernel: JobHost,
        job_id: str,
        end: asyncio.Future[RuntimeEvent] | None = None,
        *,
        scope_id: str | None = None,
    ) -> None:
        self._kernel = kernel
        self.job_id = job_id
        self._end = end
        self._chain_id: str | None = None
        """Leads on to the living job, even when this one has been pruned; known once the job has been read."""
        self._hidden_from = scope_id
        """The scope that is yet to be checked."""

    def __repr__(self) -> str:
        return f"ExecutionHandle({self.job_id!r})"

    async def _reach(self) -> None:
        """Start the kernel; once, see that the job is one of the scope."""
        await self._kernel.start()
        if self._hidden_from is not None:
            await self._kernel.jobs.head(self.job_id, scope_id=self._hidden_from)
            self._hidden_from = None

    async def status(self) -> JobStatus:
        """Return where the job stands, or the one that goes on in its place."""
        return (await self.job()).status

    async def job(self) -> JobRecord:
        """Return the record of the job, or of the one that goes on in its place."""
        await self._reach()
        head = await self._kernel.jobs.head(self._chain_id or self.job_id)
        self._chain_id = head.chain_id
        return head

    async def events(
        self, after_seq: int = 0, *, partials: bool = False, with_content: bool = True, text: bool = True
    ) -> AsyncGenerator[RuntimeEvent, None]:
        """Yield the job's stored events after `after_seq`, then live ones, and end after the terminal event.

        Any number of readers see the same sequence. `model.token` events come in between, without a `seq`: text that a model
        writes now, with how many characters of it came before (`data["offset"]`).

        Args:
            after_seq: The last event that is known.
            partials: Whether to be told with `model.partial` events what has come of answers that are coming already, or of
                which something was missed. Then the texts of an answer, joined from its newest partial on, are the answer.
            with_content: Whether the private content of entries is wanted; otherwise it is not read.
            text: Whether the text is wanted that a model writes now; otherwise no other process is asked to send it.

        Raises:
            InvalidInput: `after_seq` is no number of an event, nor 0.
        """
        check_whole("after_seq", after_seq, most=MAX_COUNT)
        await self._reach()
        follower = Follower(
            self.job_id,
            bus=self._kernel.bus,
            storage=self._kernel.storage,
            live=self._kernel.live,
            answers=self._kernel.answers,
            after_seq=after_seq,
            partials=partials,
            with_content=with_content,
            text=text,
        )
        try:
            await self._kernel.jobs.get(self.job_id)
            async for event in follower.events():
                yield event
        finally:
            follower.close()

    async def result(self, timeout: float | None = None, *, wait_blocked: bool = False) -> ExecutionResult:
        """Wait for the job's end and return its result; of a job in whose place others go on, the last one's.

        Args:
            timeout: Seconds to wait; the job goes on.
            wait_blocked: Wait on when the job becomes blocked, until a person or a deploy has mended what is wrong.

        Raises:
            JobBlocked: It cannot go on by itself, and says why; it has not ended.
            JobFailed: It failed; `BudgetExceededError` and `PolicyDenied` when that was why.
            JobCancelled: It was cancelled.
            JobTimedOut: Its deadline passed.
            ContentPruned: It succeeded so long ago that its content has been deleted.
            TimeoutError: `timeout` passed.
        """
        async with asyncio.timeout(timeout):
            await self._reach()
            ended = await self._ended(wait_blocked=wait_blocked)
        if ended.type == RuntimeEventType.JOB_SUCCEEDED:
            await self._check_content(ended)
            return _result(ended)
        raise _failure(ended)

    async def _ended(self, *, wait_blocked: bool) -> RuntimeEvent:
        """Wait until a job has ended in whose place no other goes on, and return its terminal event."""
        if self._end is not None:
            is_news = not self._end.done()
            ended = await asyncio.shield(self._end)
            is_last = is_news or ended.type == RuntimeEventType.JOB_SUCCEEDED  # else it may have been retried
            if is_last and ended.is_terminal and ended.data.get("continued_as") is None:
                return ended
        while True:
            job = await self.job()
            ended = await self._kernel.wait_for_end(job.job_id, wait_blocked=wait_blocked)
            if ended.data.get("continued_as") is None:
                return ended

    async def _check_content(self, ended: RuntimeEvent) -> None:
        """Tell a result that was deleted from one that is empty: what a kernel has run has always written one."""
        if ended.content is None and (await self._kernel.jobs.get(ended.job_id or "")).operator is not None:
            raise ContentPruned(
                f"the content of job {ended.job_id!r} was deleted; its events and its cost are kept"
            )

    async def check_blocked(self) -> None:
        """Return when the job can go on by itself, or has ended. Raises `JobBlocked`, with the reason, when it cannot."""
        await self._kernel.check_blocked((await self.job()).job_id)

    async def cancel(self, reason: str | None = None) -> None:
        """Ask the job to stop, or the one it has continued as. Does nothing when it has ended."""
        asked: str | None = None
        while (job := await self.job()).status.is_active and job.job_id != asked:
            with contextlib.suppress(InvalidTransition):  # it has ended, or gone on as another, meanwhile
                await self._kernel.jobs.cancel(job.job_id, reason)
                asked = job.job_id

    async def get_pending_actions(self) -> Sequence[ActionRecord]:
        """Return the questions the job waits for."""
        await self._reach()
        return await self._kernel.actions.list_pending(job_id=(await self.job()).job_id)

    async def resolve_action(
        self, action_id: str, resolution: Mapping[str, object], *, resolved_by: str | None = None
    ) -> ActionRecord:
        """Answer one of the job's questions."""
        await self._reach()
        of = (self.job_id, (await self.job()).job_id)
        if (await self._kernel.actions.get(action_id)).job_id not in of:
            raise UnknownAction(f"job {self.job_id!r} has no action {action_id!r}")
        return await self._kernel.actions.resolve_by_id(action_id, resolution, resolved_by=resolved_by)


def _result(ended: RuntimeEvent) -> ExecutionResult:
    body = ended.body() or {}
    usage, children_usage = (
        load_usage(ended.data[name]) if name in ended.data else Usage()
        for name in ("usage", "children_usage")
    )
    return ExecutionResult(
        job_id=ended.job_id or "",
        status=JobStatus.SUCCEEDED,
        content=body.get("content", ""),
        output=plain_output(body.get("output_data")),
        usage=usage,
        children_usage=children_usage,
        turns=ended.data.get("turns", 0),
        artifacts=tuple(ended.data.get("artifacts", ())),
    )


def _failure(ended: RuntimeEvent) -> Exception:
    job_id, code = ended.job_id or "", ended.data.get("error_code")
    message = ended.data.get("error") or f"job {job_id}: {ended.type}"
    if ended.type == RuntimeEventType.JOB_CANCELLED:
        return JobCancelled(message, job_id=job_id)
    if ended.type == RuntimeEventType.JOB_TIMED_OUT:
        return JobTimedOut(message, job_id=job_id)
    if code == BudgetExceededError.code:
        return BudgetExceededError(message)
    if code == PolicyDenied.code:
        return PolicyDenied(message)
    return JobFailed(message, job_id=job_id, error_code=code)
