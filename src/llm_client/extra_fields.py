"""Fields in a vendor's own words: which take the place of what a request says itself, and which may bring a model more to read.

Of a request's `extra` those that replace its own fields are found in whatever spelling a server takes them. Some servers read the names of
fields whatever their case, and Google two spellings of each: names are compared by their letters alone.

What a message says to be its vendor's goes back beside a text, a call or a thought. Whoever sends a conversation writes that too. What
vendors are known to put there is on lists: signatures, ids, places, and what a text rests on. Anything else may name a file, an address or
more text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
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
_STORED: Final = frozenset({"preset", "promptid"})
"""Names of what is stored at a gateway (OpenRouter, LiteLLM) and may bring a model, other models instead of it, instructions and messages."""
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
        fields: What is looked for, `RULED_ON` or `SAID`; what is stored elsewhere may bring any of them. With models, a list of them that
            cannot be read counts as well.
    """
    for key, value in extra.items():
        field = folded_field(key)
        if field in fields or (field in _STORED and value is not None):
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


# -- beside the parts of a message ---------------------------------------------------------------------------------

Known = Callable[[object], bool]
"""Tells whether a value is what a vendor is known to put there."""
_THOUGHTS: Final = ("thinking", "redacted_thinking", "reasoning")
"""Types of vendors' own blocks that hold all they say; others may name a file, an address or something stored."""
_THOUGHT_FIELDS: Final = frozenset({"text", "thought", "thoughtSignature"})
"""Likewise fields of blocks that have no type (Google's)."""
_SIGNATURES: Final = frozenset({"thoughtSignature", "thought_signature", "signature"})
_ENCODED: Final = _SIGNATURES | {"data", "encrypted_content", "following", "format", "id", "type"}
_ITEM_FIELDS: Final = frozenset({"id", "phase", "namespace", "created_by"})
_CALLER_FIELDS: Final = frozenset({"type", "tool_id"})
_CHUNK_FIELDS: Final = frozenset({"thinking", "signature", "closed"})
_CHUNK_ENTRIES: Final = frozenset({"text", "reference", "tool_reference"})
_MAX_LABEL: Final = 512


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_place(value: object) -> bool:
    return value is None or isinstance(value, int)


def _is_label(value: object) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= _MAX_LABEL)


def _labels(names: frozenset[str]) -> Callable[[object], bool]:
    """Return what tells whether a value is an object of a few short texts of these names."""
    return lambda value: (
        isinstance(value, Mapping) and value.keys() <= names and all(map(_is_label, value.values()))
    )


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_signed(value: object, depth: int = 3) -> bool:
    """Whether an object holds signatures alone, perhaps each under the name of whoever has signed."""
    return (
        depth > 0
        and isinstance(value, Mapping)
        and all(
            isinstance(inner, str) if name in _SIGNATURES else _is_signed(inner, depth - 1)
            for name, inner in value.items()
        )
    )


def _is_block(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("type") in _THOUGHTS


def _is_part(value: object) -> bool:
    return isinstance(value, Mapping) and value.keys() <= _THOUGHT_FIELDS


def _is_chunk(value: object) -> bool:
    if not isinstance(value, Mapping) or not value.keys() <= _CHUNK_FIELDS:
        return False
    entries = value.get("thinking", ())
    return isinstance(entries, list | tuple) and all(
        isinstance(entry, Mapping) and entry.get("type", "text") in _CHUNK_ENTRIES for entry in entries
    )


def _are_details(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, Mapping) and str(entry.get("type")).startswith("reasoning.") for entry in value
    )


BESIDE_TEXTS: Final[Mapping[str, Known]] = {
    "thoughtSignature": _is_text,  # Google's
    "citations": _is_list,  # Anthropic's
    "annotations": _is_list,  # OpenAI's, with the next two
    "item": _labels(_ITEM_FIELDS),
    "number": _is_place,
    "spoken": lambda value: isinstance(value, bool),  # ours: the text of a sound
}
BESIDE_CALLS: Final[Mapping[str, Known]] = {
    "caller": _labels(_CALLER_FIELDS),  # Anthropic's
    "item": _labels(_ITEM_FIELDS),  # OpenAI's
    "extra_content": _is_signed,  # of servers that pass Google's signatures on, like the others
    "provider_specific_fields": _is_signed,
    "thought_signature": _is_text,
    "signature": _is_text,
}
OF_THOUGHTS: Final[Mapping[str, Known]] = {
    "block": _is_block,  # Anthropic's
    "part": _is_part,  # Google's
    "item": _is_block,  # OpenAI's, with the next two
    "following": _is_label,
    "said": _is_list,
    "thinking_chunk": _is_chunk,  # Mistral's
    "reasoning_details": _are_details,  # OpenRouter's
    "extra_content": _is_signed,
}
"""A chat server's own field for its thoughts, whatever it is called, is a text."""


def foreign_fields(data: Mapping[str, object], known: Mapping[str, Known]) -> dict[str, object]:
    """Return what is said to be a vendor's and is not on one of the lists above: a model may read something else there."""
    return {name: value for name, value in data.items() if not _is_known(name, value, known)}


def _is_known(name: str, value: object, known: Mapping[str, Known]) -> bool:
    check = known.get(name)
    return (known is OF_THOUGHTS and _is_text(value)) if check is None else check(value)


def signed_fields(data: Mapping[str, object]) -> set[str]:
    """Return the names of what a vendor has signed, which is nobody's to read or change."""
    return {name for name, value in data.items() if _is_signed({name: value}, 4)}


def words_of_thoughts(data: Mapping[str, object]) -> Iterator[str]:
    """Yield what a model reads in a vendor's own thoughts, as they stand in what goes back; not what is signed, encoded or named."""
    below: list[object] = [value for name, value in data.items() if name not in _ENCODED]
    while below:
        value = below.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            below += [inner for name, inner in value.items() if name not in _ENCODED]
        elif isinstance(value, list | tuple):
            below += value
