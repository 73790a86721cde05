"""Finding secrets in texts."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from llm_client.redaction.folding import fold
from llm_client.redaction.prefixes import later_starts, prefix_rules
from llm_client.redaction.rules import CROWDED, RedactionRule, Span
from llm_client.redaction.shapes import card_rule, literal_rules, run_rules, two_part_rules

MARK = re.compile(r"<REDACTED:[A-Za-z]\w*>")

_RUN = re.compile(r"[A-Za-z0-9_+/-]{16,}+")
_ESCAPES = {"\\": ((1, "nrtbf"), (5, "u")), "%": ((2, "0123456789ABCDEFabcdef"),)}
"""Characters that a JSON or URL escape before a run glues to it: how many, and what the first of them can be."""

_PADDING = 2
"""The `==` that may follow a run in base64."""
_MAX_PASSES = 4

PrefixTable = dict[str, tuple[tuple[str, RedactionRule], ...]]


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

    def look_over(self, texts: Sequence[str]) -> Overview:
        """Sort texts by whether they hold a secret.

        All texts are looked at as one, which is several times cheaper than one by one. A line break between them
        bounds every known shape just as the end of a text does, so that nothing is missed; a shape that runs across
        texts makes all of them suspects.
        """
        innocent, crowded = set(texts), set[str]()
        ends = list(accumulate(len(text) + 1 for text in texts))
        for start, end, kind in self._known("\n".join(texts)):
            first, last = bisect_right(ends, start), bisect_left(ends, end)
            innocent.difference_update(texts[first : last + 1])
            if kind == CROWDED:
                crowded.update(set(texts[first + 1 : last + 1]).difference(texts[: first + 1]))
        if self._custom:
            innocent = {text for text in innocent if not any(self._own(text))}
        return Overview(innocent, crowded)

    def joined(self, pieces: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Yield the pieces of a stream, by their place, that hold a part of a secret which runs over more than one of them.

        Only a secret's own shape counts here: what is a sentence in one piece would be an assignment in two.
        """
        if not self._defaults:
            return
        ends = list(accumulate(map(len, pieces)))
        changed: dict[int, str] = {}
        folded = fold("".join(pieces))
        for first, last, kind in shaped_spans(folded.text):
            start, end = folded.original(first, last)
            low, high = bisect_right(ends, start), bisect_left(ends, end)
            if low == high:
                continue
            for index in range(low, high + 1):
                begin = ends[index] - len(pieces[index])
                head, tail = pieces[index][: max(0, start - begin)], pieces[index][max(0, end - begin) :]
                changed[index] = head + (f"<REDACTED:{kind}>" if index == low else "") + tail
        yield from changed.items()

    def _own(self, text: str) -> Iterator[Span]:
        for rule in self._custom:
            if rule.may_occur_in(text):
                yield from rule.spans(text)

    def _known(self, text: str) -> Iterator[Span]:
        if not self._defaults:
            return
        folded = fold(text)
        for start, end, kind in _known_in_plain(folded.text):
            yield *folded.original(start, end), kind


@dataclass(frozen=True, slots=True)
class Overview:
    """What a first look at many texts has shown."""

    innocent: set[str]
    """Texts that hold no secret."""
    crowded: set[str]
    """Texts that nobody looked at, since those before them named too many secrets."""


def _known_in_plain(text: str) -> Iterator[Span]:
    # Imported at the first text: their patterns take longer to compile than everything else to import.
    from llm_client.redaction.assignments import assignment_spans, in_lower_case
    from llm_client.redaction.places import place_spans

    yield from shaped_spans(text)
    lowered = in_lower_case(text)
    yield from assignment_spans(text, lowered)
    yield from place_spans(text, lowered)
    yield from card_rule().spans(text)


def shaped_spans(text: str) -> Iterator[Span]:
    """Yield the secrets that their own shape gives away, wherever they stand."""
    yield from _runs(text)
    for rule in literal_rules():
        if rule.may_occur_in(text):
            yield from rule.spans(text)


def _runs(text: str) -> Iterator[Span]:
    table, two_parts = prefix_rules(), two_part_rules()
    separators = {end[-1] for end in two_parts}
    inside: list[RedactionRule] | None = None
    done = 0
    for run in _RUN.finditer(text):
        start, word = run.start(), run[0]
        if start < done:  # a private key takes many runs; looking at each again would take quadratic time
            continue
        before = text[start - 1] if start else ""
        found: list[Span] = []  # most runs begin with nothing that is known, and cost no call
        if word[:2] in table or word[0] in "-_" or before in _ESCAPES or "/" in word or "+" in word:
            found = list(_prefixed(text, start, word, table))
        if not found and before in separators:
            either = (two_parts.get(before), two_parts.get(text[start - 2 : start]))
            found = [span for rules in either if rules and (span := rules.span(text, start))]
        if found:
            done = found[-1][1]
            yield from found
            continue
        if inside is None:
            inside = [rule for rule in run_rules() if rule.may_occur_in(text)]
        for rule in inside:
            if rule.may_occur_in(word):
                yield from rule.spans(text, start, run.end() + _PADDING)


def _prefixed(text: str, begin: int, word: str, table: PrefixTable) -> Iterator[Span]:
    done = 0
    for start in _starts(text, begin, word):
        if start < done:
            continue
        for prefix, rule in table.get(text[start : start + 2], ()):
            end = rule.end_of_match_at(text, start) if text.startswith(prefix, start) else None
            if end is not None:
                yield start, end, rule.kind
                done = end
                break


def _starts(text: str, start: int, run: str) -> Iterator[int]:
    """Yield where a key can begin in a run: at its start, after an escape that is glued to it, and after a `/` or `+`."""
    yield start
    if run[0] in "-_":
        yield start + len(run) - len(run.lstrip("-_"))
    for length, firsts in _ESCAPES.get(text[start - 1], ()) if start else ():
        if run[0] in firsts:
            yield start + length
    if "/" in run or "+" in run:
        for mark in later_starts().finditer(run):
            yield start + mark.end()


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
