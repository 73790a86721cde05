"""Comparing arguments with what a rule expects, when neither side can be trusted to have the right type.

A model writes arguments as it likes, and a tool's schema may still accept `"200"` for 200. So a comparison has three
answers: yes, no, and cannot tell. A rule that restricts applies when it cannot tell; one that permits does not. For the same reason
a path that leads to many values is asked differently: one of them is enough to restrict, and all of them must agree to permit.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from agent_runtime.errors import InvalidInput
from agent_runtime.policy.expressions import expression
from llm_client.json_text import JsonValue, LongFloat
from llm_client.unseen import as_read, as_seen, without_unseen

Answer = bool | None
"""`None`: cannot tell."""

MAX_VALUES: Final = 5_000
"""Values that a path may lead to; what it has of more cannot be told, since a model must not hold everybody up."""
MAX_WORK: Final = 25_000
"""Comparisons that one rule's test takes; how more of them come out cannot be told in a moment."""
MAX_TEXT: Final = 1_000_000
"""Characters of all texts that a path leads to; of more it cannot be told how they read, which would take seconds."""
MAX_MATCHED: Final = 50_000
"""Characters of a text that a regular expression is held against; a rule's author may have written a dear one."""
_MAX_DIGITS: Final = 1_000
"""Characters of a text that is read as a number."""
_MAX_BITS: Final = 3_400
"""Of a whole number of about as many digits; writing those of a longer one takes the square of their number."""
_MOST_EXACT: Final = 2**53
"""Whole numbers up to here are read alike by everybody."""
_MOST_CHARACTERS: Final = 15
"""Characters of a number that any float holds."""
_SHORT: Final = 1_000
"""Characters of a text that is remembered with others as it is read."""
_MAX_LEVELS: Final = 5
"""Levels of a list or an object in which a single value is looked for."""

MISSING: Final = object()
"""What stands at the end of a path that leads nowhere."""
_HIDDEN: Final = object()
"""What stands at the end of a path that leads into a list or JSON in a text: a tool may find a value there, or none."""

_ORDERINGS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OPERATORS: Final = ("==", "!=", *_ORDERINGS, "in", "not_in", "glob", "matches", "contains", "exists")

