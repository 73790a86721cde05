"""How a job begins: queued, refused, or waiting for a person's yes – with the decision as a part of its journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from agent_runtime.actions.records import expiry_timer, new_action
from agent_runtime.errors import PolicyDenied
from agent_runtime.execution.approvals import ADMISSION, Verdict, approval_spec
from agent_runtime.execution.completion import Completion, finish, told_to_parent
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.waits import answered, asked_event, recorded_action
from agent_runtime.execution.policies import stored
from agent_runtime.execution.policy_enforcer import ALLOWED, context_of, decision_event, refusal_of
from agent_runtime.policy.policy import Policy
from agent_runtime.ports.commit import CommitParts, JobChange, NewEvent, Signal
from agent_runtime.values.action import ActionRecord
from agent_runtime.values.capacity import NO_BOUNDS, QueueBounds
from agent_runtime.values.content import decode
from agent_runtime.values.deaths import OpenClaim
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord, JobStatus
from agent_runtime.values.policy import PolicyAction, PolicyDecision, PolicyResult, PolicySubject
from llm_client.json_text import JsonObject
from llm_client.public_text import public_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A job that is about to be stored, and what is stored with it."""

    job: JobRecord
    events: tuple[NewEvent, ...]
    new_actions: Sequence[ActionRecord] = ()
    policy: Policy | None = None

    @property
    def parts(self) -> CommitParts:
        """Further parts of the commit that creates the job."""
        timers = [timer for action in self.new_actions for timer in expiry_timer(action)]
        return {"new_actions": self.new_actions, "set_timers": timers, "policies": stored(self.policy)}

    def bounded_by(self, bounds: QueueBounds) -> QueueBounds:
        """Return the bounds that hold for this job: none if it is not going to wait for a worker."""
        return bounds if self.job.status is JobStatus.QUEUED else NO_BOUNDS

    def begun_by(self, owner: str) -> Admission:
        """Return it as that of a job which a worker takes as it is stored."""
        job = self.job
        begun = replace(
            job,
            status=JobStatus.RUNNING,
            owner=owner,
            fence=1,
            started_at=job.created_at,
            open_claim=OpenClaim.PLAIN,
        )
        return replace(self, job=begun, events=(*self.events, NewEvent(RuntimeEventType.JOB_STARTED)))

    @property
    def refusal(self) -> list[Signal]:
        """What tells a parent that its child was refused."""
        job = self.job
        data = {"error": job.error, "error_code": job.error_code}
        return told_to_parent(job, job.status, data) if job.status.is_terminal else []


def admit(job: JobRecord, created: NewEvent, policy: Policy | None) -> Admission:
    """Ask the policy whether a job may begin, and return the job as it begins."""
    if policy is None:
        return Admission(job=job, events=(created,))
    job = replace(job, policy_ref=policy.ref)
    if not policy.concerns(PolicyAction.JOB):
        return Admission(job=job, events=(created,), policy=policy)
    asked = PolicySubject(action=PolicyAction.JOB, names=(job.operator or "",), context=context_of(job))
    result = policy.decide(asked)
    events = (created, decision_event(_operation_id(job), asked, result))
    match result.enforced.decision:
        case PolicyDecision.DENY:
            return _refused(job, events, result, policy)
        case PolicyDecision.REQUIRE_APPROVAL:
            return _asking(job, created, events, result, policy)
        case _:
            return Admission(job=job, events=events, policy=policy)


def _refused(job: JobRecord, events: tuple[NewEvent, ...], result: PolicyResult, policy: Policy) -> Admission:
    error = public_text(refusal_of(result))
    data: JsonObject = {
        "error": error,
        "error_code": PolicyDenied.code,
        "error_type": PolicyDenied.__name__,
        "turns": 0,
    }
    ended = NewEvent(RuntimeEventType.JOB_FAILED, None, data)
    job = replace(
        job,
        status=JobStatus.FAILED,
        error=error,
        error_code=PolicyDenied.code,
        completed_at=job.created_at,
    )
    return Admission(job=job, events=(*events, ended), policy=policy)


def _asking(
    job: JobRecord, created: NewEvent, events: tuple[NewEvent, ...], result: PolicyResult, policy: Policy
) -> Admission:
    action = _question(job, created, result, job.created_at)
    job = replace(job, status=JobStatus.WAITING_ACTION)
    return Admission(job=job, events=(*events, asked_event(action)), new_actions=[action], policy=policy)


