"""What a job's policy says, decided once per operation: recorded, and recalled when the job is run again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Unpack

from agent_runtime.execution.journal.writer import JournalWriter
from agent_runtime.policy.policy import Policy
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.job import JobRecord
from agent_runtime.values.policy import (
    CallMeasures,
    PolicyAction,
    PolicyContext,
    PolicyDecision,
    PolicyMeasures,
    PolicyResult,
    PolicySubject,
)
from llm_client.json_text import holds_more
from llm_client.redaction import EMAIL, PHONE, SSN, Redactor
from llm_client.turns import aside, read_aside

ALLOWED = PolicyResult(decision=PolicyDecision.ALLOW)
"""The answer where nothing governs."""

_PERSONAL = {"email": EMAIL, "phone": PHONE, "ssn": SSN}


_COMPARED_HERE = 2_000
"""Values of a call's arguments, times rules, up to which they are compared on the event loop."""


class PolicyEnforcer:
    """Asks a policy on behalf of one run.

    Args:
        journal: Where decisions are recorded.
        policy: The version the job was admitted under; `None` allows everything.
    """

    def __init__(self, journal: JournalWriter, policy: Policy | None = None) -> None:
        self._journal = journal
        self._policy = policy

    @property
    def governs_models(self) -> bool:
        """Whether the policy can have anything to say about models; past decisions count as well."""
        if self._policy is not None and self._policy.concerns(PolicyAction.MODEL):
            return True
        return bool(self._journal.history.decisions)

    @property
    def enforces_on_models(self) -> bool:
        """Whether the policy rules on models, and does not only watch."""
        policy = self._policy
        return policy is not None and not policy.dry_run and policy.concerns(PolicyAction.MODEL)

    async def decide(
        self,
        action: PolicyAction,
        operation_id: str,
        *names: str,
        arguments: Mapping[str, object] | None = None,
        argument_hash: str | None = None,
        **measures: Unpack[CallMeasures],
    ) -> PolicyResult:
        """Return the decision that was made for this operation and these arguments before, or make and record one.

        Large arguments are looked at in a thread. What the job has done meanwhile is then counted as well.

        Args:
            action: What it is about.
            operation_id: For which operation.
            *names: What the tool, model or connector is called; the last one says best which is meant.
            arguments: A tool's.
            argument_hash: Their hash: what was decided about others does not hold for them, nor for another vendor's model of one name.
            **measures: Fields of `PolicyContext` that only the caller knows.
        """
        about = (action, names[-1], argument_hash)
        recorded = self._journal.history.decisions.get(operation_id, {}).get(about)
        if recorded is not None:
            return PolicyResult.from_dict(recorded).enforced
        if self._policy is None or not self._policy.concerns(action):
            return ALLOWED
        while True:
            context = self._context(**measures)
            asked = PolicySubject(action=action, names=names, context=context, arguments=arguments or {})
            decide = partial(self._policy.decide, asked)
            if holds_more(arguments, _COMPARED_HERE // max(1, len(self._policy.rules))):
                result = await aside(decide)
            else:
                result = await read_aside(arguments, decide)
            if context == self._context(**measures):
                break
        self._journal.record(decision_event(operation_id, asked, result, argument_hash))
        return result.enforced

    def _context(self, **measures: Unpack[CallMeasures]) -> PolicyContext:
        history = self._journal.history
        return context_of(
            self._journal.job,
            spend=history.spent,
            turns=len(history.models),
            tool_calls=len(history.tools),
            **measures,
        )


def context_of(job: JobRecord, **measures: Unpack[PolicyMeasures]) -> PolicyContext:
    """Return what a policy may know of a job."""
    return PolicyContext(
        scope_id=job.scope_id,
        principal_id=job.principal_id,
        session_id=job.session_id,
        tags=job.tags,
        depth=job.depth,
        **measures,
    )


def decision_event(
    operation_id: str, asked: PolicySubject, result: PolicyResult, argument_hash: str | None = None
) -> NewEvent:
    """Build the entry that records a decision."""
    data = {"action": asked.action.value, "name": asked.name, **result.to_dict()}
    if asked.names[-1] != asked.name:
        data["called"] = asked.names[-1]
    if argument_hash is not None:
        data["input"] = argument_hash
    return NewEvent(RuntimeEventType.POLICY_DECIDED, operation_id, data)


def refusal_of(result: PolicyResult) -> str:
    """Return why something is refused or asked about, in a sentence."""
    policy = "the policy" if result.policy is None else f"policy {result.policy.name!r}"
    rule = "" if result.rule is None else f", rule {result.rule!r}"
    return f"{policy}{rule}: {result.reason or 'not allowed'}"


@lru_cache(maxsize=32)
def redactor(kinds: tuple[str, ...]) -> Redactor:
    """Return what takes these kinds of content out."""
    rules = [_PERSONAL[kind] for kind in kinds if kind in _PERSONAL]
    return Redactor(rules, defaults="secrets" in kinds)
