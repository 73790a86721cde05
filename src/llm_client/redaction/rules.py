"""What a secret looks like: one rule per shape, and the optional rules for personal data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from typing import Final

from llm_client.redaction.stretches import STRETCH, matches, occurs

_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

CROWDED: Final = "crowded"
"""The kind of a stretch that nobody looked at, since what stands before it named too many secrets."""

_FREE_SPANS: Final = 500
_CHARACTERS_A_SPAN: Final = 128
"""A text has room for five hundred secrets and one more for every 128 characters before it, or for a third more near misses. What follows
more than that is taken out as a whole: nobody reads such a text, and whoever wrote it wanted to keep us busy."""
_SECRET_COSTS: Final = 4
_NEAR_MISS_COSTS: Final = 3

Span = tuple[int, int, str]
"""Start and end of a secret in a text, and its kind; an empty one is a near miss, which took time and is none."""


def near_miss(position: int) -> Span:
    """Return what a reader yields for a place that it looked at in vain."""
    return position, position, ""


_STEP: Final = 24_576
_LONGEST: Final = 8_192
"""Characters of a text that a pattern is searched in at a time, and how far beyond them a match may reach."""


def in_steps(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str] | int]:
    """Yield the matches of a pattern, and where each step of a long text ends, so that no reader runs far ahead of the others.

    A match must be shorter than `_LONGEST`, or be nothing else when it is cut there.
    """
    start = 0
    while start < len(text):
        stop = min(start + _STEP, len(text))
        begin, start = start, stop
        for match in pattern.finditer(text, begin, min(stop + _LONGEST, len(text))):
            if match.start() >= stop:
                break
            yield match
            start = max(stop, match.end())
        if start < len(text):
            yield start


def bounded(readers: Iterable[Iterator[Span]], length: int) -> Iterator[Span]:
    """Yield the secrets that readers find in a text of this length, and the rest of the text as crowded once there is too much to look at.

    All readers go through the text side by side, each yielding in the order of the text, so that what nobody will look at costs nothing.
    """
    load = 0
    for start, end, kind in merge(*readers):
        load += _SECRET_COSTS if end > start else _NEAR_MISS_COSTS
        if load > _SECRET_COSTS * (_FREE_SPANS + start // _CHARACTERS_A_SPAN):
            yield start, length, CROWDED
            return
        if end > start:
            yield start, end, kind
            if end == length:
                return


@dataclass(frozen=True, slots=True)
class RedactionRule:
    """A shape to take out of every text.

    A group named `secret` limits what is replaced; without it the whole match is. Patterns of your own should not
    backtrack without bound: they run over texts that strangers wrote.

    Args:
        kind: Word in the mark, `<REDACTED:kind>`.
        pattern: Regular expression, as text or compiled.
        literals: The rule is tried only on texts that contain one of these; a rule without is always tried.
        check: Says whether a match is a secret after all.
    """

    kind: str
    pattern: str | re.Pattern[str]
    literals: tuple[str, ...] = ()
    check: Callable[[re.Match[str]], bool] | None = None
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _is_known: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether it is one of ours, whose pattern does not have to see the whole of a text."""

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind):
            raise ValueError(f"a kind is a word of letters, digits and underscores, not {self.kind!r}")
        object.__setattr__(self, "_regex", re.compile(self.pattern))

    @property
    def mark(self) -> str:
        """What stands where the secret was."""
        return f"<REDACTED:{self.kind}>"

    def may_occur_in(self, text: str) -> bool:
        """Whether it is worth running the pattern over this text."""
        if len(text) > STRETCH:
            return not self.literals or any(occurs(literal, text) for literal in self.literals)
        for literal in self.literals:  # a loop of its own: this is asked of every long word of every text
            if literal in text:
                return True
        return not self.literals

    def spans(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Span]:
        """Yield where the secrets of this shape are in a text or a part of it."""
        return (span for span in self.looks(text, start, end) if span[1] > span[0])

    def looks(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Span]:
        """Yield the secrets of this shape, and near misses of it."""
        group: str | int = "secret" if "secret" in self._regex.groupindex else 0
        first: str | int = "head" if "head" in self._regex.groupindex else group
        last = len(text) if end is None else end
        is_long = self._is_known and last - start > STRETCH
        found = (
            matches(self._regex, text, start, last) if is_long else self._regex.finditer(text, start, last)
        )
        for match in found:
            begin = match.start(first)
            is_one = self.check is None or self.check(match)
            yield begin, match.end(group) if is_one else begin, self.kind

    def end_of_match_at(self, text: str, position: int) -> int | None:
        """Return where a secret that starts at `position` ends, or `None` if none starts there."""
        match = self._regex.match(text, position)
        return match.end() if match and (self.check is None or self.check(match)) else None


def known(
    kind: str,
    pattern: str,
    literals: tuple[str, ...] = (),
    check: Callable[[re.Match[str]], bool] | None = None,
) -> RedactionRule:
    """Return a rule of our own. Keys are ASCII, and so is what their patterns take for a letter: a word of Chinese ends where one begins."""
    return _ours(RedactionRule(kind, re.compile(pattern, re.ASCII), literals, check))


def _ours(rule: RedactionRule) -> RedactionRule:
    object.__setattr__(rule, "_is_known", True)
    return rule


AFTER: Final = r"(?![_-]?[A-Za-z0-9])"
"""Where what was drawn has ended: before no letter or digit, nor before a single mark that goes on with one. `_key_` is set in italics."""
BEFORE: Final = r"(?<![A-Za-z0-9])(?<![A-Za-z0-9][_-])"
"""The same in front: `_key` and `x--key`, but not `x_key` or `x-key`."""

EMAIL = _ours(
    RedactionRule(
        "email",
        r"(?<![\w.+-])(?<!://)[\w.+-]{1,64}+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}"
        + AFTER,
        ("@",),
    )
)
PHONE = _ours(
    RedactionRule(
        "phone",
        r"(?<![A-Za-z0-9.+-])(?<![A-Za-z0-9]_)(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)|\d{1,4})(?:[ .-]?\d{2,4}){2,4}"
        r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|[2-9]\d{2}([ .-])[2-9]\d{2}\1\d{4})" + AFTER,
    )
)
SSN = _ours(
    RedactionRule(
        "ssn",
        r"(?<![A-Za-z0-9.-])(?<![A-Za-z0-9]_)(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}" + AFTER,
    )
)
