"""How an agent's run ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from llm_client.errors import LLMClientError
from llm_client.messages import CompletionResult, Message
from llm_client.usage import Usage

RunStatus = Literal["success", "max_turns", "max_tool_calls", "timeout", "truncated", "refused", "error"]
"""`truncated`: the answer was cut at its token limit; `refused`: the model or its safety system declined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """What a run gave. Only status `success` means that the model finished what it was asked."""

    status: RunStatus
    content: str = ""
    """The last answer's text."""
    output: Any = None
    """The answer as the agent's output type; the text when it has none."""
    answer: CompletionResult | None = None
    """The last answer with all there is to it: citations, media, how likely its tokens were."""
    turns: int = 0
    """Model calls made."""
    total_usage: Usage = field(default_factory=Usage)
    messages: tuple[Message, ...] = ()
    """The whole conversation, with the system message, also after a failure."""
    error: LLMClientError | None = None
    """Why the run did not succeed."""

    @property
    def success(self) -> bool:
        """Whether the model finished."""
        return self.status == "success"

    def raise_for_status(self) -> AgentResult:
        """Return this result if the run succeeded.

        Raises:
            LLMClientError: What ended the run otherwise.
        """
        if self.status == "success":
            return self
        raise self.error or LLMClientError(
            f"the run ended with status {self.status!r} after {self.turns} turns"
        )
