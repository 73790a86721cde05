"""Files, functions, folders and packages stay small enough to be read."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 700
MAX_FUNCTION_LINES = 60
MAX_FOLDER_FILES = 26
MAX_PACKAGE_DEPTH = 3

OVER_BUDGET: dict[str, int] = {}
"""What may be larger for now, as `path` or `path::function` with its size. Entries may only shrink or go."""

SOURCES = sorted(
    path for folder in ("src", "tests", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py")
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def oversized() -> dict[str, int]:
    found = {}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > MAX_FILE_LINES:
            found[relative(path)] = lines
        if "/migrations/versions/" in relative(path):  # a revision is one list of columns, and never changes
            continue
        for name, length in functions(ast.parse(text)):
            if length > MAX_FUNCTION_LINES:
                found[f"{relative(path)}::{name}"] = length
    return found


def test_no_file_and_no_function_is_over_its_budget() -> None:
    assert {name: size for name, size in oversized().items() if size > OVER_BUDGET.get(name, 0)} == {}


def test_the_allow_list_only_shrinks() -> None:
    assert {name: size for name, size in OVER_BUDGET.items() if oversized().get(name) != size} == {}


def test_no_folder_is_crowded() -> None:
    crowds = Counter(relative(path.parent) for path in (ROOT / "src").rglob("*.py"))

    assert {folder: files for folder, files in crowds.items() if files > MAX_FOLDER_FILES} == {}


@pytest.mark.parametrize("package", ["llm_client", "agent_runtime"])
def test_packages_are_not_nested_deeper_than_three(package: str) -> None:
    root = ROOT / "src" / package
    depths = {relative(path): len(path.relative_to(root.parent).parts) for path in root.rglob("__init__.py")}

    # `storage/migrations/versions` is where Alembic wants its revisions.
    assert {
        name: depth - 1
        for name, depth in depths.items()
        if depth - 1 > MAX_PACKAGE_DEPTH and "/migrations/versions/" not in name
    } == {}
