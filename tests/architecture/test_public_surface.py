"""What users import is pinned: a name appears, moves or goes only on purpose.

Write the file anew with `python tests/architecture/test_public_surface.py` and read the difference before committing.
"""

import ast
import importlib
import inspect
import json
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PINNED = Path(__file__).with_name("public_surface.json")
SOURCES = [path for path in sorted(SOURCE.rglob("*.py")) if "migrations" not in path.parts]


def public_modules() -> dict[str, list[str]]:
    """Every package that declares `__all__`, with what it exports, read without importing anything."""
    found = {}
    for path in SOURCES:
        if path.name == "__init__.py" and (exported := exports(ast.parse(path.read_text(encoding="utf-8")))):
            found[".".join(path.parent.relative_to(SOURCE).parts)] = exported
    return found


def exports(tree: ast.Module) -> list[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))
    return []


PINNED_MODULES: dict[str, list[str]] = json.loads(PINNED.read_text()) if PINNED.exists() else {}


def test_the_surface_is_the_pinned_one() -> None:
    assert {name: sorted(exported) for name, exported in public_modules().items()} == PINNED_MODULES


@pytest.mark.parametrize("module", PINNED_MODULES)
def test_exports_are_sorted_and_unique(module: str) -> None:
    exported = list(importlib.import_module(module).__all__)

    assert len(set(exported)) == len(exported)
    # ruff's order (RUF022): constants, then classes, then the rest
    assert exported == sorted(exported, key=lambda name: (_rank(name), name))


@pytest.mark.parametrize("module", PINNED_MODULES)
def test_every_exported_name_exists_and_says_what_it_is_for(module: str) -> None:
    for name in importlib.import_module(module).__all__:
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert value.__doc__, f"{module}.{name} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def _rank(name: str) -> int:
    if name.isupper() and len(name) > 1:
        return 0
    return 1 if name[:1].isupper() else 2


if __name__ == "__main__":
    surface = {name: sorted(exported) for name, exported in sorted(public_modules().items())}
    PINNED.write_text(json.dumps(surface, indent=1) + "\n")
