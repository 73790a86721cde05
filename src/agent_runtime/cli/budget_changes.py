"""What a change of the stored budgets would do, shown before or after it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent_runtime.values.standing_budget import Budget
from llm_client.json_text import JsonValue

_WHOSE = ("name", "scope_id", "principal_id", "session_id", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetChanges:
    """The difference between the budgets that are stored and those that are wanted."""

    added: Sequence[Budget] = ()
    changed: Sequence[tuple[Budget, Budget]] = ()
    """Each as it is and as it will be."""
    removed: Sequence[Budget] = ()
    unchanged: int = 0

    @classmethod
    def between(
        cls, stored: Iterable[Budget], wanted: Iterable[Budget], *, remove: Iterable[Budget] = ()
    ) -> BudgetChanges:
        """Return what has to be done for `wanted` to be stored and `remove` to be gone."""
        known = {budget.budget_id: budget for budget in stored}
        asked = list(wanted)
        found = [(known.get(budget.budget_id), budget) for budget in asked]
        return cls(
            added=[after for before, after in found if before is None],
            changed=[(before, after) for before, after in found if before is not None and before != after],
            removed=list(remove),
            unchanged=sum(before == after for before, after in found),
        )

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    @property
    def to_save(self) -> Sequence[Budget]:
        """What has to be stored."""
        return [*self.added, *(after for _, after in self.changed)]

    @property
    def to_delete(self) -> Sequence[str]:
        """Ids of what has to be deleted."""
        return [budget.budget_id for budget in self.removed]

    def lines(self) -> Sequence[str]:
        """Return a line for each budget that is added (+), changed (~) or removed (-)."""
        return [
            *(f"+ {after.label}: {_said(_terms(after))}" for after in self.added),
            *(
                f"~ {after.label}: {_difference(_terms(before), _terms(after))}"
                for before, after in self.changed
            ),
            *(f"- {before.label}: {_said(_terms(before))}" for before in self.removed),
        ]

    def to_json(self, *, dry_run: bool) -> dict[str, JsonValue]:
        """Return it as JSON values."""
        return {
            "added": [after.to_dict() for after in self.added],
            "changed": [
                {"before": before.to_dict(), "after": after.to_dict()} for before, after in self.changed
            ],
            "removed": [before.to_dict() for before in self.removed],
            "unchanged": self.unchanged,
            "dry_run": dry_run,
        }


def _terms(budget: Budget) -> Mapping[str, Any]:
    """Return what a budget says, without whose it is."""
    plain = _PLAIN.to_dict()
    return {
        name: value
        for name, value in budget.to_dict().items()
        if name not in _WHOSE and (name.startswith("max_") or value != plain.get(name))
    }


_PLAIN = Budget(max_requests_total=0)


def _said(terms: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in terms.items())


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    default = _PLAIN.to_dict()
    return ", ".join(
        f"{name} {_value(name, before, default)} → {_value(name, after, default)}"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    )


def _value(name: str, terms: Mapping[str, Any], default: Mapping[str, Any]) -> Any:
    return terms.get(name, "none" if name.startswith("max_") else default.get(name, "none"))
