"""What a runner is given and gives back: specs, states and results of agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from agent_runtime.errors import InvalidInput, RunError
from agent_runtime.values.checks import check_text
from llm_client.spec import RequestSpec
from llm_client.usage import Usage


class AgentMode(StrEnum):
    """Whether an agent remembers."""

    ONESHOT = "oneshot"
    """Every run begins anew."""
    CONVERSATIONAL = "conversational"
    """Runs with one state continue a conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """An agent as data: its prompts, the type of its answers, its bounds.

    Raises:
        InvalidInput: A value is not what is allowed for it.
    """

    name: str
    prompt_pack: str = ""
    """The folder of its prompts, below the runner's; by default its name."""
    response_model: Any = dict
    """The type of its answers: a pydantic model, a dataclass, a typed dictionary; `dict` for any JSON object."""
    mode: AgentMode = AgentMode.ONESHOT
    model: str | None = None
    """The model to ask, instead of the provider's own."""
    temperature: float | None = None
    max_schema_repair_attempts: int = 2
    """Further calls after an answer that does not match its type."""
    default_variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of its prompts, unless a run has its own."""
    token_budget: int | None = None
    """Tokens of all calls of a run together, input and output; no call is made that could exceed it."""
    request: RequestSpec | None = None
    """Template of its requests: tokens of an answer, reasoning effort, vendor options."""

    def __post_init__(self) -> None:
        check_text("name", self.name)
        object.__setattr__(self, "mode", AgentMode(self.mode))
        object.__setattr__(self, "prompt_pack", self.prompt_pack or self.name)
        object.__setattr__(self, "default_variables", MappingProxyType(dict(self.default_variables)))
        if not 0 <= self.max_schema_repair_attempts <= _MOST_REPAIRS:
            raise InvalidInput(f"max_schema_repair_attempts is a number from 0 to {_MOST_REPAIRS}")
        if self.token_budget is not None and self.token_budget < 1:
            raise InvalidInput("token_budget is at least 1")
        if self.temperature is not None and not 0 <= self.temperature <= _HOTTEST:
            raise InvalidInput(f"temperature is a number from 0 to {_HOTTEST}")


_MOST_REPAIRS = 20
_HOTTEST = 2


@dataclass(slots=True, kw_only=True)
class AgentState:
    """What lasts from one run of an agent to the next; the runner changes it."""

    name: str
    conversation_id: str | None = None
    """Set by the first run of a conversational agent."""
    attempt_count: int = 0
    """Runs that have succeeded."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The application's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """How a run has ended."""

    success: bool
    data: Any = None
    """The answer, as the spec's type."""
    error_message: str | None = None
    duration_seconds: float = 0.0
    tokens_used: int = 0
    """Input and output of all calls, as far as it is known."""
    conversation_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """`schema_repair_attempts`, and `conversation_id` where there is one."""
    usage: Usage = field(default_factory=Usage)
    """Of all calls together, with their cost."""
    error: Exception | None = None
    """Why it did not succeed."""

    def raise_for_status(self) -> AgentResult:
        """Return this result if the run has succeeded.

        Raises:
            RunError: It has not; the cause is what ended it.
        """
        if self.success:
            return self
        raise RunError(self.error_message) from self.error
