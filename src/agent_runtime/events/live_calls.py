"""Answers of models that are still coming: what of each has arrived, for readers who come late, here and in other processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent_runtime.ports.ids import new_id

MAX_KEPT: Final = 1_000_000
"""Characters of one answer that are kept; no model writes so many, and of more nobody is told the beginning."""


class TextSoFar(NamedTuple):
    """What has come of an answer by now."""

    operation_id: str
    call_id: str
    text: str
    reasoning: str
    text_length: int
    """Characters that have come in all; more than there are in `text` where it became too long to keep."""
    reasoning_length: int


@dataclass(slots=True)
class _Kept:
    """One kind of text, as it comes."""

    parts: list[str] = field(default_factory=list)
    length: int = 0

    def add(self, text: str) -> int:
        """Add what has come, and return how many characters came before it."""
        offset, self.length = self.length, self.length + len(text)
        if self.length <= MAX_KEPT:
            self.parts.append(text)
        else:
            self.parts.clear()
        return offset

    def joined(self) -> str:
        """Return all of it."""
        self.parts = ["".join(self.parts)]
        return self.parts[0]


class LiveCall:
    """One call of a model whose answer is coming.

    Args:
        job_id: The job that asks.
        scope_id: Its scope.
        operation_id: The operation.
        call_id: What another process calls it, which makes it; `None` for one that this process makes.
    """

    def __init__(self, job_id: str, scope_id: str, operation_id: str, call_id: str | None = None) -> None:
        self.is_ours = call_id is None
        self.call_id = call_id or new_id("call")
        """Tells it from other calls of the operation, in all processes."""
        self.job_id = job_id
        self.scope_id = scope_id
        self.operation_id = operation_id
        self._kept = (_Kept(), _Kept())

    def add(self, text: str, *, reasoning: bool) -> int:
        """Add what has come, and return how many characters of its kind came before it."""
        return self._kept[reasoning].add(text)

    def length(self, *, reasoning: bool) -> int:
        """Return how many characters of a kind have come."""
        return self._kept[reasoning].length

    def so_far(self) -> TextSoFar:
        """Return what has come."""
        text, reasoning = self._kept
        return TextSoFar(
            self.operation_id, self.call_id, text.joined(), reasoning.joined(), text.length, reasoning.length
        )


OnAdded = Callable[[LiveCall, str, bool, int], None]


class LiveCalls:
    """The calls whose answers are coming, where somebody has listened from their beginning, or may come to.

    Args:
        always: Whether models are asked for streams in any case, because readers may come in the middle of an answer.
    """

    def __init__(self, *, always: bool = False) -> None:
        self.always = always
        self.wanted_elsewhere: Callable[[str], bool] = lambda _: False
        """Whether another process wants to hear of a job."""
        self.on_added: OnAdded | None = None
        """Told of every piece of text of this process: the call, the text, whether it is reasoning, what came before."""
        self.on_ended: Callable[[LiveCall], None] | None = None
        self.on_watched: Callable[[str], None] | None = None
        """Told of a job that somebody begins to watch here."""
        self._of: dict[str, dict[str, LiveCall]] = {}
        self._watched: Counter[str] = Counter()

    @property
    def watched(self) -> Sequence[str]:
        """The jobs that somebody watches here."""
        return list(self._watched)

    def is_watched(self, job_id: str) -> bool:
        """Whether somebody watches a job here."""
        return job_id in self._watched

    def watch(self, job_id: str) -> None:
        """Learn that somebody watches a job."""
        self._watched[job_id] += 1
        if self._watched[job_id] == 1 and self.on_watched is not None:
            self.on_watched(job_id)

    def unwatch(self, job_id: str) -> None:
        """Learn that somebody has gone; what others have told of the job is forgotten with the last one."""
        self._watched[job_id] -= 1
        if self._watched[job_id] <= 0:
            del self._watched[job_id]
            for call in [call for call in self.calls(job_id) if not call.is_ours]:
                self.end(call)

    def is_wanted(self, job_id: str) -> bool:
        """Whether a job's answers are worth streaming, beside those who listen to the bus."""
        return self.always or self.wanted_elsewhere(job_id)

    def add_call(self, call: LiveCall) -> LiveCall:
        """Begin with an answer; one of the same operation, which was an attempt that came to nothing, is forgotten."""
        self._of.setdefault(call.job_id, {})[call.operation_id] = call
        return call

    def add(self, call: LiveCall, text: str, *, reasoning: bool) -> int:
        """Add what has come of an answer of this process, and return how many characters of its kind came before it."""
        offset = call.add(text, reasoning=reasoning)
        if self.on_added is not None:
            self.on_added(call, text, reasoning, offset)
        return offset

    def end(self, call: LiveCall) -> None:
        """Forget an answer that has come, or will not. Idempotent."""
        calls = self._of.get(call.job_id, {})
        if calls.get(call.operation_id) is call:
            del calls[call.operation_id]
            if not calls:
                del self._of[call.job_id]
            if self.on_ended is not None and call.is_ours:
                self.on_ended(call)

    def calls(self, job_id: str) -> Sequence[LiveCall]:
        """Return a job's answers that are coming now."""
        return list(self._of.get(job_id, {}).values())

    def find(self, job_id: str, operation_id: str) -> LiveCall | None:
        """Return one of them, `None` when there is none."""
        return self._of.get(job_id, {}).get(operation_id)

    def of(self, job_id: str) -> Sequence[TextSoFar]:
        """Return what has come of them."""
        return [call.so_far() for call in self.calls(job_id)]
