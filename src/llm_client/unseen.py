"""Characters that nobody sees: what they stand in looks like another text, or hides one from whoever reads it.

Controls, directions and zero widths, but also letters and marks without a picture: fillers, variation selectors – with which whole
sentences are written behind an emoji – and tags. One list for all who show, compare or pass on what strangers have written.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal
from unicodedata import category, combining, decomposition, normalize

IGNORABLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Inside of a character class: what Unicode has readers leave out when they cannot show it (`Default_Ignorable_Code_Point`), and the blank
of Braille."""

_IGNORABLE: Final = re.compile(f"[{IGNORABLE}]")
_FORMS: Final[tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...]] = ("NFC", "NFD", "NFKC", "NFKD")
_PIECE: Final = 16 * 1024
"""Characters that are gone through at once."""
_MOST_MARKS: Final = 64
_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def is_unseen(character: str) -> bool:
    """Whether a character is shown as nothing, or acts upon what shows it; line breaks and tabs are such, blanks are not."""
    return category(character) in _CATEGORIES or _IGNORABLE.match(character) is not None


def without_unseen(text: str, *, keep: str = "") -> str:
    """Return a text without such characters, but for those to keep; the same one when it has none."""
    if text.isascii() and text.isprintable():
        return text
    parts = pieces(text)
    seen = set().union(*map(set, parts))
    found = {character for character in seen if character not in keep and is_unseen(character)}
    if not found:
        return text
    left_out = dict.fromkeys(
        map(ord, found)
    )  # a look-up for each character: a class of many compares it with all of them
    return "".join(part.translate(left_out) for part in parts)


def as_seen(text: str) -> str:
    """Return a text as it looks: without what nobody sees, wide and compatible letters as plain ones."""
    return text if text.isascii() and text.isprintable() else normalized("NFKC", without_unseen(text))


def as_read(text: str) -> str:
    """Return a text as somebody reads it: without what nobody sees, among that blanks around it and further ones inside.

    In small letters: names of hosts, addresses and much else mean the same in capital ones.
    """
    words: list[str] = []
    is_apart = False
    for part in pieces(as_seen(text)):
        found = " ".join(part.split()).casefold()
        if found:
            words += [" ", found] if words and (is_apart or part[0].isspace()) else [found]
            is_apart = part[-1].isspace()
        else:
            is_apart = True
    return "".join(words)


def normalized(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """Return a text in a normal form, in linear time: marks in a row are put in order 64 at a time.

    Unicode orders all marks on one character, and Python takes the square of their number for that: 100,000 take twenty seconds.
    """
    if text.isascii():
        return text
    return "".join(normalize(form, part) for piece in pieces(text) for part in _few_marks(piece))


def pieces(text: str) -> list[str]:
    """Cut a long text where nothing belongs together, so that no step of going through it keeps the interpreter to itself for long."""
    if len(text) <= _PIECE:
        return [text] if text else []
    found, begin = [], 0
    while begin < len(text):
        end = min(begin + _PIECE, len(text))
        while end < len(text) and end < begin + 2 * _PIECE and not _is_apart(text[end - 1], text[end]):
            end += 1
        found.append(text[begin:end])
        begin = end
    return found


def _is_apart(before: str, after: str) -> bool:
    """Whether two characters in a row are the same in every normal form when they stand apart, whatever comes before them."""
    if after.isascii():
        return True
    first = normalize("NFKD", after)[:1]
    if combining(first) or "\u1160" <= first <= "\u11ff":  # a mark, or the end of a Korean syllable
        return False
    return all(
        normalize(form, before + after) == normalize(form, before) + normalize(form, after) for form in _FORMS
    )


def _few_marks(text: str) -> list[str]:
    """Cut a text behind every 64th mark of those that stand in a row.

    So many of them cover two of every 32nd characters, which are all that is looked at in a text without such a row.
    """
    if len(text) < _MOST_MARKS or not any(map(_is_mark, set(text[:: _MOST_MARKS // 2]))):
        return [text]
    found, begin, row = [], 0, 0
    for position, character in enumerate(text, 1):
        row = row + 1 if _is_mark(character) else 0
        if row == _MOST_MARKS:
            found.append(text[begin:position])
            begin, row = position, 0
    return [*found, text[begin:]] if begin < len(text) else found


@lru_cache(maxsize=65_536)
def _is_mark(character: str) -> bool:
    """Whether a character, or all that it is taken apart into, is put in order."""
    if not decomposition(character):
        return combining(character) > 0
    return all(map(combining, normalize("NFKD", character)))
