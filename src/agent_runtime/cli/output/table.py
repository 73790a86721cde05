"""Tables: drawn by rich for a terminal, plain columns for everything else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

import click

from agent_runtime.cli.output.printable import printable


def show_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    total: bool = False,
    sparse: Sequence[str] = (),
) -> None:
    """Print a table.

    Args:
        headers: Names of the columns.
        rows: Their texts.
        right: Names of columns that hold numbers.
        total: Whether the last row is a sum.
        sparse: Names of columns that are left out where nothing stands in them.
    """
    kept = [
        index for index, name in enumerate(headers) if name not in sparse or any(row[index] for row in rows)
    ]
    headers = [headers[index] for index in kept]
    rows = [[printable(row[index]) for index in kept] for row in rows]
    if sys.stdout.isatty():
        _draw(headers, rows, right, total)
        return
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in (headers, *rows):
        cells = [
            cell.rjust(width) if header in right else cell.ljust(width)
            for header, cell, width in zip(headers, row, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def in_a_cell(text: str, length: int = 60) -> str:
    """Return a text as one line of a table, cut where it is longer."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"


def _draw(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str], total: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for header in headers:
        identifies = header == headers[0]  # what people copy must stay in one piece
        justify: Literal["left", "right"] = "right" if header in right else "left"
        table.add_column(header, justify=justify, overflow="fold", no_wrap=identifies)
    for number, row in enumerate(rows, 1):
        if total and number == len(rows):
            table.add_section()
        table.add_row(*(Text(cell) for cell in row))  # `Text`: cells are data, not rich's markup
    Console().print(table)
