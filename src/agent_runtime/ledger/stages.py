"""How far a limit is used up, as people are told of it: once per limit, stage and window, whoever gets there first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from agent_runtime.ledger.reservations import ApplicableBudget, Key
from agent_runtime.values.budget import DIMENSIONS, Amount, Charge, Limits

Stage = Literal["threshold", "limit", "overrun"]
"""`threshold`: the share that the budget names is spent; `limit`: all of it; `overrun`: more than all of it."""

_ONCE: Final = Amount(requests=1)
_NEVER_AGAIN: Final = Limits(requests=1)


class ThresholdCrossing(NamedTuple):
    """A stage that the spending of a limit has come to."""

    budget: ApplicableBudget
    stage: Stage
    dimension: str
    used: int
    limit: int

    @property
    def key(self) -> Key:
        """Names it: a counter beside that of its window, and forgotten with it."""
        return self.budget.budget_id, f"{self.budget.window}#{self.stage}:{self.dimension}"

    @property
    def latch(self) -> Charge:
        """The charge that only the first of all commits can make."""
        budget_id, window = self.key
        return Charge(budget_id=budget_id, window=window, settle=_ONCE, limits=_NEVER_AGAIN)


def crossings(budget: ApplicableBudget, spent: Amount) -> Iterator[ThresholdCrossing]:
    """Yield the stages that settled spending has come to, limit by limit."""
    for name, limit, used in zip(DIMENSIONS, budget.limits, spent, strict=True):
        if limit is None or not used:
            continue
        reached: dict[Stage, bool] = {
            "threshold": used >= budget.warning_threshold * limit,
            "limit": used >= limit,
            "overrun": used > limit,
        }
        for stage, is_reached in reached.items():
            if is_reached:
                yield ThresholdCrossing(budget, stage, name, used, limit)
