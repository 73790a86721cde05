"""What is sent and answered, as it stands in the OpenAPI document: the same for the service and for its client.

The service makes what is answered of the runtime's own values; the client knows none of these.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from agent_runtime.client.model_bounds import MAX_MESSAGES, Sent, Tags, at_most, brief, for_example
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.api_key import Permission, Role
from agent_runtime.values.job import JobStatus
from llm_client.messages import Message

if TYPE_CHECKING:
    from agent_runtime.kernel.request import ExecutionResult
    from agent_runtime.ledger.totals import UsageTotal
    from agent_runtime.ports.workers import WorkerRecord
    from agent_runtime.values.action import ActionRecord
    from agent_runtime.values.budget import LedgerEntry
    from agent_runtime.values.context import BudgetSpec
    from agent_runtime.values.event import RuntimeEvent
    from agent_runtime.values.job import JobRecord
    from agent_runtime.values.standing_budget import BudgetStatus
    from llm_client.usage import Usage


Item = TypeVar("Item")
Json = Any
"""Any JSON value."""


class Answered(BaseModel):
    """What is answered, made of the runtime's own values."""

    model_config = ConfigDict(from_attributes=True)


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: str | None = Field(
        default=None, description="Where the next page goes on; null when there is none."
    )


class Mistake(BaseModel):
    """What is wrong with one field of a request."""

    place: str = Field(description="Where it stands, such as `body.priority` or `query.limit`.")
    message: str


class Problem(BaseModel):
    """Why a request was not done (RFC 9457)."""

    type: str = Field(
        description="Names the kind of problem.", examples=["urn:agent-runtime:problem:unknown_job"]
    )
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong, and what to do about it.")
    code: str = Field(description="Stable code of the kind.", examples=["UNKNOWN_JOB"])
    errors: list[Mistake] | None = Field(default=None, description="The fields that are wrong, if some are.")
    instance: str | None = Field(
        default=None,
        description="Names this one occurrence in the service's own log, where the service is at fault.",
    )


class RunBudget(Sent):
    """Limits of one run, its children included; what is not given has none."""

    max_tokens: int | None = None
    max_cost: Decimal | None = Field(default=None, description="US dollars.")
    max_tool_calls: int | None = None
    max_turns: int | None = Field(default=None, description="Calls of models.")
    max_runtime_seconds: float | None = Field(default=None, description="Active time; waits do not count.")
    mode: Literal["estimate", "hard"] = "estimate"
    unpriced: Literal["deny", "flag"] = "deny"
    exceed_strategy: Literal["deny", "wait"] = "deny"

    def to_spec(self) -> BudgetSpec:
        """Return it as the runtime knows it. Raises `InvalidInput`."""
        from agent_runtime.values.context import BudgetSpec

        return BudgetSpec(**self.model_dump())


class PolicyName(Sent):
    """A policy that requests choose by name."""

    name: str
    version: str | None = None


class ChatMessage(Sent):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str

    def to_message(self) -> Message:
        """Return it as the runtime knows it."""
        return Message(self.role, self.content)


Messages = Annotated[list[ChatMessage], at_most(MAX_MESSAGES, "messages")]


class JobRequest(Sent):
    """What a job is to do: a `prompt` (or `messages`) for the default agent, or an `operator` with its `input`."""

    operator: str | None = Field(default=None, description="Its name; the default agent if none is given.")
    prompt: str | None = None
    messages: Messages | None = Field(default=None, description="A conversation, instead of a prompt.")
    input: Json = Field(default=None, description="Any JSON value, for the operator.")
    principal_id: str | None = Field(default=None, description="On whose behalf.")
    session_id: str | None = None
    run_id: str | None = None
    identity: str | None = Field(default=None, description="Whose messages the job receives.")
    budgets: RunBudget | None = None
    policy: PolicyName | None = None
    deadline_seconds: float | None = Field(
        default=None, description="After this long the job is timed out, waits included."
    )
    priority: int = Field(default=0, description="Higher runs first.")
    queue: str = "default"
    metadata: dict[str, Json] = Field(default_factory=dict)
    tags: Tags = Field(default_factory=dict)