Tests = Mapping[str, object] | str | float | bool | None
"""`{operator: expected}`, all of which must hold; a plain value means `==`."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test of one value."""

    operator: str
    expected: Any
    _texts: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)
    _as_read: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)
    """Of those that are allowed or refused by name, the texts, and what they are read as."""
    _others: tuple[Any, ...] = field(default=(), init=False, repr=False, compare=False)
    """The rest of them."""
    _numbers: frozenset[Decimal] | None = field(default=None, init=False, repr=False, compare=False)
    """These as numbers, where each is one that everybody reads alike."""

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise InvalidInput(f"{self.operator!r} is no comparison; use one of {', '.join(OPERATORS)}")
        if not _is_json(self.expected):
            raise InvalidInput(f"{self.expected!r} cannot be compared with; write it as a text")
        if self.operator in _ORDERINGS and _number(self.expected) is None:
            raise InvalidInput(f"{self.operator} compares numbers, not {self.expected!r}")
        if self.operator in ("in", "not_in") and not isinstance(self.expected, (list, tuple)):
            raise InvalidInput(f"{self.operator} needs a list, not {self.expected!r}")
        if self.operator in ("glob", "matches", "contains") and not isinstance(self.expected, str):
            raise InvalidInput(f"{self.operator} needs a text, not {self.expected!r}")
        if self.operator == "matches":
            expression(self.expected)
        if self.operator == "exists" and not isinstance(self.expected, bool):
            raise InvalidInput(f"exists needs true or false, not {self.expected!r}")
        if self.operator in ("in", "not_in"):
            texts = [one for one in self.expected if isinstance(one, str)]
            object.__setattr__(self, "_texts", frozenset(texts))
            object.__setattr__(self, "_as_read", frozenset(map(_as_read, texts)))
            object.__setattr__(
                self, "_others", tuple(one for one in self.expected if not isinstance(one, str))
            )
            plain = [_plain_number(one) for one in self._others]
            if None not in plain:
                object.__setattr__(self, "_numbers", frozenset(plain))

    def holds(self, value: object, *, permits: bool = False) -> Answer:
        """Compare a value that is there; `permits` says for which kind of rule."""
        match self.operator:
            case "==":
                return same(value, self.expected)
            case "!=":
                return _not(same(value, self.expected))
            case "in":
                return self._is_among(value)
            case "not_in":
                return _not(self._is_among(value))
            case "glob":
                return self._fits(value, permits=permits)
            case "matches":
                return self._matches(value, permits=permits)
            case "contains":
                return self._contains(value)
            case "exists":
                return bool(self.expected)
            case _:
                return self._is_ordered(value)

    def holds_for_nothing(self) -> Answer:
        """Compare a value that is missing: only whether it exists can be told, not what a tool will take instead."""
        return not self.expected if self.operator == "exists" else None

    def _is_among(self, value: Any) -> Answer:
        if not isinstance(value, str):
            if self._is_looked_up(value):
                return _plain_number(value) in (self._numbers or ())
            return _any(same(value, one) for one in self.expected)
        if value in self._texts:
            return True
        answer = None if self._as_read and _as_read(value) in self._as_read else False
        if self._numbers is None:
            return _any([answer, *(same(value, one) for one in self._others)])
        reads_as_one = self._numbers and (
            len(value) > _MAX_DIGITS or not self._numbers.isdisjoint((_number(value), _rounded(value)))
        )
        return None if reads_as_one else answer

    def _is_looked_up(self, value: object) -> bool:
        """Whether a value is looked up among many, instead of compared with each."""
        if isinstance(value, str):
            return self._numbers is not None
        return self._numbers is not None and not self._texts and _plain_number(value) is not None

    def work(self, value: object) -> int:
        """Return how many values are compared one by one."""
        if self.operator not in ("in", "not_in") or self._is_looked_up(value):
            return 1
        return len(self.expected) * (1 + len(value) if isinstance(value, list | tuple | Mapping) else 1)

    def _fits(self, value: Any, *, permits: bool) -> Answer:
        """Hold a glob against the whole text. What cannot be seen in it must not decide: an address and a line break before ours end like ours."""
        if not isinstance(value, str):
            return None
        if not permits and (
            fnmatchcase(as_seen(value), self.expected)
            or fnmatchcase(_as_read(value), self.expected.casefold())
        ):
            return True
        return fnmatchcase(value, self.expected) if without_unseen(value) == value else None

    def _matches(self, value: Any, *, permits: bool) -> Answer:
        """Hold a regular expression against a text: all of it has to match to permit, and any part of it is enough to restrict."""
        if not isinstance(value, str) or len(value) > MAX_MATCHED:
            return None
        wanted = expression(self.expected)
        if not permits and any(map(wanted.is_part, (value, as_seen(value), _as_read(value)))):
            return True
        return (permits and wanted.is_whole(value)) if without_unseen(value) == value else None

    def _contains(self, value: Any) -> Answer:
        if isinstance(value, str):
            return self.expected in value or (None if _as_read(self.expected) in _as_read(value) else False)
        return _any(map(self._holds_it, value)) if isinstance(value, (list, tuple)) else None

    def _holds_it(self, one: Any) -> Answer:
        """Whether a value in a list is what is looked for; a text that contains it may be the one that a tool takes."""
        if isinstance(one, str) and one != self.expected and _as_read(self.expected) in _as_read(one):
            return None
        return same(one, self.expected)

    def _is_ordered(self, value: Any) -> Answer:
        number, exact, expected = _number(value), _exact(value), _number(self.expected)
        if number is None or expected is None or not exact:
            return None
        answer, rounded = _ORDERINGS[self.operator](number, expected), _rounded(value)
        return answer if rounded is None or answer == _ORDERINGS[self.operator](rounded, expected) else None


def comparisons(tests: Tests) -> tuple[Comparison, ...]:
    """Read `{operator: expected}` or a plain value. Raises `InvalidInput`."""
    if not isinstance(tests, Mapping):
        return (Comparison("==", tests),)
    if not tests:
        raise InvalidInput("there is nothing to compare with")
    return tuple(Comparison(name, expected) for name, expected in tests.items())


def as_tests(found: Sequence[Comparison]) -> dict[str, JsonValue]:
    """Return comparisons as `{operator: expected}`."""
    return {one.operator: _json(one.expected) for one in found}


def compare_path(
    path: str, tests: Sequence[Comparison], arguments: Mapping[str, object], *, permits: bool = False
) -> Answer:
    """Compare what stands at `path`: keys and list places joined by dots, `*` for any.

    Args:
        path: Where to look.
        tests: What must hold, all of them for one value.
        arguments: Where to look in.
        permits: Whether a yes gives a permission: then every value must pass, and there must be one. Else one is enough.
    """
    found = list(islice(_at(arguments, path.split(".")), MAX_VALUES + 1))
    if len(found) > MAX_VALUES or (any(test.operator != "exists" for test in tests) and _are_many(found)):
        return None
    if sum(test.work(value) for test in tests for value in found) > MAX_WORK:
        return None
    answers = (_all(_compared(test, value, permits) for test in tests) for value in found)
    if permits:
        return _all(answers) if found else False
    return _any(answers)


def _are_many(found: Sequence[object]) -> bool:
    """Whether values, and those inside of them that they are looked for in, or their texts, are more than is looked at."""
    count, characters, level = len(found), 0, list(found)
    for _ in range(_MAX_LEVELS + 1):
        characters += sum(len(one) for one in level if isinstance(one, str))
        inside = [one for one in level if isinstance(one, list | tuple | Mapping)]
        count += sum(map(len, inside))
        if count > MAX_VALUES or characters > MAX_TEXT:
            return True
        level = [one for each in inside for one in (each.values() if isinstance(each, Mapping) else each)]
    return False


def _compared(test: Comparison, value: Any, permits: bool) -> Answer:
    if value is _HIDDEN:
        return None
    return test.holds_for_nothing() if value is MISSING else test.holds(value, permits=permits)


def _at(value: Any, steps: Sequence[str]) -> Iterator[Any]:
    """Yield what stands at the end of a path; of every way that ends before, why; an empty list has no ways."""
    if not steps:
        yield value
        return
    first, rest = steps[0], steps[1:]
    for one in _chosen(value, first):
        if one is MISSING or one is _HIDDEN:
            yield one
        else:
            yield from _at(one, rest)


def _chosen(value: Any, step: str) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values() if step == "*" else (value.get(step, MISSING),)
    if isinstance(value, (list, tuple)):
        if step == "*":
            return value
        if not step.isdecimal():
            return (_HIDDEN if value else MISSING,)
        return (value[int(step)] if len(step) < 10 and int(step) < len(value) else MISSING,)
    return (_HIDDEN if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else MISSING,)


def same(value: object, expected: object, *, level: int = 0) -> Answer:
    """Whether two JSON values are the same; cannot tell when they only would be after a conversion, or only look the same.

    Of a number with more digits than a float holds, most tools read the nearest float.

    A list or an object that holds the value may be taken for it: what a tool makes of `["x"]` where it also takes `"x"` nobody here knows.
    """
    if isinstance(value, str) and isinstance(expected, str) and value != expected:
        return None if _as_read(value) == _as_read(expected) else False
    if _is_endless(value) or _is_endless(expected):
        return True if type(value) is type(expected) and value == expected else None
    if _exact(value) and _exact(expected):
        number, rounded = _number(expected), _rounded(value)
        if _number(value) == number:
            return True
        return None if rounded is not None and rounded == (_rounded(expected) or number) else False
    if type(value) is type(expected) or value is None or expected is None:
        return bool(value == expected)
    if isinstance(value, (list, tuple)) and isinstance(expected, (list, tuple)):
        return list(value) == list(expected)
    if isinstance(value, (list, tuple, Mapping)):
        inside = value.values() if isinstance(value, Mapping) else value
        if level == _MAX_LEVELS or len(inside) > MAX_VALUES:
            return None
        return None if any(same(one, expected, level=level + 1) is not False for one in inside) else False
    if isinstance(value, str) and len(value) > _MAX_DIGITS:
        return None if isinstance(expected, (bool, int, float, Decimal)) else False
    number, other = _number(value), _number(expected)
    if number is not None and other in (number, _rounded(value)):
        return None
    return None if str(value).strip().casefold() == str(expected).strip().casefold() else False


@lru_cache(maxsize=1)
def _read_long(text: str) -> str:
    return as_read(text)


@lru_cache(maxsize=4096)
def _read_short(text: str) -> str:
    return as_read(text)


def _as_read(text: str) -> str:
    """Return a text as somebody reads it; one that several rules look at is read once."""
    return _read_short(text) if len(text) <= _SHORT else _read_long(text)


def _exact(value: Any) -> bool:
    """Whether a value is a number, and not merely reads like one."""
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _plain_number(value: Any) -> Decimal | None:
    """Return a number that everybody reads alike, however they hold numbers; `None` for every other value."""
    if type(value) is int:
        return Decimal(value) if abs(value) <= _MOST_EXACT else None
    return Decimal(repr(value)) if type(value) is float and math.isfinite(value) else None


def _is_endless(value: Any) -> bool:
    """Whether a value is a whole number of more digits than anybody means."""
    return isinstance(value, int) and value.bit_length() > _MAX_BITS


def _rounded(value: Any) -> Decimal | None:
    """Return what a tool makes of a number, or of a text that reads as one, that takes it for a float; `None` where that is the number itself."""
    is_long = isinstance(value, LongFloat) or (isinstance(value, str) and len(value) > _MOST_CHARACTERS)
    if not is_long and (type(value) is not int or abs(value) <= _MOST_EXACT):
        return None
    number = _number(value)
    return None if number is None else Decimal(repr(float(number)))


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return Decimal(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if _is_endless(value) or (isinstance(value, str) and len(value) > _MAX_DIGITS):
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


def _any(answers: Iterable[Answer]) -> Answer:
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
