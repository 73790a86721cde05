"""JSON: its types, and what its text and Python's values cannot both hold: halves of surrogate pairs, NaN and the infinities, and long numbers.

What has been read, or is made to be written, is a `JsonObject` or a `JsonValue`. What somebody gives us that nobody has looked at is a
`Mapping[str, object]` or an `object`: whoever wants more of it checks first, and a caller's `dict` of mixed values fits.

Halves come from vendors who cut a text between two events, and from file names and prompts that are no Unicode. Pairs are
joined, halves become U+FFFD. For numbers that are none, JSON has no word. Numbers that 64 bits do not hold are read and written
digit for digit: orjson makes the nearest float of them, without a word.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from itertools import islice
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import orjson

JsonValue: TypeAlias = "Mapping[str, JsonValue] | Sequence[JsonValue] | str | int | float | bool | None"
"""A value that JSON has a word for. Numbers are exact: a float may be a `LongFloat`."""
JsonObject: TypeAlias = Mapping[str, JsonValue]
"""Names and values. What is made and given away is a `dict[str, JsonValue]`, which its new owner may change.

Not for fields of values that a step may return: pydantic reads those, and cannot follow a type that contains itself.
"""

T = TypeVar("T")

MAX_PARTS: Final = 500_000
"""Lists, objects and commas of one JSON text from outside. An empty list takes two bytes and becomes sixty, and reading millions of them holds the
interpreter for seconds, whichever thread does it. The longest answers have some hundred thousand tokens."""
MAX_LISTS: Final = 200_000
"""Lists and objects among them, those in its texts left out: the collector of garbage goes through each again and again while others are made."""
MAX_OBJECTS: Final = 20_000
"""Lists and objects in what a model writes for a tool or as a typed answer."""
MAX_VALUES: Final = 200_000
"""Their members and items."""
MOST_WRITTEN: Final = f"{MAX_VALUES:,} values, or {MAX_OBJECTS:,} lists and objects"
"""Both, to be told."""
MAX_ALIKE: Final = 100
"""Different numbers with one hash, in what a model or a person writes for a type. Chance gives two of 61 bits none; who multiplies 2⁶¹ - 1 has as many
as they like, and each that goes into a set or is the key of a dictionary is compared with all the others."""
MOST_ALIKE: Final = f"{MAX_ALIKE} different numbers that a set cannot tell apart by their hash"
"""That, to be told."""
_ALIKE_BITS: Final = 60
_ALIKE_DIGITS, _MOST_DIGITS = 19, 5_000
"""From so many on a number, or a text that a type reads as one, may share its hash with others. Of texts that are longer than these nobody writes
enough to matter."""
_AS_NUMBER: Final = re.compile(r"\s*+[+-]?[\d_]*+(?:\.[\d_]*+)?(?:[eE][+-]?\d++)?\s*+")
_AS_UUID: Final = re.compile(r"(?:urn:uuid:)?\{?[0-9a-fA-F-]{32,36}\}?")
MAX_DEPTH: Final = 200
"""Lists and objects inside each other, in JSON text from outside. What is deeper nobody means, and Python cannot go through it."""
MAX_SEARCHED: Final = 4_000_000
"""Characters of a text that is looked through for JSON, value by value."""
MAX_DIMENSIONS: Final = 16_384
"""Numbers of a vector; the longest that vendors give have some twelve thousand."""
_STRETCH: Final = 128 * 1024
"""Bytes that are gone through at once."""
_TEXTS_OF_LINE: Final = re.compile(rb'"[^"\n]*+["\n]')
_HALF: Final = re.compile("[\ud800-\udfff]")
_MOST_HALVES: Final = 10_000
"""Halves of one text that are looked at one by one. A text with more was no text before, and they all become question marks."""
_ESCAPED: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LONG: Final = 17
"""Digits, with their point, from which a number may say more than a float: fifteen digits always survive one."""
_MOST_VALUES: Final = 512 * 1024
"""Bytes of a JSON text, beside its texts, up to which long numbers are looked for. Reading it with all digits takes ten times as long."""
_LEAST_EXPONENT: Final = -400
"""Below this a number is nothing, whatever its digits: a float ends at 10⁻³²⁴."""
_DIGITS: Final = bytes(48 if chr(byte) in "0123456789." else 32 for byte in range(256))
_UNREADABLE: Final = object()
_ALWAYS_FINITE: Final = frozenset({str, int, bool, type(None)})
_LEAST_INT: Final = -(2**63)
_MOST_INT: Final = 2**64 - 1
"""Whole numbers that orjson writes and reads."""
_MOST_WORK: Final = 5 * 10**10
"""Squares of the bits of all whole numbers of one value that orjson does not write: what writing them takes. Of the longest, 4,300 digits,
they are some 240."""


class LongFloat(float):
    """A number whose digits say more than a float holds: it counts as the nearest float, and is written as it came.

    `Decimal(str(number))` is exact. A model that writes π to thirty digits, or an amount to the cent, has meant all of them.
    """

    __slots__ = ("text",)

    text: str
    """Its digits."""

    def __new__(cls, text: str) -> LongFloat:
        """Read a number of JSON."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LongFloat):
            return Decimal(self.text) == Decimal(other.text)
        return float.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return float.__hash__(self)

    def __reduce__(self) -> tuple[type[LongFloat], tuple[str]]:
        return LongFloat, (self.text,)


