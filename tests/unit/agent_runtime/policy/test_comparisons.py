"""Arguments are compared without trusting their types."""

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.errors import InvalidInput
from agent_runtime.policy.comparisons import (
    MAX_MATCHED,
    MAX_TEXT,
    MAX_VALUES,
    OPERATORS,
    Comparison,
    as_tests,
    compare_path,
    comparisons,
    same,
)
from llm_client.json_text import loads

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
        ({"glob": "*.example.com"}, "api.example.com", True),
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
        ({"glob": "a*"}, 3),
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
        ("order.items.2.price", None),
        ("order.items.x.price", None),
        ("*.total", True),
        ("missing", None),
        ("order.total.deeper", None),
    ],
)
def test_a_path_leads_through_mappings_and_lists(path: str, expected: bool) -> None:
    arguments = {"order": {"total": 50, "items": [{"price": 99}, {"price": 1}]}}

    assert answer(path, {">": 40}, arguments) is expected


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ({"!=": 1}, None),
        ({"not_in": [1]}, None),
        ({">": 1}, None),
        ({"glob": "a*"}, None),
        ({"exists": False}, True),
        ({"exists": True}, False),
        ({"exists": True, ">": 1}, False),
        ({"exists": False, ">": 1}, None),
    ],
)
def test_of_what_is_missing_only_the_existence_can_be_told(tests: Any, expected: bool | None) -> None:
    for permits in (False, True):
        assert compare_path("gone", comparisons(tests), {}, permits=permits) is expected


@given(
    st.lists(json_scalars, max_size=4),
    st.sampled_from([{"==": 1}, {">": 0}, {"glob": "*x"}, {"in": [1, "x"]}]),
)
def test_a_permit_needs_every_match_and_a_restriction_any(values: list[Any], tests: Any) -> None:
    found = comparisons(tests)
    single = [compare_path("x", found, {"x": value}) for value in values]

    restricts = compare_path("to.*", found, {"to": values})
    permits = compare_path("to.*", found, {"to": values}, permits=True)

    assert restricts is (True if True in single else None if None in single else False)
    assert permits is (False if False in single or not single else None if None in single else True)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["price", "name"]), json_scalars, max_size=2), min_size=1, max_size=3
    )
)
def test_one_place_without_a_value_keeps_a_permit_from_being_given(items: list[dict[str, Any]]) -> None:
    answer_to_permit = compare_path("items.*.price", comparisons({"<=": 5}), {"items": items}, permits=True)

    if any("price" not in item for item in items):
        assert answer_to_permit is not True


@pytest.mark.parametrize("unseen", ["\n", "\r", "\x00", "\x1b", "\u2028", "\u200b", "\u202e", "\ufeff"])
def test_what_nobody_sees_gives_no_permission_and_hides_nothing(unseen: str) -> None:
    ours, theirs = comparisons({"glob": "*@ok.com"}), comparisons({"glob": "*@evil.com"})
    smuggled, disguised = f"evil@x.com{unseen}@ok.com", f"ann@evil.com{unseen}"

    assert compare_path("to", ours, {"to": smuggled}, permits=True) is None
    assert compare_path("to", theirs, {"to": disguised}) is True
    assert compare_path("to", theirs, {"to": f"x{unseen}y"}) is None


@pytest.mark.parametrize(
    "value", ["evil@x.com ", " evil@x.com", "\tevil@x.com", "evil@x.com\u3000", "evil@x.com\u2009"]
)
@pytest.mark.parametrize(
    "tests", ["evil@x.com", {"in": ["evil@x.com"]}, {"glob": "*evil@x.com"}, {"contains": "evil@x.com"}]
)
def test_blanks_around_a_text_hide_nothing_from_a_refusal(tests: Any, value: str) -> None:
    assert answer("to", tests, {"to": value}) is not False


