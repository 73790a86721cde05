"""What conversational agents have said and heard, in this process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from agent_runtime.errors import RunError
from llm_client.chance import random_name
from llm_client.messages import Message

MAX_CONVERSATIONS: Final = 1_000
"""Conversations that are kept; whoever was not heard for the longest time is forgotten first."""
MAX_MESSAGES: Final = 400
"""Messages of one conversation; the oldest behind its beginning are forgotten first, a question with its answer."""


class RunnerConversation:
    """One conversation: how it began, and what was said since."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        """Held by the run that continues it: the next one waits."""
        self.beginning: tuple[Message, ...] | None = None
        """The instruction and the examples; rendered once."""
        self._said: list[Message] = []

    @property
    def messages(self) -> tuple[Message, ...]:
        """Everything so far."""
        return (*(self.beginning or ()), *self._said)

    def add(self, asked: Message, answered: Message) -> None:
        """Add a question and its answer, which are there together or not at all."""
        self._said += (asked, answered)
        del self._said[: max(0, len(self._said) - MAX_MESSAGES)]


class Conversations:
    """The conversations of a runner."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, RunnerConversation] = OrderedDict()

    def open(self, agent_name: str, iteration: int) -> tuple[str, RunnerConversation]:
        """Begin one; returns its id as well."""
        conversation_id = f"{agent_name}_iter{iteration}_{random_name(4)}"
        conversation = self._known[conversation_id] = RunnerConversation()
        self._forget()
        return conversation_id, conversation

    def get(self, conversation_id: str) -> RunnerConversation:
        """Return one. Raises `RunError` when there is none of this id any more."""
        conversation = self._known.get(conversation_id)
        if conversation is None:
            raise RunError(
                f"this runner has no conversation {conversation_id!r}: it is another runner's, or was forgotten "
                f"after {MAX_CONVERSATIONS} others; begin anew with a state without conversation_id"
            )
        self._known.move_to_end(conversation_id)
        return conversation

    def drop(self, conversation_id: str) -> None:
        """Forget one that did not come about."""
        self._known.pop(conversation_id, None)

    def _forget(self) -> None:
        surplus = len(self._known) - MAX_CONVERSATIONS
        if surplus <= 0:
            return
        for name in [name for name, one in self._known.items() if not one.lock.locked()][:surplus]:
            del self._known[name]
