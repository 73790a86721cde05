"""Reading a text as a person would: full-width and mathematical letters are letters, and what has no width is not there.

`ｐａｓｓｗｏｒｄ：…` and a key with a zero-width space in it tell as much as their plain forms. Rules look at the folded text; where
they find something is told in positions of the text as it is. A dash may be a hyphen of a key, as word processors write them, or what
a sentence is set with, `the key—…—is wrong`: a text that has one is read both ways.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cache
from unicodedata import normalize

from llm_client.redaction.stretches import STRETCH, containing, first_match, joined, matches, stretches
from llm_client.unseen import IGNORABLE

_LETTERS = "\xa0\u2000-\u200a\u202f\u3000\uff01-\uff5e\u2460-\u24ff\U0001d400-\U0001d7ff\U0001f100-\U0001f1ff\u2010-\u2015\u2212\ufe58\ufe63"
_NOT_PLAIN = re.compile(f"[{IGNORABLE}{_LETTERS}]")
_DASHES = (*range(0x2012, 0x2016), 0x2212, 0xFE58)
"""Figure dash, en dash, em dash, horizontal bar, minus and small em dash; hyphens are none."""
_DASH = re.compile(f"[{''.join(map(chr, _DASHES))}]")
_MANY = 40
"""Different letters from which on looking at every character is faster."""
_CHANGED = re.compile(
    f"[{IGNORABLE}\\x1b\\0\\\\](?:"  # one class first, which is searched several times faster than alternatives
    f"(?<=[{IGNORABLE}])[{IGNORABLE}]*"
    r"|(?<=\x1b)\[[0-9;]{0,16}m"  # a colour of a terminal
    r"|(?<=\0)(?:(?<=\0[^\0]\0)\0{0,2}|\0{0,2}(?=[^\0]\0))"  # UTF-16 or 32 that was read as something else, and so in a `repr`
    r"|(?<=\\)(?:u00|x)(?:(?P<code>[2-7][0-9A-Fa-f])|(?<=x)00(?:\\x00){0,2}(?:(?=[^\\]\\x00)|(?<=\\x00[^\\]\\x00)))"
    r")"
)
"""What is not there for a reader, and letters that are written as an escape of JSON or Python."""
_APART = re.compile(r"[^\x1b\0\\]{64}")
"""Where a text can be cut, since nothing that is written with several characters goes on there."""
_LOOKED_FOR = 4_096


class Folded:
    """A folded text, and where each of its characters stands in the original."""

    __slots__ = ("_gaps", "_plain", "text")

    def __init__(self, text: str, plain: str | None = None) -> None:
        self.text = text
        self._plain = plain
        """The text before what has no width was taken out, if there was any."""
        self._gaps: tuple[list[int], list[int]] | None = None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return where a part of the folded text stands in the original."""
        if self._plain is None:
            return start, end
        if self._gaps is None:  # only a text with a secret is ever asked
            self._gaps = self._measured(self._plain)
        starts, lengths = self._gaps
        return start + lengths[bisect_left(starts, start)], end + lengths[bisect_right(starts, end - 1)]

    @staticmethod
    def _measured(plain: str) -> tuple[list[int], list[int]]:
        """Return before which characters of the folded text something was taken out, and how much in front of each."""
        starts: list[int] = []
        lengths = [0]
        for gap in matches(_CHANGED, plain):
            starts.append(gap.start() - lengths[-1])
            lengths.append(lengths[-1] + gap.end() - gap.start() - (1 if gap["code"] else 0))
        return starts, lengths


def fold(text: str, *, dashes_are_hyphens: bool = True) -> Folded:
    """Return the text as a person reads it; one without such characters costs a look."""
    if (text.isascii() or first_match(_NOT_PLAIN, text) is None) and not _has_codes(text):
        return Folded(text)
    table = _table(dashes_are_hyphens)
    plain = "".join(_in_plain(part, table) for part in stretches(text))
    folded = joined(_unchanged(plain))
    return Folded(folded, None if len(folded) == len(plain) else plain)


def _in_plain(text: str, table: dict[int, str]) -> str:
    """Return a text with plain letters in place of others."""
    found = [letter for letter in set(text) if ord(letter) in table]
    if len(found) > _MANY:
        return text.translate(table)
    for letter in found:  # each at one go, which is several times faster than asking for every character
        text = text.replace(letter, table[ord(letter)])
    return text


def _unchanged(plain: str) -> Iterator[str]:
    """Yield what is there for a reader, with the letters that are written as escapes."""
    position = 0
    while len(plain) - position > STRETCH:
        apart = _APART.search(plain, position + STRETCH, position + STRETCH + _LOOKED_FOR)
        if apart is None:  # escapes without an end, which are read one by one
            break
        cut = (apart.start() + apart.end()) // 2
        yield _CHANGED.sub(_letter, plain[position:cut])
        position = cut
    else:
        yield _CHANGED.sub(_letter, plain[position:])
        return
    for gap in matches(_CHANGED, plain, position):
        yield plain[position : gap.start()]
        yield _letter(gap)
        position = gap.end()
    yield plain[position:]


def _letter(gap: re.Match[str]) -> str:
    return chr(int(gap["code"], 16)) if gap["code"] else ""


def has_dashes(text: str) -> bool:
    """Whether there is a second way to read a text."""
    return not text.isascii() and first_match(_DASH, text) is not None


def _has_codes(text: str) -> bool:
    holds = containing(text)
    coded = holds("\\") and (holds("\\x") or holds("\\u00"))
    return coded or holds("\0") or holds("\x1b")


def in_lower_case(text: str) -> str:
    """Return the text in lower case with every position kept."""
    return _lowered(text) if len(text) <= STRETCH else "".join(map(_lowered, stretches(text)))


def _lowered(text: str) -> str:
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text.replace("\u0130", "I").lower()


@cache
def _table(dashes_are_hyphens: bool) -> dict[int, str]:
    """Return what characters that look like ASCII are folded to, one for one."""
    blocks = ((0xFF01, 0xFF5F), (0x2460, 0x2500), (0x1D400, 0x1D800), (0x1F100, 0x1F200))
    table = {code: normalize("NFKC", chr(code)) for first, last in blocks for code in range(first, last)}
    table |= dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x202F, 0x3000), " ")
    table |= dict.fromkeys((0x2010, 0x2011, 0xFE63, *(_DASHES if dashes_are_hyphens else ())), "-")
    return {code: plain for code, plain in table.items() if len(plain) == 1 and plain.isascii()}