class Unread(orjson.JSONDecodeError):
    """A JSON text is not read, whatever it says: reading it, or going through it, would take too long."""


class TooManyParts(Unread):
    """A JSON text would become more values than anybody can have meant.

    Args:
        most: How many of what it may have.
    """

    def __init__(self, most: str = f"{MAX_PARTS} parts") -> None:
        super().__init__(f"it has more than {most}", "", 0)
        self.most = most


class TooLong(Unread):
    """A text is longer than anybody looks through for the JSON that it may hold."""

    def __init__(self) -> None:
        super().__init__(f"it is no JSON, and longer than {MAX_SEARCHED} characters", "", 0)


class TooDeep(Unread):
    """The values of a JSON text are further inside each other than anybody can have meant."""

    def __init__(self) -> None:
        super().__init__(f"it is deeper than {MAX_DEPTH} levels", "", 0)


def check_parts(content: bytes | str, *, vectors: int = 0) -> None:
    """Count the parts of a JSON text before it is read. Those in its texts count as well: telling them apart would take reading it.

    Args:
        content: The text.
        vectors: How many vectors it may have besides, of `MAX_DIMENSIONS` numbers each, which take little more room than their digits.

    Raises:
        TooManyParts: They are more than `MAX_PARTS`, or the lists and objects among them more than `MAX_LISTS`.
    """
    if len(content) <= MAX_LISTS:
        return
    if parts_of(content, vectors=vectors > 0) > MAX_PARTS:
        raise TooManyParts
    check_lists(content, MAX_LISTS)
    if vectors and parts_of(content) > MAX_PARTS + vectors * MAX_DIMENSIONS:
        raise TooManyParts


def check_lists(content: bytes | str, most: int) -> None:
    """Refuse a JSON text of more lists and objects than so many. Raises `TooManyParts`."""
    if parts_of(content, vectors=True) > most and has_more_lists(content, most):
        raise TooManyParts(f"{most} lists and objects")


def has_more_lists(content: bytes | str, most: int) -> bool:
    """Whether a JSON text has more lists and objects than so many; goes through it stretch by stretch, so that other threads go on."""
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    lists = ListCount()
    return any(lists.take(raw[start : start + _STRETCH]) > most for start in range(0, len(raw), _STRETCH))


class ListCount:
    """Counts the lists and objects of a JSON text that comes in pieces, as many as it has at most; what stands in its texts is none.

    No text goes on behind the end of a line, so that whatever an event stream says beside its JSON hides nothing.

    Attributes:
        count: How many there are by now.
    """

    __slots__ = ("_begun", "count")

    def __init__(self) -> None:
        self.count = 0
        self._begun = b""
        """The quote of a text that goes on in the next piece, and half an escape."""

    def take(self, piece: bytes) -> int:
        """Count those of one more piece; return how many there are by now."""
        said = self._begun + piece
        escapes = len(said) - len(said.rstrip(b"\\"))
        half = b"\\" if escapes % 2 else b""
        plain = said.replace(b"\\\\", b"").replace(b'\\"', b"").replace(b"\r", b"\n")
        beside, begun, _ = _TEXTS_OF_LINE.sub(b"", plain).partition(b'"')
        self._begun = begun + half
        self.count += beside.count(b"[") + beside.count(b"{")
        return self.count