@pytest.mark.parametrize("value", [["evil"], ["x", "evil"], {"to": "evil"}, [["evil "]], [[[[[["x"]]]]]]])
@pytest.mark.parametrize(
    ("tests", "to_others"), [("evil", False), ({"!=": "evil"}, True), ({"in": ["evil"]}, False)]
)
def test_what_holds_a_value_may_be_taken_for_it(tests: Any, to_others: bool, value: Any) -> None:
    assert answer("to", tests, {"to": value}) is None
    assert compare_path("to", comparisons(tests), {"to": value}, permits=True) is None
    assert answer("to", tests, {"to": ["good", {"cc": "fine"}]}) is to_others


@pytest.mark.parametrize(
    ("tests", "value"),
    [
        ({"glob": "*@evil.com"}, "x@EVIL.com"),
        ({"glob": "*@Evil.com"}, "x@evil.com"),
        ({"contains": "evil.com"}, "to x@Evil.Com"),
        ("evil", "EVIL"),
        ({"in": ["evil"]}, ["Evil"]),
        ({"not_in": ["EVIL"]}, "evil"),
        ({"!=": "evil"}, "Evil"),
    ],
)
def test_case_gives_no_permission_and_hides_nothing(tests: Any, value: Any) -> None:
    assert answer("a", tests, {"a": value}) is not False
    assert compare_path("a", comparisons(tests), {"a": value}, permits=True) is not True


def test_a_permit_is_given_for_the_text_itself_in_whatever_letters() -> None:
    tests = comparisons({"glob": "*@Ok.com"})

    assert compare_path("a", tests, {"a": "x@Ok.com"}, permits=True) is True


@pytest.mark.parametrize("order", [[{"amount": 5000}], '{"amount": 5000}', ' [{"amount": 5000}]'])
def test_what_a_path_cannot_follow_may_be_there_or_not(order: Any) -> None:
    for tests in ({"exists": True, ">": 100}, {"exists": False}, {">": 100}):
        assert answer("order.amount", tests, {"order": order}) is None


@pytest.mark.parametrize("order", [[], "", "A-17", 5, None, {}])
def test_where_nothing_can_be_nothing_exists(order: Any) -> None:
    assert answer("order.amount", {"exists": True, ">": 100}, {"order": order}) is False


def test_a_list_of_texts_may_be_taken_for_one_that_contains() -> None:
    assert answer("a", {"contains": "rm -rf"}, {"a": ["sudo", "RM  -rf /"]}) is None
    assert answer("a", {"contains": "3"}, {"a": ["1", "3"]}) is True
    assert answer("a", {"contains": "3"}, {"a": ["1", "2"]}) is False


def test_more_values_than_can_be_looked_at_cannot_be_told() -> None:
    many = {"items": [{"price": 1}] * (MAX_VALUES + 1)}
    assert answer("items.*.price", {">": 5}, many) is None
    assert compare_path("items.*.price", comparisons({"<": 5}), many, permits=True) is None
    assert answer("items", 1, many) is None
    assert answer("items.*.price", {">": 5}, {"items": many["items"][1:]}) is False


@pytest.mark.parametrize("tests", [{"==": 5}, {"!=": 5}, {">": 5}])
def test_a_number_of_more_digits_than_anybody_means_cannot_be_told(tests: Any) -> None:
    assert answer("n", tests, {"n": "0" * 2_000 + "5"}) is None
    assert answer("n", {">": 5}, {"n": 10**5_000}) is None
    for long in (10**1_100, 10**5_000):
        assert answer("n", tests, {"n": long}) is None


@pytest.mark.parametrize("digits", [1_100, 5_000])
def test_nor_can_two_of_them_unless_they_are_the_same(digits: int) -> None:
    """Two of them that Python does not write counted as one, and a comparison with a text was an error of Python's."""
    long = 10**digits
    assert answer("n", {"==": long}, {"n": long}) is True
    assert answer("n", {"==": long}, {"n": long + 1}) is None
    for expected in ("x", 5.5, [5], None, True):
        assert answer("n", {"==": expected}, {"n": long}) is None
        assert answer("n", {"in": [expected]}, {"n": long}) is None
    assert answer("n", {"==": long}, {"n": [long]}) is None


