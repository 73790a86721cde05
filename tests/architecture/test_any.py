"""Signatures say what they take and give: few public ones name `Any`, by its own name or by an alias."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_SHARE = 0.03
"""Of the public signatures. What is left is user code: an operator's input, a tool's result, a value that a step returns."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(node: ast.AST, *, private: bool = False) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from public_functions(child, private=private or child.name.startswith("_"))
        elif isinstance(child, Function):
            hidden = child.name.startswith("_") and not child.name.startswith("__")
            if not private and not hidden:
                yield child
        elif isinstance(child, ast.If | ast.Try):
            yield from public_functions(child, private=private)


def annotations(function: Function) -> Iterator[ast.expr]:
    arguments = function.args
    given = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    yield from (one.annotation for one in given if one is not None and one.annotation is not None)
    if function.returns is not None:
        yield function.returns


def names_in(expression: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(expression):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isprintable():
            try:
                names |= names_in(ast.parse(node.value, mode="eval"))
            except SyntaxError:
                continue
    return names


def aliases(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield what a module gives a name to, if it may be a type: a name in capitals, a value that is written as one."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=ast.expr() as value) if (
                "TypeAlias" in names_in(kind)
            ):
                pass
            case _:
                continue
        if name.lstrip("_")[:1].isupper() and isinstance(
            value, ast.Subscript | ast.BinOp | ast.Name | ast.Call | ast.Constant
        ):
            yield name, value


Module = tuple[str, ast.Module]
Name = tuple[str, str]
"""A name, behind the module in which it stands."""


def meaning_any(modules: list[Module]) -> set[Name]:
    """Return the names that mean `Any`, or a type with `Any` in it, wherever they have been imported to."""
    means: list[tuple[Name, set[Name]]] = []
    found: set[Name] = set()
    for module, tree in modules:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                for name in node.names:
                    means.append(((module, name.asname or name.name), {(node.module or "", name.name)}))
        means += [
            ((module, name), {(module, one) for one in names_in(value)}) for name, value in aliases(tree)
        ]
    found.add(("typing", "Any"))
    while grown := {name for name, names in means if names & found} - found:
        found |= grown
    return found


def counted(modules: list[Module]) -> tuple[int, list[str]]:
    known = meaning_any(modules)
    functions = [(module, function) for module, tree in modules for function in public_functions(tree)]
    with_any = [
        f"{module}:{one.lineno} {one.name}"
        for module, one in functions
        if any((module, name) in known for kind in annotations(one) for name in names_in(kind))
    ]
    return len(functions), with_any


def source() -> list[Module]:
    folder = ROOT / "src"
    return [
        (
            path.relative_to(folder).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"),
            ast.parse(path.read_text(encoding="utf-8")),
        )
        for path in sorted(folder.rglob("*.py"))
    ]


def test_few_public_signatures_name_any() -> None:
    total, with_any = counted(source())

    assert total > 2000
    assert len(with_any) <= total * MAX_SHARE, with_any


def test_an_alias_hides_nothing() -> None:
    types = ast.parse("from typing import Any\nJson = dict[str, Any]\nPlain = dict[str, int]")
    program = ast.parse("""
from types_of_json import Json as Read, Plain
Rows: TypeAlias = "list[Read]"

def hidden(rows: Rows) -> None: ...
def quoted(row: "Read") -> None: ...
def plain(row: Plain) -> int: ...
def _private(row: Read) -> None: ...
""")
    found = counted([("types_of_json", types), ("program", program)])
    assert found == (3, ["program:5 hidden", "program:6 quoted"])
