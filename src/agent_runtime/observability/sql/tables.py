"""The tables of execution logs and call logs, and what is added up of them, declared once.

They stand in the runtime's own database, or in any other that SQLAlchemy knows as SQLite or Postgres: `metadata` is what an application's own
Alembic takes into its migrations. Texts are redacted; money is whole 10⁻¹⁰ dollars, with dollars in a generated column beside it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData()

Id: TypeEngine[Any] = Text().with_variant(UUID(as_uuid=False), "postgresql")
Json: TypeEngine[Any] = JSON(
    none_as_null=True
)  # of JSONB beside it Alembic writes a migration that is no Python
Time: TypeEngine[Any] = DateTime(timezone=True)


def _required(name: str, kind: Any, default: str | None = None) -> Column[Any]:
    return Column(name, kind, nullable=False, server_default=None if default is None else text(default))


def _money(name: str) -> tuple[Column[Any], Column[Any]]:
    """Return the columns of an amount: whole units, and dollars under the documented name."""
    units = f"{name}_units"
    return Column(units, BigInteger), Column(
        name, Numeric(20, 10), Computed(f"{units} / 10000000000.0", persisted=True)
    )


def _whose() -> tuple[Column[Any], ...]:
    return _required("scope_id", Text, "'default'"), Column("principal_id", Text), Column("session_id", Text)


execution_logs: Final = Table(
    "execution_logs",
    metadata,
    Column("id", Id, primary_key=True),
    _required("execution_id", Text),
    Column("parent_id", Id),
    *_whose(),
    _required("agent_type", Text),
    _required("execution_step", Text),
    Column("action_type", Text),
    _required("status", Text, "'started'"),
    _required("start_time", Time),
    Column("end_time", Time),
    Column("duration_ms", BigInteger),
    Column("input_data", Json),
    Column("output_data", Json),
    Column("error_message", Text),
    Column("metadata", Json),
    Column("operation_id", Text),
    Column("report_id", Text),
    Column("completion_id", Text),
    Column("widget_id", Text),
    Column("step_id", Text),
    Column("external_platform", Text),
    Column("external_user_id", Text),
    Column("last_seq", BigInteger),
    _required("created_at", Time),
    _required("updated_at", Time),
    Index("execution_logs_of_execution", "execution_id", "start_time"),
    Index("execution_logs_by_scope", "scope_id", "start_time", "id"),
    Index("execution_logs_by_time", "start_time", "id"),
    Index("execution_logs_of_operation", "operation_id"),
    Index("execution_logs_of_report", "report_id", "start_time"),
    Index("execution_logs_of_principal", "principal_id"),
)

llm_call_logs: Final = Table(
    "llm_call_logs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("execution_log_id", Text),
    *_whose(),
    _required("agent", Text, "''"),
    _required("provider", Text),
    _required("model_id", Text),
    _required("call_type", Text, "'inference'"),
    _required("status", Text, "'started'"),
    _required("start_time", Time),
    Column("end_time", Time),
    Column("duration_ms", BigInteger),
    Column("first_token_ms", BigInteger),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("total_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    *_money("input_cost"),
    *_money("output_cost"),
    *_money("total_cost"),
    *_money("saved_cost"),
    Column("price_source", Text),
    _required("uncertain", Boolean, "false"),
    _required("is_streaming", Boolean, "false"),
    Column("chunks_count", Integer),
    Column("job_id", Text),
    Column("operation_id", Text),
    Column("attempt", Integer),
    Column("prompt", Text),
    Column("request", Json),
    Column("response", Text),
    Column("tool_calls", Json),
    Column("error_message", Text),
    Column("metadata", Json),
    Column("report_id", Text),
    Column("completion_id", Text),
    Column("last_seq", BigInteger),
    _required("created_at", Time),
    _required("updated_at", Time),
    Index("llm_call_logs_of_execution", "execution_log_id", "start_time"),
    Index("llm_call_logs_by_scope", "scope_id", "start_time", "id"),
    Index("llm_call_logs_by_time", "start_time", "id"),
    Index("llm_call_logs_of_operation", "operation_id"),
    Index("llm_call_logs_of_report", "report_id", "start_time"),
    Index("llm_call_logs_of_principal", "principal_id"),
)

execution_rollups: Final = Table(
    "execution_log_rollups",
    metadata,
    _required("grain", Text),
    _required("begins", Time),
    _required("scope_id", Text),
    _required("agent_type", Text),
    _required("execution_step", Text),
    _required("status", Text),
    _required("executions", BigInteger),
    _required("timed", BigInteger),
    _required("duration_ms", BigInteger),
    Column("shortest_ms", BigInteger),
    Column("longest_ms", BigInteger),
    PrimaryKeyConstraint(
        "grain",
        "begins",
        "scope_id",
        "agent_type",
        "execution_step",
        "status",
        name="execution_log_rollups_key",
    ),
)

call_rollups: Final = Table(
    "llm_call_rollups",
    metadata,
    _required("grain", Text),
    _required("begins", Time),
    _required("scope_id", Text),
    _required("agent", Text),
    _required("provider", Text),
    _required("model_id", Text),
    _required("call_type", Text),
    _required("status", Text),
    *(
        _required(name, BigInteger)
        for name in (
            "calls",
            "timed",
            "duration_ms",
            "input_tokens",
            "output_tokens",
            "cached_tokens",
            "reasoning_tokens",
            "cost_units",
            "saved_units",
            "unpriced",
            "uncertain",
        )
    ),
    PrimaryKeyConstraint(
        "grain",
        "begins",
        "scope_id",
        "agent",
        "provider",
        "model_id",
        "call_type",
        "status",
        name="llm_call_rollups_key",
    ),
)

latency_rollups: Final = Table(
    "latency_rollups",
    metadata,
    _required("kind", Text),
    _required("grouped_by", Text),
    _required("day", Time),
    _required("scope_id", Text),
    _required("name", Text),
    _required("bucket", Integer),
    _required("n", BigInteger),
    PrimaryKeyConstraint(
        "kind", "grouped_by", "day", "scope_id", "name", "bucket", name="latency_rollups_key"
    ),
)

log_settings: Final = Table(
    "log_settings",
    metadata,
    Column("name", Text, primary_key=True),
    _required("value", Json),
)

ROLLUPS: Final = (execution_rollups, call_rollups, latency_rollups)
CONTENT: Final = {
    execution_logs: ("input_data", "output_data", "error_message", "metadata"),
    llm_call_logs: ("prompt", "request", "response", "tool_calls", "error_message", "metadata"),
}
"""Columns with texts of people, models and tools. Lists do not read them."""
