"""A tool: a typed function a model may call, and what it may do to the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llm_client.messages import MediaPart, TextPart
from llm_client.spec import RequestContext

Effect = Literal["pure", "read", "idempotent", "reconcilable", "unsafe"]
"""What happens when a call is lost in a crash.

`pure` and `read` run again; `idempotent` runs again with the same key; `reconcilable` is asked whether it happened;
`unsafe` waits for a person.
"""

ReconcileOutcome = Literal["happened", "did_not_happen", "cannot_tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """A tool's answer to the question whether a lost operation happened."""

    outcome: ReconcileOutcome
    result: Any = None
    """The operation's result when it happened."""


Reconcile = Callable[[str], Awaitable[Reconciliation]]
"""Takes the operation id; must close it against later use before answering `did_not_happen`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may know about the call it serves; injected, never seen by the model."""

    operation_id: str
    idempotency_key: str
    """Equal to `operation_id`: pass it to the service that the tool calls."""
    job_id: str | None = None
    attempt: int = 1
    deadline: float | None = None
    """The event loop's time at which the call is given up."""
    request: RequestContext = field(default_factory=RequestContext)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool call gave.

    `value` is what the function returned, as JSON values; `content` is what the model reads. On failure `error` says
    what went wrong and `content` repeats it for the model.
    """

    content: str
    value: Any = None
    error: str | None = None
    error_type: str | None = None
    """Stable code of the failure: `timeout`, `invalid_arguments`, `denied`, `circuit_open`, or the exception's name."""
    media: tuple[MediaPart, ...] = ()
    """Images, sounds and files that the model reads behind `content`, where its wire format takes them; `content` tells of each."""

    @property
    def said(self) -> str | tuple[TextPart | MediaPart, ...]:
        """What the model reads: the text, and the media behind it."""
        return (TextPart(text=self.content), *self.media) if self.media else self.content

    @property
    def success(self) -> bool:
        """Whether the tool did what it was asked."""
        return self.error is None


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Tool:
    """A named function with a JSON Schema for its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments object."""
    handler: Callable[..., Any]
    """Takes validated keyword arguments (and `ctx` where it asks for a `ToolContext`); sync or async."""
    validate: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Turns a model's JSON arguments into keyword arguments; raises `ToolError` with text for the model."""
    complete: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Turns a model's JSON arguments into those the function will take, as JSON values, with defaults; raises `ToolError`."""
    takes_context: str | None = None
    """Name of the parameter that receives the `ToolContext`."""
    effect: Effect = "unsafe"
    reconcile: Reconcile | None = None
    timeout: float | None = None
    """Seconds around all attempts; `None` uses the agent's default."""
    retries: int | None = None
    """Further attempts after a failure, for effects that may be repeated; `None` uses the default."""
    requires_approval: bool = False
    approval_timeout: float | None = None
    """Seconds a person has to answer; `None` waits for ever."""
    strict: bool = False
    connectors: tuple[str, ...] = ()
    """Names of the sources of data it reaches, for a policy to decide about."""
    definition: str | None = None
    """Hash of what a foreign server says of it; within one job, a runtime asks a person before it uses another one."""

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Call the function as if it were not a tool: no validation, no middleware."""
        return self.handler(*args, **kwargs)
