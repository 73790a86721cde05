"""The tools an agent has, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from llm_client.errors import ConfigurationError
from llm_client.logs import logger_of
from llm_client.tools.aliases import aliases
from llm_client.tools.decorator import tool
from llm_client.tools.tool import Tool

logger = logger_of(__name__)


class ToolRegistry:
    """A set of tools with distinct names; iterating yields them in the order they came.

    A tool whose name some vendor refuses gets a legal alias, under which models, policies and everybody else know it.

    Args:
        tools: Tools, or functions to make tools of.
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., object]] = ()) -> None:
        self._given: dict[str, Tool] = {}
        """As they were given, by the name that they had then."""
        self._names: dict[str, str] = {}
        """What they are called here, by the name that they had."""
        self._tools: dict[str, Tool] = {}
        for entry in tools:
            self._take(entry)
        self._name()

    def add(self, entry: Tool | Callable[..., object]) -> Tool:
        """Add a tool, or make one of a function and add it; return it under the name that it has here.

        Raises:
            ConfigurationError: The name is taken, or it has none.
        """
        given = self._take(entry)
        self._name()
        return self._tools[self._names[given]]

    def remove(self, name: str) -> None:
        """Remove a tool; unknown names are ignored."""
        given = next((given for given, alias in self._names.items() if alias == name), None)
        if given is not None:
            del self._given[given], self._names[given], self._tools[name]

    def get(self, name: str) -> Tool | None:
        """Return the tool of this name, or `None`."""
        return self._tools.get(name)

    def name_of(self, given: str) -> str:
        """Return what a tool is called here that was given under a name; any other name as it is."""
        return self._names.get(given, given)

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self._tools)

    def _take(self, entry: Tool | Callable[..., object]) -> str:
        added = entry if isinstance(entry, Tool) else tool(entry)
        if not added.name:
            raise ConfigurationError("a tool has a name")
        if added.name in self._given:
            raise ConfigurationError(f"there are two tools named {added.name!r}")
        self._given[added.name] = added
        return added.name

    def _name(self) -> None:
        """Call every tool what it is called here: only what was added, or has the alias of another one, gets another name."""
        tools: dict[str, Tool] = {}
        names = aliases(self._given)
        for given, entry in self._given.items():
            alias = names[given]
            if alias == given:
                tools[alias] = entry
            elif self._names.get(given) == alias:
                tools[alias] = self._tools[alias]
            else:
                tools[alias] = replace(entry, name=alias)
                logger.warning("the tool %r is called %r here: some vendors refuse its name", given, alias)
        self._names, self._tools = names, tools

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools
