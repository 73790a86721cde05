"""How much a template may make: of each value on the way to a prompt, and of all of them together.

No part of a template can be interrupted, since each is a call into Python that may keep the interpreter to itself. So what it would make is
reckoned before it is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from string import Formatter
from time import perf_counter
from typing import Any, Final, TypeVar

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

T = TypeVar("T")

MAX_CHARACTERS: Final = 1_000_000
"""Of a rendered prompt, and of every value on the way to it; a list, a number or an item of a list counts as one more."""
MAX_GIVEN: Final = 32 * MAX_CHARACTERS
"""Of a value that is only put in another order or cut up: a variable may be larger than what a template prints of it."""
MAX_MADE: Final = 100 * MAX_CHARACTERS
"""Of all values of a rendering together."""
RENDER_SECONDS: Final = 2.0
MAX_NUMBER: Final = 1_000_000
"""What a template may count or pad to."""
MAX_BITS: Final = 100_000
"""Of a whole number."""
MAX_WRAPPED: Final = 100_000
"""Characters that are wrapped at once: of a long word the rest is copied for each of its lines."""
MAX_DETAIL: Final = 1_000
"""Digits that are rounded to, blanks that JSON is indented by, characters around each link."""

_BITS_OF_ONE: Final = 32
_FORMATTED: Final = re.compile(
    r"%(?:\((?P<name>[^)]*)\))?[#0\- +]*(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d+))?[hlL]?(?P<kind>.)",
    re.DOTALL,
)
_DIGITS: Final = re.compile(r"\d+")
_ROOT: Final = re.compile(r"[^.\[]*")
_ORDERS: Final = frozenset(
    {
        "attr",
        "batch",
        "count",
        "d",
        "default",
        "dictsort",
        "first",
        "groupby",
        "items",
        "last",
        "length",
        "list",
    }
    | {
        "map",
        "max",
        "min",
        "random",
        "reject",
        "rejectattr",
        "reverse",
        "select",
        "selectattr",
        "slice",
        "sort",
    }
    | {"sum", "unique"}
)
"""Filters that write out nothing of a list, so that variables of any size may be given to them."""


class TooMuch(SecurityError):
    """A template makes more text, or takes longer, than a prompt may."""


class Rendering:
    """What one rendering has used so far."""

    __slots__ = ("_ends", "_made")

    def __init__(self) -> None:
        self._ends = perf_counter() + RENDER_SECONDS
        self._made = 0

    def tick(self) -> None:
        """Raise `TooMuch` when the time is up."""
        if perf_counter() > self._ends:
            raise TooMuch(f"the template takes longer than {RENDER_SECONDS:g} seconds")

    def made(self, value: T, most: int = MAX_CHARACTERS) -> T:
        """Return a value that was made, if there is room for it and it is no larger than it may be."""
        self.tick()
        self._made += size_of(value, most)
        if self._made > MAX_MADE:
            raise TooMuch(f"the template makes values of more than {MAX_MADE:,} characters on the way")
        return value


def size_of(value: object, most: int = MAX_CHARACTERS) -> int:
    """Return the characters and items of a value, each as often as it would be written. Raises `TooMuch`."""
    size, below = 0, [value]
    while below:
        item = below.pop()
        size += 1
        if isinstance(item, str | bytes):
            size += len(item)
        elif isinstance(item, list | tuple | set | frozenset):
            below += item
        elif isinstance(item, int):
            check_bits(item.bit_length())
            size += item.bit_length() // _BITS_OF_ONE
        elif isinstance(item, Namespace):
            below += object.__getattribute__(item, "_Namespace__attrs").values()
        elif isinstance(item, Mapping):
            below += item.keys()
            below += item.values()
        check_size(size - 1, most)
    return size


def check_size(size: int, most: int = MAX_CHARACTERS) -> None:
    """Raise `TooMuch` for what is larger than a value may be."""
    if size > most:
        raise TooMuch(f"the template makes a text of more than {most:,} characters")


def largest_result(name: str) -> int:
    """Return how large what a filter gives may be."""
    return MAX_GIVEN if name in _ORDERS else MAX_CHARACTERS


def check_bits(bits: int) -> None:
    """Raise `TooMuch` for a whole number that nobody means."""
    if bits > MAX_BITS:
        raise TooMuch(f"a template computes no number of more than {MAX_BITS:,} bits")


def check_operands(operator: str, left: object, right: object) -> None:
    """Refuse what would make a value far larger than those that go in."""
    if operator == "**":
        if not all(isinstance(one, int | float) and abs(one) <= MAX_NUMBER for one in (left, right)):
            raise TooMuch("a template computes no such power")
        if isinstance(left, int) and isinstance(right, int):
            check_bits(right * max(1, left.bit_length()))
    elif isinstance(left, int) and isinstance(right, int):
        if operator == "*":
            check_bits(left.bit_length() + right.bit_length())
    elif operator == "*":
        for one, times in ((left, right), (right, left)):
            if isinstance(times, int) and hasattr(one, "__len__"):
                check_size((len(one) if isinstance(one, str | bytes) else size_of(one)) * max(0, times))
    elif operator == "+":
        check_size(sum(len(one) for one in (left, right) if hasattr(one, "__len__")))
    elif operator == "%" and isinstance(left, str | bytes):
        _check_percent(left if isinstance(left, str) else left.decode("latin-1"), right)


def check_call(name: str, value: object, given: Sequence[object], named: Mapping[str, object]) -> None:
    """Refuse a filter, or a method of a text, that would make far more than what goes in.

    Args:
        name: Its name.
        value: What is filtered, or whose method it is.
        given: What it is given otherwise.
        named: What it is given by name.
    """
    others = [*given, *named.values()]
    if any(isinstance(one, int) and abs(one) > MAX_NUMBER for one in others):
        raise TooMuch(f"a template counts to no more than {MAX_NUMBER:,}")
    for one in others if name in _ORDERS or isinstance(value, str | bytes) else (value, *others):
        size_of(one)
    check = _CHECKS.get(name)
    if check is not None:
        check(value, others)
    if isinstance(value, str) and name in ("format", "format_map"):
        names = given[0] if name == "format_map" and given and isinstance(given[0], Mapping) else named
        _check_format(value, given, names)


def listed(values: object) -> object:
    """Return what is to be joined as a list, if it is none yet: nobody knows how much would come of it else."""
    return list(islice(values, MAX_CHARACTERS + 1)) if isinstance(values, Iterator) else values


def _numbers(others: Sequence[Any]) -> int:
    return max((abs(one) for one in others if isinstance(one, int)), default=0)


def _texts(others: Sequence[Any]) -> int:
    return max((len(one) for one in others if isinstance(one, str | bytes)), default=0)


def _check_replace(text: Any, others: Sequence[Any]) -> None:
    texts = [one for one in others if isinstance(one, type(text))]
    if len(texts) == 2:
        check_size(len(text) + text.count(texts[0]) * len(texts[1]), MAX_GIVEN)
    else:
        check_size(_length(text) * (1 + _texts(others)))


def _check_join(value: Any, others: Sequence[Any]) -> None:
    """A text joins others, or a list is joined by one."""
    items, between = (others[:1], value) if isinstance(value, str | bytes) else ([value], _texts(others))
    check_size(_length(between) * max(map(_length, items), default=0))


def _check_indent(text: Any, others: Sequence[Any]) -> None:
    check_size(_length(text) + (1 + _count(text, "\n")) * max(_numbers(others), _texts(others)))


def _check_expandtabs(text: Any, others: Sequence[Any]) -> None:
    check_size(_length(text) + _count(text, "\t") * (_numbers(others) or 8))


def _check_translate(text: Any, others: Sequence[Any]) -> None:
    check_size(_length(text) * max(map(size_of, others), default=1))


def _check_wordwrap(text: Any, others: Sequence[Any]) -> None:
    if _length(text) > MAX_WRAPPED or _texts(others) > MAX_DETAIL:
        raise TooMuch(f"a template wraps no text of more than {MAX_WRAPPED:,} characters")


def _check_detail(_: Any, others: Sequence[Any]) -> None:
    if max(_numbers(others), _texts(others)) > MAX_DETAIL:
        raise TooMuch(f"a template needs no such detail, of more than {MAX_DETAIL:,}")


def _check_fill(_: Any, others: Sequence[Any]) -> None:
    check_size(_numbers(others) * max(map(size_of, others), default=1))


def _check_default(_: Any, others: Sequence[Any]) -> None:
    """What is missing in each of many gets it."""
    if any(
        isinstance(one, str | bytes | list | tuple | Mapping) and size_of(one) > MAX_DETAIL for one in others
    ):
        raise TooMuch(
            f"a template gives nothing that is missing a value of more than {MAX_DETAIL:,} characters"
        )


def _check_sum(_: Any, others: Sequence[Any]) -> None:
    if any(isinstance(one, list | tuple) for one in others):
        raise TooMuch("a template adds up numbers, and no lists")


def _length(value: Any) -> int:
    return value if isinstance(value, int) else len(value) if hasattr(value, "__len__") else 0


def _count(text: Any, letter: str) -> int:
    if isinstance(text, bytes):
        return text.count(letter.encode())
    return text.count(letter) if isinstance(text, str) else 0


_CHECKS: Final[Mapping[str, Callable[[Any, Sequence[Any]], None]]] = {
    "batch": _check_fill,
    "expandtabs": _check_expandtabs,
    "indent": _check_indent,
    "join": _check_join,
    "map": _check_default,
    "replace": _check_replace,
    "round": _check_detail,
    "slice": _check_fill,
    "sum": _check_sum,
    "tojson": _check_detail,
    "translate": _check_translate,
    "urlize": _check_detail,
    "wordwrap": _check_wordwrap,
}


def _check_percent(text: str, given: Any) -> None:
    """Reckon what `%` makes of a text and its values."""
    values = iter(given if isinstance(given, tuple) else (given,))
    size = len(text)
    for found in _FORMATTED.finditer(text):
        size += sum(_width(found[part]) for part in ("width", "precision"))
        if found["name"] is not None:
            size += size_of(given.get(found["name"])) if isinstance(given, Mapping) else 0
        elif found["kind"] != "%":
            size += size_of(next(values, None))
        check_size(size)


def _check_format(text: str, given: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Reckon what `format` makes of a text and its values."""
    size, number = len(text), 0
    for _, field, spec, _ in Formatter().parse(text):
        if field is None:
            continue
        root = _ROOT.match(field)
        name = "" if root is None else root[0]
        if not name:
            name, number = str(number), number + 1
        if not name.isdecimal():
            value = named.get(name)
        else:
            value = given[int(name)] if len(name) < len(str(MAX_NUMBER)) and int(name) < len(given) else None
        nested = "{" in (spec or "")
        widths = [_numbers([*given, *named.values()])] if nested else map(_width, _DIGITS.findall(spec or ""))
        size += sum(widths) + size_of(value)
        check_size(size)


def _width(digits: str | None) -> int:
    if digits == "*" or len(digits or "") > len(str(MAX_NUMBER)):
        raise TooMuch("a template pads to no such width")
    return int(digits or 0)
