"""Finding secrets in texts."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice

from llm_client.redaction.folding import fold, has_dashes, in_lower_case
from llm_client.redaction.prefixes import later_starts, prefix_rules
from llm_client.redaction.rules import CROWDED, RedactionRule, Span, bounded, near_miss
from llm_client.redaction.shapes import card_rule, literal_rules, run_rules, two_part_rules
from llm_client.redaction.stretches import STRETCH, joined, matches, occurs

MARK = re.compile(r"<REDACTED:[A-Za-z]\w*>")

_RUN = re.compile(r"(?:[\w+/-]{0,15}+[^\w+/-]++)*+([\w+/-]{16,}+|[\w+/-]*+\Z)", re.ASCII)
"""The next long run of key characters with all that stands before it: what is short is skipped in one go. The last one is empty or short."""
_KEY_CHARACTERS = re.compile(r"[\w+/-]*+", re.ASCII)
_ESCAPES = {"\\": ((1, "nrtbf"), (5, "u")), "%": ((2, "0123456789ABCDEFabcdef"),)}
"""Characters that a JSON or URL escape before a run glues to it: how many, and what the first of them can be."""

_SHORTEST = 16
_PADDING = 2
"""The `==` that may follow a run in base64."""
_TYPED_DASH = re.compile(r"--++")
_DASHES_OF_A_RUN = 4
"""Typed dashes of a run after which a key can begin: one that is looked for may read the run to its end."""
_REST_OF_RUN = re.compile(r"[\w+/=~%-]*+", re.ASCII)
_BOUNDED = 250
"""Characters of a secret from which on it may be that a bound of its pattern has ended it, and no end of its own."""
_MAX_PASSES = 4
_LOOKED_AT_AGAIN = 16_384
"""Characters of a text up to which it is looked at once more after something was taken out."""


class Scanner:
    """Finds secrets in texts by the known shapes and the caller's own rules."""

    def __init__(self, rules: Sequence[RedactionRule], *, defaults: bool) -> None:
        self._custom = tuple(rules)
        self._defaults = defaults

    def clean(self, text: str) -> str:
        """Return the text with a mark in place of every secret; the same object when there is none.

        A secret that was taken out can uncover another that was glued to it, so that redacting twice would not be redacting once. A long
        text is not looked at again for that: nothing but a secret without an end of its own is found by it.
        """
        for _ in range(_MAX_PASSES):
            spans = _merged([*self._known(text), *self._own(text)], text)
            if not spans:
                break
            is_long = len(text) > _LOOKED_AT_AGAIN
            text = _with_marks(text, spans)
            if is_long:
                break
        return text

    def look_over(self, texts: Sequence[str]) -> Overview:
        """Sort texts by whether they hold a secret.

        All texts are looked at as one, which is several times cheaper than one by one. A line break between them
        bounds every known shape just as the end of a text does, so that nothing is missed; a shape that runs across
        texts makes all of them suspects.
        """
        innocent, crowded = set(texts), set[str]()
        found = list(self._known("\n".join(texts)))
        ends = list(accumulate(len(text) + 1 for text in texts)) if found else []
        for start, end, kind in found:
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
        text = "".join(pieces)
        for start, end, kind in reversed(
            _merged(_shaped(text), text)
        ):  # what is further left keeps its place
            low, high = bisect_right(ends, start), bisect_left(ends, end)
            if low == high:
                continue
            for index in range(low, high + 1):
                begin, piece = ends[index] - len(pieces[index]), changed.get(index, pieces[index])
                head, tail = piece[: max(0, start - begin)], piece[max(0, end - begin) :]
                changed[index] = head + (f"<REDACTED:{kind}>" if index == low else "") + tail
        for index, piece in changed.items():
            yield index, self.clean(piece)

    def _own(self, text: str) -> Iterator[Span]:
        for rule in self._custom:
            if rule.may_occur_in(text):
                yield from rule.spans(text)

    def _known(self, text: str) -> Iterator[Span]:
        if not self._defaults:
            return
        folded = fold(text)
        for first, last, kind in _known_in_plain(folded.text):
            start, end = folded.original(first, last)
            yield start, end, kind
            if kind == CROWDED:
                text = text[:start]
        yield from _between_dashes(text)


@dataclass(frozen=True, slots=True)
class Overview:
    """What a first look at many texts has shown."""

    innocent: set[str]
    """Texts that hold no secret."""
    crowded: set[str]
    """Texts that nobody looked at, since those before them named too many secrets."""


def _known_in_plain(text: str) -> Iterator[Span]:
    # Imported at the first text: their patterns take longer to compile than everything else to import.
    from llm_client.redaction.assignments import assignment_spans
    from llm_client.redaction.places import place_readers

    lowered = in_lower_case(text)
    readers = (
        *_shapes(text),
        assignment_spans(text, lowered),
        *place_readers(text, lowered),
        card_rule().looks(text),
    )
    yield from bounded(readers, len(text))


def _between_dashes(text: str) -> Iterator[Span]:
    """Yield what has a shape of its own where dashes are punctuation; a hyphen before a key would make it the end of another word."""
    if has_dashes(text):
        folded = fold(text, dashes_are_hyphens=False)
        for start, end, kind in bounded(
            (*_shapes(folded.text), card_rule().looks(folded.text)), len(folded.text)
        ):
            yield *folded.original(start, end), kind


def _shaped(text: str) -> Iterator[Span]:
    """Yield the secrets that their own shape gives away, wherever they stand."""
    folded = fold(text)
    for start, end, kind in bounded(_shapes(folded.text), len(folded.text)):
        yield *folded.original(start, end), kind
    yield from _between_dashes(text)


