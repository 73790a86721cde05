"""What is asked of a kernel, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agent_runtime.errors import InvalidInput
from agent_runtime.values.checks import MAX_INTEGER, check_text, check_whole
from agent_runtime.values.content import encode
from agent_runtime.values.context import DEFAULT_SCOPE, BudgetSpec, PolicyRef, RunVersions
from agent_runtime.values.job import JobStatus, check_asked
from agent_runtime.values.message import check_identity
from agent_runtime.values.retry_policy import RetryPolicy
from llm_client.codec import dump_message
from llm_client.messages import Message
from llm_client.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRequest:
    """A job to run.

    Give a `prompt` (or `messages`) for the kernel's agent, or the name of an `operator` and its `input`. Ids, the key and the
    queue are text of up to 512 bytes without control characters.

    Raises:
        InvalidInput: A field cannot be stored; it names the field.
    """

    prompt: str | None = None
    messages: Sequence[Message] | None = None
    operator: str | None = None
    """Registered name; `None` is the kernel's agent."""
    input: Any = None
    """JSON values for the operator."""
    scope_id: str = DEFAULT_SCOPE
    principal_id: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    identity: str | None = None
    """Whose messages `context.receive()` gives the job, and those that go on in its place; `None` is the job's own id."""
    budgets: BudgetSpec | None = None
    policy_ref: PolicyRef | None = None
    retry: RetryPolicy | None = None
    """What outages mean to the job and its children; `None` is as their operators say, or else the kernel."""
    versions: RunVersions | None = None
    idempotency_key: str | None = None
    """A second request with the same key, in the same scope, gives the first one's job, if it is the same request:
    `agent_runtime.jobs.same_request` says what is compared."""
    retry_failed: bool = False
    """When the key's job has ended without success, retry it, instead of telling of that end."""
    deadline_seconds: float | None = None
    """Wall-clock time after which the job is timed out, waits included."""
    priority: int = 0
    """Higher runs first; a whole number of 32 bits."""
    queue: str = "default"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    """The span of the caller's that the job belongs to, as W3C Trace Context has it; what is none is ignored."""

    def __post_init__(self) -> None:
        check_asked(self)
        check_text("queue", self.queue)
        if self.operator:
            check_text("operator", self.operator)
        if self.identity is not None:
            check_identity("identity", self.identity)
        if not isinstance(self.retry, RetryPolicy | None):
            raise InvalidInput("retry is a RetryPolicy")
        check_whole("priority", self.priority, least=-MAX_INTEGER - 1)

    def job_input(self) -> object:
        """Return the operator's input as JSON values. Raises `InvalidInput` for what is no message."""
        if self.prompt is None and self.messages is None:
            return self.input
        given: dict[str, Any] = dict(self.input) if isinstance(self.input, Mapping) else {}
        if self.prompt is not None:
            given["prompt"] = self.prompt
        if self.messages is not None:
            if not all(isinstance(message, Message) for message in self.messages):
                raise InvalidInput("messages are values of the type Message")
            given["messages"] = [dump_message(message) for message in self.messages]
        return given

    def encoded_input(self) -> bytes:
        """Return the input as journal content. Raises `ResultNotSerializable` or `ContentTooLarge`."""
        return encode(self.job_input())


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionResult:
    """How a job ended."""

    job_id: str
    status: JobStatus
    content: str = ""
    output: Any = None
    """JSON values: what an operator's `output_data`, or an async function's return value, was."""
    usage: Usage = field(default_factory=Usage)
    """Everything the job spent, retries and failed attempts included, children not."""
    children_usage: Usage = field(default_factory=Usage)
    """What its children have spent by the time they ended, with their own children."""
    turns: int = 0
    """Model calls."""
    artifacts: tuple[Mapping[str, Any], ...] = ()
    """What the operator told with `context.emit("artifact.created", …)`."""

    @property
    def cost(self) -> Decimal | None:
        """US dollars; `None` when no price is known."""
        return self.usage.cost
