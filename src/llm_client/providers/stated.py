"""What vendors state where a text, a place or a likelihood may stand: each may have written anything there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeGuard

from llm_client.messages import TokenLogprob

_MOST: Final = 2**50
"""More characters, bytes or documents than anybody has."""


def text_of(value: object) -> str | None:
    """Return what a vendor has written where a text may stand; `None` where it is none, or empty."""
    return value if isinstance(value, str) and value else None


def index_of(value: object) -> int | None:
    """Return a place in a list or a text; `None` where it is none."""
    return value if type(value) is int and 0 <= value <= _MOST else None


def check_numbers(event: Mapping[str, object], *names: str) -> None:
    """Refuse numbers of blocks that nobody counts up to.

    What an answer is made of is kept by them. Of larger ones a vendor finds any number with one hash, and each would be compared with all before it.

    Raises:
        ValueError: One is larger.
    """
    for name in names:
        number = event.get(name)
        if isinstance(number, int) and abs(number) > _MOST:
            raise ValueError(f"{name} is the number of no block")


def span_of(start: object, end: object) -> tuple[int | None, int | None]:
    """Return the bounds of a passage; twice `None` where they are none."""
    begin, behind = index_of(start), index_of(end)
    return (begin, behind) if begin is not None and behind is not None and begin <= behind else (None, None)


def token_logprob(
    token: object, logprob: object, alternatives: Iterable[tuple[object, object]]
) -> TokenLogprob | None:
    """Return how likely a token was; `None` where it is not said."""
    if not isinstance(token, str) or not _is_likelihood(logprob):
        return None
    told = [
        (other, float(likely))
        for other, likely in alternatives
        if isinstance(other, str) and (type(likely) is float or _is_likelihood(likely))
    ]
    return TokenLogprob(token, float(logprob), tuple(told))


def _is_likelihood(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