def _shapes(text: str) -> Iterator[Iterator[Span]]:
    yield _runs(text)
    for rule in literal_rules():
        if rule.may_occur_in(text):
            yield rule.looks(text)


def _runs(text: str) -> Iterator[Span]:
    inside: list[RedactionRule] | None = None
    done = misses = 0
    for start, end in _long_runs(text):
        if start < done:  # a private key takes many runs; looking at each again would take quadratic time
            continue
        word = text[start:end]
        for span in _begun(text, start, word):
            if span[1] > span[0]:
                done = span[1]
                yield span
            else:
                misses += 1
                if (
                    misses % 3 == 0
                ):  # what tests are called begins like a key, and a list of them is no attack
                    yield span
        if done > start:
            continue
        if inside is None:
            inside = [rule for rule in run_rules() if rule.may_occur_in(text)]
        for rule in inside:
            if rule.may_occur_in(word):
                yield from rule.looks(text, start, end + _PADDING)


def _long_runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield where long runs of key characters stand."""
    if len(text) <= STRETCH:
        for run in _RUN.finditer(text):
            start, end = run.span(1)
            if end - start < _SHORTEST:
                return
            yield start, end
        return
    position = 0
    while position < len(text):
        cut = min(position + STRETCH, len(text))
        found = _RUN.match(text, position, cut)
        start, end = found.span(1) if found else (cut, cut)
        if end == cut < len(text):  # it may go on
            if start > position:
                position = start
                continue
            end = _end_of(_KEY_CHARACTERS, text, end)
        if end - start >= _SHORTEST:
            yield start, end
        position = end


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return where what goes on in the characters of a pattern ends, however long it is."""
    end = -1
    while end != position:
        rest = pattern.match(text, position, position + STRETCH)
        end, position = position, rest.end() if rest else position
    return end


def _begun(text: str, start: int, word: str) -> Iterator[Span]:
    """Yield what begins in the run at `start`, or has its second part there; most runs begin with nothing that is known."""
    before = text[start - 1] if start else ""
    heads = prefix_rules().get(word[:2])
    if (
        (heads and word.startswith(heads.prefixes))
        or word[0] in "-_"
        or before in _ESCAPES
        or "/" in word
        or "+" in word
        or "--" in word
    ):
        found = False
        for span in _prefixed(text, start, word):
            found = found or span[1] > span[0]
            yield span
        if found:
            return
    two_parts = two_part_rules()
    for end in (before, text[start - 2 : start]):
        if end in two_parts:
            yield from two_parts[end].spans(text, start)


def _prefixed(text: str, begin: int, word: str) -> Iterator[Span]:
    table = prefix_rules()
    done = 0
    for start in _starts(text, begin, word):
        if start < done:
            continue
        heads = table.get(text[start : start + 2])
        if heads is None or not text.startswith(heads.prefixes, start):
            continue
        for length in heads.lengths:
            rule = heads.rules.get(text[start : start + length])
            if rule is None:
                continue
            end = rule.end_of_match_at(text, start)
            if end is not None:
                yield start, end, rule.kind
                done = end
                break
            yield near_miss(start)


def _starts(text: str, start: int, run: str) -> Iterator[int]:
    """Yield where a key can begin in a run: at its start, after an escape that is glued to it, and after a `/`, `+` or `--`."""
    yield start
    if run[0] in "-_":
        yield start + len(run) - len(run.lstrip("-_"))
    for length, firsts in _ESCAPES.get(text[start - 1], ()) if start else ():
        if run[0] in firsts:
            yield start + length
    if "--" in run:
        marks = [mark.end() for mark in matches(later_starts(), run)]
        dashes = [dash.end() for dash in islice(_TYPED_DASH.finditer(run), _DASHES_OF_A_RUN)]
        for position in sorted((*marks, *dashes)):
            yield start + position
    elif "/" in run or "+" in run:
        for mark in matches(later_starts(), run):
            yield start + mark.end()


def _merged(spans: Iterable[Span], text: str) -> list[Span]:
    """Join spans that overlap, leave marks that are there already alone, and never cut through one; what a bound has cut off goes too."""
    marks = [(*match.span(), "") for match in matches(MARK, text)] if occurs("<REDACTED:", text) else []
    groups: list[Span] = []
    run = 0
    for start, stop, kind in _in_order(chain(spans, marks)):
        end = stop
        if kind and stop - start >= _BOUNDED and stop >= run and text[stop - 1].isalnum():
            end = run = _end_of(_REST_OF_RUN, text, stop)
        if groups and start < groups[-1][1]:
            begin, reach, first = groups[-1]
            if first or end > reach:  # a group without a kind is a mark: what lies in it is left
                groups[-1] = (begin, max(reach, end), first or kind)
        else:
            groups.append((start, end, kind))
    return [group for group in groups if group[2]]


def _in_order(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield spans by where they begin, the longest first; those of each stretch are sorted by themselves."""
    by_stretch: dict[int, list[Span]] = {}
    for span in spans:
        by_stretch.setdefault(span[0] // STRETCH, []).append(span)
    for number in sorted(by_stretch):
        yield from sorted(by_stretch[number], key=lambda span: (span[0], -span[1]))


def _with_marks(text: str, spans: Sequence[Span]) -> str:
    return joined(_marked(text, spans))


def _marked(text: str, spans: Sequence[Span]) -> Iterator[str]:
    position = 0
    for start, end, kind in spans:
        yield text[position:start]
        yield f"<REDACTED:{kind}>"
        position = end
    yield text[position:]
