"""A budget says what it is about, and refuses what makes no sense."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import Budget, InvalidInput
from agent_runtime.values.standing_budget import EACH, WindowKind


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"max_tokens_daily": -1},
        {"max_tokens_daily": 1.5},
        {"max_tokens_daily": True},
        {"max_cost_daily": "a lot"},
        {"max_cost_daily": float("nan")},
        {"max_cost_daily": "1e400"},
        {"max_cost_daily": "1e-12"},
        {"max_cost_daily": "99999999.0000000000000000000000000001"},
        {"max_cost_daily": 100_000_001},
        {"max_tokens_daily": 10**22},
        {"max_cost_daily": 1, "principal_id": ""},
        {"max_cost_daily": 1, "model": ""},
        {"max_cost_daily": 1, "name": ""},
        {"max_cost_daily": 1, "session_id": "two\nlines"},
        {"max_cost_daily": 1, "warning_threshold": 0},
        {"max_cost_daily": 1, "warning_threshold": 1.5},
        {"max_cost_daily": 1, "exceed_strategy": "panic"},
        {"max_cost_daily": 1, "exceed_strategy": "degrade"},
        {"max_cost_daily": 1, "degrade_to": "m"},
        {"max_cost_daily": 1, "mode": "soft"},
        {"max_cost_daily": 1, "unpriced": "free"},
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Budget(scope_id="a", **values)


def test_money_is_taken_at_its_printed_value() -> None:
    assert Budget(scope_id="a", max_cost_daily=0.1).max_cost_daily == Decimal("0.1")
    limits = Budget(scope_id="a", max_cost_daily="0.1").limits(WindowKind.DAY)
    assert limits is not None
    assert limits.cost == 1_000_000_000


names = st.sampled_from(["a", "b", "=a", "*", '["a"]', None])


@given(st.tuples(names, names, names), st.tuples(names, names, names), st.tuples(names, names, names))
def test_counters_are_shared_only_by_those_who_share_a_budget(one: Any, other: Any, asked: Any) -> None:
    def counter(whose: Any, about: Any) -> str | None:
        made = Budget(scope_id=whose[0], principal_id=whose[1], session_id=whose[2], max_cost_daily=1)
        return made.counter_id(about[0] or "scope", about[1], about[2])

    def expected(whose: Any, about: Any) -> Any:
        if whose[0] is None and whose[1:] != (None, None):
            whose = (EACH, *whose[1:])  # two tenants may use the same names
        about = (about[0] or "scope", about[1], about[2])
        if any(own not in (None, EACH) and own != value for own, value in zip(whose, about, strict=True)):
            return None
        return tuple((own, value if own == EACH else None) for own, value in zip(whose, about, strict=True))

    assert (counter(one, asked) is None) == (expected(one, asked) is None)
    same = counter(one, asked) == counter(other, asked)
    assert same == (expected(one, asked) == expected(other, asked))


def test_a_budget_survives_its_storage() -> None:
    budget = Budget(
        scope_id="a",
        principal_id="*",
        model="gpt-*",
        max_cost_monthly="12.34",
        max_tool_calls_per_request=3,
        exceed_strategy="degrade",
        degrade_to="small",
        mode="estimate",
        timezone="Europe/Berlin",
    )

    assert Budget.from_dict(budget.to_dict()) == budget
    assert Budget.from_dict({**budget.to_dict(), "later": 1}) == budget
    assert budget.label == "scope a principal * model gpt-*"
