"""One model call of a run, as its two gates share it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from agent_runtime.execution.branch import Branch
from agent_runtime.execution.guards.heard import Heard
from agent_runtime.execution.guards.model_policy import server_tools_of
from agent_runtime.execution.guards.money import AtMost, attempt_id
from agent_runtime.execution.guards.redacted import redacted_messages
from agent_runtime.execution.journal.history import Step
from agent_runtime.ledger.reservations import ApplicableBudget
from agent_runtime.values.content import encode
from llm_client.codec import dump_result
from llm_client.json_text import JsonValue
from llm_client.messages import CompletionResult, Message
from llm_client.middleware import ModelCall
from llm_client.spec import RequestSpec
from llm_client.usage import Usage


@dataclass(slots=True, eq=False)
class ModelStep:
    """One model call of a run, shared by its two gates."""

    branch: Branch
    name: str
    operation_id: str
    input_hash: str
    place: str
    messages: Sequence[Message]
    """What is asked, as far as the policy lets it leave."""
    is_conversation: bool
    heard: Heard | None = None
    """What whoever asked has been told of the answer so far; `None` when nobody wants to know."""
    result: CompletionResult | None = None
    """What the last attempt gave and the journal holds."""
    open: dict[int, AtMost] = field(default_factory=dict)
    """Attempts whose outcome is not written yet."""
    running: set[int] = field(default_factory=set)
    """Attempts under way. They go on when who asked has gone, where others have joined the call under its key."""
    answers: list[Usage | None] = field(default_factory=list)
    """What the vendor says that its answer to the attempt in flight has used; `None` where nobody knows. Empty before there is one."""
    budgets: tuple[ApplicableBudget, ...] = ()
    """Those that its attempt in flight is counted in."""
    ruled: set[tuple[str, str]] = field(default_factory=set)
    """Providers and models the policy has been asked about."""
    ruled_tools: set[tuple[str, str]] = field(default_factory=set)
    """Names of tools that run at the vendor, and hashes of what they are told, which the policy has been asked about."""

    @property
    def recorded(self) -> Step | None:
        """What the journal knows of it by now."""
        return self.branch.run.history.steps.get(self.operation_id)

    def is_begun(self, number: int) -> bool:
        """Whether the journal holds the intent of an attempt, and no end of it."""
        recorded = self.recorded
        return recorded is not None and (recorded.open_intent or {}).get("attempt") == number

    def attempt_id(self, number: int) -> str:
        """Return the name of one of its attempts."""
        return attempt_id(self.branch.run, self.operation_id, number)

    def content_of(self, result: CompletionResult) -> bytes:
        """Return an answer as it is written. Raises `ContentTooLarge`."""
        body = dump_result(result)
        if self.heard is not None and self.heard.events:
            body["events"] = self.heard.dump(result)
        return encode(body)

    def note_request(self, spec: RequestSpec) -> None:
        """Let later requests refer to this one, which is written."""
        if self.is_conversation:
            self.branch.run.transcripts.note_request(self.place, self.messages, offered_tools(spec))

    async def redact(self, kinds: tuple[str, ...]) -> None:
        """Take kinds of content out of what is written, as they are taken out of what leaves."""
        self.messages = await self.redacted(self.messages, kinds)

    async def redacted(self, messages: Sequence[Message], kinds: tuple[str, ...]) -> tuple[Message, ...]:
        """Return messages without these kinds of content; a conversation's earlier ones are not read again."""
        return await self.branch.run.transcripts.changed(messages, kinds, redacted_messages)

    @property
    def answer(self) -> CompletionResult | None:
        """The call's answer, if the journal holds it: a resume would return it, whatever has happened since."""
        outcome = None if self.recorded is None else self.recorded.outcome
        is_final = outcome is not None and outcome.data.get("final", True)
        return self.result if is_final else None


CURRENT_CALL: ContextVar[ModelStep | None] = ContextVar("agent_runtime_model_call", default=None)
"""The model call that the current task is inside of."""


def offered_tools(spec: RequestSpec) -> list[str]:
    """Return the names of the tools that a model is offered: those that run here, then those that run at the vendor."""
    return [*(tool.name for tool in spec.tools), *(name for name, _ in server_tools_of(spec))]


def step_name(call: ModelCall) -> str:
    """Return a call's name in the journal: another model in new code is a changed input, not another step."""
    return "embedding" if call.embeds else "model"


def next_step(branch: Branch, call: ModelCall) -> ModelStep:
    """Take a place for a call."""
    operation, messages = branch.reach("model", step_name(call)), tuple(call.spec.messages)
    if not call.embeds:
        branch.batch = operation.place
    asked = hashlib.blake2b((call.spec.model or call.provider.model).encode(), digest_size=8)
    asked.update(b"".join(branch.run.transcripts.digests(messages)))
    return ModelStep(
        branch=branch,
        name=step_name(call),
        operation_id=operation.id,
        input_hash=asked.hexdigest(),
        place=operation.place,
        messages=messages,
        is_conversation=not call.embeds,
    )


def about(result: CompletionResult) -> dict[str, JsonValue]:
    """Return what is public of an answer."""
    said: dict[str, Any] = {
        "model": result.model,
        "provider": result.provider,
        "finish": result.finish_reason,
    }
    if result.tool_calls:
        said["tools"] = [call.name for call in result.tool_calls]
    if result.request_id:
        said["request_id"] = result.request_id
    return said
