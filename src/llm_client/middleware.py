"""The four places where a caller, or a host runtime, can step around a model or a tool.

A model request passes two gates: the *call* (what was asked, once) and each *attempt* (what really goes out, after
cache, retry and fallback have chosen). A tool call passes the same two. A middleware implements the gates it cares
about by subclassing `ModelMiddleware` or `ToolMiddleware`; `proceed` runs the rest of the chain.

Streaming is not a second path: a call that is streamed has an `emit` that receives events while the call runs, and
still returns the whole result.

`HOST` holds what a durable runtime has put around everything that runs in its context. It is outermost at every gate,
so an agent that was built elsewhere is journaled and governed like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from llm_client.messages import CompletionResult, StreamEvent, ToolCall
from llm_client.pausing import Limit, TimeLimit
from llm_client.spec import CacheMode, RequestContext, RequestSpec

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from llm_client.engine.engine import ExecutionEngine
    from llm_client.engine.event_stream import OpenStream, StreamHost
    from llm_client.pricing.book import PriceBook
    from llm_client.providers.base import Provider
    from llm_client.tokens import TokenEstimator
    from llm_client.tools.tool import Tool, ToolResult
    from llm_client.usage import Usage

Emit = Callable[[StreamEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """What the caller asked of a model."""

    spec: RequestSpec
    context: RequestContext
    provider: Provider
    """The first choice; a fallback or router may answer instead."""
    emit: Emit | None = None
    """Receives stream events as they arrive; `None` when nobody listens."""
    transformed: bool = False
    """Whether middleware, cache or idempotency stand between this call and its attempts, so that their results may
    differ, or the call may have no attempt of its own."""
    idempotency_key: str | None = None
    """Calls with the same key, tenant and request share one answer; a host may prefix it."""
    timeout: float | None = None
    """Seconds for all attempts together; wins over the request's own."""
    cache: CacheMode = "use"
    prices: PriceBook | None = None
    """The engine's, for a host that has to know what the call can cost; a host may put others in their place."""
    estimator: TokenEstimator | None = None
    """The engine's, for a host that has to know how much the call reads."""
    scope: str | None = None
    """Within what a host keeps answers apart, on top of the caller's tenant: its calls share none with others."""
    embeds: bool = False
    """Whether the messages are texts whose vectors are wanted, not a conversation."""
    unseen: bool = False
    """Whether the caller shows the answer to nobody but the tools that it asks for, unless it awaits `Host.settled` first:
    a host may record the answer together with what those say that only read."""

    @property
    def whose(self) -> str | None:
        """On whose behalf it is made: those of different tenants wait in turns, and what befalls one is nothing to the others."""
        return self.context.tenant_id if self.scope is None else self.scope

    def evolve(self, **changes: Any) -> ModelCall:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAttempt:
    """One request that is about to leave the process."""

    call: ModelCall
    spec: RequestSpec
    provider: Provider
    number: int
    """1 for the first attempt of the call."""

    @property
    def model(self) -> str:
        """The model this attempt asks."""
        return self.spec.model or self.provider.model

    def evolve(self, **changes: Any) -> ModelAttempt:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolInvocation:
    """One tool call on its way to its function."""

    tool: Tool
    call: ToolCall
    arguments: dict[str, Any]
    """Validated arguments as JSON values; a middleware may replace them."""
    context: RequestContext
    run_id: str = ""
    """The agent's run the call belongs to."""
    index: int = 0
    """Place among the tool calls of the same model answer."""
    number: int = 1
    """Which of all the tool calls of its run it is, from 1."""
    attempt: int = 1
    operation_id: str = ""
    """Stable id of the operation, handed to the tool as its idempotency key; set by a host or by the agent."""
    deadline: float | None = None
    """The event loop's time at which the call is given up."""
    unseen: bool = False
    """Whether the caller shows the result to nobody but the model it asks next, unless it awaits `Host.settled` first:
    a host may record the result together with that request."""

    @property
    def whose(self) -> str | None:
        """On whose behalf it is made, as for a `ModelCall`."""
        scope = HOST.get().scope
        return self.context.tenant_id if scope is None else scope

    def evolve(self, **changes: Any) -> ToolInvocation:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