class NewJob(JobRequest):
    """A job to run: a `prompt` (or `messages`) for the default agent, or an `operator` with its `input`."""

    model_config = for_example(
        operator="ship", input={"order": 17}, tags={"team": "support"}, budgets={"max_cost": "0.50"}
    )

    scope_id: str | None = Field(
        default=None, description="For keys for all scopes alone; a key's own otherwise."
    )
    retry_failed: bool = Field(
        default=False, description="Retry the job of this key if it has ended without success."
    )
    idempotency_key: str | None = Field(default=None, description="As the header `Idempotency-Key`.")


class Job(Answered):
    """Where a job stands."""

    job_id: str
    status: JobStatus
    standing: str = Field(
        description="Its status, or `interrupted`: it is running on paper, and its process is gone."
    )
    operator: str | None
    scope_id: str
    principal_id: str | None
    session_id: str | None
    run_id: str | None
    identity: str | None
    idempotency_key: str | None
    queue: str
    priority: int
    parent_job_id: str | None
    predecessor_id: str | None = Field(description="The job in whose place this one goes on.")
    successor_id: str | None = Field(description="The job that goes on in this one's place.")
    chain_id: str = Field(description="The first job of those that go on in each other's place.")
    depth: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    deadline: datetime | None
    progress: float
    budgets: dict[str, Json] | None
    metadata: dict[str, Json]
    tags: dict[str, str]
    error: str | None
    error_code: str | None
    last_seq: int = Field(description="Entries of its journal.")
    left_out: list[str] | None = Field(
        default=None, description="Fields that are empty in a list because they are long: ask for the job."
    )

    @classmethod
    def of(cls, job: JobRecord, standing: str) -> Self:
        """Return what is told of a job; `standing` is its status, or that nobody works on it any more."""
        return cls(**_of_job(job, standing))

    @classmethod
    def in_list(cls, job: JobRecord, standing: str) -> Self:
        """Return what is told of a job in a list."""
        return cls(**brief(_of_job(job, standing), {"metadata": {}, "tags": {}, "error": "…"}))


def _of_job(job: JobRecord, standing: str) -> dict[str, Any]:
    others = ("budgets", "left_out", "standing")
    own = {name: getattr(job, name) for name in Job.model_fields if name not in others}
    own["standing"] = standing
    own["metadata"], own["tags"] = dict(job.metadata), dict(job.tags)
    own["budgets"] = None if job.budgets is None else dict(job.budgets.to_dict())
    return own


class Used(Answered):
    """What was used, and what it has cost."""

    input_tokens: int
    output_tokens: int
    requests: int
    cost: Decimal | None = Field(description="US dollars; null when a price is not known.")

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """Return what is told of a usage; what was never asked for has cost nothing."""
        cost = Decimal(0) if usage.cost is None and not usage.requests else usage.cost
        return cls(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            requests=usage.requests,
            cost=cost,
        )


class Result(Answered):
    """How a job has ended, or that it has not."""

    job_id: str = Field(
        description="The job that has ended: the last of those that went on in each other's place."
    )
    status: JobStatus
    content: str | None = Field(default=None, description="What it answered, as text.")
    output: Json = Field(default=None, description="What it gave, as JSON.")
    artifacts: list[Json] = Field(default_factory=list)
    turns: int | None = Field(default=None, description="Calls of models.")
    usage: Used | None = Field(default=None, description="All that it used, without its children.")
    children_usage: Used | None = None
    error: str | None = Field(default=None, description="Why it did not succeed, or why it cannot go on.")
    error_code: str | None = None

    @classmethod
    def of(cls, result: ExecutionResult) -> Self:
        """Return what is told of a success."""
        return cls(
            job_id=result.job_id,
            status=result.status,
            content=result.content,
            output=result.output,
            artifacts=list(result.artifacts),
            turns=result.turns,
            usage=Used.of(result.usage),
            children_usage=Used.of(result.children_usage),
        )

    @classmethod
    def unfinished(cls, job: JobRecord) -> Self:
        """Return what is told of a job that has no result."""
        return cls(job_id=job.job_id, status=job.status, error=job.error, error_code=job.error_code)


