"""Child jobs: jobs that belong to a step of another job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from agent_runtime.errors import ChildFailed, InvalidInput
from agent_runtime.execution.admission import admit
from agent_runtime.execution.approvals import agreed_by
from agent_runtime.execution.branch import Branch, Operation
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.asking import Asked
from agent_runtime.execution.operations.child_results import ChildResults
from agent_runtime.execution.retries import Retry, retried
from agent_runtime.execution.running_time import handed_on
from agent_runtime.jobs.manager import deadline_timer
from agent_runtime.operators.operator import OperatorRegistry
from agent_runtime.operators.orchestration import OrchestrationConfig
from agent_runtime.operators.result import OperatorResult
from agent_runtime.ports.commit import CommitParts, NewEvent
from agent_runtime.ports.ids import new_id, new_seed
from agent_runtime.ports.trace_context import TRACEPARENT, belonging_to, own_context, span_of
from agent_runtime.values.content import decode, encode
from agent_runtime.values.context import BudgetSpec
from agent_runtime.values.event import JOURNAL_FORMAT, RuntimeEvent, RuntimeEventType
from agent_runtime.values.fingerprint import hash_of
from agent_runtime.values.job import JobRecord, JobStatus, OnParentEnd
from llm_client.json_text import JsonValue


@dataclass(frozen=True, slots=True)
class ChildRequest:
    """A child that an operator asks for."""

    operator: str
    input: Any = None
    key: str | None = None
    budgets: BudgetSpec | None = None
    on_parent_end: OnParentEnd = "cancel"
    held: bool = False
    """Whether the code holds a handle of it, beyond one wait for its end."""


class Children:
    """Starts the children of one run, and reads what they gave.

    Args:
        run: The parent's.
        registry: The operators this process knows.
        limits: How far the job may spread.
        depth: Ancestors above the parent.
    """

    def __init__(
        self, run: JobRun, registry: OperatorRegistry, limits: OrchestrationConfig, depth: int
    ) -> None:
        self._run = run
        self._registry = registry
        self._limits = limits
        self._is_bounded = run.services.orchestration is not None
        """Whether the kernel was told how far jobs may spread, besides how deep."""
        self._depth = depth
        self._results = ChildResults(run)
        self._begun: set[str] | None = None
        """Operations of the job that begin children, written or not; `None` while nobody has counted them."""

    async def ask(self, branch: Branch, request: ChildRequest) -> Asked[OperatorResult]:
        """Return the wait for a child at the next place of a line; the child begins with it."""
        operation = branch.reach("child", request.operator, key=request.key)
        await branch.admit()
        events, parts = await self._begin(operation, request)
        return self.wait_for(operation.id, request.operator, events, parts)

    def wait_for(
        self,
        operation_id: str,
        name: str,
        events: Sequence[NewEvent] = (),
        parts: CommitParts | None = None,
    ) -> Asked[OperatorResult]:
        """Return the wait for the end of the child that an operation has started."""

        async def read(ended: RuntimeEvent) -> OperatorResult:
            return await self._result(ended, name)

        return Asked(
            operation_id=operation_id, kind="child", read=read, events=events, parts=parts or CommitParts()
        )

    async def start(self, branch: Branch, operation: Operation, request: ChildRequest) -> str:
        """Start a child, unless it was started here before, and return its job's id."""
        await branch.admit()
        events, parts = await self._begin(operation, request)
        if events:
            await self._run.journal.commit(events, **parts)
        return str(self._run.history.steps[operation.id].declaration.data["child_job_id"])

    async def _begin(self, operation: Operation, request: ChildRequest) -> tuple[list[NewEvent], CommitParts]:
        """Return what creates a child; nothing when it is there."""
        if operation.step is not None:
            return [], {}
        run, limits = self._run, self._limits
        self._registry.get(request.operator)
        if self._depth + 1 > limits.max_depth:
            raise InvalidInput(f"jobs are nested deeper than max_depth = {limits.max_depth}")
        if self._is_bounded:
            self._count(operation)
        before = await self._retried_child(operation.place, request)
        if before is not None:
            return await self._retry(operation, request, before)
        bounds = self._bounds() if self._is_bounded else {}
        record, created = child_job(
            run,
            request.operator,
            encode(request.input),
            operation_id=operation.id,
            budgets=request.budgets,
            **{"on_parent_end": request.on_parent_end, **bounds},
        )
        data: dict[str, JsonValue] = {"name": request.operator, "child_job_id": record.job_id}
        if request.held:
            data |= {"held": True, "on_parent_end": request.on_parent_end}
        policies = run.services.policies
        policy = await run.journal.retry(lambda: policies.of_job(run.job.policy_ref))
        admission = admit(record, created, policy)
        parts: CommitParts = {
            "create": [(admission.job, admission.events)],
            "signals": admission.refusal,
            **admission.parts,
        }
        parts["set_timers"] = [*parts["set_timers"], *deadline_timer(admission.job)]
        return [NewEvent(RuntimeEventType.CHILD_STARTED, operation.id, data)], parts

    async def _retry(
        self, operation: Operation, request: ChildRequest, before: JobRecord
    ) -> tuple[list[NewEvent], CommitParts]:
        """Return what retries a child that had failed, or had ended with its parent: it is not created afresh."""
        run, storage = self._run, self._run.services.storage
        data: dict[str, JsonValue] = {"name": request.operator, "child_job_id": before.job_id}
        if request.held:
            data |= {"held": True, "on_parent_end": request.on_parent_end}
        if before.status is JobStatus.SUCCEEDED:  # after its parent had ended, or when somebody retried it
            told = {"job_id": before.job_id, "status": before.status.value}
            return [
                NewEvent(RuntimeEventType.CHILD_STARTED, operation.id, data),
                NewEvent(RuntimeEventType.CHILD_ENDED, operation.id, told),
            ], {}
        now = run.services.clock.now()
        asked = Retry(
            parent=run.job,
            operation_id=operation.id,
            told={**handed_on(run, now), **traced_below(run, operation.id)},
            budgets=request.budgets,
            inherits_budgets=not self._is_bounded or self._limits.inherit_budgets,
        )
        made = await run.journal.retry(lambda: retried(storage, before, asked, now))
        data |= {"child_job_id": made.job.job_id, "retries": before.job_id}
        return [NewEvent(RuntimeEventType.CHILD_STARTED, operation.id, data)], made.parts

    async def _retried_child(self, place: str, request: ChildRequest) -> JobRecord | None:
        """Return the child that is to be retried at a place, when what asked it to stop has reached it.

        It is none where the code asks for something else now, since an earlier step has been done anew.
        """
        job_id = self._run.history.retried_children.get(place)
        if job_id is None or not await self._is_for(job_id, request):
            return None
        while (head := await self._head(job_id)) is not None and not head.status.is_terminal:
            end = self._run.services.ends.end_of(head.job_id)
            newest = await self._head(job_id)  # it may have ended before anybody waited for that
            if newest is not None and newest.job_id == head.job_id and not newest.status.is_terminal:
                await asyncio.shield(end)
        return head

    async def _is_for(self, job_id: str, request: ChildRequest) -> bool:
        """Whether a child was asked for what is asked now; one whose content is gone is taken for it."""
        run, storage = self._run, self._run.services.storage
        for created in await run.journal.retry(lambda: storage.events(job_id, limit=1)):
            if created.data.get("operator") != request.operator:
                return False
            wanted = hash_of(decode(encode(request.input)))  # `True` is no 1
            return created.content is None or hash_of(created.body()) == wanted
        return True

    async def _head(self, job_id: str) -> JobRecord | None:
        run, storage = self._run, self._run.services.storage
        job = await run.journal.retry(partial(storage.get_job, job_id))
        chain_id = job_id if job is None else job.chain_id
        return await run.journal.retry(partial(storage.chain_head, chain_id))

    def _count(self, operation: Operation) -> None:
        """Count a child; raises `InvalidInput` when it is one too many."""
        limit = self._limits.max_child_jobs
        if self._begun is None:
            steps = self._run.history.steps.values()
            self._begun = {step.operation_id for step in steps if step.kind == "child"}
        self._begun.add(operation.id)
        if len(self._begun) > limit:
            self._begun.discard(operation.id)
            raise InvalidInput(f"a job may have max_child_jobs = {limit} children")

    def _bounds(self) -> dict[str, Any]:
        """Return what the kernel's limits make of a child."""
        limits, run = self._limits, self._run
        bounds: dict[str, Any] = {
            "deadline": run.services.clock.now() + timedelta(seconds=limits.timeout_seconds),
            "inherits_budgets": limits.inherit_budgets,
        }
        return bounds if limits.propagate_cancellation else {**bounds, "on_parent_end": "keep"}

    async def _result(self, ended: RuntimeEvent, name: str) -> OperatorResult:
        """Return what a child gave.

        Raises:
            ChildFailed: It did not succeed.
        """
        data = ended.data
        if data.get("status") != "succeeded":
            raise ChildFailed(
                f"child job {data.get('job_id')} ({name}) {data.get('status')}: {data.get('error')}",
                job_id=str(data.get("job_id")),
                error_code=data.get("error_code"),
            )
        body = (await self._results.end_of(str(data["job_id"]))).body() or {}
        return OperatorResult(content=body.get("content", ""), output_data=body.get("output_data") or {})


