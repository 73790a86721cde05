"""One name for one model, however it is written.

A model's name comes from callers, files and other models. `models/gemini-2.5-pro`, `google/gemini-2.5-pro` and ` Gemini‑2.5‑pro` are one
model to a vendor or to a person, so that they must be one to a policy and to a price; and a name stands in the path of a request, where
`..` would lead elsewhere.
"""

from __future__ import annotations

import re
from functools import lru_cache

from llm_client.errors import ConfigurationError
from llm_client.spec import MAX_MODEL_NAME
from llm_client.unseen import IGNORABLE, normalized

_NAME = re.compile(r"[A-Za-z0-9][\w.:/@+~=-]*", re.ASCII)
_HYPHENS = dict.fromkeys(
    map(ord, "\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d"), "-"
)
_INVISIBLE = re.compile(rf"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\u202f{IGNORABLE}]+")
_SEARCH_MODEL = re.compile(r"gpt-[^/]{1,20}-search-(preview|api)")
_LOOKED_AT = 200
_PREFIXES = ("models/", "google/", "publishers/")


def folded_model(name: str) -> str:
    """Return a name as a person reads it: small letters, plain hyphens, no blanks, and no detours of a path."""
    return _remembered(name) if len(name) <= MAX_MODEL_NAME else _folded(name)


def _folded(name: str) -> str:
    text = _INVISIBLE.sub("", normalized("NFKC", name.translate(_HYPHENS)).translate(_HYPHENS)).casefold()
    text = text.replace("\\", "/").replace("%2f", "/").replace("%2e", ".")
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


_remembered = lru_cache(maxsize=1024)(_folded)


def canonical_model(name: str) -> str:
    """Return the one name of a model: folded, and without the prefixes that a vendor writes or leaves out."""
    text = folded_model(name)
    begin = 0
    while text.startswith(_PREFIXES, begin):
        begin = text.index("/", begin) + 1
    return text[begin:]


def other_names(name: str) -> tuple[str, ...]:
    """Return what a model could be called as well: its last part without what stands before it.

    `tunedModels/gemini-2.5-pro` and `acme/gpt-5.2` may be those models or others; a rule that restricts takes them for those.
    """
    canonical = canonical_model(name)
    last = canonical.rpartition("/")[2]
    return () if last == canonical else (last,)


@lru_cache(maxsize=512)
def names_of_model(names: tuple[str, ...], restricts: bool) -> tuple[str, ...]:
    """Return everything a model is called: as it was asked for, by its one name, and both with the provider before.

    What restricts also counts what it could be called: `tunedModels/x` may be x.
    """
    base = names[0]
    called = [folded_model(base), canonical_model(base), *(other_names(base) if restricts else ())]
    for name in names[1:]:
        provider = name.removesuffix(f":{base}")
        called += (
            [f"{provider.casefold()}:{one}" for one in called[:]]
            if provider != name
            else [folded_model(name)]
        )
    return tuple(dict.fromkeys(called))


@lru_cache(maxsize=512)
def pattern_of_model(pattern: str) -> str:
    """Return a pattern as the names of models are compared: `models/gemini-*` means `gemini-*`, but `google/*` stays."""
    folded = folded_model(pattern)
    return (
        folded.removeprefix("models/")
        if not folded.startswith(("models/*", "models/[", "models/?"))
        else folded
    )


def checked_model(name: str) -> str:
    """Return a name as it may leave for a vendor: what it is, and nothing that leads elsewhere in the path of a request.

    Raises:
        ConfigurationError: It is no model's name.
    """
    fits = len(name) <= MAX_MODEL_NAME and _NAME.fullmatch(name)
    if not fits or any(part in ("", ".", "..") for part in name.split("/")):
        raise ConfigurationError(
            f"{name[:80]!r} is no model's name: letters, digits and . _ - : / @ + ~ = only, and no part that is empty or a dot"
        )
    return name


def searches_always(model: object) -> bool:
    """Whether a model searches the web for each answer, of which its usage says nothing (OpenAI's guide on web search, "Chat Completions")."""
    return isinstance(model, str) and _SEARCH_MODEL.search(model[:_LOOKED_AT]) is not None
