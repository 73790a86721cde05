"""Files of rules as plain values: YAML, JSON or TOML, with the line on which each value stands.

A file is used whole or refused whole. Whoever reads one gathers every problem and names each with its line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import FileInvalid
from llm_client.json_text import JsonObject

if TYPE_CHECKING:
    from yaml.nodes import Node

MAX_FILE_BYTES: Final = 1_000_000
MAX_VALUES: Final = 50_000
"""Values in one file, references to anchors counted each time."""

_PLAIN_TAGS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

Place = tuple[str | int, ...]
"""Where a value stands in a file: keys and list places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says."""

    values: Any
    source: str
    """How messages name the file."""
    lines: Mapping[Place, int] = field(default_factory=dict)


class Problems:
    """What is wrong with a file.

    Args:
        source: How messages name the file.
        lines: Where its values stand.
    """

    def __init__(self, source: str, lines: Mapping[Place, int]) -> None:
        self._source = source
        self._lines = lines
        self._found: list[tuple[int | None, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, place: Place, reason: str) -> None:
        """Remember a problem, with the line of the value or of what holds it."""
        while place and place not in self._lines:
            place = place[:-1]
        self._found.append((self._lines.get(place), reason))

    def check_keys(self, given: JsonObject, known: set[str], place: Place) -> bool:
        """Remember each key that is not known; return whether all are."""
        unknown = [key for key in given if key not in known]
        for key in unknown:
            close = get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
            self.add((*place, key), f"{key!r} is not known here; {hint}")
        return not unknown

    @property
    def line(self) -> int | None:
        """The first line that is wrong."""
        return min((line for line, _ in self._found if line), default=None)

    def __str__(self) -> str:
        return "\n".join(
            _said(self._source, line, reason)
            for line, reason in sorted(self._found, key=lambda problem: problem[0] or 0)
        )


def read_toml(text: str, *, source: str) -> Document:
    """Read TOML text.

    Raises:
        FileInvalid: It is not TOML, or too large.
    """
    _check_size(text, source)
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else None
        raise FileInvalid(_said(source, line, f"not TOML: {error}"), line=line) from error
    return Document(values=values, source=source, lines=_toml_lines(text))


def _toml_lines(text: str) -> dict[Place, int]:
    """Return where tables and plain keys stand; a value that is written in another way is told by its table's line."""
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*([\w.-]+)\s*\]", line):
            table = tuple(header[2].split("."))
            lines.setdefault(table, number)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines[table] = number
        elif key := re.match(r"\s*([\w-]+)\s*=", line):
            lines.setdefault((*table, key[1]), number)
    return lines


def read_yaml(text: str, *, source: str) -> Document:
    """Read YAML (or JSON) text.

    Raises:
        FileInvalid: It is not YAML, too large, or has more in it than plain values.
    """
    import yaml  # when there is some: most processes never read any

    _check_size(text, source)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Place, int] = {}
        values = None if node is None else _YamlValues(source, lines).value(node, ())
    except FileInvalid:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        said = getattr(error, "problem", None) or f"not YAML: {type(error).__name__}"
        raise FileInvalid(_said(source, line, said), line=line) from error
    return Document(values=values, source=source, lines=lines)


class _YamlValues:
    """Turns YAML nodes into plain values and remembers on which line each stands."""

    def __init__(self, source: str, lines: dict[Place, int]) -> None:
        from yaml.constructor import SafeConstructor

        self._source = source
        self._lines = lines
        self._scalars = SafeConstructor()
        self._count = 0

    def value(self, node: Node, place: Place) -> Any:
        from yaml.nodes import MappingNode, ScalarNode, SequenceNode

        self._count += 1
        if self._count > MAX_VALUES:
            raise FileInvalid(f"{self._source}: more than {MAX_VALUES:,} values")
        line = node.start_mark.line + 1
        self._lines[place] = line
        if not isinstance(node, ScalarNode) and node.tag not in _PLAIN_TAGS:
            raise self._refusal(line, f"the tag {node.tag!r} has no place here")
        if isinstance(node, SequenceNode):
            return [self.value(child, (*place, number)) for number, child in enumerate(node.value)]
        if not isinstance(node, MappingNode):
            return self._scalars.construct_object(node)
        found: dict[str, Any] = {}
        for key_node, child in node.value:
            key = key_node.value
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise self._refusal(line, "a key is a plain text")
            if key in found:
                raise self._refusal(line, f"{key!r} is there twice")
            found[key] = self.value(child, (*place, key))
            self._lines[(*place, key)] = line
        return found

    def _refusal(self, line: int, reason: str) -> FileInvalid:
        return FileInvalid(_said(self._source, line, reason), line=line)


def _check_size(text: str, source: str) -> None:
    if len(text.encode()) > MAX_FILE_BYTES:
        raise FileInvalid(f"{source}: larger than {MAX_FILE_BYTES:,} bytes")


def _said(source: str, line: int | None, reason: str) -> str:
    return f"{source}{'' if line is None else f':{line}'}: {reason}"
