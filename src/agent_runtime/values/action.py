"""An action: a question a job asks a person, and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from agent_runtime.values.checks import check_json, check_seconds, check_text, check_texts, check_whole
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.person import check_approvers, different_people


class ActionStatus(StrEnum):
    """Where an action stands."""

    PENDING = "pending"
    RESOLVED = "resolved"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ActionType(StrEnum):
    """Common kinds of questions; any other text is allowed too."""

    CONFIRM = "confirm"
    CHOOSE = "choose"
    INPUT = "input"
    UPLOAD = "upload"
    REAUTH = "reauth"
    APPLY_CHANGES = "apply_changes"
    APPROVAL = "approval"
    RECONCILE = "reconcile"
    CUSTOM = "custom"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """A question to ask.

    Raises:
        InvalidInput: A field cannot be stored, or can never be fulfilled; it names the field.
    """

    type: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    """What the person needs to decide; JSON values."""
    job_id: str | None = None
    """The job that asks; filled in inside a job."""
    scope_id: str | None = None
    timeout_seconds: float | None = None
    """After this long the action expires; `None` waits for ever."""
    default_resolution: Mapping[str, Any] | None = None
    """Answer to use when the action expires; without one the wait fails with `ActionExpired`."""
    approvers: Sequence[str] | None = None
    """Principals who may answer; `None` is everybody who can see the action. `Ann` and `ann` are one person."""
    quorum: int = 1
    """Different approvers who must want the same done; above 1 it needs `approvers`."""
    argument_schema: Mapping[str, Any] | None = None
    """JSON Schema that the `arguments` of an approval keep to when a person edits them."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text("type", self.type)
        check_texts(self, "job_id", "scope_id")
        check_json("payload", self.payload, exact=True)
        check_json("metadata", self.metadata)
        if self.default_resolution is not None:
            check_json("default_resolution", self.default_resolution, exact=True)
        if self.timeout_seconds is not None:
            check_seconds("timeout_seconds", self.timeout_seconds)
        check_whole("quorum", self.quorum, least=1)
        check_approvers(self.approvers, self.quorum)
        if self.approvers is not None:
            object.__setattr__(self, "approvers", different_people(self.approvers))
        if self.argument_schema is not None:
            check_json("argument_schema", self.argument_schema, exact=True)


class ActionToken(NamedTuple):
    """What is stored of a resume token: its hash, what it answers, and for whom."""

    token_hash: str
    """SHA-256 of the token, which itself is stored nowhere."""
    action_id: str
    approver: str | None = None
    """The one approver whose vote it casts; `None` where everybody may answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRecord:
    """An action as it is stored."""

    action_id: str
    type: str
    job_id: str | None = None
    scope_id: str = DEFAULT_SCOPE
    operation_id: str | None = None
    """The step that waits."""
    argument_hash: str | None = None
    """Hash of the arguments an approval was given for."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    status: ActionStatus = ActionStatus.PENDING
    created_at: datetime
    expires_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    resolution: Mapping[str, Any] | None = None
    default_resolution: Mapping[str, Any] | None = None
    approvers: tuple[str, ...] | None = None
    quorum: int = 1
    votes: tuple[Mapping[str, Any], ...] = ()
    """Answers so far, while a quorum is collected: `{"by", "hash", "resolution"}`; of one person the latest counts."""
    argument_schema: Mapping[str, Any] | None = None
    """JSON Schema that edited `arguments` keep to."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    token_hash: str | None = None
    """SHA-256 of the first resume token, where one was drawn; the token itself is never stored."""
    resume_token: str | None = field(default=None, repr=False)
    """Answers the action: only on the record that `require_action` returns, where there are not several approvers."""
    resume_tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    """One for each approver, likewise: every token casts the vote of the one it was drawn for."""
    token_of: str | None = None
    """On the record that is found by a token: the approver it was drawn for."""

    @property
    def is_pending(self) -> bool:
        """Whether the action still waits for an answer."""
        return self.status is ActionStatus.PENDING
