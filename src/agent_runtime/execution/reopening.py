"""Doing an operation anew: what of a journal stays, what is done again, and what stands in the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from agent_runtime.execution.journal.history import History, Step
from agent_runtime.ports.commit import Timer
from agent_runtime.values.event import RuntimeEventType
from llm_client.json_text import JsonValue

_PARTS: Final = re.compile(r"\[.*?\](?=[.?!]|$)|[^.\[?!]+")
_UNORDERED: Final = frozenset({"model", "branches"})
"""What stands below these – tools that a model asked for, branches – has no order among itself."""
_WAITS: Final = frozenset({"action", "child", "message", "timeout", "timer"})
"""Have no outcome of their own: to do one anew is to begin it anew."""
_HARMLESS: Final = frozenset({"pure", "read"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopening:
    """What becomes of a journal when an operation in it is done anew. Operations go by their ids."""

    reopened: Sequence[str] = ()
    """Their outcome does not count any more: the operation itself, and those around it that failed with it."""
    dropped: Sequence[str] = ()
    """They came after it in its line, or in a line around it; or were given up when it failed, and are begun anew."""
    in_the_way: Sequence[str] = ()
    """Of those that came after it, effects: they have happened, and would happen again."""
    branches: Sequence[str] = ()
    """Gatherings that it made fail."""
    timers: Sequence[str] = ()
    """Sleeps that were given up when it failed, and go on to their old end."""
    children: dict[str, str] = field(default_factory=dict)
    """Child jobs that were given up when it failed: each is retried itself."""

    def told(self) -> dict[str, JsonValue]:
        """Return what `job.retried` says of it."""
        said: dict[str, Any] = {"reopens": list(self.reopened), "drops": list(self.dropped)}
        more = {"branches": list(self.branches), "timers": list(self.timers), "children": self.children}
        return said | {name: value for name, value in more.items() if value}


def reopening(history: History, operation_id: str | None, *, from_here: bool = False) -> Reopening:
    """Return what becomes of a journal when an operation is done anew; of `None`, everything is recalled.

    Args:
        history: What the journal says.
        operation_id: The operation.
        from_here: Do it anew even if it succeeded.
    """
    target = None if operation_id is None else history.recorded_at(operation_id)
    if target is None:
        return Reopening()
    place = place_of(target)
    around = [
        step
        for step in history.steps.values()
        if (step is target and (from_here or _has_failed(step)))
        or (_has_failed(step) and is_below(place, place_of(step)))
    ]
    asks_anew = from_here and target.kind == "model"  # what its answer called was called by that answer alone
    after = [
        step
        for step in history.steps.values()
        if _comes_after(history, target, step) or (asks_anew and is_below(place_of(step), place))
    ]
    branches = [other for other in history.failed_branches if is_below(place, _place(other))]
    given_up = [
        step
        for step in history.steps.values()
        if step.operation_id in history.withdrawn
        and any(is_below(place_of(step), _place(other)) for other in branches)
    ]
    return Reopening(
        reopened=_ids(around),
        dropped=_ids(
            [
                *(step for step in (target,) if step.kind in _WAITS),
                *after,
                *(step for step in given_up if step.kind != "timer"),
            ]
        ),
        in_the_way=_ids(
            step
            for step in after
            if is_effect(step) and (step.kind != "message" or history.has_arrived(step))
        ),
        branches=branches,
        timers=_ids(step for step in given_up if step.kind == "timer"),
        children={
            step.operation_id: step.declaration.data["child_job_id"]
            for step in given_up
            if step.kind == "child"
        },
    )


def sleeps_again(history: History, operation_ids: Iterable[str], job_id: str) -> Iterator[Timer]:
    """Yield the timers of sleeps that go on to their old end."""
    for one in operation_ids:
        step = history.steps[one]
        if step.name == "sleep":
            due = datetime.fromisoformat(step.declaration.data["due_at"])
            yield Timer(job_id, f"sleep:{one}", due, RuntimeEventType.TIMER_FIRED, one)


def _ids(steps: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step.operation_id for step in steps))


def _has_failed(step: Step) -> bool:
    return step.outcome is not None and step.outcome.type.endswith(".failed")


def is_effect(step: Step) -> bool:
    """Whether an operation has done something that would be done again."""
    if step.kind in ("step", "tool"):
        return step.attempts > 0 and step.declaration.data.get("effect") not in _HARMLESS
    return step.kind in ("model", "child", "action", "message")


def is_below(place: str, other: str) -> bool:
    """Whether a place lies inside another one."""
    return place.startswith(f"{other}.")


def _comes_after(history: History, target: Step, step: Step) -> bool:
    """Whether an operation comes after another one, in its line or in a line around it."""
    ours, theirs = list(_parts(target)), list(_parts(step))
    for depth, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if our == their:
            continue
        around = history.recorded_at(f":{'.'.join(ours[:depth])}")
        if around is not None and around.kind in _UNORDERED:
            return False
        if our.isdecimal() and their.isdecimal():
            return int(their) > int(our)
        return _seq(step) > _seq(target)
    return False


def _seq(step: Step) -> int:
    """Return where an operation stands in the journal; one with a key has no other order."""
    return step.declaration.seq or 0


def place_of(step: Step) -> str:
    """Return an operation's place in its job."""
    return _place(step.operation_id)


def _place(operation_id: str) -> str:
    return operation_id.partition(":")[2]


def _parts(step: Step) -> Iterator[str]:
    """Yield the parts of a place; a question about an operation belongs to it."""
    for part in _PARTS.findall(place_of(step).split("?")[0].split("!")[0]):
        yield str(part)