class Event(Answered):
    """An entry of a job's journal, or something that is told live and not stored."""

    seq: int | None = Field(
        description="Its place in the job's journal, from 1; null for what is not stored."
    )
    type: str
    job_id: str | None
    scope_id: str
    timestamp: datetime
    operation_id: str | None
    data: dict[str, Json]
    content: Json = Field(
        default=None, description="Messages, arguments, results; only where they are asked for."
    )

    @classmethod
    def of(cls, event: RuntimeEvent, *, content: bool = False) -> Self:
        """Return what is told of an event."""
        return cls(
            seq=event.seq,
            type=event.type,
            job_id=event.job_id,
            scope_id=event.scope_id,
            timestamp=event.timestamp,
            operation_id=event.operation_id,
            data=dict(event.data),
            content=event.body() if content else None,
        )


class Reason(Sent):
    """Why something is done."""

    model_config = for_example(reason="the order was withdrawn")

    reason: str | None = Field(default=None, max_length=2000)


class Retry(Sent):
    """How a job is retried."""

    model_config = for_example(from_step="charge", new_keys=True)

    from_step: str | None = Field(default=None, description="Do this step anew, and all that came after it.")
    budgets: RunBudget | None = Field(default=None, description="Instead of the job's own.")
    new_keys: bool = Field(default=False, description="Use new keys for what is done anew.")


class NewMessage(Sent):
    """A message to whichever job receives under an identity."""

    model_config = for_example(to="desk-7", message={"paid": True}, dedupe_key="payment-17")

    to: str = Field(description="The identity.")
    message: Json
    dedupe_key: str | None = Field(default=None, description="A second message with it is not sent.")
    scope_id: str | None = None


class SentMessage(BaseModel):
    """A message that was sent, now or before."""

    message_id: str
    position: int = Field(description="Its place among all that were ever sent to the identity.")
    waiting: int = Field(description="Messages that wait for the identity now.")


class Vote(BaseModel):
    """One approver's answer, while others' are waited for."""

    by: str
    resolution: Json


class Action(Answered):
    """A question that a job asks a person."""

    action_id: str
    type: str
    status: ActionStatus
    job_id: str | None
    scope_id: str
    operation_id: str | None
    payload: dict[str, Json] = Field(description="What a person needs in order to decide.")
    created_at: datetime
    expires_at: datetime | None
    resolved_at: datetime | None
    resolved_by: str | None
    resolution: dict[str, Json] | None
    approvers: list[str] | None = Field(description="Who may answer; null is everybody with the permission.")
    quorum: int
    votes: list[Vote]
    argument_schema: dict[str, Json] | None = Field(
        description="JSON Schema of arguments that an approver may edit."
    )
    left_out: list[str] | None = Field(
        default=None,
        description="Fields that are empty in a list because they are long: ask for the question.",
    )

    @classmethod
    def of(cls, action: ActionRecord) -> Self:
        """Return what is told of a question."""
        return cls(**_of_action(action))

    @classmethod
    def in_list(cls, action: ActionRecord) -> Self:
        """Return what is told of a question in a list."""
        empty: dict[str, Any] = {
            "payload": {},
            "resolution": {},
            "argument_schema": {},
            "votes": [],
            "approvers": [],
        }
        return cls(**brief(_of_action(action), empty))


def _of_action(action: ActionRecord) -> dict[str, Any]:
    own = {name: getattr(action, name) for name in Action.model_fields if name != "left_out"}
    for name in ("payload", "resolution", "argument_schema"):
        own[name] = None if own[name] is None else dict(own[name])
    own["approvers"] = None if action.approvers is None else list(action.approvers)
    own["votes"] = [{"by": vote["by"], "resolution": vote.get("resolution")} for vote in action.votes]
    return own


