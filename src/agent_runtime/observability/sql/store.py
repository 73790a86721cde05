"""Reading the logs, adding them up, and letting them go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Unpack

from agent_runtime.observability.sql import analytics, pages, reading, retention
from agent_runtime.observability.sql.analytics import CallSums
from agent_runtime.observability.sql.database import database_of
from agent_runtime.observability.sql.pages import LogPage
from agent_runtime.observability.sql.reading import ExecutionFilters, LLMCallFilters, as_moment, check_page
from agent_runtime.observability.sql.records import ExecutionLog, LLMCallLog
from agent_runtime.observability.sql.retention import Forgotten
from agent_runtime.observability.sql.tables import execution_logs, llm_call_logs, metadata

DEFAULT_DAYS: Final = 30
MAX_CHARACTERS: Final = 1_000_000
"""Of texts that are read at once."""
_EARLIEST: Final = datetime(1, 3, 1, tzinfo=UTC)


class LogStore:
    """The logs of a database: lists, single rows with their texts, sums, and what is kept for how long.

    Args:
        db: Where they stand: a storage, an SQLAlchemy engine, an `AsyncEngine` or an `AsyncSession`.
    """

    def __init__(self, db: object) -> None:
        self._database = database_of(db)

    async def create_tables(self) -> None:
        """Make the tables where they are missing. In a storage's own database they are there."""
        await self._database.run(metadata.create_all)

    async def executions(
        self,
        *,
        limit: int = 100,
        offset: int = 0,
        before: str | None = None,
        include_llm_calls: bool = False,
        steps: bool = True,
        errors: bool = False,
        sort: str | None = None,
        **filters: Unpack[ExecutionFilters],
    ) -> list[ExecutionLog]:
        """Return executions without their texts, the newest first.

        Args:
            limit: How many, 500 at most.
            offset: How many to leave out; `before` is faster.
            before: Id of the last one of the page before.
            include_llm_calls: Whether the calls that belong to them are read too.
            steps: Whether steps and tools' calls of jobs are among them, beside the runs.
            errors: Whether what errors say is read too, up to 200 characters.
            sort: `duration`, `calls` or `cost`: the largest first. This is looked up in all rows of the period.
            filters: Which ones.

        Raises:
            InvalidInput: A filter or a bound is not valid.
            StorageError: The database cannot be read.
        """
        check_page(limit, offset)
        return await self._database.read(
            partial(
                reading.executions,
                filters=filters,
                limit=limit,
                offset=offset,
                before=before,
                include_llm_calls=include_llm_calls,
                steps=steps,
                errors=errors,
                sort=sort,
            )
        )

    async def count_executions(self, **filters: Unpack[ExecutionFilters]) -> int:
        """Return how many executions there are. Raises as `executions` does."""
        return await self._database.read(partial(reading.count, table=execution_logs, filters=filters))

    async def execution(
        self,
        execution_id: str,
        *,
        scope_id: str | None = None,
        include_llm_calls: bool = True,
        limit: int = 1000,
    ) -> list[ExecutionLog]:
        """Return all that belongs to an execution with its texts, in the order it began; of a job, `execution_id` is the job's id.

        Args:
            execution_id: What belongs together, or the id of one of its rows.
            scope_id: Hides what is another scope's.
            include_llm_calls: Whether the calls that belong to it are read too, without their texts.
            limit: How many rows at most.
        """
        return await self._database.read(
            partial(
                reading.execution,
                execution_id=execution_id,
                scope_id=scope_id,
                include_llm_calls=include_llm_calls,
                limit=limit,
            )
        )

    async def page_of_executions(
        self,
        *,
        limit: int = 100,
        offset: int = 0,
        include_llm_calls: bool = False,
        **filters: Unpack[ExecutionFilters],
    ) -> LogPage[ExecutionLog]:
        """Return executions without their texts, the newest first, with how many there are in all, both of one moment.

        Args:
            limit: How many, 500 at most.
            offset: How many to leave out.
            include_llm_calls: Whether calls that belong to them are read too: 500 at most, first each one's first.
            filters: Which ones.

        Raises:
            InvalidInput: A filter or a bound is not valid.
            StorageError: The database cannot be read.
        """
        check_page(limit, offset)
        step = partial(
            pages.executions, filters=filters, limit=limit, offset=offset, include_llm_calls=include_llm_calls
        )
        return await self._database.read(step)

    async def page_of_execution(
        self,
        execution_id: str,
        *,
        scope_id: str | None = None,
        include_llm_calls: bool = True,
        limit: int = 100,
        offset: int = 0,
        max_characters: int = MAX_CHARACTERS,
    ) -> LogPage[ExecutionLog]:
        """Return what belongs to an execution with its texts, in the order it began, with how much there is in all.

        Args:
            execution_id: What belongs together, or the id of one of its rows.
            scope_id: Hides what is another scope's.
            include_llm_calls: As of `page_of_executions`.
            limit: How many rows, 500 at most.
            offset: How many to leave out.
            max_characters: How long their texts may be together; the first row is given in any case.
        """
        check_page(limit, offset)
        return await self._database.read(
            partial(
                pages.execution,
                execution_id=execution_id,
                scope_id=scope_id,
                include_llm_calls=include_llm_calls,
                limit=limit,
                offset=offset,
                most=max_characters,
            )
        )

    async def descendants(
        self, execution_id: str, *, scope_id: str | None = None, limit: int = 500
    ) -> list[ExecutionLog]:
        """Return the runs that an execution has begun, such as a job's child jobs, and those which they have; without their texts.

        Args:
            execution_id: The execution's.
            scope_id: Hides what is another scope's.
            limit: How many at most.
        """
        step = partial(reading.descendants, execution_id=execution_id, scope_id=scope_id, limit=limit)
        return await self._database.read(step)

    async def execution_ids(self, rows: Sequence[str]) -> dict[str, str]:
        """Return to which executions rows belong, by the rows' ids; a `parent_id` is one."""
        return await self._database.read(partial(reading.execution_ids, rows=rows))

    async def usage_of(self, executions: Sequence[ExecutionLog]) -> dict[str, CallSums]:
        """Return what the model calls of executions add up to, by the ids of their rows."""
        return await self._database.read(partial(analytics.of_executions, executions=executions))

    async def llm_calls(
        self,
        *,
        limit: int = 100,
        offset: int = 0,
        before: str | None = None,
        errors: bool = False,
        **filters: Unpack[LLMCallFilters],
    ) -> list[LLMCallLog]:
        """Return model calls without their texts, the newest first. Arguments and errors are those of `executions`."""
        check_page(limit, offset)
        return await self._database.read(
            partial(
                reading.llm_calls,
                filters=filters,
                limit=limit,
                offset=offset,
                before=before,
                errors=errors,
            )
        )

    async def page_of_llm_calls(
        self, *, limit: int = 100, offset: int = 0, **filters: Unpack[LLMCallFilters]
    ) -> LogPage[LLMCallLog]:
        """Return model calls without their texts, the newest first, with how many there are in all. Arguments and errors are those of `page_of_executions`."""
        check_page(limit, offset)
        step = partial(pages.llm_calls, filters=filters, limit=limit, offset=offset)
        return await self._database.read(step)

    async def count_llm_calls(self, **filters: Unpack[LLMCallFilters]) -> int:
        """Return how many model calls there are. Raises as `executions` does."""
        return await self._database.read(partial(reading.count, table=llm_call_logs, filters=filters))

    async def llm_call(self, id_: str, *, scope_id: str | None = None) -> LLMCallLog | None:
        """Return a model call with its texts, `None` if there is none.

        Of a call in a job, what was asked is put together from what was new in each of the job's calls.

        Args:
            id_: The row's.
            scope_id: Hides another scope's.
        """
        return await self._database.read(partial(reading.llm_call, id_=id_, scope_id=scope_id))

    async def summary(
        self,
        *,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        report_id: str | None = None,
        scope_id: str | None = None,
    ) -> dict[str, Any]:
        """Return the documented summary: executions and model calls of a period, with rates in per cent and costs in US dollars.

        Args:
            start_date: From when on; by default 30 days ago.
            end_date: Before when; by default now.
            report_id: Only what belongs to a report. This is added up from the rows themselves.
            scope_id: Only one scope's.
        """
        asked = _period(start_date, end_date, scope_id, report_id)
        return await self._database.read(partial(analytics.summary, asked=asked))

    async def usage(
        self,
        *groups: str,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        report_id: str | None = None,
        scope_id: str | None = None,
    ) -> dict[tuple[str, ...], CallSums]:
        """Return what model calls add up to, for each combination of some of `day` (UTC), `scope`, `agent`, `provider`, `model`, `status`, `call_type`.

        The other arguments are those of `summary`.

        Raises:
            InvalidInput: There is no such group.
        """
        asked = _period(start_date, end_date, scope_id, report_id)
        return await self._database.read(partial(analytics.usage, asked=asked, groups=groups))

    async def runs(
        self,
        *groups: str,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        report_id: str | None = None,
        scope_id: str | None = None,
    ) -> dict[tuple[str, ...], int]:
        """Return how many runs began, for each combination of some of `day` (UTC), `scope`, `agent`; beside `usage` it tells an agent's calls for each run.

        The other arguments are those of `summary`.

        Raises:
            InvalidInput: There is no such group.
        """
        asked = _period(start_date, end_date, scope_id, report_id)
        return await self._database.read(partial(analytics.runs, asked=asked, groups=groups))

    async def latency(
        self,
        kind: str = "call",
        *,
        by: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        scope_id: str | None = None,
    ) -> dict[str, dict[str, float | int]]:
        """Return how many durations there are, and their percentiles in milliseconds, within 2 % of the true ones.

        Args:
            kind: Of `call`, until the `first_token` of a stream, or of `execution`.
            by: `agent`, `model` or `scope`; without it they are taken together, under `all`.
            start_date: Durations are kept by the day: all of the day (UTC) that this belongs to are looked at.
            end_date: Likewise.
            scope_id: Only one scope's.
        """
        asked = _period(start_date, end_date, scope_id, None)
        return await self._database.read(partial(analytics.latency, asked=asked, kind=kind, group=by))

    async def scopes_of(self, execution_id: str, *, scope_id: str | None = None) -> list[str]:
        """Return in which scopes something is logged of an execution; a job has one, of others anybody chooses the name."""
        step = partial(reading.scopes_of, execution_id=execution_id, scope_id=scope_id)
        return await self._database.read(step)

    async def delete_execution(self, execution_id: str, *, scope_id: str | None = None) -> Forgotten:
        """Delete all rows of an execution, and take them out of the sums. Jobs and their journals stay."""
        return await retention.delete_execution(self._database, execution_id, scope_id)

    async def forget(
        self, *, before: datetime, scope_id: str | None = None, only_content: bool = False
    ) -> Forgotten:
        """Delete what began before a moment, some hundred rows at a time, and take it out of the sums.

        Args:
            before: The moment.
            scope_id: Only one scope's.
            only_content: Delete only the texts: numbers, names and costs stay, and the sums as they are.
        """
        moment = as_moment("before", before)
        return await retention.forget(self._database, moment, scope_id, only_content=only_content)

    async def aclose(self) -> None:
        """Finish what was given to be written, and close what was opened for it."""
        await self._database.aclose()


def _period(
    start: datetime | None, end: datetime | None, scope_id: str | None, report_id: str | None
) -> analytics.Period:
    end = end or datetime.now(UTC)  # noqa: TID251 -- the documented default
    if start is None:
        start = max(as_moment("end_date", end), _EARLIEST) - timedelta(days=DEFAULT_DAYS)
    return analytics.period(start, end, scope_id, report_id)
