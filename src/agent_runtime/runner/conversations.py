"""What conversational agents have said and heard, in this process."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from secrets import token_hex
from typing import Final

from agent_runtime.errors import RunError
from llm_client.messages import Message

MAX_CONVERSATIONS: Final = 1_000
"""Conversations that are kept; of the tenant with the most, whoever was not heard for the longest time is forgotten first."""
_CHANCE_BYTES: Final = 16
MAX_MESSAGES: Final = 400
"""Messages of one conversation; the oldest behind its beginning are forgotten first, a question with its answer."""


class RunnerConversation:
    """One conversation: how it began, and what was said since.

    Args:
        agent_name: With whom.
        tenant_id: Whose.
    """

    def __init__(self, agent_name: str, tenant_id: str | None) -> None:
        self.agent_name = agent_name
        self.tenant_id = tenant_id
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

    def open(self, agent_name: str, iteration: int, tenant_id: str | None) -> tuple[str, RunnerConversation]:
        """Begin one; returns its id as well, which nobody guesses: whoever says it goes on with the conversation."""
        conversation_id = f"{agent_name}_iter{iteration}_{token_hex(_CHANCE_BYTES)}"
        conversation = self._known[conversation_id] = RunnerConversation(agent_name, tenant_id)
        self._forget()
        return conversation_id, conversation

    def get(self, conversation_id: str, agent_name: str, tenant_id: str | None) -> RunnerConversation:
        """Return one. Raises `RunError` when there is none of this id any more, or it is another agent's or tenant's."""
        conversation = self._known.get(conversation_id)
        if conversation is None or (conversation.agent_name, conversation.tenant_id) != (
            agent_name,
            tenant_id,
        ):
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
        idle = [(name, one.tenant_id) for name, one in self._known.items() if not one.lock.locked()]
        for _ in range(
            min(surplus, len(idle))
        ):  # those of whoever has the most, so that nobody forgets another's
            ((most, _),) = Counter(tenant_id for _, tenant_id in idle).most_common(1)
            oldest = next(item for item in idle if item[1] == most)
            idle.remove(oldest)
            del self._known[oldest[0]]
