"""The page on security claims what tests hold, and nothing else."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
SHORT = (ROOT / "SECURITY.md").read_text()
NAMED = re.findall(r"`((?:tests|src)/[\w/]+\.py)::(test_\w+)`", PAGE)
HERE = sorted(path.relative_to(ROOT).as_posix() for path in Path(__file__).parent.glob("test_*.py"))


@cache
def named_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    assert name in named_in(path)


def test_every_claim_names_a_test() -> None:
    claims = PAGE.partition("## Claims")[2].partition("## Outside")[0]
    rows = [line for line in claims.splitlines() if line.startswith("| ") and line != "| claim | test |"]

    assert len(rows) == len(NAMED) >= 30
    assert all(re.fullmatch(r"\|[^|`]*(?:`[^`]*`[^|`]*)*\| `[\w/.]+::test_\w+` \|", row) for row in rows)


@pytest.mark.parametrize("path", [path for path in HERE if not path.endswith("test_threat_model.py")])
def test_every_attack_is_on_the_page(path: str) -> None:
    assert path in {named for named, _ in NAMED}


def test_the_short_page_promises_under_the_headings_of_the_long_one() -> None:
    promised = re.findall(r"^\* \*\*([^*]+)\*\*:", SHORT, re.MULTILINE)
    headings = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)

    assert promised == ["Secrets", "Code and keys", "Rules and people", "Tenants", "Bounds"]
    assert headings == ["Secrets", "Code and keys", "Rules and people", "Tenants and bounds"]
