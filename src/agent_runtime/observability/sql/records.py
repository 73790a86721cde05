"""What has been logged, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self

from sqlalchemy import Column, RowMapping, Table

from agent_runtime.observability.sql.tables import CONTENT
from agent_runtime.observability.sql.writing import as_written
from agent_runtime.values.money import to_dollars
from llm_client.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMCallLog:
    """One attempt to ask a model. Lists leave the texts out: `get_llm_call` reads them."""

    id: str
    execution_log_id: str | None = None
    """The row of the execution that it belongs to."""
    scope_id: str = "default"
    principal_id: str | None = None
    session_id: str | None = None
    agent: str = ""
    provider: str
    model_id: str
    call_type: str = "inference"
    """`inference`, `inference_stream` or `embedding`."""
    status: str = "started"
    """`started`, `completed`, `failed` or `cancelled`."""
    start_time: datetime
    end_time: datetime | None = None
    duration_ms: int | None = None
    first_token_ms: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the input tokens, those that were read from the vendor's cache."""
    reasoning_tokens: int | None = None
    input_cost: Decimal | None = None
    """US dollars; `None` where no price is known, as of the others."""
    output_cost: Decimal | None = None
    total_cost: Decimal | None = None
    saved_cost: Decimal | None = None
    """What the tokens from the cache would have cost more."""
    price_source: str | None = None
    uncertain: bool = False
    """The answer was lost; the cost is the most that it can have been."""
    is_streaming: bool = False
    chunks_count: int | None = None
    job_id: str | None = None
    operation_id: str | None = None
    attempt: int | None = None
    prompt: str | None = None
    """What was asked, as text."""
    messages: tuple[Message, ...] = ()
    """What was asked, of calls in jobs."""
    response: str | None = None
    tool_calls: Any = None
    """The tools that the model called, as JSON values."""
    error_message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    report_id: str | None = None
    completion_id: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @classmethod
    def of(cls, row: RowMapping | Mapping[str, object]) -> Self:
        """Return what a row of the table says."""
        values = as_written(row)
        for name in _AMOUNTS:
            units: Any = values.pop(f"{name}_units", None)
            values[name] = None if units is None else to_dollars(units)
        return cls(**_known(cls, values))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionLog:
    """Something an agent did, from its beginning to its end. Lists leave the texts out: `get_execution` reads them."""

    id: str
    execution_id: str
    """What belongs together, such as all that one job has done: the job's id."""
    parent_id: str | None = None
    """The row of what it was done for."""
    scope_id: str = "default"
    principal_id: str | None = None
    session_id: str | None = None
    agent_type: str
    execution_step: str
    """What kind of thing was done; of jobs `run`, `step` or `tool`."""
    action_type: str | None = None
    """Which one; of jobs the name of the step or tool."""
    status: str = "started"
    """`started`, `completed`, `failed` or `cancelled`."""
    start_time: datetime
    end_time: datetime | None = None
    duration_ms: int | None = None
    input_data: Any = None
    output_data: Any = None
    error_message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    operation_id: str | None = None
    report_id: str | None = None
    completion_id: str | None = None
    widget_id: str | None = None
    step_id: str | None = None
    external_platform: str | None = None
    external_user_id: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    llm_calls: tuple[LLMCallLog, ...] = ()
    """Where they were asked for."""

    @classmethod
    def of(cls, row: RowMapping | Mapping[str, object]) -> Self:
        """Return what a row of the table says."""
        return cls(**_known(cls, as_written(row)))


_AMOUNTS: Final = ("input_cost", "output_cost", "total_cost", "saved_cost")


def _known(record: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(record)}
    known = {name: value for name, value in values.items() if name in names}
    known["id"] = str(known["id"])
    if known.get("parent_id") is not None:
        known["parent_id"] = str(known["parent_id"])
    known["metadata"] = known.get("metadata") or {}
    return known


def columns_of(table: Table, *, content: bool) -> list[Column[object]]:
    """Return the columns that are read of a table: dollars are made of the units."""
    texts = () if content else CONTENT[table]
    return [column for column in table.columns if column.computed is None and column.name not in texts]
