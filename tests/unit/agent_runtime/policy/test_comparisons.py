"""Arguments are compared without trusting their types."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.errors import InvalidInput
from agent_runtime.policy.comparisons import OPERATORS, Comparison, as_tests, compare_path, comparisons, same

json_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(-5, 5),
    st.sampled_from(["1", " 1 ", "true", "x", ""]),
)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def answer(path: str, tests: Any, arguments: dict[str, Any]) -> bool | None:
    return compare_path(path, comparisons(tests), arguments)


@pytest.mark.parametrize(
    ("tests", "value", "expected"),
    [
        ({">": 100}, 101, True),
        ({">": 100}, 100, False),
        ({">=": 100, "<": 200}, 150, True),
        ({">=": 100, "<": 200}, 200, False),
        ({"<": Decimal("0.3")}, 0.1 + 0.2, False),  # 0.30000000000000004
        ({"<=": 0.3}, 0.3, True),
        ("EUR", "EUR", True),
        ("EUR", "USD", False),
        ({"!=": "EUR"}, "USD", True),
        ({"in": ["a", "b"]}, "b", True),
        ({"not_in": ["a", "b"]}, "b", False),
        ({"matches": "*.example.com"}, "api.example.com", True),
        ({"contains": "rm -rf"}, "sudo rm -rf /", True),
        ({"contains": "3"}, ["1", "3"], True),
        ({"exists": True}, None, True),
        ({"exists": False}, 1, False),
        (True, True, True),
        (1, 1.0, True),
        ([1, 2], [1, 2], True),
    ],
)
def test_a_value_is_compared(tests: Any, value: Any, expected: bool | None) -> None:
    assert answer("x", tests, {"x": value}) is expected


@pytest.mark.parametrize(
    ("tests", "value"),
    [
        ({">": 100}, "200"),
        ({"<": 100}, "many"),
        ({"<": 100}, [1]),
        ({">": 0}, True),
        (200, "200"),
        (200, " 200.0 "),
        ("200", 200),
        (True, "True"),
        (1, True),
        ({"!=": 200}, "200"),
        ({"in": [1, 2]}, "2"),
        ({"matches": "a*"}, 3),
        ({"contains": "a"}, 3),
    ],
)
def test_a_value_that_only_a_conversion_would_make_comparable_cannot_be_told(tests: Any, value: Any) -> None:
    assert answer("x", tests, {"x": value}) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("order.total", True),
        ("order.items.0.price", True),
        ("order.items.1.price", False),
        ("order.items.*.price", True),
        ("order.items.2.price", False),
        ("order.items.x.price", False),
        ("*.total", True),
        ("missing", False),
        ("order.total.deeper", False),
    ],
)
def test_a_path_leads_through_mappings_and_lists(path: str, expected: bool) -> None:
    arguments = {"order": {"total": 50, "items": [{"price": 99}, {"price": 1}]}}

    assert answer(path, {">": 40}, arguments) is expected


@pytest.mark.parametrize(
    ("tests", "expected"),
    [({"!=": 1}, True), ({"not_in": [1]}, True), ({"exists": False}, True), ({">": 1}, False)],
)
def test_what_is_missing_differs_from_everything(tests: Any, expected: bool) -> None:
    assert answer("gone", tests, {}) is expected


@pytest.mark.parametrize(
    "tests",
    [
        {},
        {"~": 1},
        {"contains": 3},
        {">": "many"},
        {"in": "abc"},
        {"matches": 1},
        {"exists": "yes"},
        {"==": object()},
        {">": float("nan")},
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(tests: Any) -> None:
    with pytest.raises(InvalidInput):
        comparisons(tests)


@given(json_values, json_scalars)
def test_equality_and_its_negation_never_agree(value: Any, expected: Any) -> None:
    equal = answer("x", {"==": expected}, {"x": value})
    different = answer("x", {"!=": expected}, {"x": value})

    assert (equal is None) == (different is None)
    assert equal is None or equal is not different


@given(json_values)
def test_every_value_equals_itself(value: Any) -> None:
    assert same(value, value) is True


@given(
    st.dictionaries(st.sampled_from("abc"), json_values, max_size=3),
    st.sampled_from(["a", "a.b", "a.*", "*.b", "a.0.c"]),
    st.sampled_from(OPERATORS),
)
def test_nothing_a_model_writes_breaks_a_comparison(arguments: dict[str, Any], path: str, name: str) -> None:
    expected: Any = {"in": [1], "not_in": [1], "matches": "a*", "contains": "a", "exists": True}.get(name, 1)

    assert compare_path(path, (Comparison(name, expected),), arguments) in (True, False, None)


def test_comparisons_are_written_as_they_are_read() -> None:
    tests = {">": 1, "in": [1, 2], "exists": True}

    assert as_tests(comparisons(tests)) == tests
