"""Reservations that callers make by hand: a timer row beside the counters lets a forgotten one be found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from agent_runtime.ledger.reservations import Hold
from agent_runtime.ports.commit import Timer
from agent_runtime.values.budget import Amount
from llm_client.json_text import JsonObject, JsonValue

RESERVATION_EXPIRED: Final = "budget.reservation_expired"
"""Type of the timer of a reservation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What is set aside for a call. Settle it, release it, or it is settled at its maximum when it expires."""

    reservation_id: str
    amount: Amount
    """What is set aside; the same in every budget."""
    holds: tuple[Hold, ...]
    expires_at: datetime
    about: Mapping[str, Any]
    """Fields of the ledger entry it becomes: who, for which job, with which model."""

    @property
    def timer_key(self) -> tuple[str, str]:
        """Names its timer."""
        return ("", f"reservation:{self.reservation_id}")

    @property
    def timer(self) -> Timer:
        """The row that finds it when nobody settles it."""
        data = {
            "reservation_id": self.reservation_id,
            "amount": self.amount.to_dict(),
            "holds": dump_holds(self.holds),
            "about": dict(self.about),
        }
        return Timer(*self.timer_key, self.expires_at, RESERVATION_EXPIRED, None, data)

    @classmethod
    def of_timer(cls, timer: Timer) -> Reservation:
        """Read it back."""
        data = timer.data
        return cls(
            reservation_id=data["reservation_id"],
            amount=Amount(**data["amount"]),
            holds=load_holds(data["holds"]),
            expires_at=timer.due_at,
            about=data["about"],
        )


def dump_holds(holds: Iterable[Hold]) -> list[dict[str, JsonValue]]:
    """Return holds as JSON values, those of the same amount together."""
    grouped: dict[tuple[Amount, bool], list[list[str]]] = {}
    for hold in holds:
        grouped.setdefault((hold.amount, hold.hard), []).append(list(hold.key))
    return [
        {"amount": amount.to_dict(), "budgets": keys, **({"hard": True} if hard else {})}
        for (amount, hard), keys in grouped.items()
    ]


def load_holds(data: Iterable[JsonObject]) -> tuple[Hold, ...]:
    """Read what `dump_holds` gave."""
    groups: Iterable[Mapping[str, Any]] = data
    return tuple(
        Hold((budget_id, window), Amount(**group["amount"]), bool(group.get("hard")))
        for group in groups
        for budget_id, window in group["budgets"]
    )
