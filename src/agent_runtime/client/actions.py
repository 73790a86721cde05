"""`client.actions`: the questions that jobs ask people."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from agent_runtime.client.models import Action, Answer, Json, Reason
from agent_runtime.client.resource import Resource
from agent_runtime.values.action import ActionStatus


class AsyncActions(Resource):
    """Questions to people."""

    async def list(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        status: ActionStatus | None = ActionStatus.PENDING,
        before: str | None = None,
        limit: int = 100,
    ) -> AsyncGenerator[Action, None]:
        """Yield questions, the newest first, page by page.

        Args:
            scope_id: For keys for all scopes.
            job_id: Only this job's.
            status: Only those that stand so; `None` for all.
            before: The last question that is known.
            limit: How many are asked for at once.
        """
        actions = self._sender.pages(
            "/v1/actions",
            Action,
            query={
                "scope_id": scope_id,
                "job_id": job_id,
                "status": status,
                "all": status is None,
                "cursor": before,
                "limit": limit,
            },
        )
        async with aclosing(actions):
            async for action in actions:
                yield action

    async def get(self, action_id: str) -> Action:
        """Return a question, and its answer if it has one. Raises `UnknownAction`."""
        return await self._sender.call(
            "GET", "/v1/actions/{action_id}", Action, path={"action_id": action_id}
        )

    async def resolve(
        self, action_id: str, resolution: Mapping[str, Json], *, resolved_by: str | None = None
    ) -> Action:
        """Answer a question.

        Args:
            action_id: The question.
            resolution: The answer; see `models.Answer`.
            resolved_by: Who answers, where an admin's key passes on answers of people.

        Raises:
            ActionAlreadyResolved: Somebody was faster.
            InvalidInput: It is no answer to this question.
        """
        answer = Answer(resolution=dict(resolution), resolved_by=resolved_by)
        return await self._sender.call(
            "POST", "/v1/actions/{action_id}/resolve", Action, path={"action_id": action_id}, body=answer
        )

    async def cancel(self, action_id: str, *, reason: str | None = None) -> Action:
        """Withdraw a question: whoever waits for its answer is told that none will come."""
        return await self._sender.call(
            "POST",
            "/v1/actions/{action_id}/cancel",
            Action,
            path={"action_id": action_id},
            body=Reason(reason=reason),
        )