def check_depth(value: Any, content: bytes | str) -> None:
    """Refuse values that are too far inside each other. Raises `TooDeep`.

    Args:
        value: What was read.
        content: The JSON text that it was read from.
    """
    if parts_of(content, vectors=True) <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for item in level for inner in _inside(item) if isinstance(inner, dict | list)]
        if not level:
            return
    raise TooDeep


def _inside(item: Any) -> Any:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def parts_of(content: bytes | str, *, vectors: bool = False) -> int:
    """Return how many parts a JSON text, or a piece of one, has at most."""
    if isinstance(content, str):
        return content.count("[") + content.count("{") + (0 if vectors else content.count(","))
    return content.count(b"[") + content.count(b"{") + (0 if vectors else content.count(b","))


def is_beyond_writing(value: object) -> bool:
    """Whether JSON values that a model wrote are more than it writes who means them.

    Whoever checks values against a type keeps the interpreter to himself until he is done, in a thread as well: for seconds, if they are countless.
    """
    values = objects = 0
    for item in _containers(value):
        objects, values = objects + 1, values + len(item)
        if objects > MAX_OBJECTS or values > MAX_VALUES:
            return True
    return False


def has_alike(value: object) -> bool:
    """Whether JSON values hold more numbers of one hash than chance gives, as they are or as texts that a type reads as numbers or UUIDs."""
    found: dict[int, set[str]] = {}
    for item in _containers(value):
        for one in (*item, *item.values()) if isinstance(item, dict) else item:
            hashed = None if isinstance(one, bool) else _hash_of_number(one)
            if hashed is None:
                continue
            alike = found.setdefault(hashed, set())
            alike.add(f"{one:x}" if type(one) is int else str(one))
            if len(alike) > MAX_ALIKE:
                return True
    return False


def holds_more(value: object, most: int) -> bool:
    """Whether JSON values hold more of them than so many; looks at no more than it takes to tell."""
    values = 0
    for item in _containers(value):
        values += len(item)
        if values > most:
            return True
    return False


def holds_more_lists(value: object, most: int) -> bool:
    """Whether JSON values hold more lists and objects than so many; looks at no more than it takes to tell."""
    return next(islice(_containers(value), most, None), None) is not None


def _containers(value: object) -> Iterator[Any]:
    """Yield the lists and objects of JSON values."""
    below: list[Any] = [value]
    while below:
        item = below.pop()
        if isinstance(item, dict | list | tuple):
            yield item
            below += item.values() if isinstance(item, dict) else item


def _hash_of_number(value: object) -> int | None:
    """Return the hash of a number that is long enough to share one; `None` for whatever is none."""
    if isinstance(value, int):
        return hash(value) if value.bit_length() > _ALIKE_BITS else None
    text = value if isinstance(value, str) else value.text if isinstance(value, LongFloat) else ""
    if not _ALIKE_DIGITS <= len(text) <= _MOST_DIGITS:
        return None
    if _AS_NUMBER.fullmatch(text):
        try:
            return hash(Decimal(text.strip().replace("_", "")))
        except ArithmeticError:
            return None
    if _AS_UUID.fullmatch(text):
        return hash(int("0" + re.sub("[^0-9a-fA-F]", "", text.replace("urn:uuid:", "")), 16))
    return None


