"""`client.budgets`: the ceilings that stand, and where each of them is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from agent_runtime.client.models import Budget, BudgetChanges, NewBudget
from agent_runtime.client.resource import Resource


class AsyncBudgets(Resource):
    """Standing budgets."""

    async def list(
        self,
        *,
        scope_id: str | None = None,
        principal_id: str | None = None,
        session_id: str | None = None,
        limit: int = 100,
    ) -> AsyncGenerator[Budget, None]:
        """Yield the budgets that count what a scope spends, each with its limits as they are now.

        Args:
            scope_id: For keys for all scopes.
            principal_id: Says whose, where each has a budget of their own.
            session_id: Likewise.
            limit: How many are asked for at once.
        """
        budgets = self._sender.pages(
            "/v1/budgets",
            Budget,
            query={
                "scope_id": scope_id,
                "principal_id": principal_id,
                "session_id": session_id,
                "limit": limit,
            },
        )
        async with aclosing(budgets):
            async for budget in budgets:
                yield budget

    async def save(self, budget: NewBudget) -> Budget:
        """Store a budget, in the place of the one with the same name, scope, principal, session and model."""
        return await self._sender.call("PUT", "/v1/budgets", Budget, body=budget, again=True)

    async def change(self, *, save: Sequence[NewBudget] = (), delete: Sequence[str] = ()) -> None:
        """Store some budgets, each in the place of the one for the same people, and delete others, by id: all of it or nothing."""
        changes = BudgetChanges(save=[*save], delete=[*delete])
        await self._sender.send("POST", "/v1/budgets/changes", body=changes, again=True)

    async def delete(self, budget_id: str) -> None:
        """Delete a stored budget. What was counted against it stays. Raises `InvalidInput`: none has this id."""
        await self._sender.send("DELETE", "/v1/budgets", query={"budget_id": budget_id})
