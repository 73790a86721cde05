"""One model call of a run, as its two gates share it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import orjson

from agent_runtime.kernel.branch import Branch
from agent_runtime.kernel.guards.heard import Heard
from agent_runtime.kernel.guards.money import AtMost, attempt_id
from agent_runtime.kernel.history import Step
from agent_runtime.ledger.reservations import ApplicableBudget
from agent_runtime.values.content import encode
from llm_client.codec import dump_message, dump_result
from llm_client.messages import CompletionResult, Message
from llm_client.middleware import ModelCall


@dataclass(slots=True, eq=False)
class ModelStep:
    """One model call of a run, shared by its two gates."""

    branch: Branch
    name: str
    operation_id: str
    input_hash: str
    fresh: Sequence[Message]
    """Messages that the call before, in the same branch, did not have."""
    shared: int
    """How many it did have."""
    heard: Heard | None = None
    """What whoever asked has been told of the answer so far; `None` when nobody wants to know."""
    result: CompletionResult | None = None
    """What the last attempt gave and the journal holds."""
    open: dict[int, AtMost] = field(default_factory=dict)
    """Attempts whose outcome is not written yet."""
    budgets: tuple[ApplicableBudget, ...] = ()
    """Those that its attempt in flight is counted in."""
    ruled: set[tuple[str, str]] = field(default_factory=set)
    """Providers and models the policy has been asked about."""

    @property
    def recorded(self) -> Step | None:
        """What the journal knows of it by now."""
        return self.branch.run.history.steps.get(self.operation_id)

    def attempt_id(self, number: int) -> str:
        """Return the name of one of its attempts."""
        return attempt_id(self.branch.run, self.operation_id, number)

    def content_of(self, result: CompletionResult) -> bytes:
        """Return an answer as it is written. Raises `ContentTooLarge`."""
        body = dump_result(result)
        if self.heard is not None and self.heard.events:
            body["events"] = self.heard.dump(result)
        return encode(body)

    @property
    def answer(self) -> CompletionResult | None:
        """The call's answer, if the journal holds it: a resume would return it, whatever has happened since."""
        outcome = None if self.recorded is None else self.recorded.outcome
        is_final = outcome is not None and outcome.data.get("final", True)
        return self.result if is_final else None


CURRENT_CALL: ContextVar[ModelStep | None] = ContextVar("agent_runtime_model_call", default=None)
"""The model call that the current task is inside of."""


def step_name(call: ModelCall) -> str:
    """Return a call's name in the journal: another model in new code is a changed input, not another step."""
    return "embedding" if call.embeds else "model"


def next_step(branch: Branch, call: ModelCall) -> ModelStep:
    """Take a place, and find out what is new in the conversation since the last call of this branch."""
    operation = branch.reach("model", step_name(call))
    messages, shared = tuple(call.spec.messages), 0
    if not call.embeds:
        before = branch.conversation
        while shared < len(before) and shared < len(messages) and before[shared] is messages[shared]:
            shared += 1
        branch.conversation, branch.batch = messages, operation.place
    fresh = messages[shared:]
    text = orjson.dumps(
        [call.spec.model or call.provider.model, shared, [dump_message(message) for message in fresh]],
        option=orjson.OPT_NON_STR_KEYS,
        default=repr,
    )
    return ModelStep(
        branch=branch,
        name=step_name(call),
        operation_id=operation.id,
        input_hash=hashlib.blake2b(text, digest_size=8).hexdigest(),
        fresh=fresh,
        shared=shared,
    )


def about(result: CompletionResult) -> dict[str, Any]:
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