def _question(
    job: JobRecord, created: NewEvent | RuntimeEvent, result: PolicyResult, now: datetime
) -> ActionRecord:
    """Build the question whether a job may begin, with all that it is given."""
    assert result.approval is not None  # noqa: S101 -- comes with this decision
    payload: JsonObject = {
        "message": "May this job begin?",
        "operator": job.operator,
        "principal": job.principal_id,
        "reason": refusal_of(result),
        "input": None if created.content is None else decode(created.content),
        **_given_besides(job),
    }
    return new_action(
        approval_spec(result.approval, payload),
        scope_id=job.scope_id,
        job_id=job.job_id,
        operation_id=f"{_operation_id(job)}?",
        now=now,
    )


def _given_besides(job: JobRecord) -> JsonObject:
    """Return what else its operator reads, or finds others' messages by, where it is given."""
    versions = {} if job.versions is None else asdict(job.versions)
    given: JsonObject = {
        "session": job.session_id,
        "run": job.run_id,
        "identity": job.identity,
        "versions": {name: version for name, version in versions.items() if version is not None},
        "budgets": {} if job.budgets is None else job.budgets.to_dict(),
        "tags": dict(job.tags),
        "metadata": dict(job.metadata),
    }
    return {name: value for name, value in given.items() if value}


def _operation_id(job: JobRecord) -> str:
    return f"{job.origin}:{ADMISSION}"


def has_begun(run: JobRun) -> bool:
    """Whether the job's operator may have done anything yet, in an earlier run."""
    if run.job.fence <= 1:
        return False
    operation_id = f"{_operation_id(run.job)}?"
    if operation_id in run.history.steps:
        return operation_id in run.history.arrived
    return _ruling(run).allowed


async def is_admitted(run: JobRun) -> bool:
    """Whether a claimed job may run; otherwise it is ended, or goes on waiting for its approval.

    What was said of a job holds for the one that retries it: a refusal stays one, and a question that ended without an
    answer is asked again.
    """
    operation_id = f"{_operation_id(run.job)}?"
    asked = run.history.steps.get(operation_id)
    if asked is None:
        return await _is_ruled_in(run)
    answer = run.history.arrived.get(operation_id)
    if answer is None:
        await _suspend(run)
        return False
    error = "nobody approved this job in time"
    if answer.type == RuntimeEventType.ACTION_RESOLVED:
        verdict = Verdict.of(answered(recorded_action(asked.declaration), answer))
        if verdict.approved:
            return True
        error = verdict.refusal("this job")
    await _refuse(run, error)
    return False


async def _is_ruled_in(run: JobRun) -> bool:
    """Whether a job that nobody has been asked about may run, by what the policy has said of it; ask, if it wants that."""
    result = _ruling(run)
    if result.decision is PolicyDecision.DENY:
        await _refuse(run, refusal_of(result))
    elif result.decision is PolicyDecision.REQUIRE_APPROVAL:
        created = run.history.created
        assert created is not None  # noqa: S101 -- every journal begins with it
        action = _question(run.job, created, result, run.services.clock.now())
        await _suspend(run, asked_event(action), new_actions=[action], set_timers=expiry_timer(action))
    return result.allowed


def _ruling(run: JobRun) -> PolicyResult:
    """Return what the policy has said of the job, or of the one that it retries."""
    said = run.history.decisions.get(_operation_id(run.job), {})
    return next(map(PolicyResult.from_dict, said.values()), ALLOWED).enforced


async def _suspend(run: JobRun, *events: NewEvent, **parts: Any) -> None:
    suspended = NewEvent(RuntimeEventType.JOB_SUSPENDED, None, {"waits": ["action"]})
    change = JobChange(status=JobStatus.WAITING_ACTION, release=True)
    async with run.journal.final_turn():
        await run.journal.final_commit([*events, suspended], job=change, **parts)


async def _refuse(run: JobRun, error: str) -> None:
    ending = Completion(
        JobStatus.FAILED, error=error, error_code=PolicyDenied.code, error_type=PolicyDenied.__name__
    )
    await finish(run, ending)
