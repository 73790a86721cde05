"""`/v1/policies`: what the rules would decide, and why."""

from __future__ import annotations

from fastapi import APIRouter

from agent_runtime.client import models as schemas
from agent_runtime.server.access import Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.parts import TheKernel
from agent_runtime.values.policy import PolicyContext
from llm_client.turns import aside

router = APIRouter(prefix="/v1/policies", tags=["policies"], route_class=JsonRoute)


@router.post("/explain")
async def explain_policy(
    question: schemas.PolicyQuestion, caller: Reader, kernel: TheKernel
) -> schemas.PolicyAnswer:
    """Say what the service's main policy decides, and what every rule had to say. Nothing is recorded."""
    context = PolicyContext(
        scope_id=caller.acts_in(question.scope_id), principal_id=question.principal_id, tags=question.tags
    )
    engine = kernel.policy
    told = await aside(engine.explain, question.action, question.name, context, question.arguments)
    return schemas.PolicyAnswer(
        policy=engine.policy.name,
        version=engine.policy.version,
        decision=dict(told.result.to_dict()),
        explanation=str(told),
    )
