"""What a kernel calls its own: engines and tools that are called in its jobs alone while it executes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from agent_runtime.operators.operator import OperatorRegistry

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine
    from llm_client.tools.tool import Tool


class Belongings:
    """The engines and tools a kernel was given, those of its operators' agents, and those that its jobs have called.

    Args:
        engine: For `context.model`.
        tools: For `context.tool`.
        registry: Operators, of which some are agents; more may come.
        executes: Whether this process executes jobs now. One that only submits them keeps nobody from calling.
    """

    def __init__(
        self,
        engine: ExecutionEngine | None,
        *,
        tools: Mapping[str, Tool],
        registry: OperatorRegistry,
        executes: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._tools = tools
        self._registry = registry
        self._executes = executes
        self._adopted: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Learn on which event loop jobs run; when it has ended without a word, so have they."""
        self._loop = asyncio.get_running_loop()

    def adopt(self, used: ExecutionEngine | Tool) -> None:
        """Remember what a job has called, as long as it lives."""
        self._adopted[id(used)] = used

    def has(self, called: ExecutionEngine | Tool) -> bool:
        """Whether something is called in jobs alone, now."""
        if self._loop is None or self._loop.is_closed() or not self._executes():
            return False
        return self._adopted.get(id(called)) is called or any(called is own for own in self._given())

    def _given(self) -> Iterator[Any]:
        yield self._engine
        yield from self._tools.values()
        for agent in self._registry.agents():
            yield agent.engine
            yield from agent.tools
