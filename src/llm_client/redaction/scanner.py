"""Finding secrets in texts."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from llm_client.redaction.assignments import assignment_spans
from llm_client.redaction.rules import RedactionRule, Span
from llm_client.redaction.shapes import card_rule, literal_rules, prefix_rules

MARK = re.compile(r"<REDACTED:[A-Za-z]\w*>")

_RUN = re.compile(r"[A-Za-z0-9_-]{16,}+")
_ESCAPES = {"\\": ((1, "nrtbf"), (5, "u")), "%": ((2, "0123456789ABCDEFabcdef"),)}
"""Characters that a JSON or URL escape before a run glues to it: how many, and what the first of them can be."""

_MAX_PASSES = 4


class Scanner:
    """Finds secrets in texts by the known shapes and the caller's own rules."""

    def __init__(self, rules: Sequence[RedactionRule], *, defaults: bool) -> None:
        self._custom = tuple(rules)
        self._defaults = defaults

    def clean(self, text: str) -> str:
        """Return the text with a mark in place of every secret; the same object when there is none."""
        for _ in range(_MAX_PASSES):  # taking a secret out can uncover the next; one pass is the rule
            spans = _merged([*self._known(text), *self._own(text)], text)
            if not spans:
                break
            text = _with_marks(text, spans)
        return text

    def innocent(self, texts: Sequence[str]) -> set[str]:
        """Return those of the texts that hold no secret.

        All texts are looked at as one, which is several times cheaper than one by one. A line break between them
        bounds every known shape just as the end of a text does, so that nothing is missed; a shape that runs across
        texts makes all of them suspects.
        """
        innocent = set(texts)
        ends = list(accumulate(len(text) + 1 for text in texts))
        for start, end, _ in self._known("\n".join(texts)):
            innocent.difference_update(texts[bisect_right(ends, start) : bisect_left(ends, end) + 1])
        if self._custom:
            innocent = {text for text in innocent if not any(self._own(text))}
        return innocent

    def _own(self, text: str) -> Iterator[Span]:
        for rule in self._custom:
            if rule.may_occur_in(text):
                yield from rule.spans(text)

    def _known(self, text: str) -> Iterator[Span]:
        if not self._defaults:
            return
        yield from _prefixed(text)
        yield from assignment_spans(text)
        yield from card_rule().spans(text)
        for rule in literal_rules():
            if rule.may_occur_in(text):
                yield from rule.spans(text)


def _prefixed(text: str) -> Iterator[Span]:
    table = prefix_rules()
    for run in _RUN.finditer(text):
        for start in _starts(text, run.start(), run[0]):
            for prefix, rule in table.get(text[start : start + 2], ()):
                end = rule.end_of_match_at(text, start) if text.startswith(prefix, start) else None
                if end is not None:
                    yield start, end, rule.kind
                    break


def _starts(text: str, start: int, run: str) -> Iterator[int]:
    yield start
    if run[0] in "-_":
        yield start + len(run) - len(run.lstrip("-_"))
    for length, firsts in _ESCAPES.get(text[start - 1], ()) if start else ():
        if run[0] in firsts:
            yield start + length


def _merged(spans: Iterable[Span], text: str) -> list[Span]:
    """Join spans that overlap, leave marks that are there already alone, and never cut through one."""
    marks = [match.span() for match in MARK.finditer(text)] if "<REDACTED:" in text else []
    groups: list[Span] = []
    for start, end, kind in sorted(
        [*spans, *((*mark, "") for mark in marks)], key=lambda span: (span[0], -span[1])
    ):
        if groups and start < groups[-1][1]:
            begin, reach, first = groups[-1]
            if first or end > reach:  # a group without a kind is a mark: what lies in it is left
                groups[-1] = (begin, max(reach, end), first or kind)
        else:
            groups.append((start, end, kind))
    return [group for group in groups if group[2]]


def _with_marks(text: str, spans: Sequence[Span]) -> str:
    pieces: list[str] = []
    position = 0
    for start, end, kind in spans:
        pieces += (text[position:start], f"<REDACTED:{kind}>")
        position = end
    return "".join((*pieces, text[position:]))
