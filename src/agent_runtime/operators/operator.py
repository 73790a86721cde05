"""Operators: what jobs execute. A class with `execute`, an async function, or an agent."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from agent_runtime.errors import InvalidInput, UnknownOperator
from agent_runtime.operators.result import OperatorResult
from agent_runtime.values.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from agent_runtime.operators.context import OperatorContext
    from llm_client.agent.agent import Agent


class Operator(ABC):
    """Something a job can execute.

    Subclass it, give it a `name` that stays the same over releases – waiting jobs find their operator by it – and
    write `execute`. Whatever must not happen twice goes through the context or through models and tools.

    Args:
        agent: An agent for subclasses that want one, as `self.agent`.
    """

    retry: RetryPolicy | None = None
    """What outages mean to its jobs, unless their request says; `None` is as the kernel says."""
    input_schema: Mapping[str, object] | None = None
    """JSON Schema of its input, an object, for those who have to be told: clients of the MCP server. `None` says nothing of it."""

    def __init__(self, agent: Agent | None = None) -> None:
        self._agent = agent

    @property
    def agent(self) -> Agent:
        """The agent given to the constructor."""
        if self._agent is None:
            raise InvalidInput(f"operator {self.name!r} was made without an agent")
        return self._agent

    @property
    def name(self) -> str:
        """Registered name; by default the class's."""
        return type(self).__name__

    @abstractmethod
    async def execute(self, input_data: Any, context: OperatorContext) -> Any:
        """Do the work. Returns an `OperatorResult`, or JSON values that become its output."""


OperatorFunction = Callable[["OperatorContext", Any], Any]
"""An async function of the context and the job's input."""


class _Executable(Protocol):
    @property
    def name(self) -> str: ...

    async def execute(self, input_data: Any, context: OperatorContext) -> Any: ...


MAX_PIECES: Final = 10_000
"""Messages, parts and tool calls that an agent is given with a job: each is looked at by rules, budgets and the journal, before anybody else's
turn comes."""


