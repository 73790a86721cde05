"""`client.ledger`: what was spent, entry by entry and added up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict, Unpack

from agent_runtime.client.models import Costs, Entry
from agent_runtime.client.resource import Resource

if TYPE_CHECKING:
    from agent_runtime.ledger.totals import Group


class SpendingFilters(TypedDict, total=False):
    """Which entries are meant; what is left out is not looked at."""

    scope_id: str | None
    job_id: str | None
    principal_id: str | None
    since: datetime | None
    until: datetime | None


class AsyncLedger(Resource):
    """What was spent."""

    async def entries(
        self,
        *,
        type: str | None = None,  # noqa: A002 -- the name of the field
        limit: int = 100,
        **filters: Unpack[SpendingFilters],
    ) -> AsyncGenerator[Entry, None]:
        """Yield entries in the order in which they were written, page by page.

        Args:
            type: Only `model` or `tool`, say.
            limit: How many are asked for at once.
            filters: Which ones.
        """
        entries = self._sender.pages(
            "/v1/ledger/entries",
            Entry,
            query={
                "type": type,
                "scope_id": filters.get("scope_id"),
                "job_id": filters.get("job_id"),
                "principal_id": filters.get("principal_id"),
                "since": filters.get("since"),
                "until": filters.get("until"),
                "limit": limit,
            },
        )
        async with aclosing(entries):
            async for entry in entries:
                yield entry

    async def costs(
        self, by: Group = "model", *, timezone: str = "UTC", **filters: Unpack[SpendingFilters]
    ) -> Costs:
        """Return what was spent, group by group, and in all.

        Args:
            by: The groups.
            timezone: In which days begin.
            filters: Which entries.
        """
        return await self._sender.call(
            "GET",
            "/v1/ledger/costs",
            Costs,
            query={
                "by": by,
                "timezone": timezone,
                "scope_id": filters.get("scope_id"),
                "job_id": filters.get("job_id"),
                "principal_id": filters.get("principal_id"),
                "since": filters.get("since"),
                "until": filters.get("until"),
            },
        )