def whole_text(text: str) -> str:
    """Return a text in which pairs are joined and every half is U+FFFD, or a question mark where they are very many; the same one when it has none."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    if len(text) - len(text.encode("utf-8", "ignore").decode()) > _MOST_HALVES:
        return text.encode("utf-8", "replace").decode()
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_value(value: T) -> T:
    """Return JSON values with all their texts whole, keys included; what is no JSON stays as it is."""
    whole: T = _whole(value)
    return whole


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, dict):
        return {_whole(name): _whole(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(entry) for entry in value]
    return value


def loads(content: bytes | str, *, whole: bool = True, vectors: int = 0) -> Any:
    """Decode JSON text from outside.

    Args:
        content: The text.
        whole: Whether halves that it escapes become U+FFFD; else they are left in for whoever joins them with the next piece.
        vectors: How many vectors it may have, of any numbers, which are then read as floats.

    Raises:
        TooManyParts: It has more than `MAX_PARTS` parts.
        TooDeep: It has more than `MAX_DEPTH` levels.
        orjson.JSONDecodeError: It is no JSON.
    """
    check_parts(content, vectors=vectors)
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        if not _has_halves(content, raw):
            raise
        value = _with_halves(content, raw)
        if value is _UNREADABLE:
            raise
        check_depth(value, content)
        return whole_value(value) if whole else value
    check_depth(value, content)
    return value if vectors else exact(value, content)


def _has_halves(content: bytes | str, raw: bytes) -> bool:
    """Whether a text may hold halves of pairs, as they are or escaped."""
    if (rb"\ud" in raw or rb"\uD" in raw) and _ESCAPED.search(raw) is not None:
        return True
    return isinstance(content, str) and not content.isascii() and _HALF.search(content) is not None


def _with_halves(content: bytes | str, raw: bytes) -> Any:
    """Decode JSON text with halves of pairs, which orjson does not read, unless it has more values than are read slowly in a moment."""
    if len(_beside_texts(raw)) > _MOST_VALUES:
        return _UNREADABLE
    try:
        return read_exactly(content)
    except (ValueError, RecursionError):
        return _UNREADABLE


def decoder_of(text: str) -> json.JSONDecoder:
    """Return what reads the JSON in a text from outside: with all digits of its numbers, unless there are so many that it takes long.

    Raises:
        TooLong: The text has more than `MAX_SEARCHED` characters.
    """
    if len(text) > MAX_SEARCHED:
        raise TooLong
    raw = text.encode("utf-8", "surrogatepass")
    return _LENIENT if _has_long_numbers(raw) else _ROUGHLY


def exact(value: object, content: bytes | str) -> Any:
    """Return what orjson has read of a JSON text, with its long numbers as they stand there.

    Raises:
        orjson.JSONDecodeError: A number has more digits than anybody can have meant.
    """
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    if not _has_long_numbers(raw):
        return value
    try:
        return read_exactly(raw)
    except RecursionError:  # deeper than Python reads: the numbers stay what floats make of them
        return value
    except ValueError as error:
        raise orjson.JSONDecodeError(str(error)[:200], "", 0) from None


def _has_long_numbers(raw: bytes) -> bool:
    """Whether a JSON text holds numbers that floats may lose, and is not so full of values that reading it again takes long."""
    long = b"0" * _LONG
    if long not in raw.translate(_DIGITS):
        return False
    beside_texts = _beside_texts(raw)
    return len(beside_texts) <= _MOST_VALUES and long in beside_texts.translate(_DIGITS)


def _beside_texts(raw: bytes) -> bytes:
    """Return what a JSON text has beside its texts."""
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > 4 * MAX_PARTS:  # more than JSON of so many parts has, so it is none
        return plain
    return b'"'.join(plain.split(b'"')[::2])


def read_exactly(content: bytes | str) -> Any:
    """Decode JSON text with all digits of its numbers, slowly. Raises `ValueError`."""
    return json.loads(content, parse_float=number_of, parse_constant=refuse_constant)


def number_of(text: str) -> float:
    """Return a number of JSON: a `LongFloat` where a float is not what it says. Raises `ValueError` for too large ones."""
    number = float_of(text)
    if len(text) < _LONG or repr(number) == text:
        return number
    try:
        said = Decimal(text)
    except InvalidOperation:  # an exponent that not even a decimal has
        return number
    is_less = said == Decimal(repr(number)) or said.adjusted() < _LEAST_EXPONENT
    return number if is_less else LongFloat(text)


def float_of(text: str) -> float:
    """Return a number of JSON as the nearest float. Raises `ValueError` for too large ones."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]}… is too large a number")
    return number


def dumps(
    value: object, *, default: Callable[[object], object] | None = None, option: int = orjson.OPT_NON_STR_KEYS
) -> bytes:
    """Write JSON with keys of any plain type and numbers of any length. Raises `TypeError` for what is no JSON.

    Args:
        value: What to write.
        default: What to write in the place of a value of another class.
        option: Of orjson.
    """

    def plain(other: Any) -> Any:
        if type(other) is LongFloat:
            return orjson.Fragment(other.text.encode())
        if default is None:
            raise TypeError(f"a {type(other).__name__} is not JSON")
        return default(other)

    try:
        return orjson.dumps(value, default=plain, option=option)
    except TypeError:
        return orjson.dumps(long_numbers_written(whole_value(value), default), default=plain, option=option)


