"""`client.policies`: what the rules would decide, and why."""

from __future__ import annotations

from agent_runtime.client.models import PolicyAnswer, PolicyQuestion
from agent_runtime.client.resource import Resource


class AsyncPolicies(Resource):
    """The rules."""

    async def explain(self, question: PolicyQuestion) -> PolicyAnswer:
        """Return what the service's main policy decides, and what every rule had to say. Nothing is recorded."""
        return await self._sender.call(
            "POST", "/v1/policies/explain", PolicyAnswer, body=question, again=True
        )
