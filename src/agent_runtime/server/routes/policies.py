"""`/v1/policies`: what the rules would decide, and why."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from agent_runtime.client import models as schemas
from agent_runtime.server.access import Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.parts import TheKernel
from agent_runtime.values.policy import PolicyContext
from llm_client.turns import aside

MAX_EXPLANATION: Final = 200_000
"""Characters of what the rules say."""
router = APIRouter(prefix="/v1/policies", tags=["policies"], route_class=JsonRoute)


@router.post("/explain")
async def explain_policy(
    question: schemas.PolicyQuestion, caller: Reader, kernel: TheKernel
) -> schemas.PolicyAnswer:
    """Say what the service's main policy decides, and what every rule had to say. Nothing is recorded.

    Who sees one scope alone is not told of rules for others.
    """
    context = PolicyContext(
        scope_id=caller.acts_in(question.scope_id), principal_id=question.principal_id, tags=question.tags
    )
    engine = kernel.policy
    told = await aside(engine.explain, question.action, question.name, context, question.arguments)
    told = told if caller.scope_id is None else told.for_who_asks()
    explanation = await aside(str, told)
    return schemas.PolicyAnswer(
        policy=engine.policy.name,
        version=engine.policy.version,
        decision=dict(told.result.to_dict()),
        explanation=explanation
        if len(explanation) <= MAX_EXPLANATION
        else f"{explanation[:MAX_EXPLANATION]}\n… and more rules",
    )
