"""The text of an API key: `ark_<id>_<secret>`, in which its owner keeps both, and that of a session, which stands for a key for some time."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hmac import compare_digest, digest
from typing import Final, NamedTuple

PREFIX: Final = "ark"
_TEXT: Final = re.compile(PREFIX + r"_([0-9a-f]{17})_([A-Za-z0-9_-]{43})")
_SESSION: Final = re.compile(PREFIX + r"_([0-9a-f]{17})([0-9a-f]{10})_([A-Za-z0-9_-]{43})")


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


class SessionText(NamedTuple):
    """What the text of a session is made of. It has the form of a key, so that whoever knows that form knows it, too."""

    key_id: str
    """The key it stands for."""
    ends_at: int
    """Seconds since the epoch."""
    mark: str
    """Shows that it was made by somebody who knows the hash of the key's secret."""

    @classmethod
    def made(cls, key_id: str, ends_at: int, secret_hash: str) -> SessionText:
        """Return the text of a session."""
        said = f"session:{key_id}:{ends_at}".encode()
        mark = urlsafe_b64encode(digest(secret_hash.encode(), said, "sha256")).decode().rstrip("=")
        return cls(key_id, ends_at, mark)

    def is_made_with(self, secret_hash: str) -> bool:
        """Whether it was made with this hash; takes as long for whatever it is."""
        return compare_digest(self.mark, self.made(self.key_id, self.ends_at, secret_hash).mark)

    def __str__(self) -> str:
        return f"{PREFIX}_{self.key_id}{self.ends_at:010x}_{self.mark}"

    def __repr__(self) -> str:
        return f"SessionText({self.key_id!r}, {self.ends_at}, …)"


def read_session_text(text: object) -> SessionText | None:
    """Return the parts of a text that may be a session's; `None` for anything else."""
    found = _SESSION.fullmatch(text) if isinstance(text, str) else None
    return None if found is None else SessionText(found[1], int(found[2], 16), found[3])
