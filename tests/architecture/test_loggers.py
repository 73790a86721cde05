"""Every record of ours passes the filter that takes secrets out."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
MAKER = SOURCE / "llm_client" / "logs.py"


def test_loggers_are_made_in_one_place() -> None:
    elsewhere = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path != MAKER and re.search(r"\bgetLogger\(", path.read_text())
    ]
    assert elsewhere == []