def traced_below(run: JobRun, operation_id: str) -> dict[str, str]:
    """Return the span that a child belongs to, as its first entry says it: that of the step which waits for it."""
    above = own_context(run.job_id, run.history.created_data(TRACEPARENT))
    return belonging_to(str(above._replace(span_id=span_of(run.job_id, "child", operation_id))))


def child_job(
    run: JobRun,
    operator: str,
    content: bytes,
    *,
    operation_id: str,
    budgets: BudgetSpec | None = None,
    on_parent_end: OnParentEnd = "cancel",
    inherits_budgets: bool = True,
    deadline: datetime | None = None,
) -> tuple[JobRecord, NewEvent]:
    """Build a child with its parent's scope, people, policy and budgets, and the first entry of its journal."""
    parent, now = run.job, run.services.clock.now()
    record = JobRecord(
        job_id=new_id("job"),
        seed=new_seed(),
        scope_id=parent.scope_id,
        principal_id=parent.principal_id,
        session_id=parent.session_id,
        run_id=parent.run_id,
        parent_job_id=parent.job_id,
        parent_operation_id=operation_id,
        operator=operator,
        queue=parent.queue,
        priority=parent.priority,
        depth=parent.depth + 1,
        created_at=now,
        updated_at=now,
        deadline=deadline,
        budgets=budgets,
        inherited_budgets=parent.spends_from if inherits_budgets else (),
        on_parent_end=on_parent_end,
        policy_ref=parent.policy_ref,
        retry=parent.retry,
        versions=parent.versions,
        tags=parent.tags,
    )
    data = {
        "format": JOURNAL_FORMAT,
        "operator": operator,
        "parent_job_id": parent.job_id,
        **handed_on(run, now),
        **traced_below(run, operation_id),
        **agreed_by(run.history, operation_id),
    }
    return record, NewEvent(RuntimeEventType.JOB_CREATED, None, data, content)
