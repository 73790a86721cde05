"""SQLite's parameters have names or no names at all: Python warns from 3.12 on when `?1` is given a sequence, and a warning is an error to us."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def test_no_statement_numbers_its_parameters() -> None:
    numbered = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in SOURCE.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\?\d", line)
    ]
    assert numbered == []
