"""What is asked of a model, and on whose behalf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack

from llm_client.chance import random_name
from llm_client.errors import InvalidRequest
from llm_client.json_text import dumps
from llm_client.messages import Message

if TYPE_CHECKING:
    from llm_client.tools.server import ServerTool
    from llm_client.tools.tool import Tool

MAX_MODEL_NAME: Final = 256
"""Characters of a model's name."""
MAX_LOGPROBS: Final = 20
"""Alternatives to a token that any vendor tells of."""

CacheMode = Literal["use", "bypass", "refresh"]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


def new_id(prefix: str) -> str:
    """Return a fresh random id such as `req-3f2a…`."""
    return f"{prefix}-{random_name(12)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSchema:
    """A JSON Schema the model's answer must match."""

    name: str
    schema: Mapping[str, Any]
    strict: bool = True

    @property
    def instruction(self) -> str:
        """What a model is told that cannot be held to the schema by its vendor."""
        text = dumps(self.schema).decode()
        return f"Answer with JSON alone, without any other text, matching this JSON Schema:\n{text}"


class AskedFields(TypedDict, total=False):
    """The fields of `RequestSpec` besides its messages."""

    model: str | None
    tools: Sequence[Tool]
    server_tools: Sequence[ServerTool]
    tool_choice: str | None
    parallel_tool_calls: bool | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    stop: Sequence[str]
    seed: int | None
    output_schema: OutputSchema | None
    reasoning_effort: ReasoningEffort | None
    reasoning_tokens: int | None
    logprobs: int | None
    timeout: float | None
    extra: Mapping[str, object]


class SpecFields(AskedFields, total=False):
    """The fields of `RequestSpec`."""

    messages: Sequence[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSpec:
    """One request to a model. Unset fields are left to the vendor.

    `extra` goes into the vendor's request body as it is, for what this class does not name.

    Raises:
        InvalidRequest: `model` is no name of a model, `max_tokens` or `logprobs` no such number, or two tools have one name.
    """

    messages: Sequence[Message]
    model: str | None = None
    """Overrides the provider's model for this request."""
    tools: Sequence[Tool] = ()
    server_tools: Sequence[ServerTool] = ()
    """What runs at the vendor, beside `tools`: `WebSearch()`, `CodeExecution()`, …."""
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of one tool."""
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    """Upper bound for the output, in tokens."""
    stop: Sequence[str] = ()
    seed: int | None = None
    output_schema: OutputSchema | None = None
    reasoning_effort: ReasoningEffort | None = None
    reasoning_tokens: int | None = None
    """Upper bound for thinking, in tokens, where the vendor has one."""
    logprobs: int | None = None
    """Ask how likely each token was, and this many others at its place: 0 to 20."""
    timeout: float | None = None
    """Seconds for all attempts together."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bound: Any = self.max_tokens  # what budgets and rates reckon with: less than nothing would make room
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int) or bound < 0):
            raise InvalidRequest("max_tokens is a whole number of tokens, and not negative")
        model: Any = self.model  # remembered by breakers, budgets and rules, before a vendor can refuse it
        if model is not None and (not isinstance(model, str) or len(model) > MAX_MODEL_NAME):
            raise InvalidRequest(f"model is a name of at most {MAX_MODEL_NAME} characters")
        likely: Any = self.logprobs
        if likely is not None and (type(likely) is not int or not 0 <= likely <= MAX_LOGPROBS):
            raise InvalidRequest(f"logprobs is a whole number from 0 to {MAX_LOGPROBS}")
        if self.server_tools:
            self._check_names()

    def _check_names(self) -> None:
        """Refuse two tools of one name, of which neither a model nor a rule could tell which is meant."""
        names = [tool.name for tool in (*self.server_tools, *self.tools)]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidRequest(f"there are two tools named {twice!r}, one of which runs at the vendor")

    def evolve(self, **changes: Unpack[SpecFields]) -> RequestSpec:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """Who asks, and for what: ids that follow a request through every layer."""

    request_id: str = field(default_factory=lambda: new_id("req"))
    trace_id: str = field(default_factory=lambda: random_name(16))
    span_id: str = field(default_factory=lambda: random_name(8))
    parent_span_id: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    job_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def child(self) -> RequestContext:
        """Return the context of a nested operation: same trace, own span."""
        return replace(self, parent_span_id=self.span_id, span_id=random_name(8))

    def with_job(self, job_id: str) -> RequestContext:
        """Return a copy that belongs to a job."""
        return replace(self, job_id=job_id)

    def with_session(self, session_id: str) -> RequestContext:
        """Return a copy that belongs to a session."""
        return replace(self, session_id=session_id)
