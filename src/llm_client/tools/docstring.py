"""What a function's docstring says about it and its parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Params|Returns?|Raises|Yields?|Examples?|Notes?|Attributes|Warnings?|See Also):?\s*$"
)
_PARAMETER_SECTIONS = frozenset({"Args", "Arguments", "Parameters", "Params"})
_UNDERLINE = re.compile(r"^-{3,}\s*$")
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"^\*{0,2}(\w+)\s*(?::.*)?$")
_SPHINX = re.compile(r"^:param\s+(?:[\w\[\], .|]+\s+)?(\w+)\s*:\s*(.*)$")
_SPHINX_OTHER = re.compile(r"^:\w+[^:]*:")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring taken apart: the text before the sections, and a text per parameter."""

    description: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def parse_docstring(function: Callable[..., object]) -> Docstring:
    """Read a docstring in Google, NumPy or Sphinx style."""
    text = inspect.getdoc(function) or ""
    description: list[str] = []
    parameters: dict[str, str] = {}
    section: str | None = None
    block: list[str] = []
    for name, line in _sectioned(text.splitlines()):
        if name != section:
            _read_block(section, block, description, parameters)
            section, block = name, []
        block.append(line)
    _read_block(section, block, description, parameters)
    return Docstring("\n".join(description).strip(), parameters)


def _sectioned(lines: list[str]) -> Iterator[tuple[str | None, str]]:
    """Yield each line with the name of the section it stands in; `:param` lines form a section of their own."""
    section: str | None = None
    for line in lines:
        heading = _SECTION.match(line)
        if heading:
            section = heading.group(1)
        elif _SPHINX_OTHER.match(line):
            section = "sphinx"
            yield section, line
        elif not _UNDERLINE.match(line):
            yield section, line


def _read_block(
    section: str | None, lines: list[str], description: list[str], parameters: dict[str, str]
) -> None:
    if section is None:
        description.extend(lines)
    elif section == "sphinx":
        parameters.update(_entries(lines, _SPHINX))
    elif section in _PARAMETER_SECTIONS:
        indented = [line for line in lines if line.strip()]
        google = bool(indented) and all(line.startswith(" ") for line in indented)
        parameters.update(
            _entries(inspect.cleandoc("\n" + "\n".join(lines)).splitlines(), _GOOGLE if google else _NUMPY)
        )


def _entries(lines: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    entries: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        if line and not line[0].isspace():
            match = pattern.match(line)
            if match:
                current = entries.setdefault(match.group(1), [])
                current.extend(group for group in match.groups()[1:] if group)
            else:
                current = None
        elif current is not None and line.strip():
            current.append(line.strip())
    return {name: " ".join(text) for name, text in entries.items() if text}