class Answer(Sent):
    """An answer to a question."""

    model_config = for_example(resolution={"approved": True, "reason": "checked with the customer"})

    resolution: dict[str, Json] = Field(
        description="To an approval `{approved, reason?, arguments?}`, to a confirm `{confirmed}`, to a choose `{choice}`, "
        "to an input `{value}`, to a reconcile `{outcome, result?, error?}`.",
    )
    resolved_by: str | None = Field(
        default=None,
        description="Who answers, where an admin's key passes on answers of people it has asked; everybody else answers as who they are.",
    )


class BudgetLine(Answered):
    """One limit, in its current window."""

    quantity: str
    window: str
    starts_at: datetime | None
    ends_at: datetime | None
    limit: int | Decimal
    settled: int | Decimal
    reserved: int | Decimal
    left: int | Decimal


class NewBudget(Sent):
    """A standing budget: at least one limit of what somebody may use. Costs are US dollars."""

    model_config = for_example(scope_id="acme", max_cost_daily="50.00", exceed_strategy="wait")

    scope_id: str | None = Field(
        default=None, description="The tenant; `*`: each has one of its own; null: one for all together."
    )
    principal_id: str | None = Field(default=None, description="A person; `*`: each has one of their own.")
    session_id: str | None = Field(default=None, description="A session; `*`: each has one of its own.")
    model: str | None = Field(default=None, description="Pattern of the models it counts; null counts all.")
    name: str | None = Field(default=None, description="Tells budgets for the same people apart.")
    max_tokens_per_request: int | None = None
    max_tokens_minute: int | None = None
    max_tokens_hourly: int | None = None
    max_tokens_daily: int | None = None
    max_tokens_monthly: int | None = None
    max_tokens_total: int | None = None
    max_cost_per_request: Decimal | None = None
    max_cost_minute: Decimal | None = None
    max_cost_hourly: Decimal | None = None
    max_cost_daily: Decimal | None = None
    max_cost_monthly: Decimal | None = None
    max_cost_total: Decimal | None = None
    max_requests_minute: int | None = None
    max_requests_hourly: int | None = None
    max_requests_daily: int | None = None
    max_requests_monthly: int | None = None
    max_requests_total: int | None = None
    max_tool_calls_per_request: int | None = None
    max_tool_calls_minute: int | None = None
    max_tool_calls_hourly: int | None = None
    max_tool_calls_daily: int | None = None
    max_tool_calls_monthly: int | None = None
    max_tool_calls_total: int | None = None
    max_turns_minute: int | None = None
    max_turns_hourly: int | None = None
    max_turns_daily: int | None = None
    max_turns_monthly: int | None = None
    max_turns_total: int | None = None
    warning_threshold: float = 0.8
    exceed_strategy: Literal["deny", "degrade", "warn", "wait"] = "deny"
    degrade_to: str | None = Field(default=None, description="The model to ask instead, with `degrade`.")
    mode: Literal["hard", "estimate"] = "hard"
    unpriced: Literal["deny", "flag"] = "deny"
    timezone: str = Field(default="UTC", description="In which hours, days and months begin.")


class Budget(BaseModel):
    """A standing budget, and where it stands."""

    budget_id: str
    label: str
    budget: dict[str, Json]
    lines: list[BudgetLine] = Field(
        description="Empty where each one has a budget of their own, and nobody is named."
    )

    @classmethod
    def of(cls, status: BudgetStatus) -> Self:
        """Return what is told of a budget."""
        budget = status.budget
        lines = [BudgetLine.model_validate(line) for line in status.lines]
        return cls(budget_id=budget.budget_id, label=budget.label, budget=dict(budget.to_dict()), lines=lines)


class BudgetChanges(Sent):
    """Changes of the stored budgets."""

    model_config = for_example(save=[{"scope_id": "acme", "max_cost_daily": "50.00"}])

    save: list[NewBudget] = Field(
        default_factory=list,
        max_length=1_000,
        description="Each in the place of the one for the same people.",
    )
    delete: list[str] = Field(default_factory=list, max_length=1_000, description="Ids of budgets.")


