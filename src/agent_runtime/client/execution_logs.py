"""`client.execution_logs`: what agents did and models were asked, as rows, and added up."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, Unpack

from agent_runtime.client.log_models import (
    AnalyticsSummary,
    DeletedLogs,
    ExecutionLogs,
    LLMCallLogs,
    LoggedCallWithTexts,
    LogsOfExecution,
    LogStatus,
)
from agent_runtime.client.resource import Resource


class ExecutionFilters(TypedDict, total=False):
    """Which executions are meant; what is left out is not looked at."""

    scope_id: str | None
    report_id: str | None
    agent_type: str | None
    execution_step: str | None
    action_type: str | None
    status: LogStatus | None
    external_platform: str | None
    start_date: datetime | None
    end_date: datetime | None


class CallFilters(TypedDict, total=False):
    """Which model calls are meant; what is left out is not looked at."""

    scope_id: str | None
    provider: str | None
    model_id: str | None
    call_type: str | None
    status: LogStatus | None
    report_id: str | None
    execution_log_id: str | None
    start_date: datetime | None
    end_date: datetime | None


class AsyncExecutionLogs(Resource):
    """The execution logs."""

    async def executions(
        self,
        *,
        limit: int = 50,
        offset: int = 0,
        include_llm_calls: bool = False,
        **filters: Unpack[ExecutionFilters],
    ) -> ExecutionLogs:
        """Return executions without their texts, the newest first, with how many there are.

        Args:
            limit: How many, 500 at most.
            offset: How many to leave out.
            include_llm_calls: With the model calls that belong to them.
            filters: Which ones.
        """
        return await self._sender.call(
            "GET",
            "/execution-logs/executions",
            ExecutionLogs,
            query={
                "scope_id": filters.get("scope_id"),
                "report_id": filters.get("report_id"),
                "agent_type": filters.get("agent_type"),
                "execution_step": filters.get("execution_step"),
                "action_type": filters.get("action_type"),
                "status": filters.get("status"),
                "external_platform": filters.get("external_platform"),
                "start_date": filters.get("start_date"),
                "end_date": filters.get("end_date"),
                "limit": limit,
                "offset": offset,
                "include_llm_calls": include_llm_calls,
            },
        )

    async def execution(
        self,
        execution_id: str,
        *,
        scope_id: str | None = None,
        include_llm_calls: bool = True,
        limit: int = 100,
        offset: int = 0,
    ) -> LogsOfExecution:
        """Return what is logged of an execution with its texts, in the order it began; `next_offset` says where the rest begins.

        Args:
            execution_id: The execution's; of a job, the job's id.
            scope_id: For keys for all scopes.
            include_llm_calls: With the model calls that belong to it.
            limit: How many rows, 500 at most.
            offset: How many to leave out.

        Raises:
            UnknownExecution: Nothing is logged of it.
        """
        return await self._sender.call(
            "GET",
            "/execution-logs/executions/{execution_id}",
            LogsOfExecution,
            path={"execution_id": execution_id},
            query={
                "scope_id": scope_id,
                "include_llm_calls": include_llm_calls,
                "limit": limit,
                "offset": offset,
            },
        )

    async def llm_calls(
        self, *, limit: int = 50, offset: int = 0, **filters: Unpack[CallFilters]
    ) -> LLMCallLogs:
        """Return model calls without their texts, the newest first, with how many there are.

        Args:
            limit: How many, 500 at most.
            offset: How many to leave out.
            filters: Which ones.
        """
        return await self._sender.call(
            "GET",
            "/execution-logs/llm-calls",
            LLMCallLogs,
            query={
                "scope_id": filters.get("scope_id"),
                "provider": filters.get("provider"),
                "model_id": filters.get("model_id"),
                "call_type": filters.get("call_type"),
                "status": filters.get("status"),
                "report_id": filters.get("report_id"),
                "execution_log_id": filters.get("execution_log_id"),
                "start_date": filters.get("start_date"),
                "end_date": filters.get("end_date"),
                "limit": limit,
                "offset": offset,
            },
        )

    async def llm_call(
        self, call_id: str, *, scope_id: str | None = None, whole: bool = False
    ) -> LoggedCallWithTexts:
        """Return a model call with what was asked and answered.

        Args:
            call_id: The row's.
            scope_id: For keys for all scopes.
            whole: All of its texts, however long they are; else `left_out` names those whose middle is not there.

        Raises:
            UnknownExecution: There is none.
        """
        return await self._sender.call(
            "GET",
            "/execution-logs/llm-calls/{call_id}",
            LoggedCallWithTexts,
            path={"call_id": call_id},
            query={"scope_id": scope_id, "whole": whole},
        )

    async def summary(
        self,
        *,
        scope_id: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        report_id: str | None = None,
    ) -> AnalyticsSummary:
        """Return what executions and model calls of a period add up to, by default of the last 30 days."""
        return await self._sender.call(
            "GET",
            "/execution-logs/analytics/summary",
            AnalyticsSummary,
            query={
                "scope_id": scope_id,
                "start_date": start_date,
                "end_date": end_date,
                "report_id": report_id,
            },
        )

    async def delete(self, execution_id: str, *, scope_id: str | None = None) -> DeletedLogs:
        """Delete all that is logged of an execution. Raises `UnknownExecution`."""
        return await self._sender.call(
            "DELETE",
            "/execution-logs/executions/{execution_id}",
            DeletedLogs,
            path={"execution_id": execution_id},
            query={"scope_id": scope_id},
        )
