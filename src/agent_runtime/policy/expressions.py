"""Regular expressions in rules: in linear time, since a model writes what they are held against.

They are those of Rust's `regex`, which comes with pydantic: no look-around and no references back, which is what makes others take for ever.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

from agent_runtime.errors import InvalidInput

MAX_PATTERN: Final = 1_000
"""Characters of an expression."""


class Expression:
    """A regular expression.

    Args:
        pattern: It, as it stands in the rule.

    Raises:
        InvalidInput: It is none, or too long.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise InvalidInput(f"a regular expression has up to {MAX_PATTERN:,} characters")
        _compiled(pattern, pattern)  # by itself: one that closes a group of ours is none
        self._whole = _compiled(rf"\A(?:{pattern})\z", pattern)
        self._part = _compiled(f"(?i:{pattern})", pattern)

    def is_whole(self, text: str) -> bool:
        """Whether it describes a text from its first to its last character."""
        return self._whole.isinstance_python(text)

    def is_part(self, text: str) -> bool:
        """Whether it describes some part of a text, in small or capital letters."""
        return self._part.isinstance_python(text)


@lru_cache(maxsize=256)
def expression(pattern: str) -> Expression:
    """Return an expression; one that several rules have is read once. Raises `InvalidInput`."""
    return Expression(pattern)


def _compiled(pattern: str, given: str) -> SchemaValidator:
    try:
        pattern.encode()  # half a surrogate would be let through, and match nothing
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except (SchemaError, UnicodeError) as error:
        reason = str(error).strip().rpartition("\n")[2].removeprefix("error: ").removeprefix("SchemaError: ")
        raise InvalidInput(f"{given!r} is no regular expression: {reason.rstrip('.')}") from None
