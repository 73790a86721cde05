"""Characters that nobody sees: what they stand in looks like another text, or hides one from whoever reads it.

Controls, directions and zero widths, but also letters and marks without a picture: fillers, variation selectors – with which whole
sentences are written behind an emoji – and tags. One list for all who show, compare or pass on what strangers have written.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final, Literal
from unicodedata import category, combining, decomposition, normalize

IGNORABLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Inside of a character class: what Unicode has readers leave out when they cannot show it (`Default_Ignorable_Code_Point`), and the blank
of Braille."""

_IGNORABLE: Final = re.compile(f"[{IGNORABLE}]")
_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def is_unseen(character: str) -> bool:
    """Whether a character is shown as nothing, or acts upon what shows it; line breaks and tabs are such, blanks are not."""
    return category(character) in _CATEGORIES or _IGNORABLE.match(character) is not None


def without_unseen(text: str, *, keep: str = "") -> str:
    """Return a text without such characters, but for those to keep; the same one when it has none."""
    if text.isascii() and text.isprintable():
        return text
    found = {character for character in set(text) if character not in keep and is_unseen(character)}
    return re.sub(f"[{re.escape(''.join(found))}]", "", text) if found else text


def as_seen(text: str) -> str:
    """Return a text as it looks: without what nobody sees, wide and compatible letters as plain ones."""
    return text if text.isascii() and text.isprintable() else normalized("NFKC", without_unseen(text))


def normalized(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """Return a text in a normal form, in linear time: marks in a row are put in order 64 at a time.

    Unicode orders all marks on one character, and Python takes the square of their number for that: 100,000 take twenty seconds.
    """
    cuts = _cuts(text)
    if not cuts:
        return normalize(form, text)
    return "".join(
        normalize(form, text[start:end]) for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
    )


def _cuts(text: str) -> list[int]:
    """Return where a text is cut: behind each 64 marks in a row."""
    if text.isascii() or _every_mark().isdisjoint(text):
        return []
    return [marks.end() for marks in _marks().finditer(text)]


def _is_mark(character: str) -> bool:
    """Whether a character, or all that it is taken apart into, is put in order."""
    if not decomposition(character):
        return combining(character) > 0
    return all(map(combining, normalize("NFKD", character)))


@cache
def _every_mark() -> frozenset[str]:
    """Return all marks; looked for when they are first needed, which takes a moment."""
    return frozenset(filter(_is_mark, map(chr, range(0x300, 0x1F000))))


@cache
def _marks() -> re.Pattern[str]:
    """Return what finds many of them in a row. The first one stands alone, so that what is none is passed over quickly."""
    mark = f"[{''.join(_every_mark())}]"
    return re.compile(f"{mark}{mark}{{63}}")
