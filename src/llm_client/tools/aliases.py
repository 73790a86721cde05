"""Names that every vendor accepts, for tools whose servers name them otherwise."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

MAX_NAME: Final = 64
LEGAL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""What all vendors take: letters, digits, `_` and `-`, at most 64 and no digit or dash first."""
_FORBIDDEN: Final = re.compile(r"[^A-Za-z0-9_-]")
_SIGN: Final = 8


def aliases(names: Iterable[str]) -> dict[str, str]:
    """Return a legal name for each name: the name itself where it is legal, else one that is nobody else's.

    An illegal name is cleaned. Where that is another one's name already, or two names become the same, those that were cleaned get a hash of
    what they were behind it, so that no name depends on the order of the others.
    """
    distinct = list(dict.fromkeys(names))
    cleaned = {name: _cleaned(name) for name in distinct}
    taken = Counter(cleaned.values())
    found: dict[str, str] = {}
    for name in distinct:
        alias = cleaned[name]
        found[name] = alias if alias == name or taken[alias] == 1 else _signed(name)
    return _distinct(found)


def _cleaned(name: str) -> str:
    legal = _FORBIDDEN.sub("_", name)
    if not LEGAL_NAME.match(legal):
        legal = f"_{legal}"
    return legal[:MAX_NAME]


def _signed(name: str, salt: str = "") -> str:
    sign = hashlib.blake2b(
        f"{salt}{name}".encode("utf-8", "surrogatepass"), digest_size=_SIGN // 2
    ).hexdigest()
    return f"{_cleaned(name)[: MAX_NAME - _SIGN - 1]}_{sign}"


def _distinct(found: dict[str, str]) -> dict[str, str]:
    """Return aliases that are all different, also where a server has named one tool as another one's alias would be."""
    mine = {name for name, alias in found.items() if name == alias}
    used = set(mine)
    for name, alias in found.items():
        attempt = 0
        while name not in mine and alias in used:
            attempt += 1
            alias = _signed(name, f"{attempt}:")  # noqa: PLW2901 -- until it is nobody's
        used.add(alias)
        found[name] = alias
    return found
