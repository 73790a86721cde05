r"""Showing text from outside: of jobs, models, vendors and tools, who must not write to the terminal what they like.

Escape sequences rewrite lines, titles and clipboards; bidirectional marks show other text than there is; a line break
in a name makes a line that nobody has said. All of it is shown as what it is, such as `\x1b`.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Final

import click

from llm_client.unseen import is_unseen

_NOT_PLAIN: Final = re.compile(r"[^\x20-\x7e]")
_OF_TEXT: Final = frozenset("\n\t\u200c\u200d\ufe0e\ufe0f")
"""Breaks, joiners of scripts, and what makes an emoji one: welcome in a text that has lines of its own, not in one line."""


def printable(text: object) -> str:
    """Return a text as one line that shows all that is in it."""
    said = str(text)
    return said if _is_plain(said) else "".join(map(_shown, said))


def printable_text(text: str) -> str:
    """Return a text of several lines likewise."""
    if _is_plain(text):
        return text
    return "".join(letter if letter in _OF_TEXT else _shown(letter) for letter in text)


def say(line: object = "", *, err: bool = False) -> None:
    """Print one line."""
    click.echo(printable(line), err=err)


def say_json(text: bytes) -> None:
    """Print a JSON text as one line of plain letters, for those who write their JSON themselves, digit for digit."""
    click.echo(_NOT_PLAIN.sub(lambda found: json.dumps(found[0])[1:-1], text.decode()))


def say_lines(text: str) -> None:
    """Print a text of several lines for people, whose pipe may end at a terminal."""
    click.echo(printable_text(text))


def say_text(text: str, *, nl: bool = True) -> None:
    """Print an answer: at a terminal as it can be shown, into a file or a pipe as it is."""
    if sys.stdout.isatty():
        click.echo(printable_text(text), nl=nl)
    else:
        click.echo(text.encode("utf-8", "replace").decode(), nl=nl)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _shown(letter: str) -> str:
    if not is_unseen(letter):
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
