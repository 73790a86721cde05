"""Answering the tool calls of one model answer: every call gets a result, whatever it was."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

from llm_client.agent.config import AgentConfig
from llm_client.agent.middleware.failures import REFUSED, TOO_MANY_CALLS, UNKNOWN_TOOL
from llm_client.background import gather_or_cancel
from llm_client.errors import RunAborted, ToolError
from llm_client.exits import PASSING
from llm_client.governed import host_for
from llm_client.json_text import MOST_WRITTEN, is_beyond_writing, whole_text
from llm_client.messages import ToolCall
from llm_client.middleware import HOST, ProceedTool, ToolInvocation, ToolMiddleware
from llm_client.spec import RequestContext
from llm_client.tools.arguments import completed_aside, uncheckable
from llm_client.tools.execution import INVALID_ARGUMENTS, execute, failure, failure_of, invalid_arguments
from llm_client.tools.registry import ToolRegistry
from llm_client.tools.tool import ToolResult
from llm_client.turns import read_aside

Approve = Callable[[ToolInvocation], Awaitable[bool] | bool]
"""Says whether a tool that requires approval may run."""

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")
MAX_QUOTED = 500
"""Characters of malformed arguments that are shown to the model again."""
MAX_LISTED = 30
"""Tools that a model is told of which has called one that nobody has, and names that its own is compared with."""
MAX_NAME = 64
"""Characters of a name that another one may be meant by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The place of a model answer: which run, which turn, on whose behalf."""

    run_id: str
    number: int
    context: RequestContext
    is_watched: bool
    """Whether somebody sees the results before the model does."""
    calls_before: int = 0
    """Tool calls of the run's earlier turns."""


class ToolCalls:
    """Runs tool calls through the gates.

    From the outside in: the host's call gate, the middleware's, the host's attempt gate, the middleware's, the function.
    A call that cannot be made (unknown tool, bad arguments) is answered before any gate.
    """

    def __init__(
        self,
        tools: ToolRegistry,
        middleware: Sequence[ToolMiddleware],
        config: AgentConfig,
        approve: Approve | None = None,
    ) -> None:
        self._tools = tools
        self._config = config
        self._approve = approve
        self._attempts = _chain(middleware, "attempt_tool", execute)
        self._calls = _chain(middleware, "call_tool", self._attempt)

    async def answer(self, calls: Sequence[ToolCall], turn: Turn) -> list[ToolResult]:
        """Return one result per call, in order.

        Raises:
            RunAborted: A host or middleware ended the run; the other calls were cancelled.
        """
        if len(calls) == 1 or not self._config.parallel_tool_execution:
            last = None if turn.is_watched else len(calls) - 1
            return [
                await self._answer(call, index, turn, unseen=index == last)
                for index, call in enumerate(calls)
            ]
        return await gather_or_cancel([self._answer(call, index, turn) for index, call in enumerate(calls)])

    async def _answer(self, call: ToolCall, index: int, turn: Turn, *, unseen: bool = False) -> ToolResult:
        invocation = await self._check(call, index, turn, unseen)
        if isinstance(invocation, ToolResult):
            return await HOST.get().recall_tool(call, index) or invocation
        host = host_for(invocation.tool)
        if not host.asks_people and invocation.tool.requires_approval:
            # Who is asked sees what will be done, defaults as well, and exactly that is done.
            taken = await completed_aside(invocation.tool, invocation.arguments)
            invocation = invocation.evolve(arguments=taken)
            if not await self._is_approved(invocation):
                return failure(f"nobody approved the call of {call.name!r}", REFUSED)
        return await host.call_tool(invocation, self._calls)

    async def _check(
        self, call: ToolCall, index: int, turn: Turn, unseen: bool
    ) -> ToolInvocation | ToolResult:
        """Return the call as an invocation, or the result that tells the model why it is none."""
        if index >= self._config.max_tool_calls_per_turn:
            bound = self._config.max_tool_calls_per_turn
            return failure(
                f"not run: at most {bound} tool calls are made at once; call it again", TOO_MANY_CALLS
            )
        tool = self._tools.get(call.name)
        if tool is None:
            return failure(self._unknown(call.name), UNKNOWN_TOOL)
        if call.malformed is not None:
            quoted = call.malformed[:MAX_QUOTED]
            return failure(f"the arguments are not a JSON object: {quoted}", INVALID_ARGUMENTS)
        if is_beyond_writing(call.arguments):
            return failure(f"not run: the arguments have more than {MOST_WRITTEN}", INVALID_ARGUMENTS)
        why = await read_aside(call.arguments, partial(uncheckable, tool, call.arguments))
        if why is not None:
            return failure(f"not run: {why}", INVALID_ARGUMENTS)
        if tool.validate is not None:
            try:
                await read_aside(call.arguments, partial(tool.validate, call.arguments))
            except ToolError as error:
                return invalid_arguments(error)
            except (RunAborted, *PASSING):
                raise
            except BaseException as error:  # noqa: BLE001 -- what a parameter's own type raises is for the model to read
                return failure_of(error)
        return ToolInvocation(
            tool=tool,
            call=call,
            arguments=call.arguments,
            context=turn.context,
            run_id=turn.run_id,
            index=index,
            number=turn.calls_before + index + 1,
            operation_id=f"{turn.run_id}/{turn.number}.{index}",
            unseen=unseen,
        )

    def _unknown(self, name: str) -> str:
        """Return what a model is told that calls a tool nobody has, with the name that it may have meant."""
        names = self._tools.names()
        near = _nearest(name, names)
        hint = f"; did you mean {near!r}?" if near else ""
        shown = whole_text(name[:MAX_QUOTED])
        listed = ", ".join(names[:MAX_LISTED]) or "none"
        more = f", and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
        return f"there is no tool named {shown!r}; the tools are: {listed}{more}{hint}"

    async def _is_approved(self, invocation: ToolInvocation) -> bool:
        if self._approve is None:
            return False
        answer = self._approve(invocation)
        return await answer if inspect.isawaitable(answer) else answer

    async def _attempt(self, invocation: ToolInvocation) -> ToolResult:
        return await HOST.get().attempt_tool(invocation, self._attempts)


def _nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the tool whose name a model has decorated (`functions.exec`, `exec<|channel|>x`) or misspelt."""
    words = [word for word in _NO_NAME.split(name[:MAX_QUOTED]) if word]
    known = set(names)
    meant = next((word for word in words if word in known), None)
    joined = "_".join(words)
    if meant or len(joined) > MAX_NAME:
        return meant
    # Letters are compared pair by pair: of many names only those are looked at that are about as long.
    similar = sorted(names, key=lambda one: abs(len(one) - len(joined)))[:MAX_LISTED]
    return next(iter(get_close_matches(joined, [one for one in similar if len(one) <= MAX_NAME], 1)), None)


def _chain(middleware: Sequence[ToolMiddleware], gate: str, last: ProceedTool) -> ProceedTool:
    chain = last
    for step in reversed(middleware):
        if getattr(type(step), gate) is not getattr(ToolMiddleware, gate):
            chain = _bound(getattr(step, gate), chain)
    return chain


def _bound(
    step: Callable[[ToolInvocation, ProceedTool], Awaitable[ToolResult]], proceed: ProceedTool
) -> ProceedTool:
    async def run(invocation: ToolInvocation) -> ToolResult:
        return await step(invocation, proceed)

    return run
