"""Doing a failed operation anew: what of a journal stays, what is done again, and when that is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from agent_runtime.kernel.history import History, Step

_PARTS: Final = re.compile(r"\[.*?\](?=[.?!]|$)|[^.\[?!]+")
_UNORDERED: Final = frozenset({"model", "branches"})
"""What stands below these – tools that a model asked for, branches – has no order among itself."""
_HARMLESS: Final = frozenset({"pure", "read"})


@dataclass(frozen=True, slots=True)
class Reopening:
    """What becomes of a journal when an operation in it is done anew."""

    reopened: tuple[str, ...] = ()
    """Operations whose outcome does not count any more: the one that failed, and those around it that failed with it."""
    dropped: tuple[str, ...] = ()
    """Operations that came after it in its line, or in a line around it."""
    in_the_way: tuple[str, ...] = ()
    """Of these, effects: they have happened, and would happen again."""

    def told(self) -> dict[str, Any]:
        """Return what `job.retried` says of it."""
        return {"reopens": list(self.reopened), "drops": list(self.dropped)}


def reopening(history: History, operation_id: str | None) -> Reopening:
    """Return what becomes of a journal when an operation is done anew; of `None`, everything is recalled."""
    failed = None if operation_id is None else history.steps.get(operation_id)
    if failed is None:
        return Reopening()
    place = _place(failed)
    around = [
        step
        for step in history.steps.values()
        if step.outcome is not None
        and step.outcome.type.endswith(".failed")
        and (step is failed or place.startswith(f"{_place(step)}."))
    ]
    after = [step for step in history.steps.values() if _comes_after(history, failed, step)]
    return Reopening(
        tuple(step.operation_id for step in around),
        tuple(step.operation_id for step in after),
        tuple(step.operation_id for step in after if _is_effect(step)),
    )


def _is_effect(step: Step) -> bool:
    if step.kind in ("step", "tool"):
        return step.attempts > 0 and step.declaration.data.get("effect") not in _HARMLESS
    return step.kind in ("model", "child", "action")


def _comes_after(history: History, failed: Step, step: Step) -> bool:
    """Whether an operation comes after the one that failed, in its line or in a line around it."""
    origin = failed.operation_id.partition(":")[0]
    ours, theirs = list(_parts(failed)), list(_parts(step))
    for depth, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if our == their:
            continue
        around = history.steps.get(f"{origin}:{'.'.join(ours[:depth])}")
        if around is not None and around.kind in _UNORDERED:
            return False
        if our.isdecimal() and their.isdecimal():
            return int(their) > int(our)
        return _seq(step) > _seq(failed)
    return False


def _seq(step: Step) -> int:
    """Return where an operation stands in the journal; one with a key has no other order."""
    return step.declaration.seq or 0


def _place(step: Step) -> str:
    return step.operation_id.partition(":")[2]


def _parts(step: Step) -> Iterator[str]:
    """Yield the parts of a place; a question about an operation belongs to it."""
    for part in _PARTS.findall(_place(step).split("?")[0].split("!")[0]):
        yield str(part)
