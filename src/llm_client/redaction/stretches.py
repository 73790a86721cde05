"""Going through long texts stretch by stretch.

What the interpreter does in one go – a search, a pattern, lower case – it does with all other threads waiting, be it called in one: over thirty
megabytes that is a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

STRETCH: Final = 128 * 1024
"""Characters that are gone through in one go."""
REACH: Final = 16 * 1024
"""Characters behind a stretch in which what begins in it may end. What is longer is matched once more."""
_NEAR: Final = 256
"""Characters before the end of what was looked at, in which that end may have ended a match or been taken for the end of the text."""
_PIECES: Final = 50_000


def stretches(text: str) -> Iterator[str]:
    """Yield a text in parts; a short one as it is."""
    if len(text) <= STRETCH:
        yield text
        return
    for begin in range(0, len(text), STRETCH):
        yield text[begin : begin + STRETCH]


def occurs(part: str, text: str) -> bool:
    """Whether a text contains a short one."""
    if len(text) <= STRETCH:
        return part in text
    reach = STRETCH + len(part) - 1
    return any(text.find(part, begin, begin + reach) >= 0 for begin in range(0, len(text), STRETCH))


def containing(text: str) -> Callable[[str], bool]:
    """Return what says whether a text contains a short one: nearly always the text's own method, which costs least."""
    return text.__contains__ if len(text) <= STRETCH else lambda part: occurs(part, text)


def position_of(part: str, text: str, begin: int) -> int:
    """Return where a short text occurs next in another; -1 if it does not."""
    reach = STRETCH + len(part) - 1
    while begin < len(text):
        found = text.find(part, begin, begin + reach)
        if found >= 0:
            return found
        begin += STRETCH
    return -1


def matches(
    pattern: re.Pattern[str], text: str, begin: int = 0, end: int | None = None
) -> Iterator[re.Match[str]]:
    """Yield what `finditer` does, of a pattern that needs no more than `REACH` characters to see that it matches, however long it then is."""
    last = len(text) if end is None else min(end, len(text))
    if last - begin <= STRETCH:
        yield from pattern.finditer(text, begin, last)
        return
    while begin < last:
        stop = min(begin + STRETCH, last)
        cut = min(stop + REACH, last)
        again = stop
        for match in pattern.finditer(text, begin, cut):
            if match.start() >= stop:
                break
            if cut < last and match.end() > cut - _NEAR:
                whole = pattern.match(text, match.start(), last)
                again = match.start() + 1
                if whole is not None:
                    again = max(again, whole.end())
                    yield whole
                break
            again = max(again, match.end())
            yield match
        begin = again


def first_match(pattern: re.Pattern[str], text: str, begin: int = 0) -> re.Match[str] | None:
    """Return the first match from a place on."""
    if len(text) - begin <= STRETCH:
        return pattern.search(text, begin)
    return next(matches(pattern, text, begin), None)


def joined(pieces: Iterator[str]) -> str:
    """Join any number of pieces."""
    parts: list[str] = []
    some: list[str] = []
    for piece in pieces:
        some.append(piece)
        if len(some) >= _PIECES:
            parts.append("".join(some))
            some.clear()
    return "".join((*parts, *some))
