"""`client.schedules`: what is started by cron, by interval or once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime

from agent_runtime.client.resource import Resource
from agent_runtime.client.schedule_models import ChangedSchedules, Fire, NewSchedule, Schedule


class AsyncSchedules(Resource):
    """Schedules. `scope_id` is for keys for all scopes."""

    async def put(self, schedule_id: str, schedule: NewSchedule, *, scope_id: str | None = None) -> Schedule:
        """Store a schedule under a name, or change the one that has it; what is as it was stays untouched."""
        return await self._sender.call(
            "PUT",
            "/v1/schedules/{schedule_id}",
            Schedule,
            path={"schedule_id": schedule_id},
            query={"scope_id": scope_id},
            body=schedule,
            again=True,
        )

    async def list(
        self,
        *,
        scope_id: str | None = None,
        content: bool = False,
        after: str | None = None,
        limit: int = 100,
    ) -> AsyncGenerator[Schedule, None]:
        """Yield schedules by scope and name, page by page.

        Args:
            scope_id: For keys for all scopes.
            content: Also inputs of jobs, and what is sent.
            after: `next` of a page that is known.
            limit: How many are asked for at once.
        """
        schedules = self._sender.pages(
            "/v1/schedules",
            Schedule,
            query={"scope_id": scope_id, "content": content, "cursor": after, "limit": limit},
        )
        async with aclosing(schedules):
            async for schedule in schedules:
                yield schedule

    async def get(
        self, schedule_id: str, *, scope_id: str | None = None, content: bool = False, upcoming: int = 10
    ) -> Schedule:
        """Return a schedule, with its next due times. Raises `UnknownSchedule`."""
        return await self._sender.call(
            "GET",
            "/v1/schedules/{schedule_id}",
            Schedule,
            path={"schedule_id": schedule_id},
            query={"scope_id": scope_id, "content": content, "upcoming": upcoming},
        )

    async def delete(self, schedule_id: str, *, scope_id: str | None = None) -> None:
        """Remove a schedule; what it has started goes on, and its log is kept. Raises `UnknownSchedule`."""
        await self._sender.send(
            "DELETE",
            "/v1/schedules/{schedule_id}",
            path={"schedule_id": schedule_id},
            query={"scope_id": scope_id},
        )

    async def pause(self, schedule_id: str, *, scope_id: str | None = None) -> Schedule:
        """Let a schedule fire no more until it is resumed. Raises `UnknownSchedule`."""
        return await self._sender.call(
            "POST",
            "/v1/schedules/{schedule_id}/pause",
            Schedule,
            path={"schedule_id": schedule_id},
            query={"scope_id": scope_id},
            again=True,
        )

    async def resume(self, schedule_id: str, *, scope_id: str | None = None) -> Schedule:
        """Let a schedule fire again, from its next due time on. Raises `UnknownSchedule`."""
        return await self._sender.call(
            "POST",
            "/v1/schedules/{schedule_id}/resume",
            Schedule,
            path={"schedule_id": schedule_id},
            query={"scope_id": scope_id},
            again=True,
        )

    async def pause_all(self, *, scope_id: str | None = None) -> int:
        """Pause all schedules that the key sees; return how many were not paused."""
        changed = await self._sender.call(
            "POST", "/v1/pause-schedules", ChangedSchedules, query={"scope_id": scope_id}
        )
        return changed.changed

    async def resume_all(self, *, scope_id: str | None = None) -> int:
        """Resume all schedules that the key sees; return how many were paused."""
        changed = await self._sender.call(
            "POST", "/v1/resume-schedules", ChangedSchedules, query={"scope_id": scope_id}
        )
        return changed.changed

    async def fires(
        self,
        schedule_id: str,
        *,
        scope_id: str | None = None,
        before: datetime | None = None,
        limit: int = 100,
    ) -> AsyncGenerator[Fire, None]:
        """Yield what became of a schedule's times, the newest first; also of one that was removed.

        Args:
            schedule_id: The schedule.
            scope_id: For keys for all scopes.
            before: `due_at` of the last one that is known.
            limit: How many are asked for at once.
        """
        fires = self._sender.pages(
            "/v1/schedules/{schedule_id}/fires",
            Fire,
            path={"schedule_id": schedule_id},
            query={
                "scope_id": scope_id,
                "cursor": None if before is None else before.isoformat(),
                "limit": limit,
            },
        )
        async with aclosing(fires):
            async for fire in fires:
                yield fire
