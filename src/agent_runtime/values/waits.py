"""What a suspended job waits for: sets of operations, one of which has to be answered as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitSet:
    """Operations that are waited for together. Waits of which any one is enough are sets of their own."""

    operation_ids: tuple[str, ...]
    ends_with_failure: bool = False
    """Whether the first failure – a child that did not succeed, a question without an answer – is enough, too."""

    def is_satisfied(self, answered: Collection[str], failed: Collection[str]) -> bool:
        """Whether the job has something to go on with.

        Args:
            answered: Operations for which a signal waits.
            failed: Those of them whose answer is a failure.
        """
        if self.ends_with_failure and any(one in failed for one in self.operation_ids):
            return True
        return all(one in answered for one in self.operation_ids)


def wakes(
    sets: Collection[WaitSet], operations: Iterable[tuple[str | None, bool]], mailed: Collection[str] = ()
) -> bool:
    """Whether waiting signals and messages wake a job.

    Args:
        sets: What it waits for; with none, any signal wakes it.
        operations: Of each signal, the operation that it answers and whether that is a failure. A signal that answers
            none – a request to stop, a retry – wakes any job.
        mailed: Operations that wait for a message that is there.
    """
    signals = list(operations)
    if not signals and not mailed:
        return False
    answered = {operation_id for operation_id, _ in signals}
    if None in answered or (signals and not sets):
        return True
    known = {one for one in answered if one is not None} | {*mailed}
    failed = {one for one, is_failure in signals if is_failure and one is not None}
    return any(one.is_satisfied(known, failed) for one in sets)
