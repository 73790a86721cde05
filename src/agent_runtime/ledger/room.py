"""Steps that wait until a budget has room for them again, and which of them may go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from agent_runtime.errors import ConfigurationError
from agent_runtime.ledger.budget_registry import BudgetRegistry, Spender
from agent_runtime.ledger.reservations import FAR, ApplicableBudget, Key
from agent_runtime.ports.commit import Timer
from agent_runtime.ports.readers import LedgerReader
from agent_runtime.values.budget import NOTHING, Amount
from llm_client.json_text import JsonValue
from llm_client.turns import in_chunks

BUDGET_TIMER: Final = "budget"
"""Key of the timer of a job that waits for room in a budget."""
MOST_WAITS: Final = 10_000
"""Waits that are looked at together."""
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""When the timer of a wait is due that no window ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomWanted:
    """What a step needs, of whose budgets."""

    spender: Spender
    model: str | None
    """Which model is to be asked; `None` for a tool."""
    provider: str | None
    need: Amount
    """The least it can begin with."""
    reason: str
    is_own: bool = False
    """Whether it is the run's own budget, or its parent's, that has none."""
    until: datetime | None
    """When the window ends that has no room; `None` where none ends, and somebody has to make room."""

    def to_dict(self, since: str) -> dict[str, JsonValue]:
        """Return it as the data of a timer; `since` says when the job came to wait."""
        who = self.spender
        return {
            "since": since,
            "spender": [who.scope_id, who.principal_id, who.session_id],
            "model": self.model,
            "provider": self.provider,
            "need": self.need.to_dict(),
            "reason": self.reason,
            "own": self.is_own,
        }


async def with_room(
    timers: Iterable[Timer], book: BudgetRegistry, ledger: LedgerReader, at: datetime
) -> Sequence[Timer]:
    """Return the waits that standing budgets have room for, as many as fit together, first come first served.

    Who does not fit keeps those behind it waiting for the same budget. The runs themselves look again: this only says
    whom it is worth waking.
    """
    waiting = sorted(
        (timer for timer in timers if not timer.data["own"]),
        key=lambda timer: (timer.data["since"], timer.job_id),
    )
    wanted = [
        (timer, _applicable(timer.data, book, at)) async for some in in_chunks(waiting) for timer in some
    ]
    keys = list({budget.key for _, budgets in wanted for budget in budgets or () if budget.counted})
    counters = await ledger.counters(keys) if keys else []
    used = {key: counted.settled + counted.reserved for key, counted in zip(keys, counters, strict=True)}
    full: set[Key] = set()
    found = []
    async for some in in_chunks(wanted):
        for timer, budgets in some:
            if budgets is None:
                continue
            need = Amount(**timer.data["need"])
            short = {
                budget.key for budget in budgets if _is_short(budget, used.get(budget.key, NOTHING), need)
            }
            if short or any(budget.key in full for budget in budgets):
                full |= short
                continue
            found.append(timer)
            for budget in budgets:
                if budget.counted:
                    used[budget.key] = used[budget.key] + need
    return found


def _applicable(data: Mapping[str, Any], book: BudgetRegistry, at: datetime) -> list[ApplicableBudget] | None:
    scope_id, principal_id, session_id = data["spender"]
    spender = Spender(scope_id=scope_id, principal_id=principal_id, session_id=session_id)
    try:
        return book.applicable(spender, at, model=data["model"], provider=data["provider"])
    except ConfigurationError:
        return None


def _is_short(budget: ApplicableBudget, used: Amount, need: Amount) -> bool:
    return budget.enforced is not None and budget.enforced.exceeded_by(used, need) is not None


def window_end(budget: ApplicableBudget) -> datetime | None:
    """Return when a budget's window ends, `None` when it never does."""
    return None if budget.until == FAR else budget.until
