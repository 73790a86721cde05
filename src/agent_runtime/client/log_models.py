"""The execution logs as they are answered, under the names of the document that describes them. Money is a number here, in US dollars."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import BaseModel, Field

from agent_runtime.client.models import Answered, Json
from llm_client.json_text import dumps

if TYPE_CHECKING:
    from agent_runtime.observability import ExecutionLog, LLMCallLog

MAX_TEXT: Final = 200_000
"""Characters of one text of a call, unless all of it is asked for."""
LogStatus = Literal["started", "completed", "failed", "cancelled"]


class LoggedCallOfExecution(Answered):
    """A model call, beside the execution that it belongs to."""

    id: str
    provider: str
    model_id: str
    call_type: str
    status: str
    start_time: datetime
    duration_ms: int | None
    input_tokens: int | None
    output_tokens: int | None
    total_cost: float | None = Field(description="US dollars; null when no price is known.")


class LoggedCall(LoggedCallOfExecution):
    """A model call, of whose texts a list has the beginning of the error alone."""

    execution_log_id: str | None = Field(description="The row of the execution that it belongs to.")
    scope_id: str
    principal_id: str | None
    session_id: str | None
    agent: str
    end_time: datetime | None
    first_token_ms: int | None
    total_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    input_cost: float | None
    output_cost: float | None
    saved_cost: float | None
    price_source: str | None
    uncertain: bool = Field(description="The answer was lost; the cost is the most that it can have been.")
    is_streaming: bool
    chunks_count: int | None
    job_id: str | None
    operation_id: str | None
    attempt: int | None
    error_message: str | None
    report_id: str | None
    completion_id: str | None
    created_at: datetime | None
    updated_at: datetime | None

    @classmethod
    def of(cls, call: LLMCallLog) -> Self:
        """Return what is told of a call."""
        return cls.model_validate(call)


class LoggedCallWithTexts(LoggedCall):
    """A model call with what was asked and answered."""

    prompt: str | None
    response: str | None
    tool_calls: Json
    metadata: dict[str, Json]
    left_out: list[str] | None = Field(
        default=None, description="Fields that are not whole because they are long: `whole=true` gives them."
    )

    @classmethod
    def cut(cls, call: LLMCallLog) -> Self:
        """Return what is told of a call, without the middle of what is long."""
        told = cls.of(call)
        left_out: list[str] = []
        for name in ("prompt", "response"):
            text = getattr(told, name)
            if text is not None and len(text) > MAX_TEXT:
                left_out.append(name)
                half = MAX_TEXT // 2
                middle = f"\n… {len(text) - 2 * half:,} characters are left out …\n"
                setattr(told, name, text[:half] + middle + text[-half:])
        for name, empty in (("tool_calls", None), ("metadata", {})):
            if len(dumps(getattr(told, name))) > MAX_TEXT:
                left_out.append(name)
                setattr(told, name, empty)
        told.left_out = left_out or None
        return told


class LoggedExecution(Answered):
    """Something an agent did, of whose texts a list has the beginning of the error alone."""

    id: str
    execution_id: str = Field(description="What belongs together; of a job, the job's id.")
    parent_id: str | None = Field(description="The row of what it was done for.")
    scope_id: str
    principal_id: str | None
    session_id: str | None
    agent_type: str
    execution_step: str
    action_type: str | None
    status: str
    start_time: datetime
    end_time: datetime | None
    duration_ms: int | None
    error_message: str | None
    operation_id: str | None
    report_id: str | None
    completion_id: str | None
    widget_id: str | None
    step_id: str | None
    external_platform: str | None
    external_user_id: str | None
    created_at: datetime | None
    updated_at: datetime | None
    llm_calls: list[LoggedCallOfExecution] | None = Field(
        description="Its first model calls, where they are asked for: an answer has 500 of them at most."
    )
    llm_call_count: int | None = Field(description="How many it has in all, where they are asked for.")

    @classmethod
    def of(cls, one: ExecutionLog, calls: int | None) -> Self:
        """Return what is told of an execution.

        Args:
            one: The execution.
            calls: How many model calls belong to it; `None` where they are not asked for.
        """
        own = {
            name: getattr(one, name)
            for name in cls.model_fields
            if name not in ("llm_calls", "llm_call_count")
        }
        shown = (
            None if calls is None else [LoggedCallOfExecution.model_validate(call) for call in one.llm_calls]
        )
        return cls(**own, llm_calls=shown, llm_call_count=calls)


class LoggedExecutionWithTexts(LoggedExecution):
    """Something an agent did, with what it was given and what came of it."""

    input_data: Json
    output_data: Json
    metadata: dict[str, Json]


class ExecutionLogs(BaseModel):
    """Some executions of a list, the newest first."""

    executions: list[LoggedExecution]
    total: int = Field(description="Executions of the whole list.")
    limit: int
    offset: int


class LogsOfExecution(BaseModel):
    """What belongs to an execution, in the order it began."""

    execution_id: str
    executions: list[LoggedExecutionWithTexts]
    total: int = Field(description="Rows of the execution in all.")
    limit: int
    offset: int
    next_offset: int | None = Field(
        description="Where the rest begins, which an answer of 200 KB had no room for; null when there is none."
    )


class LLMCallLogs(BaseModel):
    """Some model calls of a list, the newest first."""

    llm_calls: list[LoggedCall]
    total: int = Field(description="Calls of the whole list.")
    limit: int
    offset: int


class DeletedLogs(BaseModel):
    """What was deleted."""

    execution_id: str
    executions: int = Field(description="Rows of executions.")
    llm_calls: int = Field(description="Rows of model calls.")


class DateRange(BaseModel):
    """A period."""

    start_date: datetime
    end_date: datetime


class AverageDuration(BaseModel):
    """How long model calls took."""

    avg_duration_ms: int | None


class DurationStats(AverageDuration):
    """How long executions took."""

    min_duration_ms: int | None
    max_duration_ms: int | None


class ExecutionAnalytics(BaseModel):
    """Executions of a period, added up. Rates are per cent of what has ended."""

    total_executions: int = Field(
        description="All rows: runs, steps, calls of tools, and what was logged by hand."
    )
    status_counts: dict[str, int]
    success_rate: float | None
    agent_type_counts: dict[str, int]
    agent_success_rates: dict[str, float | None]
    run_status_counts: dict[str, int] = Field(description="Of runs of jobs alone.")
    run_success_rate: float | None
    duration_stats: DurationStats


class TokenStats(BaseModel):
    """What model calls of a period have used. Costs are those of calls that have a price."""

    total_input_tokens: int
    total_output_tokens: int
    total_tokens: int
    total_cost: float
    cached_tokens: int
    reasoning_tokens: int
    cache_savings: float
    unpriced_calls: int = Field(description="Calls without a known price: with any, costs are lower bounds.")
    uncertain_calls: int


class CallAnalytics(BaseModel):
    """Model calls of a period, added up."""

    total_calls: int
    status_counts: dict[str, int]
    success_rate: float | None
    provider_counts: dict[str, int]
    model_counts: dict[str, int]
    token_stats: TokenStats
    duration_stats: AverageDuration
    cost_by_model: dict[str, float]
    cost_by_provider: dict[str, float]
    tokens_by_model: dict[str, int]
    tokens_by_provider: dict[str, int]
    unpriced_by_model: dict[str, int]
    unpriced_by_provider: dict[str, int]


class AnalyticsSummary(BaseModel):
    """What a period adds up to."""

    date_range: DateRange
    execution_analytics: ExecutionAnalytics
    llm_call_analytics: CallAnalytics
