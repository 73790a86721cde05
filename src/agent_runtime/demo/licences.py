"""What a licence allows: SPDX expressions and the free text that packages write instead, as categories.

Identifiers are those of the SPDX License List (https://spdx.org/licenses/), expressions those of SPDX 2.3, annex D.
This sorts licences for a demonstration; it is no legal advice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Category = Literal["public domain", "permissive", "weak copyleft", "strong copyleft", "restricted", "unknown"]

SEVERITY: Final[tuple[Category, ...]] = (
    "public domain",
    "permissive",
    "weak copyleft",
    "strong copyleft",
    "restricted",
    "unknown",
)
"""Categories from the one that asks least of a user to the one about which nothing is known."""
HARMLESS: Final[frozenset[Category]] = frozenset({"public domain", "permissive"})
_MEANING: Final[dict[Category, str]] = {
    "public domain": "asks for nothing",
    "permissive": "asks for its notice to be kept",
    "weak copyleft": "changed files must stay under it",
    "strong copyleft": "what contains it must come under it",
    "restricted": "restricts who may use it, or for what",
    "unknown": "nobody has said what it allows",
}

_IDENTIFIERS: Final[dict[Category, str]] = {
    "public domain": "0BSD CC0-1.0 Unlicense",
    "permissive": (
        "AFL-3.0 Apache-1.1 Apache-2.0 Artistic-2.0 BlueOak-1.0.0 BSD BSD-1-Clause BSD-2-Clause BSD-3-Clause "
        "BSD-3-Clause-LBNL BSD-4-Clause BSL-1.0 bzip2-1.0.6 CC-BY-3.0 CC-BY-4.0 CNRI-Python curl ECL-2.0 FTL HPND ISC "
        "libpng-2.0 MIT MIT-0 MIT-CMU NCSA OFL-1.1 PostgreSQL PSF-2.0 Python-2.0 Python-2.0.1 Unicode-3.0 "
        "Unicode-DFS-2016 UPL-1.0 W3C WTFPL X11 Zlib ZPL-2.0 ZPL-2.1"
    ),
    "weak copyleft": (
        "CC-BY-SA-3.0 CC-BY-SA-4.0 CDDL-1.0 CDDL-1.1 EPL-1.0 EPL-2.0 LGPL-2.0 LGPL-2.1 LGPL-3.0 MPL-1.0 MPL-1.1 MPL-2.0"
    ),
    "strong copyleft": (
        "AGPL-1.0 AGPL-3.0 EUPL-1.1 EUPL-1.2 GPL-1.0 GPL-2.0 GPL-3.0 OSL-3.0 SSPL-1.0 Sleepycat"
    ),
    "restricted": "BUSL-1.1 CC-BY-NC-4.0 CC-BY-ND-4.0 Elastic-2.0 PolyForm-Noncommercial-1.0.0",
}
_CATEGORY_OF: Final[dict[str, Category]] = {
    name.lower(): category for category, names in _IDENTIFIERS.items() for name in names.split()
}

_PHRASES: Final[tuple[tuple[str, str], ...]] = (
    (r"affero|\bagpl", "AGPL-3.0"),
    (r"lesser general public|library general public|\blgpl", "LGPL-3.0"),
    (r"gnu general public|\bgpl", "GPL-3.0"),
    (r"mozilla public|\bmpl\b|\bmpl-|\bmpl ?[12]", "MPL-2.0"),
    (r"eclipse public", "EPL-2.0"),
    (r"apache", "Apache-2.0"),
    (r"redistribution and use in source and binary forms|\bbsd", "BSD"),
    (r"permission is hereby granted, free of charge|\bmit\b|\bexpat\b", "MIT"),
    (r"permission to use, copy, modify, and/or distribute|\bisc\b", "ISC"),
    (r"python software foundation|\bpsf", "PSF-2.0"),
    (r"historical permission notice|\bhpnd", "HPND"),
    (r"zope public", "ZPL-2.1"),
    (r"boost software", "BSL-1.0"),
    (r"\bzlib\b", "Zlib"),
    (r"free and unencumbered software|\bunlicense", "Unlicense"),
    (r"public domain|\bcc0\b", "CC0-1.0"),
    (r"business source|proprietary|commercial|all rights reserved", "LicenseRef-proprietary"),
)
"""Words that give a licence away in free text, the more telling ones first."""
_TOKENS: Final = re.compile(r"\(|\)|[^\s()]+")
MAX_EXPRESSION: Final = 500
"""Characters; whatever is longer is text, not an expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a licence was found to be."""

    licence: str
    """As the package states it."""
    category: Category
    reason: str


def judge(licence: str) -> Judgement:
    """Sort a licence into a category.

    Args:
        licence: An SPDX expression, free text, or several statements joined by ` / ` when a package makes more than one.
    """
    text = licence.strip()
    if not text:
        return Judgement(licence=licence, category="unknown", reason="no licence is stated")
    if len(text) <= MAX_EXPRESSION and " / " in text:
        return _several(licence, [judge(part) for part in text.split(" / ") if part.strip()])
    if len(text) <= MAX_EXPRESSION and (category := _Expression(text).category()) is not None:
        return Judgement(licence=licence, category=category, reason=_MEANING[category])
    known = recognise(text)
    if not known:
        return Judgement(licence=licence, category="unknown", reason="these words belong to no known licence")
    category = _of(known)
    return Judgement(licence=licence, category=category, reason=f"reads like {known}: {_MEANING[category]}")


def _several(licence: str, parts: list[Judgement]) -> Judgement:
    """Judge several statements without a word of how they belong together: by the one that asks most."""
    if not parts:
        return Judgement(licence=licence, category="unknown", reason="no licence is stated")
    hardest = max(parts, key=lambda part: SEVERITY.index(part.category))
    if hardest.category in HARMLESS:
        return Judgement(
            licence=licence, category=hardest.category, reason="all that are stated are harmless"
        )
    reason = f"several are stated, and nothing says which applies; {hardest.licence} asks most"
    return Judgement(licence=licence, category=hardest.category, reason=reason)


def recognise(text: str) -> str | None:
    """Return the identifier of the licence that a text is, or names; `None` when nothing gives it away."""
    lowered = text.lower()
    for pattern, identifier in _PHRASES:
        if re.search(pattern, lowered):
            return identifier
    return None


def _of(identifier: str) -> Category:
    if identifier.lower().startswith("licenseref-"):
        return "restricted" if "proprietary" in identifier.lower() else "unknown"
    plain = re.sub(r"(\+|-only|-or-later)$", "", identifier.lower())
    return _CATEGORY_OF.get(plain, "unknown")


class _Expression:
    """A recursive-descent reader of SPDX expressions. `OR` is the user's choice, `AND` binds to everything."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKENS.findall(text)
        self._place = 0

    def category(self) -> Category | None:
        """Return the expression's category; `None` when it is not an expression of known identifiers."""
        try:
            category = self._choice()
        except ValueError:
            return None
        return category if self._place == len(self._tokens) else None

    def _next(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self) -> str:
        token = self._next()
        if token is None:
            raise ValueError("the expression ends too early")
        self._place += 1
        return token

    def _operator(self, word: str) -> bool:
        token = self._next()
        if token is None or token.upper() != word:
            return False
        self._place += 1
        return True

    def _choice(self) -> Category:
        options = [self._all()]
        while self._operator("OR"):
            options.append(self._all())
        return min(options, key=SEVERITY.index)

    def _all(self) -> Category:
        parts = [self._one()]
        while self._operator("AND"):
            parts.append(self._one())
        return max(parts, key=SEVERITY.index)

    def _one(self) -> Category:
        token = self._take()
        if token == "(":  # noqa: S105 -- a parenthesis, not a password
            inner = self._choice()
            if self._take() != ")":
                raise ValueError("a parenthesis is not closed")
            return inner
        category = _of(token)
        if category == "unknown" and not token.lower().startswith("licenseref-"):
            raise ValueError(f"{token!r} is no known identifier")
        if self._operator("WITH"):
            self._take()
            # An exception only ever gives further permissions, typically to link.
            return "weak copyleft" if category == "strong copyleft" else category
        return category
