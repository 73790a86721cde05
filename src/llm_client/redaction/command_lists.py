"""Command lines as lists: `["zip", "-P", "…"]` in a value, and the text of one, as `subprocess.CalledProcessError` says it.

The words of a list are written as one line, for which the readers of command lines are asked; what they find is told in places of the words.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Final

from llm_client.redaction.commands import BY_PROGRAM
from llm_client.redaction.neighbours import PROGRAMS, program_name
from llm_client.redaction.readers import Reader, Readers
from llm_client.redaction.rules import Span, near_miss
from llm_client.redaction.shapes import option_rules
from llm_client.redaction.stretches import matches

_PROGRAM = re.compile(
    rf"[\"'/\\](?P<name>{'|'.join(sorted(map(re.escape, PROGRAMS), reverse=True))})(?:\.exe)?(?P<quote>\\{{0,3}}[\"'])(?=\)?\s{{0,80}},)"
)
_NEXT = re.compile(r"\)?\s{0,80}+,\s{0,80}+(?:[bru]{0,2}|\w{1,24}\()(?P<quote>\\{0,3}[\"'])")
_MOST_WORDS = 64
_WORDS_A_LOOK = 4
_LONGEST_WORD = 1_024
_NOT_OF_A_WORD = re.compile(r"[ \t-\r\"'`|;&<>$\\]")


def secrets_of_command(words: Sequence[str]) -> Iterator[tuple[int, int, int, str]]:
    """Yield where the secrets of a command line stand that begins with a program: which word, from where to where in it, and the kind."""
    words = [program_name(words[0]), *words[1:_MOST_WORDS]]
    starts = list(accumulate([len(word) + 1 for word in words], initial=0))
    readers: dict[Reader, None] = {}
    for word in words:
        if word in BY_PROGRAM:
            readers.update(dict.fromkeys(BY_PROGRAM[word]))
    # Nothing in a word ends a word or a command, and every character keeps its place.
    line = _NOT_OF_A_WORD.sub("_", "\x1f".join(words)).replace("\x1f", " ")
    looks = [reader(line) for reader in readers] + [
        rule.spans(line) for rule in option_rules() if rule.may_occur_in(line)
    ]
    for begin, end, kind in chain.from_iterable(looks):
        if end == begin:
            continue
        for index in range(bisect_right(starts, begin) - 1, bisect_right(starts, end - 1)):
            start, stop = starts[index], starts[index + 1] - 1
            if index and max(begin, start) < min(end, stop):
                yield index, max(begin, start) - start, min(end, stop) - start, kind


def _listed(text: str) -> Iterator[Span]:
    """Read the text of a list of words, as Python and JSON write one."""
    done = 0
    for program in matches(_PROGRAM, text):
        if program.start() < done:
            continue
        places, words, done = _words(text, program)
        for place in places[::_WORDS_A_LOOK]:
            yield near_miss(place)
        for index, start, end, kind in sorted(secrets_of_command(words)):
            yield places[index] + start, places[index] + end, kind


def _words(text: str, program: re.Match[str]) -> tuple[list[int], list[str], int]:
    """Return where the words of a list begin from a program on, the words, and where they end."""
    places, words, position = [program.start("name")], [program["name"]], program.end()
    while len(words) < _MOST_WORDS and (following := _NEXT.match(text, position)) is not None:
        begin, quote = following.end(), following["quote"]
        end = text.find(quote, begin, begin + _LONGEST_WORD)
        while end > begin and text[end - 1] == "\\" and len(quote) == 1:
            end = text.find(quote, end + 1, begin + _LONGEST_WORD)
        if end < 0:
            break
        places.append(begin)
        words.append(text[begin:end])
        position = end + len(quote)
    return places, words, position


LISTS: Final[dict[str, Readers]] = {
    needed: ((literals, _listed),)
    for needed, literals in (
        ("'-", ("'-",)),
        ('"-', ('"-',)),
        *((name, (f"{name}'", f'{name}"', f"{name}\\")) for name in ("setx", "nmcli", "vault", "sqlplus", "redis-cli", "freerdp")),
        ("net", ("'net'", '"net"', '"net\\')),
    )
}  # fmt: skip
"""Readers by what every text of theirs holds, which for most programs is an option."""
