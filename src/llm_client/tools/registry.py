"""The tools an agent has, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from llm_client.errors import ConfigurationError
from llm_client.tools.decorator import check_name, tool
from llm_client.tools.tool import Tool


class ToolRegistry:
    """A set of tools with distinct names; iterating yields them in the order they came.

    Args:
        tools: Tools, or functions to make tools of.
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., object]] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for entry in tools:
            self.add(entry)

    def add(self, entry: Tool | Callable[..., object]) -> Tool:
        """Add a tool, or make one of a function and add it.

        Raises:
            ConfigurationError: The name is taken or no vendor would accept it.
        """
        added = entry if isinstance(entry, Tool) else tool(entry)
        check_name(added.name)
        if added.name in self._tools:
            raise ConfigurationError(f"there are two tools named {added.name!r}")
        self._tools[added.name] = added
        return added

    def remove(self, name: str) -> None:
        """Remove a tool; unknown names are ignored."""
        self._tools.pop(name, None)

    def get(self, name: str) -> Tool | None:
        """Return the tool of this name, or `None`."""
        return self._tools.get(name)

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools
