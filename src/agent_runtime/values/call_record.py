"""What is known of one attempt to ask a model, for those who write it down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from llm_client.messages import CompletionResult, Message
from llm_client.providers.exchanges import Exchange
from llm_client.spec import RequestSpec
from llm_client.usage import Usage

CallStatus = Literal["succeeded", "failed", "cancelled"]
"""How an attempt ended. An answer that does not match its type has failed."""
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_OF_A_RECORD: Final = 1024
"""Bytes that a record takes beside its texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPrompts:
    """The texts that a request was made of, as they were rendered."""

    system: str = ""
    developer: str = ""
    user: str = ""
    examples: tuple[Message, ...] = ()


class CallRecord(NamedTuple):
    """One attempt to ask a model: what was asked, what came, what it took.

    It refers to values that nobody changes any more, so that it can be written down later, by another thread. It is a tuple since whoever
    asks pays for its making: a frozen value of as many fields takes five times as long.
    """

    call_id: str
    agent_name: str
    started_at: datetime
    duration_seconds: float
    status: CallStatus
    agent_mode: str = "oneshot"
    iteration: int = 0
    """How many runs the agent had finished before."""
    attempt: int = 1
    """Which of all the attempts of its run it is, from 1."""
    repair_attempts: int = 0
    """Answers of the run before it that did not match."""
    model: str = ""
    provider: str = ""
    temperature: float | None = None
    usage: Usage | None = None
    """`None` when nobody knows what was used."""
    finish_reason: str | None = None
    request_id: str | None = None
    """The vendor's."""
    conversation_id: str | None = None
    job_id: str | None = None
    trace_id: str | None = None
    error_type: str | None = None
    error: str | None = None
    prompts: CallPrompts | None = None
    spec: RequestSpec | None = None
    """What was asked."""
    result: CompletionResult | None = None
    """What was answered."""
    validated: object = None
    """The answer as its type writes it: JSON values that nobody else has."""
    validation_errors: str | None = None
    """Why the answer does not match."""
    context: Mapping[str, object] = _NOTHING
    """What the prompts were rendered with."""
    exchange: Exchange | None = None
    """What went over the wire, where whoever takes records wants it (`CallLogSink.wants_payloads`)."""
    has_content: bool = True
    """Whether the texts are there."""

    def without_content(self) -> CallRecord:
        """Return the record without any text of people and models."""
        return self._replace(
            error=None,
            prompts=None,
            spec=None,
            result=None,
            validated=None,
            validation_errors=None,
            context=_NOTHING,
            exchange=None,
            has_content=False,
        )

    def weight(self) -> int:
        """Return about how many bytes the record keeps in the memory."""
        size = _OF_A_RECORD + len(self.error or "")
        if self.spec is not None:
            size += sum(map(_length, self.spec.messages))
        if self.result is not None:
            size += len(self.result.content) * (1 if self.validated is None else 2) + sum(
                len(part.text) for part in self.result.reasoning
            )
        if self.exchange is not None:
            size += self.exchange.size
        return size


def _length(message: Message) -> int:
    content = message.content
    if isinstance(content, str):
        return len(content)
    return sum(
        len(getattr(part, "text", "") or "") + len(getattr(part, "data", None) or "") for part in content
    )
