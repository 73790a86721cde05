"""How waits begin and end in the journal: asked for, awaited, read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from agent_runtime.execution.branch import Branch
from agent_runtime.execution.operations.failed_at import failure_of
from agent_runtime.execution.operations.waits import blocking, wait
from agent_runtime.operators.durable_wait import DurableWait, WaitKind
from agent_runtime.ports.commit import CommitParts, NewEvent
from agent_runtime.values.event import RuntimeEvent

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Generic[T]):
    """A wait that has taken its place in the journal."""

    operation_id: str
    kind: WaitKind
    read: Callable[[RuntimeEvent], Awaitable[T]]
    """Turns the answer into what the code gets, or raises."""
    events: Sequence[NewEvent] = ()
    """What begins it; empty when it had begun before."""
    parts: CommitParts = field(default_factory=CommitParts)
    """What belongs to the events."""

    async def answered(self, branch: Branch) -> T:
        """Wait for the answer."""
        return await self.value_of(await wait(branch, self.operation_id, self.kind))

    async def value_of(self, answer: RuntimeEvent) -> T:
        """Return what the code gets, or raise."""
        with failure_of(self.operation_id):
            return await self.read(answer)


Ask = Callable[[Branch], Awaitable[Asked[T]]]


async def ask_and_wait(branch: Branch, ask: Ask[T]) -> T:
    """Begin a wait in a line, and wait."""
    with branch.recorded_only():
        asked = await ask(branch)
        if asked.events:
            blocked = blocking(branch, asked.operation_id, asked.kind)
            await branch.run.journal.commit([*asked.events, *blocked], **asked.parts)
        answer = await asked.answered(branch)
    branch.run.mail.seen((asked.operation_id,))
    return answer


class JournaledWait(DurableWait[T_co]):
    """A wait of a job.

    Args:
        kind: What it waits for.
        coroutine: What awaiting it does.
        ask: How it begins as a member of a set.
    """

    __slots__ = ("ask",)

    def __init__(self, kind: WaitKind, coroutine: Coroutine[object, None, T_co], ask: Ask[T_co]) -> None:
        super().__init__(kind, coroutine)
        self.ask = ask
