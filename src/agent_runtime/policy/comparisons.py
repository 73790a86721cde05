"""Comparing arguments with what a rule expects, when neither side can be trusted to have the right type.

A model writes arguments as it likes, and a tool's schema may still accept `"200"` for 200. So a comparison has three
answers: yes, no, and cannot tell. A rule that restricts applies when it cannot tell; one that permits does not.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final

from agent_runtime.errors import InvalidInput

Answer = bool | None
"""`None`: cannot tell."""

_ORDERINGS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OPERATORS: Final = ("==", "!=", *_ORDERINGS, "in", "not_in", "matches", "contains", "exists")

Tests = Mapping[str, Any] | str | float | bool | None
"""`{operator: expected}`, all of which must hold; a plain value means `==`."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test of one value."""

    operator: str
    expected: Any

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise InvalidInput(f"{self.operator!r} is no comparison; use one of {', '.join(OPERATORS)}")
        if not _is_json(self.expected):
            raise InvalidInput(f"{self.expected!r} cannot be compared with; write it as a text")
        if self.operator in _ORDERINGS and _number(self.expected) is None:
            raise InvalidInput(f"{self.operator} compares numbers, not {self.expected!r}")
        if self.operator in ("in", "not_in") and not isinstance(self.expected, (list, tuple)):
            raise InvalidInput(f"{self.operator} needs a list, not {self.expected!r}")
        if self.operator in ("matches", "contains") and not isinstance(self.expected, str):
            raise InvalidInput(f"{self.operator} needs a text, not {self.expected!r}")
        if self.operator == "exists" and not isinstance(self.expected, bool):
            raise InvalidInput(f"exists needs true or false, not {self.expected!r}")

    def holds(self, value: Any) -> Answer:
        """Compare a value that is there."""
        match self.operator:
            case "==":
                return same(value, self.expected)
            case "!=":
                return _not(same(value, self.expected))
            case "in":
                return _any(same(value, one) for one in self.expected)
            case "not_in":
                return _not(_any(same(value, one) for one in self.expected))
            case "matches":
                return fnmatchcase(value, self.expected) if isinstance(value, str) else None
            case "contains":
                return self._contains(value)
            case "exists":
                return bool(self.expected)
            case _:
                return self._is_ordered(value)

    def holds_for_nothing(self) -> bool:
        """Compare a value that is missing: it differs from everything."""
        return self.operator in ("!=", "not_in") or (self.operator == "exists" and not self.expected)

    def _contains(self, value: Any) -> Answer:
        if isinstance(value, str):
            return self.expected in value
        return _any(same(one, self.expected) for one in value) if isinstance(value, (list, tuple)) else None

    def _is_ordered(self, value: Any) -> Answer:
        number, exact = _number(value), _exact(value)
        if number is None or not exact:
            return None
        return _ORDERINGS[self.operator](number, _number(self.expected))


def comparisons(tests: Tests) -> tuple[Comparison, ...]:
    """Read `{operator: expected}` or a plain value. Raises `InvalidInput`."""
    if not isinstance(tests, Mapping):
        return (Comparison("==", tests),)
    if not tests:
        raise InvalidInput("there is nothing to compare with")
    return tuple(Comparison(name, expected) for name, expected in tests.items())


def as_tests(found: Sequence[Comparison]) -> dict[str, Any]:
    """Return comparisons as `{operator: expected}`."""
    return {one.operator: _json(one.expected) for one in found}


def compare_path(path: str, tests: Sequence[Comparison], arguments: Mapping[str, Any]) -> Answer:
    """Compare what stands at `path`: keys and list places joined by dots, `*` for any. One match is enough."""
    found = list(_at(arguments, path.split(".")))
    if not found:
        return all(test.holds_for_nothing() for test in tests)
    return _any(_all(test.holds(value) for test in tests) for value in found)


def _at(value: Any, steps: Sequence[str]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    first, rest = steps[0], steps[1:]
    if isinstance(value, Mapping):
        chosen = list(value.values()) if first == "*" else [value[first]] if first in value else []
    elif isinstance(value, (list, tuple)):
        if first == "*":
            chosen = list(value)
        else:
            chosen = [value[int(first)]] if first.isdecimal() and int(first) < len(value) else []
    else:
        return
    for one in chosen:
        yield from _at(one, rest)


def same(value: Any, expected: Any) -> Answer:
    """Whether two JSON values are the same; cannot tell when they only would be after a conversion."""
    if _exact(value) and _exact(expected):
        return _number(value) == _number(expected)
    if type(value) is type(expected) or value is None or expected is None:
        return bool(value == expected)
    if isinstance(value, (list, tuple)) and isinstance(expected, (list, tuple)):
        return list(value) == list(expected)
    number, other = _number(value), _number(expected)
    if number is not None and number == other:
        return None
    return None if str(value).strip().casefold() == str(expected).strip().casefold() else False


def _exact(value: Any) -> bool:
    """Whether a value is a number, and not merely reads like one."""
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return Decimal(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (int, float, str, Decimal)):
        try:
            number = Decimal(str(value).strip())
        except InvalidOperation:
            return None
        return number if number.is_finite() else None
    return None


def _not(answer: Answer) -> Answer:
    return None if answer is None else not answer


def _all(answers: Iterator[Answer]) -> Answer:
    result: Answer = True
    for answer in answers:
        if answer is False:
            return False
        result = None if answer is None else result
    return result


def _any(answers: Iterator[Answer]) -> Answer:
    result: Answer = False
    for answer in answers:
        if answer is True:
            return True
        result = None if answer is None else result
    return result


def _is_json(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_json(one) for one in value)
    if isinstance(value, (float, Decimal)):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, int))


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Decimal) else value