def long_numbers_written(value: object, default: Callable[[object], object] | None = None) -> object:
    """Return a value in which the numbers that orjson does not write are pieces of JSON text.

    Raises:
        TypeError: They are endless, or so many that writing them takes long.
    """
    return _LongNumbers(default).written(value)


class _LongNumbers:
    """Writes the long numbers of one value, as far as their digits are not more than are written in a moment.

    Args:
        default: What to write in the place of a value of another class.
    """

    __slots__ = ("_default", "_work")

    def __init__(self, default: Callable[[object], object] | None) -> None:
        self._default = default
        self._work = 0

    def written(self, value: object) -> object:
        if type(value) is int:
            return value if _LEAST_INT <= value <= _MOST_INT else orjson.Fragment(self._digits_of(value))
        if type(value) is LongFloat:
            return orjson.Fragment(value.text.encode())
        if isinstance(value, dict):
            return {self._key(name): self.written(entry) for name, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.written(entry) for entry in value]
        if self._default is None or value is None or isinstance(value, str | bool | float | int):
            return value
        try:
            plain = self._default(value)
        except TypeError:  # orjson may know it
            return value
        return self.written(plain)

    def _digits_of(self, value: int) -> bytes:
        self._work += value.bit_length() ** 2
        if self._work > _MOST_WORK:
            raise TypeError("its whole numbers have more digits than are written in a moment")
        try:
            return b"%d" % value
        except ValueError as error:  # more digits than Python writes in a reasonable time
            raise TypeError(str(error)) from None

    def _key(self, name: Any) -> Any:
        is_long = type(name) is int and not _LEAST_INT <= name <= _MOST_INT
        return self._digits_of(name).decode() if is_long else name


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities. Raises `ValueError`."""
    raise ValueError(f"{name} is no JSON")


_LENIENT: Final = json.JSONDecoder(strict=False, parse_float=number_of, parse_constant=refuse_constant)
_ROUGHLY: Final = json.JSONDecoder(strict=False, parse_float=float_of, parse_constant=refuse_constant)


class HalfWaits:
    """Joins the pieces of one text: half a pair at the end of a piece waits for the next."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def take(self, piece: str) -> str:
        """Return what can be shown now."""
        if not self._half and piece.isascii():
            return piece
        if self._half:
            piece, self._half = self._half + piece, ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        return whole_text(piece)

    def rest(self) -> str:
        """Return what has waited in vain."""
        half, self._half = self._half, ""
        return whole_text(half)


def referred(root: object, reference: object) -> object:
    """Return what a reference within a document, such as `#/a/b`, leads to; `None` where that is nothing."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    found = root
    for step in reference.split("/")[1:]:
        if not isinstance(found, Mapping):
            return None
        found = found.get(step.replace("~1", "/").replace("~0", "~"))
    return found


def long_floats(value: object) -> Iterator[LongFloat]:
    """Yield each `LongFloat` that JSON values hold."""
    below = [value]
    while below:
        item = below.pop()
        if isinstance(item, LongFloat):
            yield item
        elif isinstance(item, dict):
            below += item.values()
        elif isinstance(item, list):
            below += item


def has_long_floats(value: object) -> bool:
    """Whether JSON values hold a `LongFloat`."""
    return next(long_floats(value), None) is not None


def non_finite(value: object) -> float | None:
    """Return a NaN or an infinity that a value holds; orjson writes `null` in its place, without a word."""
    below: list[Any] = [value]
    while below:
        item = below.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return item
        elif isinstance(item, Mapping):
            below += [one for one in item.values() if type(one) not in _ALWAYS_FINITE]
        elif isinstance(item, list | tuple | set | frozenset):
            below += [one for one in item if type(one) not in _ALWAYS_FINITE]
        elif isinstance(item, Enum):
            below.append(item.value)
        elif is_dataclass(item) and not isinstance(item, type):
            below += [getattr(item, part.name, None) for part in fields(item)]
        elif callable(getattr(type(item), "model_dump", None)):
            below.append(item.model_dump())
    return None
