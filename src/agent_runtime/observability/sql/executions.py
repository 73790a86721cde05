"""Logging what agents do, outside of jobs as well."""

from __future__ import annotations

import asyncio
import secrets
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from agent_runtime.observability.sql.database import database_of
from agent_runtime.observability.sql.ids import new_row
from agent_runtime.observability.sql.patience import logged
from agent_runtime.observability.sql.records import ExecutionLog
from agent_runtime.observability.sql.tables import execution_logs
from agent_runtime.observability.sql.texts import MAX_TEXT, kept, stored_id, stored_name
from agent_runtime.observability.sql.writing import Change
from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.values.context import DEFAULT_SCOPE
from llm_client.public_text import kind_of, raw_text_of
from llm_client.turns import aside

CURRENT: ContextVar[ExecutionLog | None] = ContextVar("agent_runtime_execution_log", default=None)
"""The execution that the current task is inside of."""
STATUSES: Final = ("started", "completed", "failed", "cancelled")


@dataclass(slots=True, kw_only=True)
class LogContext:
    """What the body of `log_execution` says of what it does."""

    log: ExecutionLog
    output_data: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)
    status: str = "completed"
    """How it ends if nothing is raised."""


class ExecutionLogger:
    """Logs executions as rows of `execution_logs`.

    What is logged is written when a method returns, or soon after where the database is slow; what goes wrong with it is told to Python's
    `logging`, and never touches who logs. Inside `log_execution`, what is begun belongs to it, and so do model calls that are logged.

    Args:
        db: Where to: a storage, an SQLAlchemy engine, an `AsyncEngine` or an `AsyncSession`, whose transaction is left alone.
        scope_id: Whose executions they are.
        principal_id: Who asked for them.
        session_id: What conversation they belong to.
        content: Whether texts are kept: what was given and returned, and what errors say.
        clock: What time it is.
    """

    def __init__(
        self,
        db: object,
        *,
        scope_id: str = DEFAULT_SCOPE,
        principal_id: str | None = None,
        session_id: str | None = None,
        content: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._database = database_of(db)
        self._whose = {
            "scope_id": scope_id,  # compared as it is
            "principal_id": stored_id(principal_id),
            "session_id": stored_id(session_id),
        }
        self._content = content
        self._clock = clock or SystemClock()

    @asynccontextmanager
    async def log_execution(
        self,
        agent_type: str,
        execution_step: str,
        *,
        action_type: str | None = None,
        input_data: object = None,
        metadata: Mapping[str, object] | None = None,
        execution_id: str | None = None,
        **links: str | None,
    ) -> AsyncIterator[LogContext]:
        """Log what the body does, from its beginning to its end: `completed`, `failed` with what was raised, or `cancelled`.

        Args:
            agent_type: Who does it, such as `planner`.
            execution_step: What kind of thing is done, such as `plan`.
            action_type: Which one.
            input_data: What it is done with.
            metadata: What else is to be known.
            execution_id: What belongs together; by default that of the execution around it, or a new one.
            links: `report_id`, `completion_id`, `widget_id`, `step_id`, `external_platform`, `external_user_id`.
        """
        log = await self.start_execution(
            agent_type,
            execution_step,
            action_type=action_type,
            input_data=input_data,
            metadata=metadata,
            execution_id=execution_id,
            **links,
        )
        context = LogContext(log=log, metadata=dict(metadata or {}))
        inside = CURRENT.set(log)
        error: BaseException | None = None
        try:
            yield context
        except BaseException as raised:
            error = raised
            raise
        finally:
            CURRENT.reset(inside)
            await self._end(context, error)

    async def _end(self, context: LogContext, error: BaseException | None) -> None:
        status, message = context.status, None
        if error is not None:
            status = "failed" if isinstance(error, Exception) else "cancelled"
            if self._content:
                message, trace = await aside(_told, error)
                context.metadata.setdefault("stack_trace", trace)
        await self.end_execution(
            context.log,
            status=status,
            output_data=context.output_data,
            error_message=message,
            metadata=context.metadata,
        )

    async def start_execution(
        self,
        agent_type: str,
        execution_step: str,
        *,
        action_type: str | None = None,
        input_data: object = None,
        metadata: Mapping[str, object] | None = None,
        execution_id: str | None = None,
        **links: str | None,
    ) -> ExecutionLog:
        """Log that something begins, and return its row, for `end_execution`. The arguments are those of `log_execution`."""
        _check_links(links)
        now, around = self._clock.now(), CURRENT.get()
        if execution_id is None:
            execution_id = around.execution_id if around is not None else _new_execution_id(now.timestamp())
        values: dict[str, Any] = {
            "execution_id": stored_name(execution_id),
            "parent_id": None if around is None else around.id,
            **self._whose,
            "agent_type": stored_name(agent_type),
            "execution_step": stored_name(execution_step),
            "action_type": stored_name(action_type),
            "status": "started",
            "start_time": now,
            **{name: stored_name(value) for name, value in links.items()},
        }
        if self._content:
            values |= await kept(input_data=input_data, metadata=metadata or None)
        id_ = new_row()
        await logged(self._database, Change(execution_logs, id_, values))
        return ExecutionLog.of({**values, "id": id_})

    async def end_execution(
        self,
        execution_log: ExecutionLog,
        status: str = "completed",
        *,
        output_data: object = None,
        error_message: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Log how something ended.

        Args:
            execution_log: What `start_execution` has returned.
            status: `completed`, `failed` or `cancelled`.
            output_data: What came of it.
            error_message: What went wrong.
            metadata: What else is to be known, in the place of what was said at its beginning.
        """
        now = self._clock.now()
        values: dict[str, Any] = {
            **{
                name: getattr(execution_log, name) for name in _OF_BEGINNING
            },  # which may not have been written
            "status": status if status in STATUSES else "completed",
            "end_time": now,
            "duration_ms": max(0, round((now - execution_log.start_time).total_seconds() * 1000)),
        }
        if self._content:
            values |= await kept(output_data=output_data, error_message=error_message)
            if metadata:
                values |= await kept(metadata=metadata)
        await logged(self._database, Change(execution_logs, execution_log.id, values))

    async def aclose(self) -> None:
        """Finish what waits to be written, and close what was opened for it."""
        await asyncio.shield(self._database.aclose())


def _told(error: BaseException) -> tuple[str, str]:
    """Return what an error says and where it was raised, which may be long; none of it may be said by an error of its own."""
    try:
        message = raw_text_of(error)
        if len(message) > MAX_TEXT:  # its lines would be gone through one by one
            return message, "".join(traceback.format_tb(error.__traceback__))
        return message, "".join(traceback.format_exception(error))
    except Exception as other:  # noqa: BLE001 -- an exception is anybody's class
        return kind_of(error), kind_of(other)


_OF_BEGINNING: Final = (
    "execution_id",
    "parent_id",
    "scope_id",
    "principal_id",
    "session_id",
    "agent_type",
    "execution_step",
    "action_type",
    "start_time",
)
_LINKS: Final = frozenset(
    {"report_id", "completion_id", "widget_id", "step_id", "external_platform", "external_user_id"}
)


def _check_links(links: Mapping[str, object]) -> None:
    unknown = links.keys() - _LINKS
    if unknown:
        raise TypeError(f"{min(unknown)!r} is not something an execution can belong to")


def _new_execution_id(seconds: float) -> str:
    return f"exec_{secrets.token_hex(8)}_{int(seconds)}"
