"""The text of an API key: `ark_<id>_<secret>`, in which its owner keeps both."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

PREFIX: Final = "ark"
_TEXT: Final = re.compile(PREFIX + r"_([0-9a-f]{17})_([A-Za-z0-9_-]{43})")


class KeyText(NamedTuple):
    """What the text of a key is made of."""

    key_id: str
    secret: str
    """256 random bits, safe in URLs and headers."""

    def __str__(self) -> str:
        return f"{PREFIX}_{self.key_id}_{self.secret}"

    def __repr__(self) -> str:
        return f"KeyText({self.key_id!r}, …)"


def read_key_text(text: object) -> KeyText | None:
    """Return the parts of a text that may be a key; `None` for anything else, however long or strange it is."""
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    return None if found is None else KeyText(found[1], found[2])
