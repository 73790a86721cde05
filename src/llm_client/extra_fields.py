"""Which fields of a request's `extra` take the place of what the request itself says, in whatever spelling a server takes them.

Some servers read the names of fields whatever their case, and Google two spellings of each: names are compared by their letters alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

SAID: Final = frozenset(
    {"messages", "input", "contents", "system", "systeminstruction", "systeminstructions", "instructions"}
)
"""What the model reads, as vendors call it."""
_BOUNDS: Final = frozenset(
    {
        "maxtokens",
        "maxcompletiontokens",
        "maxoutputtokens",
        "maxnewtokens",
        "maxtokenstosample",
        "npredict",
        "numpredict",
    }
)
"""How much it may answer."""
RULED_ON: Final = SAID | _BOUNDS | {"model"}
"""What rules look at in a request."""
_INSTEAD: Final = frozenset({"models", "fallbacks", "fallbackmodels"})
"""Lists of models that are asked where the first one does not answer, as gateways call them."""
WRAPPER: Final = "extrabody"
"""A gateway's word for fields that it puts into the body that it sends on."""
_CONFIG: Final = "generationconfig"
"""Where Google has the bound."""
_MOST_MODELS: Final = 100
_MOST_NAME: Final = 200
_NO_LETTER: Final = re.compile("[^a-z]+")


def folded_field(name: str) -> str:
    """Return the letters of a field's name, as small ones."""
    return _NO_LETTER.sub("", name[:_MOST_NAME].casefold())


def replaced_field(extra: Mapping[str, object], fields: frozenset[str] = RULED_ON) -> str | None:
    """Return the field that takes the place of what a request says itself, as it is written; `None` if there is none.

    Args:
        extra: The request's.
        fields: What is looked for, `RULED_ON` or `SAID`. With models, a list of them that cannot be read counts as well.
    """
    for key, value in extra.items():
        field = folded_field(key)
        if field in fields:
            return key
        if field == WRAPPER or (field == _CONFIG and not fields.isdisjoint(_BOUNDS)):
            if not isinstance(value, Mapping):
                return key
            below = replaced_field(value, fields if field == WRAPPER else fields & _BOUNDS)
            if below is not None:
                return f"{key}.{below}"
        if field in _INSTEAD and "model" in fields and None in _named(value):
            return key
    return None


def models_instead(extra: Mapping[str, object]) -> Iterator[str]:
    """Yield the models that a gateway may ask instead of the request's own."""
    for key, value in extra.items():
        field = folded_field(key)
        if field in _INSTEAD:
            yield from filter(None, _named(value))
        elif field == WRAPPER and isinstance(value, Mapping):
            yield from models_instead(value)


def _named(models: object) -> list[str | None]:
    """Return the models of a list; `None` stands for what cannot be read, or is too much."""
    if not isinstance(models, list | tuple) or len(models) > _MOST_MODELS:
        return [None]
    told = [one["model"] if isinstance(one, Mapping) and one.keys() == {"model"} else one for one in models]
    return [one if isinstance(one, str) and one else None for one in told]