class FunctionOperator(Operator):
    """An async function as an operator, under the function's name."""

    def __init__(
        self,
        function: OperatorFunction,
        name: str | None = None,
        *,
        retry: RetryPolicy | None = None,
        input_schema: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        self.retry = retry
        self.function = function
        self._name = name or function.__name__
        self.input_schema = input_schema

    @property
    def name(self) -> str:
        """The function's name, or the one it was given."""
        return self._name

    @property
    def is_closure(self) -> bool:
        """Whether the function exists only in this process: a lambda, or one made inside another function."""
        return self._name == "<lambda>" or "<locals>" in getattr(self.function, "__qualname__", "")

    async def execute(self, input_data: object, context: OperatorContext) -> Any:
        """Call the function."""
        return await self.function(context, input_data)


class AgentOperator(Operator):
    """An agent as an operator: one run of its loop, from the prompt or messages in the job's input."""

    def __init__(self, agent: Agent, name: str = "agent", *, retry: RetryPolicy | None = None) -> None:
        super().__init__(agent)
        self.retry = retry
        self._name = name

    @property
    def name(self) -> str:
        """Registered name."""
        return self._name

    async def execute(self, input_data: object, context: OperatorContext) -> OperatorResult:
        """Run the agent to its end; anything but success is a failure of the job, with the agent's own status.

        Raises:
            InvalidInput: There are more messages, parts and tool calls than anybody means.
            LLMClientError: The model or what is around it failed, as it does to code that calls a model itself.
        """
        from llm_client.codec import check_message, load_message

        given = input_data or {}
        if not isinstance(given, Mapping):
            raise InvalidInput('an agent is asked with an input such as {"prompt": "…"} or {"messages": […]}')
        asked = given.get("messages") or ()
        if not isinstance(asked, list | tuple):
            raise InvalidInput("messages is a list")
        if _pieces_of(asked) > MAX_PIECES:
            raise InvalidInput(f"messages have more than {MAX_PIECES:,} pieces, parts and tool calls counted")
        try:
            messages = [load_message(message) for message in asked]
            for message in messages:
                check_message(message)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise InvalidInput("messages holds what is no message") from None
        result = await self.agent.run(
            given.get("prompt"),
            messages=messages or None,
            context=context.execution_ctx.to_request_context(),
        )
        if result.status == "error":
            result.raise_for_status()
        succeeded = result.status == "success"
        return OperatorResult(
            content=result.content,
            output_data={} if result.output is None else {"output": self._values(result.output)},
            success=succeeded,
            error=None if succeeded else str(result.error or f"the agent stopped: {result.status}"),
            error_code=None if succeeded else str(getattr(result.error, "code", result.status)).upper(),
            usage=result.total_usage,
            turns=result.turns,
        )

    def _values(self, output: Any) -> Any:
        """Return what the agent answered as JSON values, as its own type writes them."""
        kind = getattr(self.agent, "output_type", None)
        return output if kind is None else kind.dump(output)


def _pieces_of(messages: Sequence[Any]) -> int:
    """Return how many messages there are, with their parts and their tool calls."""
    lists = (entry for message in messages if isinstance(message, Mapping) for entry in message.values())
    return len(messages) + sum(len(entry) for entry in lists if isinstance(entry, list))


class OperatorRegistry:
    """Operators by name.

    Args:
        operators: Operators, agents or async functions; or a mapping from names to these.
    """

    def __init__(self, operators: Iterable[object] | Mapping[str, object] = ()) -> None:
        self._operators: dict[str, Operator | _Executable] = {}
        if isinstance(operators, Mapping):
            for name, operator in operators.items():
                self.add(operator, name)
        else:
            for operator in operators:
                self.add(operator)

    def add(self, operator: object, name: str | None = None) -> Operator | _Executable:
        """Register an operator under `name` or its own name.

        Raises:
            InvalidInput: The name is taken by something else, or this is nothing that can be executed.
        """
        made = _as_operator(operator, name)
        known = self._operators.get(name or made.name)
        if known is not None and known is not made:
            raise InvalidInput(f"there are two operators named {name or made.name!r}")
        self._operators[name or made.name] = made
        return made

    def get(self, name: str) -> Operator | _Executable:
        """Return an operator.

        Raises:
            UnknownOperator: Nothing is registered under this name.
        """
        try:
            return self._operators[name]
        except KeyError:
            known = ", ".join(sorted(self._operators)) or "none"
            raise UnknownOperator(f"no operator is named {name!r}; registered: {known}") from None

    def names(self) -> tuple[str, ...]:
        """Return the registered names, sorted."""
        return tuple(sorted(self._operators))

    def agents(self) -> Iterator[Agent]:
        """Yield the agents that operators were made with."""
        for operator in list(self._operators.values()):
            agent: Agent | None = getattr(operator, "_agent", None)
            if agent is not None and hasattr(agent, "engine") and hasattr(agent, "tools"):
                yield agent

    def closures(self) -> list[str]:
        """Return the names of operators that another process could not find again."""
        return [
            name
            for name, operator in self._operators.items()
            if isinstance(operator, FunctionOperator) and operator.is_closure
        ]

    def __contains__(self, name: object) -> bool:
        return name in self._operators

    def __iter__(self) -> Iterator[Operator | _Executable]:
        return iter(self._operators.values())


def _as_operator(operator: Any, name: str | None) -> Operator | _Executable:
    if inspect.iscoroutinefunction(operator):
        return FunctionOperator(operator, name)
    if hasattr(operator, "execute") and hasattr(operator, "name"):
        executable: Operator | _Executable = operator
        return executable
    if hasattr(operator, "run") and hasattr(operator, "stream"):
        return AgentOperator(operator, name or getattr(operator, "name", None) or "agent")
    raise InvalidInput(
        f"{operator!r} cannot be executed: an operator is an Operator, an Agent or an async function of "
        "(context, input)"
    )
