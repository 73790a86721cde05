"""Approvals, as jobs, models and tools need them: asked in one way, read in one way, and not forgotten.

Who had to agree to something also has to say what became of it, when its outcome is lost: a `retry` does again what
they had agreed to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.actions.resolution import NOTHING_TO_EDIT
from agent_runtime.values.action import ActionRecord, ActionSpec, ActionType
from agent_runtime.values.person import person_key
from agent_runtime.values.policy import Approval
from llm_client.json_text import JsonObject, JsonValue

if TYPE_CHECKING:
    from agent_runtime.execution.journal.history import History, Step

ADMISSION: Final = "[admission]"
"""Place of the question whether a job may begin."""


def approval_spec(
    approval: Approval,
    payload: Mapping[str, object],
    *,
    argument_schema: JsonObject | None = NOTHING_TO_EDIT,
) -> ActionSpec:
    """Build the question that asks for an approval."""
    return ActionSpec(
        type=ActionType.APPROVAL,
        payload=payload,
        timeout_seconds=approval.timeout_seconds,
        approvers=approval.approvers,
        quorum=approval.quorum,
        argument_schema=argument_schema,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a question for an approval."""

    resolution: Mapping[str, Any]
    resolved_by: str | None
    """Whose answer decided it; `None` is somebody without a name."""
    by: tuple[str | None, ...]
    """Who wants it so; `None` is whoever has answered a question that named nobody, whatever they are called."""

    @classmethod
    def of(cls, answered: ActionRecord) -> Verdict:
        """Read an answered action."""
        by: tuple[str | None, ...] = (None,)
        if answered.approvers is not None:
            by = tuple(vote["by"] for vote in answered.votes) or (answered.resolved_by,)
        return cls(resolution=answered.resolution or {}, resolved_by=answered.resolved_by, by=by)

    @property
    def approved(self) -> bool:
        """Whether it is a yes."""
        return bool(self.resolution.get("approved"))

    def refusal(self, what: str) -> str:
        """Return who refused what, and why."""
        reason = f": {self.resolution['reason']}" if self.resolution.get("reason") else ""
        return f"{self.resolved_by or 'an approver'} refused {what}{reason}"

    def satisfies(self, approval: Approval) -> bool:
        """Whether a yes is all that an approval wants, be it asked for by another rule."""
        if not self.approved:
            return False
        if approval.approvers is None:
            return len(self.by) >= approval.quorum
        allowed = {person_key(name) for name in approval.approvers}
        agreed = {person_key(name) for name in self.by if name is not None}
        return len(allowed & agreed) >= approval.quorum


NOBODY_IN_PARTICULAR: Final = Approval()


def who_agreed(history: History, operation_id: str) -> Approval:
    """Return who had to agree to an operation: they, and as many of them, say what became of it.

    That is the newest answered question with approvers that was asked about the operation, or inside it; else about
    the tool call that encloses it, the innermost first; else about the job, or the one that it goes on for or belongs to. Of an effect of a job that is retried from before it, it
    is who had to agree to it there, until somebody has agreed to it here.
    """
    nearest, found = -1, _approval(history.created_data(_AGREED)) or NOBODY_IN_PARTICULAR
    before = history.repeats.get(operation_id.partition(":")[2])
    if before is not None and (agreed := _approval(before.data.get(_AGREED))) is not None:
        nearest, found = _OF_ITSELF, agreed
    for asked in history.steps.values():
        approvers = asked.declaration.data.get("approvers")
        if asked.kind != "action" or approvers is None or asked.operation_id not in history.arrived:
            continue
        nearness = _nearness(asked, operation_id)
        if nearness >= nearest:
            nearest, quorum = nearness, asked.declaration.data["quorum"]
            found = Approval(approvers=tuple(approvers), quorum=quorum)
    return found


def agreed_by(history: History, operation_id: str = "") -> dict[str, JsonValue]:
    """Return what an entry says of who had to agree to an operation, or to the job: to what goes on for it, or belongs to it."""
    agreed = who_agreed(history, operation_id)
    if agreed.approvers is None:
        return {}
    return {_AGREED: {"approvers": list(agreed.approvers), "quorum": agreed.quorum}}


def told_of_agreement(created: JsonObject) -> dict[str, Any]:
    """Return what the first entry of a job says of it to the one that retries the job."""
    return {_AGREED: created[_AGREED]} if _AGREED in created else {}


def _approval(said: Any) -> Approval | None:
    return None if said is None else Approval(approvers=tuple(said["approvers"]), quorum=said["quorum"])


_AGREED: Final = "agreed"
"""In entries: who had to agree to what has become of an effect, or to a job."""
_OF_ITSELF: Final = 1 << 30


def _nearness(asked: Step, operation_id: str) -> int:
    """Return how near the subject of a question is to an operation; below -1 when it is about something else."""
    question, operation_id = (one.partition(":")[2] for one in (asked.operation_id, operation_id))
    if question.startswith(operation_id) and question[len(operation_id) :][:1] in ("?", "!", ".", "~"):
        return _OF_ITSELF
    subject, mark, _ = question.rpartition("?")
    if mark and subject == ADMISSION:
        return 0
    if asked.declaration.data.get("argument_hash") is None:  # not about a call
        return -2
    encloses = operation_id.startswith(subject) and operation_id[len(subject) :][:1] in (".", "~")
    return len(subject) if encloses else -2
