"""Making readers: functions that yield the secrets of one kind of place in a text, and near misses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from llm_client.redaction.folding import in_lower_case
from llm_client.redaction.key_names import kind_of_name
from llm_client.redaction.rules import Span, in_steps, near_miss

Reader = Callable[[str], Iterator[Span]]
Readers = tuple[tuple[tuple[str, ...], Reader], ...]
"""Readers with the literals of which a text must hold one, in small letters."""

MARK: Final = "<REDACTED:"
REFERENCES: Final = (MARK, "${", "{{", "$(", "%(")
"""What a value begins with that is none: a mark, or the name of a variable."""
NAME: Final = r"(?P<name>[A-Za-z_$][\w.:-]{1,80}+)"
QUOTE: Final = r"\\{0,3}[\"']"


def by_name(pattern: re.Pattern[str], *, small: bool = False, telling: bool = False) -> Reader:
    """Make a reader of a pattern with the groups `name` and `secret` or `plain`.

    Args:
        pattern: What names a value and holds it.
        small: Whether the pattern wants a text in small letters.
        telling: Whether a value must look like a secret, since words stand in the same places.
    """

    def read(text: str) -> Iterator[Span]:
        for match in in_steps(pattern, in_lower_case(text) if small else text):
            if isinstance(match, int):
                yield near_miss(match)
                continue
            name = text[slice(*match.span("name"))]
            kind = kind_of_name(name.rpartition(":")[2])
            if not kind:
                continue
            group = "secret" if match["secret"] is not None else "plain"
            value = text[slice(*match.span(group))]
            if (
                value.strip()
                and not value.startswith(REFERENCES)
                and (not telling or (len(value) >= 6 and any(map(str.isdigit, value))))
            ):
                yield *match.span(group), kind
            else:
                yield near_miss(match.start(group))

    return read


def of_kind(pattern: re.Pattern[str], kind: str, *needed: str) -> Reader:
    """Make a reader of a pattern with the group `secret`, for texts that hold one of the words that are needed."""

    def read(text: str) -> Iterator[Span]:
        if needed and not any(word in text for word in needed):
            return
        for match in in_steps(pattern, text):
            if isinstance(match, int):
                yield near_miss(match)
            elif not match["secret"].startswith(REFERENCES):
                yield *match.span("secret"), kind

    return read