LONG = "0.000000000000000000001"


@pytest.mark.parametrize(
    ("tests", "number"),
    [
        (12345, f"12345{LONG[1:]}"),
        ({"!=": 12345}, f"12345{LONG[1:]}"),
        ({"in": [5, 12345]}, f"12345{LONG[1:]}"),
        ({"not_in": [5, 12345]}, f"12345{LONG[1:]}"),
        ({">=": 100}, "99.99999999999999999999"),
        ({"<": 100}, "99.99999999999999999999"),
        ({">": 0.1}, f"0.1{LONG[2:]}"),
        (9007199254740992, "9007199254740993"),
        ({"!=": 9007199254740992}, "9007199254740993"),
        ({">": 9007199254740992}, "9007199254740993"),
        (0, "1.00000000000000000001e-390"),
    ],
)
def test_what_a_float_would_make_another_number_of_cannot_be_told(tests: Any, number: str) -> None:
    """A tool that reads floats pays 12345, whatever stands behind the twentieth digit."""
    assert answer("x", tests, loads(f'{{"x": {number}}}')) is None
    if not isinstance(tests, dict):
        assert answer("x", tests, {"x": number}) is None
        assert answer("x", tests, {"x": [number]}) is None


@pytest.mark.parametrize("number", ["9007199254740993", "1" * 300, "0.10000000000000000001", "-1" + "0" * 30])
def test_a_long_number_is_itself(number: str) -> None:
    given = loads(f'{{"x": {number}}}')
    expected = given["x"] if isinstance(given["x"], int) else Decimal(number)
    assert answer("x", {"==": expected}, given) is True
    assert answer("x", {"!=": expected}, given) is False
    assert answer("x", {">": 5}, given) is (Decimal(number) > 5)


@pytest.mark.timeout(20)  # a pattern that backtracks would take longer than the universe has existed
def test_a_pattern_takes_linear_time() -> None:
    pattern = comparisons({"glob": "*a" * 40 + "b"})

    assert compare_path("x", pattern, {"x": "a" * 20_000}) is False


@pytest.mark.parametrize(
    ("pattern", "value", "restricts", "permits"),
    [
        (r"[a-z]+@ok\.com", "ann@ok.com", True, True),
        (r"[a-z]+@ok\.com", "Ann@OK.com", True, False),
        (r"[a-z]+@ok\.com", "evil@x.com,ann@ok.com", True, False),
        (r"[a-z]+@ok\.com", "evil@x.com", False, False),
        (r"^rm\b", "RM -rf /", True, False),
        (r"^rm\b", "do not rm", False, False),
        (r"ann@ok\.com$", "evil@x.com\nann@ok.com", True, None),
        (r".*@ok\.com", "evil@x.com\n@ok.com", True, None),
        (r"evil@x\.com", "e\u200bvil@x.com", True, None),
        (r"evil@x\.com", "\uff45vil@x.com", True, False),
        (r"\d+", 12, None, None),
        (r"\d+", ["12"], None, None),
        (r"x", "\ud800", None, None),
        (r"x", "x" * (MAX_MATCHED + 1), None, None),
    ],
)
def test_a_regular_expression_permits_the_whole_text_and_restricts_any_part(
    pattern: str, value: Any, restricts: bool | None, permits: bool | None
) -> None:
    tests = comparisons({"matches": pattern})
    assert compare_path("x", tests, {"x": value}) is restricts
    assert compare_path("x", tests, {"x": value}, permits=True) is permits


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+b", "(.*a){20}b", r"(?:\w+\s?)+!"])
def test_a_regular_expression_takes_linear_time(pattern: str) -> None:
    """Python's own would not come back."""
    assert compare_path("x", comparisons({"matches": pattern}), {"x": "a" * 40_000 + "c"}) is False


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "unclosed group"),
        ("a)(b", "unopened group"),
        ("(?=x)", "look-around"),
        (r"(x)\1", "backreferences"),
        ("(?x)a # b", "unclosed group"),
        ("((a{100}){100}){100}", "size limit"),
        ("a" * 1001, "up to 1,000 characters"),
        ("\ud800", "regular expression"),
    ],
)
def test_what_is_no_regular_expression_is_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        comparisons({"matches": pattern})


