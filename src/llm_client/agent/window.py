"""Keeping a conversation within a model's context window.

What is dropped is dropped from what is sent, never from the conversation. A tool call and its result stay together, the
system messages and the person's last message always stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from llm_client.errors import ConfigurationError
from llm_client.messages import Message
from llm_client.spec import RequestContext, RequestSpec

if TYPE_CHECKING:
    from llm_client.agent.conversation import Conversation
    from llm_client.engine.engine import ExecutionEngine

Measure = Callable[[Sequence[Message]], int]
"""Estimates how many tokens some messages take."""


class ContextWindow(Protocol):
    """Chooses which messages are sent. Any object with this method is a strategy."""

    async def fit(
        self, conversation: Conversation, messages: Sequence[Message], *, limit: int, measure: Measure
    ) -> Sequence[Message]:
        """Return the messages to send; called only when all of them together exceed the limit.

        Args:
            conversation: Where a strategy may note what it has done (`summary`).
            messages: All messages, system messages first.
            limit: Tokens they must fit.
            measure: Estimates tokens.
        """
        ...


def groups_of(messages: Sequence[Message]) -> list[list[Message]]:
    """Cut a conversation where it may be cut: an answer with tool calls and their results are one piece."""
    groups: list[list[Message]] = []
    for message in messages:
        if message.role == "tool" and groups:
            groups[-1].append(message)
        else:
            groups.append([message])
    return groups


def _last_user(groups: Sequence[Sequence[Message]]) -> int:
    for position in range(len(groups) - 1, -1, -1):
        if groups[position][0].role == "user":
            return position
    return len(groups) - 1


def split_droppable(
    messages: Sequence[Message], *, limit: int, measure: Measure
) -> tuple[list[Message], list[Message], list[Message]]:
    """Return system messages, what must go so that the rest fits, oldest first, and the rest in order.

    After the cut the rest begins with a person's message, as vendors demand.
    """
    system = [message for message in messages if message.role == "system"]
    groups = groups_of([message for message in messages if message.role != "system"])
    pinned = _last_user(groups)
    gone: set[int] = set()
    size = measure(messages)
    for position in range(len(groups) - 1):
        if size <= limit:
            break
        if position != pinned:
            gone.add(position)
            size -= measure(groups[position])
    for position in range(pinned):
        if position not in gone and groups[position][0].role == "user":
            break
        gone.add(position)
    dropped = [message for position, group in enumerate(groups) if position in gone for message in group]
    kept = [message for position, group in enumerate(groups) if position not in gone for message in group]
    return system, dropped, kept


class DropOldest:
    """Leaves out the oldest exchanges."""

    async def fit(
        self, conversation: Conversation, messages: Sequence[Message], *, limit: int, measure: Measure
    ) -> Sequence[Message]:
        """Return the messages without the oldest ones."""
        system, _, rest = split_droppable(messages, limit=limit, measure=measure)
        return [*system, *rest]


SUMMARY_REQUEST = (
    "Summarise the conversation below for somebody who has to continue it: goals, facts, decisions, results of tools, "
    "and what is still open. Leave out pleasantries. Answer with the summary alone."
)


class Summarise:
    """Replaces the oldest exchanges by a summary that a model writes, and extends it as the conversation grows.

    Args:
        engine: Asks for the summary; a cheaper model than the agent's is a good choice.
        max_tokens: Length of the summary.
        share: Fraction of the limit the kept messages may fill, so that not every turn needs a new summary.
    """

    def __init__(self, engine: ExecutionEngine, *, max_tokens: int = 1_000, share: float = 0.6) -> None:
        if not 0 < share <= 1:
            raise ConfigurationError("share is a fraction above 0")
        self._engine = engine
        self._max_tokens = max_tokens
        self._share = share

    async def fit(
        self, conversation: Conversation, messages: Sequence[Message], *, limit: int, measure: Measure
    ) -> Sequence[Message]:
        """Return the system messages, the summary of what is left out, and the rest."""
        system = [message for message in messages if message.role == "system"]
        known = conversation.summary
        covered = known.covers if known is not None else ()
        if known is not None:
            shortened = [*system, known.message, *_spoken(messages, covered)]
            if measure(shortened) <= limit:
                return shortened
        room = max(1, int(limit * self._share) - self._max_tokens)
        _, dropped, _ = split_droppable(messages, limit=room, measure=measure)
        fresh = _spoken(dropped, covered)
        if fresh:
            text = await self._summary(known.message.text if known is not None else "", fresh)
            summary = Message.user(f"Summary of the conversation so far:\n{text}")
            known = conversation.note_summary(summary, [*covered, *fresh])
        if known is None:
            return messages
        return [*system, known.message, *_spoken(messages, known.covers)]

    async def _summary(self, earlier: str, messages: Sequence[Message]) -> str:
        lines = [earlier] if earlier else []
        for message in messages:
            calls = "".join(f" [calls {call.name} {call.arguments}]" for call in message.tool_calls)
            lines.append(f"{message.role}: {message.text}{calls}")
        spec = RequestSpec(
            messages=(Message.system(SUMMARY_REQUEST), Message.user("\n".join(lines))),
            max_tokens=self._max_tokens,
        )
        return (await self._engine.complete(spec, context=RequestContext())).content


def _spoken(messages: Sequence[Message], covered: Sequence[Message]) -> list[Message]:
    """Return what was said besides the system messages and what is covered by a summary."""
    identities = {id(message) for message in covered}
    return [message for message in messages if message.role != "system" and id(message) not in identities]