ProceedCall = Callable[[ModelCall], Awaitable[CompletionResult]]
ProceedAttempt = Callable[[ModelAttempt], Awaitable[CompletionResult]]
ProceedTool = Callable[[ToolInvocation], Awaitable["ToolResult"]]


class ModelMiddleware:
    """Steps around model calls and their attempts; the base class passes everything on."""

    async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
        """Surround one call, cache, retries and fallbacks included."""
        return await proceed(call)

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        """Surround one request to one provider."""
        return await proceed(attempt)


class ToolMiddleware:
    """Steps around tool calls and their attempts; the base class passes everything on."""

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Surround one tool call, retries included."""
        return await proceed(invocation)

    async def attempt_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Surround one execution of the tool's function."""
        return await proceed(invocation)


class Host(ModelMiddleware, ToolMiddleware):
    """What a runtime puts around every model and tool call made in its context; the base class changes nothing."""

    asks_people: ClassVar[bool] = False
    """Whether it asks for the approvals that tools require, so that nobody else has to."""

    @property
    def scope(self) -> str | None:
        """On whose behalf everything in this context happens, where a host keeps people apart."""
        return None

    def sending(self) -> None:
        """Learn that the request of the attempt in flight leaves now, after whatever it has waited for."""

    def answered(self, usage: Usage | None) -> None:
        """Learn that the attempt in flight has an answer, or a part of one, before anybody refuses it.

        Args:
            usage: What it has used, as its vendor says; `None` where nobody can know yet.
        """
        del usage

    def adopt(self, used: ExecutionEngine | Tool) -> None:
        """Learn that an engine or a tool is called in this context."""

    def owns(self, called: ExecutionEngine | Tool) -> bool:
        """Whether an engine or a tool is to be called in the context of this host alone, now."""
        del called
        return False

    def loop(self) -> AbstractEventLoop | None:
        """Return the event loop on which calls made in this context have to run; `None` if on any."""
        return None

    def time_limit(self, seconds: float) -> Limit:
        """Return the bound on an agent's run, for a host that remembers whether it was reached."""
        return TimeLimit(seconds)

    def open_stream(self, stream: OpenStream[Any]) -> StreamHost | None:
        """Learn that somebody begins to read a stream; return who is told what the reader does, if anybody is."""
        del stream
        return None

    async def read(self, name: str, ask: Callable[[], Awaitable[object]]) -> object:
        """Return what the world says to a question, as JSON values; a host may recall what it said at this place before.

        Args:
            name: What is asked, the same in every process.
            ask: Asks; raises `ToolError`.
        """
        del name
        return await ask()

    async def recall_tool(self, call: ToolCall, index: int) -> ToolResult | None:
        """Return what is on record of a call that cannot be made now, because its tool is gone or takes other arguments."""
        del call, index
        return None

    async def settled(self) -> None:
        """Return when everything that has happened is on record; awaited before results are shown."""


NO_HOST: Final = Host()
"""What stands around calls outside of every runtime."""
HOST: ContextVar[Host] = ContextVar("llm_client_host", default=NO_HOST)
"""The host of the current task, outermost at all four gates."""

OBSERVER: ContextVar[ModelMiddleware | None] = ContextVar("llm_client_observer", default=None)
"""What a caller has put around the attempts of its own calls, of whatever engine: inside the host, outside the engine's middleware."""


@contextmanager
def observing(observer: ModelMiddleware) -> Iterator[None]:
    """Have the `attempt` of a middleware stand around every attempt of the calls made in a body.

    It sees what really goes out, after the host has let it: nothing of a call that a host recalls. It is for those who are given
    an engine that others have made, and may refuse an attempt or bound it, but not change the answer.
    """
    token = OBSERVER.set(observer)
    try:
        yield
    finally:
        OBSERVER.reset(token)