class Entry(Answered):
    """One request to a model, or call of a tool, and what it has cost."""

    entry_id: str
    type: str
    status: str
    job_id: str | None
    scope_id: str
    principal_id: str | None
    session_id: str | None
    run_id: str | None
    agent: str | None
    provider: str | None
    model: str | None
    tool_name: str | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost: Decimal | None = Field(description="US dollars; null when no price is known.")
    price_source: str | None
    service_tier: str | None = Field(
        description="The tier whose price was taken; null where the vendor said nothing."
    )
    uncertain: bool = Field(
        description="Its answer was lost; it is counted at the most that it can have cost."
    )
    was: str | None = Field(
        description="What the entry was that this one corrects: `uncertain` or `unpriced`."
    )
    duration_ms: int | None
    timestamp: datetime

    @classmethod
    def of(cls, entry: LedgerEntry) -> Self:
        """Return what is told of an entry."""
        return cls.model_validate(entry)


class Spent(Answered):
    """Entries of the ledger, added up."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: Decimal = Field(description="US dollars of all that has a price.")
    entries: int
    failed: int
    uncertain: int
    unpriced: int = Field(description="Entries without a known price: with any, `cost` is a lower bound.")

    @classmethod
    def of(cls, total: UsageTotal) -> Self:
        """Return what is told of a sum."""
        return cls.model_validate(total)


class Costs(BaseModel):
    """What was spent, group by group, and in all."""

    by: str
    groups: dict[str, Spent]
    total: Spent


class PolicyQuestion(Sent):
    """What a policy is asked."""

    model_config = for_example(action="tool", name="send_mail", arguments={"to": "ann@example.com"})

    action: Literal["job", "model", "tool", "connector"]
    name: str = Field(description="Of the operator, model, tool or connector.")
    arguments: dict[str, Json] = Field(default_factory=dict, description="Of a tool.")
    scope_id: str | None = None
    principal_id: str | None = None
    tags: Tags = Field(default_factory=dict)


class PolicyAnswer(BaseModel):
    """What the policy decides, and how it comes to that."""

    policy: str
    version: str
    decision: dict[str, Json]
    explanation: str = Field(description="What every rule had to say.")


class Worker(Answered):
    """A process that executes jobs."""

    worker_id: str
    queues: list[str]
    operators: list[str]
    started_at: datetime
    heartbeat_at: datetime
    only_waits: bool

    @classmethod
    def of(cls, worker: WorkerRecord) -> Self:
        """Return what is told of a worker."""
        return cls.model_validate(worker)


class Executed(BaseModel):
    """What is executed now."""

    operators: list[str] = Field(description="Names of the operators that workers know, sorted.")
    is_executing: bool = Field(description="Whether any process executes jobs, or waits to.")


class Overview(BaseModel):
    """What a first page shows."""

    scope_id: str | None
    jobs: dict[JobStatus, int] = Field(description="How many there are, status by status.")
    pending_actions: list[Action] = Field(
        description="The newest questions that wait for an answer: ten, or as many as are short enough."
    )
    newest_jobs: list[Job] = Field(description="Ten, or as many as are short enough.")
    spent_today: Spent = Field(description="Since midnight, UTC.")
    workers: int | None = Field(
        description="Processes that execute jobs now; null for who sees one scope alone."
    )
    as_of: datetime


class Health(BaseModel):
    """Whether the service can do its work."""

    status: Literal["ok", "unavailable"]


class NewSession(Sent):
    """What a browser brings once."""

    key: str = Field(
        max_length=3800, description="The text of an API key, or a token of the identity provider."
    )


class Caller(BaseModel):
    """Who asks."""

    name: str = Field(description="Of the key, or of whom a token names; no secret.")
    role: Role
    scope_id: str | None = Field(description="Null for every scope.")
    principal_id: str | None
    permissions: list[Permission]
