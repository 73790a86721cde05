"""`/v1/budgets`: the ceilings that stand, and where each of them is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from agent_runtime.client import models as schemas
from agent_runtime.client.models import Page
from agent_runtime.errors import InvalidInput
from agent_runtime.server.access import INSTALLING, Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.pages import MAX_PAGE, page_of
from agent_runtime.server.parts import TheKernel
from agent_runtime.server.routes.jobs import ScopeParameter
from agent_runtime.values.standing_budget import EACH, Budget

router = APIRouter(prefix="/v1/budgets", tags=["budgets"], route_class=JsonRoute)


@router.get("", response_model=Page[schemas.Budget])
async def list_budgets(
    caller: Reader,
    kernel: TheKernel,
    scope_id: ScopeParameter = None,
    principal_id: Annotated[
        str | None, Query(description="Says whose, where each has a budget of their own.")
    ] = None,
    session_id: Annotated[str | None, Query(description="Likewise.")] = None,
    cursor: Annotated[int, Query(ge=0, le=1_000_000, description="Where to go on.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> Response:
    """List the standing budgets that count what a scope spends, each with its limits as they are now.

    Those for all scopes together are told to keys for all scopes alone.
    """
    scope = caller.sees(scope_id)
    found = [
        budget
        for budget in await kernel.ledger.budgets()
        if scope is None or budget.scope_id in (scope, EACH) or (caller.scope_id is None is budget.scope_id)
    ]
    whose = {"scope_id": scope, "principal_id": principal_id, "session_id": session_id}
    page = [
        (place, await kernel.ledger.status_for(budget, **whose))
        for place, budget in enumerate(found[cursor : cursor + limit], cursor + 1)
    ]
    return await page_of(
        page,
        lambda one: schemas.Budget.of(one[1]),
        lambda one: str(one[0]),
        has_more=cursor + limit < len(found),
    )


@router.put("", dependencies=[INSTALLING])
async def save_budget(new: schemas.NewBudget, kernel: TheKernel) -> schemas.Budget:
    """Store a budget for every process, in the place of the one with the same name, scope, principal, session and model.

    It takes an admin's key for all scopes: whoever is bounded does not choose the bound.
    """
    budget = Budget.from_dict(new.model_dump(exclude_none=True))
    await kernel.ledger.save_budget(budget)
    return schemas.Budget.of(await kernel.ledger.status_for(budget))


@router.post("/changes", status_code=204, dependencies=[INSTALLING])
async def change_budgets(changes: schemas.BudgetChanges, kernel: TheKernel) -> Response:
    """Store some budgets and delete others, for every process: all of it or nothing. It takes an admin's key for all scopes."""
    save = [Budget.from_dict(new.model_dump(exclude_none=True)) for new in changes.save]
    await kernel.ledger.change_budgets(save=save, delete=changes.delete)
    return Response(status_code=204)


@router.delete("", status_code=204, dependencies=[INSTALLING])
async def delete_budget(kernel: TheKernel, budget_id: Annotated[str, Query(max_length=4096)]) -> Response:
    """Delete a stored budget. What was counted against it stays."""
    if budget_id not in {budget.budget_id for budget in await kernel.storage.standing_budgets()}:
        raise InvalidInput("no budget with this id is stored")
    await kernel.ledger.delete_budget(budget_id)
    return Response(status_code=204)
