"""Tables: CSV, Markdown, what databases print, rows of HTML. A heading is the name of the column below it, or of what stands beside it."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from itertools import chain
from typing import Final

from llm_client.redaction.folding import in_lower_case
from llm_client.redaction.key_names import MAX_NAME_LENGTH, STEMS, kind_of_name
from llm_client.redaction.readers import MARK, Readers, by_name
from llm_client.redaction.rules import CROWDED, Span, near_miss
from llm_client.redaction.stretches import matches

_MARKS: Final = ",;\t|\u2502"
_HEADING = rf"(?:[|\u2502]?[ ]?)[ \"'`]?[A-Za-z_][\w .\"'`-]{{0,60}}+(?:[{_MARKS}][\w .\"'`-]{{1,60}}+){{1,60}}+[|\u2502]?(?=\r?\n)"
_TELLING_LINE = rf"(?={_HEADING})[^\r\n]*?(?:{'|'.join(STEMS)})[^\r\n]*+"  # in small letters
_FIRST_HEADING, _LATER_HEADING = re.compile(_TELLING_LINE), re.compile("\n" + _TELLING_LINE)
_QUOTED_CELL = {
    mark: re.compile(
        rf"(?:(?<=\n)|(?<={re.escape(mark)}))(?:\"(?P<quoted>[^\"\n]*+)\"|(?P<plain>[^{re.escape(mark)}\n\"]*+))(?=[{re.escape(mark)}\r]|\Z)"
    )
    for mark in _MARKS
}
_RULER = re.compile(r"[-+=|: \u2500-\u257f]+\r?")
MAX_ROWS: Final = 1_000
"""Rows of a table that are looked at; what follows them is taken out as a whole."""
_MAX_ROW, _MAX_CELLS = 10_000, 100


def _table(text: str) -> Iterator[Span]:
    """Read columns whose heading is the name of a secret."""
    done = 0
    lowered = in_lower_case(text)
    first = _FIRST_HEADING.match(lowered)
    for header in chain((first,) if first else (), matches(_LATER_HEADING, lowered)):
        if header.start() < done:
            continue
        line = text[header.start() : header.end()].lstrip("\n")
        mark = next(mark for mark in _MARKS if mark in line)
        names = [cell.strip(" \"'`\r") for cell in line.split(mark)]
        kinds = [kind_of_name(name) for name in names]
        yield near_miss(header.start())
        if any(kinds) and not all(kinds) and all(len(name.split()) <= 3 for name in names):
            done = yield from _rows(text, text.index("\n", header.end()) + 1, mark, kinds)


def _rows(text: str, position: int, mark: str, kinds: list[str | None]) -> Generator[Span, None, int]:
    """Yield the secret cells below a heading; return where the table ends."""
    for _ in range(MAX_ROWS):
        newline = text.find("\n", position)
        end = len(text) if newline < 0 else newline
        if not _RULER.fullmatch(text, position, end):
            cells = _cells(text, position, end, mark)
            if len(cells) != len(kinds):
                return position
            for (start, stop), kind in zip(cells, kinds, strict=True):
                cell = text[start : min(stop, start + MAX_NAME_LENGTH)]
                if kind and cell and not cell.startswith(MARK) and not kind_of_name(cell):
                    yield start, stop, kind
        if newline < 0:
            return end
        position = newline + 1
    yield position, len(text), CROWDED
    return len(text)


def _cells(text: str, position: int, end: int, mark: str) -> list[tuple[int, int]]:
    """Return where the cells of one row start and end."""
    cells: list[tuple[int, int]] = []
    if '"' in text[position : min(end, position + _MAX_ROW)]:
        for match in _QUOTED_CELL[mark].finditer(text, position, min(end, position + _MAX_ROW)):
            group = "quoted" if match["quoted"] is not None else "plain"
            cells.append(match.span(group))
        return cells
    while position <= end and len(cells) <= _MAX_CELLS:
        at = text.find(mark, position, end)
        at = end if at < 0 else at
        cell = text[position : min(at, position + _MAX_ROW)]
        cells.append((position + len(cell) - len(cell.lstrip()), position + len(cell.rstrip())))
        position = at + 1
    return cells


_CELL_NAME = r"(?P<name>[A-Za-z_][\w-]{1,60}+(?: [\w-]{1,20}+){0,2})"
_BESIDE = re.compile(
    rf"[|\u2502]{{1,2}}[ ]{{0,40}}[*`]{{0,2}}{_CELL_NAME}[*`]{{0,2}}[ ]{{0,40}}[|\u2502]{{1,2}}[ ]{{0,40}}[*`]{{0,2}}(?P<secret>[^\s|`<>\u2502]{{6,512}}+)[*`]{{0,2}}[ ]{{0,40}}[|\u2502]"
)
"""`| API key | … |`, a row whose first cell is a name."""
_ROW = re.compile(
    rf"<(?:t[dh]|dt|key)(?:[ ][^<>]{{0,80}})?>\s{{0,20}}{_CELL_NAME}:?\s{{0,20}}</(?:t[dh]|dt|key)>\s{{0,20}}<(?:td|dd|string)(?:[ ][^<>]{{0,80}})?>"
    r"\s{0,20}(?:<code>)?(?P<secret>[^<>\s][^<>]{1,1024})"
)

_beside = by_name(_BESIDE, telling=True)

TABLES: Final[dict[str, Readers]] = {
    "\n": (((",", ";", "\t", " |", "\u2502"), _table),),
    "|": ((("|",), _beside),),
    "\u2502": ((("\u2502",), _beside),),
    "</": ((("</td", "</th", "</dt", "</key"), by_name(_ROW, telling=True)),),
}
"""Readers by what every text of theirs holds; each then has literals of its own."""