@pytest.mark.parametrize(
    "tests",
    [
        {},
        {"~": 1},
        {"matches": 1},
        {"contains": 3},
        {">": "many"},
        {"in": "abc"},
        {"glob": 1},
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
    expected: Any = {
        "in": [1],
        "not_in": [1],
        "glob": "a*",
        "matches": "a",
        "contains": "a",
        "exists": True,
    }.get(name, 1)

    assert compare_path(path, (Comparison(name, expected),), arguments) in (True, False, None)


def test_comparisons_are_written_as_they_are_read() -> None:
    tests = {">": 1, "in": [1, 2], "exists": True}

    assert as_tests(comparisons(tests)) == tests


@pytest.mark.timeout(30)  # each of them was brought into a form for each value of a list, for minutes
@pytest.mark.parametrize(
    "value",
    [
        "e\u0301" * 4_000_000,
        "a " * 5_000_000,
        ["e\u0301" * 101] * 5_000,
        {"inner": ["é" * (MAX_TEXT + 1)]},
    ],
    ids=["letters", "blanks", "in a list", "inside"],
)
def test_more_text_than_is_read_in_a_moment_cannot_be_told(value: object) -> None:
    tests = (Comparison("in", [f"x{number}" for number in range(100)]),)
    for permits in (False, True):
        assert compare_path("a", tests, {"a": value}, permits=permits) is None
    assert compare_path("a", (Comparison("exists", True),), {"a": value}) is True
    assert compare_path("a", (Comparison("glob", "*b"),), {"a": "é" * (MAX_TEXT - 1) + "b"}) is True
    assert compare_path("a", (Comparison("contains", "b"),), {"a": "a\n" * (MAX_TEXT // 2 - 1) + "b"}) is True


@given(
    st.lists(st.one_of(st.integers(-30, 30), st.floats(-9, 9), st.sampled_from([2**53, 2**60, 0.1, 1e300]))),
    st.lists(st.sampled_from(["5", "a", " 7 ", "0.1", "A"]), max_size=2),
    st.one_of(
        st.integers(-30, 30),
        st.integers(),
        st.floats(),
        st.sampled_from(
            [
                "5",
                "5.0",
                " 7",
                "a",
                "A ",
                "0.10",
                "9" * 1_001,
                "0.1000000000000000055",
                2**53 + 1,
                True,
                None,
                [5],
            ]
        ),
    ),
)
def test_what_is_looked_up_is_what_a_comparison_with_each_gives(
    numbers: list[Any], texts: list[str], value: Any
) -> None:
    expected = [*numbers, *texts]
    found = Comparison("in", expected).holds(value)
    each = [same(value, one) for one in expected]
    assert found is (True if True in each else None if None in each else False)


@pytest.mark.parametrize("value", [7, "seven", 0.5, True, None, [7], {"a": 7}], ids=repr)
@pytest.mark.parametrize("permits", [False, True])
def test_a_rule_of_many_values_looks_at_many_arguments_in_a_moment(value: Any, permits: bool) -> None:
    """5,000 numbers under a rule with a hundred took a second, of the event loop."""
    tests = comparisons({"not_in": list(range(10_000, 11_000))})
    started = time.process_time()
    found = compare_path("of.*", tests, {"of": [value] * 2_400}, permits=permits)
    assert time.process_time() - started < 0.5
    assert found is (True if isinstance(value, int | float | str) and value is not True else None)
