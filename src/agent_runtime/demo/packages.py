"""The installed packages and what they say of their licences, from `importlib.metadata`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageMetadata, distributions
from typing import Final

from agent_runtime.demo.licences import recognise

FILE_NAMES: Final = re.compile(r"(^|/)(licen[cs]e|copying|unlicense)[^/]*$", re.IGNORECASE)
MAX_FIELD: Final = 120
"""Characters of a `License` field that are still a name and not the text of a licence."""
MAX_FILES: Final = 5
MAX_FILE_BYTES: Final = 4_000
"""Bytes read of a licence file: its title and its first sentences."""
_CLASSIFIER: Final = "License :: "
_EMPTY: Final = frozenset({"", "unknown", "none", "n/a", "osi approved", "dfsg approved"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One installed package."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one package says of its licence."""

    package: str
    version: str = ""
    expression: str | None = None
    """`License-Expression`: an SPDX expression, the only field that means exactly what it says."""
    field: str | None = None
    """`License`, when it is a name."""
    classifiers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """What the licence files read like."""
    problem: str | None = None
    """Why nothing could be read."""

    def statement(self) -> str:
        """Return the licence by the best source there is; several statements are joined by ` / `."""
        if self.expression:
            return self.expression
        if self.field:
            return self.field
        return " / ".join(self.classifiers or self.files)


def installed() -> list[Package]:
    """Return the installed packages, each once, by name."""
    found: dict[str, Package] = {}
    for distribution in _each():
        name = distribution.metadata["Name"]
        found.setdefault(_canonical(name), Package(name=name, version=distribution.version or "?"))
    return [found[key] for key in sorted(found)]


def read_evidence(names: list[str]) -> list[Evidence]:
    """Return what packages say of their licences, in the order asked for. Never raises for a package."""
    wanted = {_canonical(name) for name in names}
    known: dict[str, Evidence] = {}
    for distribution in _each():
        key = _canonical(distribution.metadata["Name"])
        if key in wanted and key not in known:
            known[key] = _read(distribution)
    return [known.get(_canonical(name), Evidence(package=name, problem="not installed")) for name in names]


def _each() -> Iterator[Distribution]:
    """Yield the distributions whose metadata can be read at all; a broken one has no name."""
    for distribution in distributions():
        try:
            name = _text(distribution.metadata, "Name")
        except Exception:  # noqa: BLE001, S112 -- whatever a broken installation raises, it is no package to audit
            continue
        if name:
            yield distribution


def _canonical(name: str) -> str:
    """Return a name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(distribution: Distribution) -> Evidence:
    metadata = distribution.metadata
    name, version = metadata["Name"], distribution.version or "?"
    try:
        field = _text(metadata, "License")
        classifiers = [
            entry.removeprefix(_CLASSIFIER).split(" :: ")[-1].strip()
            for entry in metadata.get_all("Classifier") or ()
            if entry.startswith(_CLASSIFIER)
        ]
        return Evidence(
            package=name,
            version=version,
            expression=_text(metadata, "License-Expression") or None,
            field=_name(field) or recognise(field),
            classifiers=tuple(entry for entry in classifiers if entry.lower() not in _EMPTY),
            files=_licence_files(distribution),
        )
    except Exception as error:  # noqa: BLE001 -- one unreadable package must not end the audit of the others
        return Evidence(package=name, version=version, problem=f"{type(error).__name__}: {error}")


def _text(metadata: PackageMetadata, field: str) -> str:
    return metadata[field].strip() if field in metadata else ""


def _name(field: str) -> str | None:
    """Return the field if it is a name; many packages paste the whole text."""
    usable = field.lower() not in _EMPTY and len(field) <= MAX_FIELD and "\n" not in field
    return field if usable else None


def _licence_files(distribution: Distribution) -> tuple[str, ...]:
    """Return what a distribution's own licence files read like, each once."""
    found: dict[str, None] = {}
    read = 0
    for path in distribution.files or ():
        inside = path.as_posix()
        if ".dist-info/" not in inside or "_vendor" in inside or not FILE_NAMES.search(inside):
            continue
        with open(path.locate(), "rb") as file:  # noqa: PTH123 -- `locate` promises less than a `Path`
            known = recognise(file.read(MAX_FILE_BYTES).decode("utf-8", "replace"))
        found[known or "unrecognised text"] = None
        read += 1
        if read == MAX_FILES:
            break
    return tuple(found)
