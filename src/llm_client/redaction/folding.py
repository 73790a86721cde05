"""Reading a text as a person would: full-width and mathematical letters are letters, and what has no width is not there.

`ｐａｓｓｗｏｒｄ：…` and a key with a zero-width space in it tell as much as their plain forms. Rules look at the folded text; where
they find something is told in positions of the text as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from unicodedata import normalize

from llm_client.unseen import IGNORABLE

_LETTERS = "\xa0\u2000-\u200a\u202f\u3000\uff01-\uff5e\u2460-\u24ff\U0001d400-\U0001d7ff\U0001f100-\U0001f1ff\u2010-\u2015\u2212\ufe58\ufe63"
_NOT_PLAIN = re.compile(f"[{IGNORABLE}{_LETTERS}]")
_LOOK_ALIKE = re.compile(f"[{_LETTERS}]")
_MANY = 40
"""Different letters from which on looking at every character is faster."""
_NO_WIDTH = re.compile(f"[{IGNORABLE}]+")


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded text, and where each of its characters stands in the original; `None` if that is the same place."""

    text: str
    positions: list[int] | None = None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return where a part of the folded text stands in the original."""
        if self.positions is None:
            return start, end
        return self.positions[start], self.positions[end - 1] + 1


def fold(text: str) -> Folded:
    """Return the text as a person reads it; one without such characters costs a look."""
    if text.isascii() or not _NOT_PLAIN.search(text):
        return Folded(text)
    table = _table()
    found = set(_LOOK_ALIKE.findall(text))
    if len(found) > _MANY:
        plain = text.translate(table)
    else:  # each is replaced at one go, which is several times faster than asking for every character
        plain = text
        for letter in found:
            plain = plain.replace(letter, table.get(ord(letter), letter))
    if not _NO_WIDTH.search(plain):
        return Folded(plain)
    positions: list[int] = []
    pieces: list[str] = []
    done = 0
    for gap in _NO_WIDTH.finditer(plain):
        pieces.append(plain[done : gap.start()])
        positions.extend(range(done, gap.start()))
        done = gap.end()
    pieces.append(plain[done:])
    positions.extend(range(done, len(plain)))
    return Folded("".join(pieces), positions)


@cache
def _table() -> dict[int, str]:
    """Return what characters that look like ASCII are folded to, one for one."""
    blocks = ((0xFF01, 0xFF5F), (0x2460, 0x2500), (0x1D400, 0x1D800), (0x1F100, 0x1F200))
    table = {code: normalize("NFKC", chr(code)) for first, last in blocks for code in range(first, last)}
    table |= dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x202F, 0x3000), " ")
    table |= dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63), "-")
    return {code: plain for code, plain in table.items() if len(plain) == 1 and plain.isascii()}
