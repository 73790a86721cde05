"""Planning a call within budgets: it gets what every one of them has room for, and never more."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.ledger.reservations import (
    MIN_OUTPUT_TOKENS,
    ApplicableBudget,
    Demand,
    Plan,
    Shortage,
    plan_model_call,
)
from agent_runtime.ledger.token_bounds import Unbounded
from agent_runtime.values.budget import Amount, Counters, Limits

EMPTY = Counters()


def demand(
    estimate: int = 100, bound: int | Unbounded = 400, output: int = 1000, price: int | None = 3
) -> Demand:
    return Demand(
        model="m",
        estimate=estimate,
        bound_input=lambda: bound,
        output_tokens=output,
        cost_of=lambda read, written: None if price is None else price * (read + 2 * written),
    )


def budget(name: str = "b", **values: Any) -> ApplicableBudget:
    limits = {key: values.pop(key) for key in ("tokens", "cost", "requests", "turns") if key in values}
    return ApplicableBudget(budget_id=name, limits=Limits(**limits), **values)


def planned(*budgets: ApplicableBudget, wanted: Demand | None = None, used: Counters = EMPTY) -> Plan:
    plan = plan_model_call([(one, used) for one in budgets], wanted or demand())
    assert isinstance(plan, Plan), plan
    return plan


def short(*budgets: ApplicableBudget, wanted: Demand | None = None, used: Counters = EMPTY) -> Shortage:
    plan = plan_model_call([(one, used) for one in budgets], wanted or demand())
    assert isinstance(plan, Shortage)
    return plan


def test_without_limits_in_the_way_a_call_gets_what_it_wants() -> None:
    plan = planned(budget(tokens=10_000, cost=10**9))

    assert plan.max_tokens == 1000
    assert plan.holds[0].amount == Amount(tokens=1100, cost=3 * 2100, requests=1, turns=1)


def test_a_hard_budget_sets_the_upper_bound_aside_and_an_estimating_one_the_estimate() -> None:
    plan = planned(budget("soft", tokens=10_000), budget("hard", tokens=10_000, hard=True))

    assert [(hold.key[0], hold.amount.tokens, hold.hard) for hold in plan.holds] == [
        ("soft", 1100, False),
        ("hard", 1400, True),
    ]
    assert plan.input_tokens == 400


def test_the_output_shrinks_to_what_the_tightest_budget_can_pay() -> None:
    plan = planned(budget("a", tokens=900), budget("b", cost=3 * (100 + 2 * 50)))

    assert plan.max_tokens == 50
    assert [hold.amount.tokens for hold in plan.holds] == [150, 150]


def test_a_call_that_could_hardly_answer_is_not_made() -> None:
    assert planned(budget(tokens=100 + MIN_OUTPUT_TOKENS)).max_tokens == MIN_OUTPUT_TOKENS
    assert short(budget(tokens=99 + MIN_OUTPUT_TOKENS)).dimension == "tokens"
    assert planned(budget(tokens=105), wanted=demand(output=5)).max_tokens == 5


def test_only_other_calls_reservations_are_worth_waiting_for() -> None:
    reserved = Counters(reserved=Amount(tokens=900))
    settled = Counters(settled=Amount(tokens=900))

    assert short(budget(tokens=1000), used=reserved).passing
    assert not short(budget(tokens=1000), used=settled).passing
    assert short(budget(requests=1), used=Counters(reserved=Amount(requests=1))).passing
    assert not short(budget(tokens=50, counted=False)).passing


def test_a_hard_budget_refuses_what_has_no_bound_where_it_matters() -> None:
    unbounded = demand(bound=Unbounded("a file has no bound"))

    assert "a file has no bound" in short(budget(tokens=10**6, hard=True), wanted=unbounded).message
    assert "a file has no bound" in short(budget(cost=10**12, hard=True), wanted=unbounded).message
    assert planned(budget(requests=5, hard=True), wanted=unbounded).max_tokens == 1000
    assert planned(budget(tokens=10**6), wanted=unbounded).max_tokens == 1000
    assert planned(budget(tokens=10**6, hard=True, on_exceed="warn"), wanted=unbounded).max_tokens == 1000


def test_an_unpriced_model_is_refused_or_flagged_by_choice() -> None:
    unpriced = demand(price=None)

    assert "no price is known" in short(budget(cost=10**12), wanted=unpriced).message
    flagged = planned(budget(cost=10**12, flag_unpriced=True), wanted=unpriced)
    assert flagged.holds[0].amount.cost == 0
    assert planned(budget(tokens=10**6), wanted=unpriced).max_tokens == 1000


def test_a_budget_that_only_warns_refuses_nothing_but_counts() -> None:
    plan = planned(budget(tokens=1, on_exceed="warn"))

    assert plan.max_tokens == 1000
    assert plan.charges[0].limits is None
    assert plan.charges[0].reserve.tokens == 1100


def test_a_bound_on_single_requests_is_kept_and_not_counted() -> None:
    plan = planned(budget(tokens=500, counted=False), budget("day", tokens=10**6))

    assert plan.max_tokens == 400
    assert [hold.key[0] for hold in plan.holds] == ["day"]


limits = st.none() | st.integers(0, 3000)
budgets = st.lists(
    st.builds(
        lambda n, tokens, cost, requests, hard: budget(
            f"b{n}", tokens=tokens, cost=cost, requests=requests, hard=hard
        ),
        st.integers(0, 10**9),
        limits,
        st.none() | st.integers(0, 20_000),
        st.none() | st.integers(0, 3),
        st.booleans(),
    ),
    max_size=4,
)
counters = st.builds(
    Counters,
    settled=st.builds(
        Amount, tokens=st.integers(0, 2000), cost=st.integers(0, 9000), requests=st.integers(0, 2)
    ),
    reserved=st.builds(
        Amount, tokens=st.integers(0, 500), cost=st.integers(0, 900), requests=st.integers(0, 1)
    ),
)


@given(budgets, counters, st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 2000), st.integers(1, 9))
def test_a_plan_never_passes_a_limit_and_is_refused_only_where_none_would_fit(
    among: list[ApplicableBudget], used: Counters, estimate: int, more: int, output: int, price: int
) -> None:
    wanted = demand(estimate=estimate, bound=estimate + more, output=output, price=price)
    plan = plan_model_call([(one, used) for one in among], wanted)
    before = used.settled + used.reserved

    if isinstance(plan, Plan):
        assert 1 <= plan.max_tokens <= output
        for one, hold in zip(among, plan.holds, strict=True):
            assert one.limits.exceeded_by(before, hold.amount) is None
        if plan.max_tokens < output:  # one token more would not fit somewhere
            larger = plan.max_tokens + 1
            assert any(
                one.limits.exceeded_by(
                    before,
                    Amount(
                        tokens=(estimate + more if one.hard else estimate) + larger,
                        cost=price * ((estimate + more if one.hard else estimate) + 2 * larger),
                    ),
                )
                for one in among
            )
    else:
        least = min(output, MIN_OUTPUT_TOKENS)
        tokens = estimate + more if plan.budget.hard else estimate
        smallest = Amount(tokens=tokens + least, cost=price * (tokens + 2 * least), requests=1, turns=1)
        assert plan.budget.limits.exceeded_by(before, smallest) is not None


@pytest.mark.parametrize("passing", [True, False])
def test_a_shortage_says_what_is_left_and_needed(passing: bool) -> None:
    used = Counters(**{"reserved" if passing else "settled": Amount(tokens=950)})
    shortage = short(budget("b", tokens=1000, label="tenant a", window="day:2026"), used=used)

    assert shortage.message == (
        "budget 'tenant a' (day:2026): 50 of 1000 tokens are left; this call needs 116"
    )
