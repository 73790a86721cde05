"""The names of a request's tools as every vendor takes them, and back.

An agent names its tools before anybody asks; whoever makes a request of his own may have tools that a server has named, such as `3d_render` or
`crm.find`. They go out under an alias, in the conversation as well, and their calls come back under the name that they were given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

from llm_client.messages import CompletionResult, Message, StreamEvent, ToolCall
from llm_client.spec import RequestSpec
from llm_client.tools.aliases import LEGAL_NAME, aliases


class ToolNames:
    """What the tools of a request are called at the vendor.

    Args:
        given: Aliases by the names that were given, of those alone that differ.
    """

    __slots__ = ("_aliases", "_given")

    def __init__(self, given: Mapping[str, str]) -> None:
        self._aliases = dict(given)
        self._given = {alias: name for name, alias in given.items()}

    @classmethod
    def of(cls, spec: RequestSpec) -> Self:
        """Return those of a request."""
        if all(LEGAL_NAME.fullmatch(tool.name) for tool in spec.tools):
            return cls({})
        ours = [tool.name for tool in spec.tools]
        found = aliases([*ours, *(tool.name for tool in spec.server_tools)])
        return cls({name: found[name] for name in ours if found[name] != name})

    def outward(self, spec: RequestSpec) -> RequestSpec:
        """Return the request as the vendor takes it."""
        if not self._aliases:
            return spec
        renamed = self._aliases
        return spec.evolve(
            tools=tuple(replace(tool, name=renamed.get(tool.name, tool.name)) for tool in spec.tools),
            tool_choice=renamed.get(spec.tool_choice or "", spec.tool_choice),
            messages=tuple(map(self._told, spec.messages)),
        )

    def inward(self, result: CompletionResult) -> CompletionResult:
        """Return an answer whose calls have the names that were given."""
        if not self._given or not result.tool_calls:
            return result
        return replace(result, tool_calls=tuple(map(self._meant, result.tool_calls)))

    def event(self, event: StreamEvent) -> StreamEvent:
        """Return an event of a stream likewise; tools that run at the vendor keep their names."""
        if not self._given or event.tool_call is None or not event.type.startswith("tool_call"):
            return event
        return replace(event, tool_call=self._meant(event.tool_call))

    def _told(self, message: Message) -> Message:
        if message.role == "tool" and message.name in self._aliases:
            return replace(message, name=self._aliases[message.name])
        if not any(call.name in self._aliases for call in message.tool_calls):
            return message
        calls = (replace(call, name=self._aliases.get(call.name, call.name)) for call in message.tool_calls)
        return replace(message, tool_calls=tuple(calls))

    def _meant(self, call: ToolCall) -> ToolCall:
        return replace(call, name=self._given.get(call.name, call.name))
