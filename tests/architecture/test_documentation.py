"""What the code has, the documentation tells."""

import ast
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import agent_runtime
import llm_client
from agent_runtime import client, observability, runner, server
from agent_runtime import errors as runtime_errors
from agent_runtime.execution.options import KernelOptions
from agent_runtime.values.event import RuntimeEventType

ROOT = Path(__file__).parents[2]


def documentation() -> str:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("type_", list(RuntimeEventType))
def test_every_event_type_is_in_the_journals_page(type_: str) -> None:
    assert f"`{type_}`" in (ROOT / "docs" / "journal.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", [field.name for field in fields(KernelOptions)])
def test_every_option_is_documented(option: str) -> None:
    assert f"`{option}`" in documentation()


def test_the_drawn_tree_of_errors_is_the_tree() -> None:
    drawing = runtime_errors.__doc__ or ""
    classes = [
        value
        for value in vars(runtime_errors).values()
        if isinstance(value, type) and issubclass(value, runtime_errors.AgentRuntimeError)
    ]
    missing = [cls.__name__ for cls in classes if cls.__name__ not in drawing]
    assert missing == []
    codes = [cls.code for cls in classes]
    assert len(set(codes)) == len(codes)


def test_the_page_of_incidents_names_every_file_of_them_and_their_reports() -> None:
    page = (ROOT / "docs" / "incidents.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \|.*`(tests/incidents/test_\w+\.py)` \|$", page, re.MULTILINE)
    files = sorted((ROOT / "tests" / "incidents").glob("test_*.py"))

    assert sorted(path for _, path in rows) == [path.relative_to(ROOT).as_posix() for path in files]
    for report, path in rows:
        told = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
        assert all(number in told for number in re.findall(r"#\d+", report)), path


def test_decisions_are_numbered_in_a_row_and_say_their_numbers() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert page.read_text(encoding="utf-8").startswith(f"# {int(page.name[:4])}. "), page.name


def test_the_glossary_has_each_term_once_and_in_order() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\| ([^|]+?) \| [^-]", page, re.MULTILINE)[1:]

    assert len(terms) > 50
    assert terms == sorted(set(terms))


def test_the_page_of_architecture_draws_every_room_in_the_order_of_its_layer() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.search(r"```text\n(.*?)```", page, re.DOTALL)
    assert drawn is not None
    words = re.findall(r"^((?:[a-z_]+,? ?)+?)(?:  +|$)", drawn[1], re.MULTILINE)
    rooms = re.findall(r"[a-z_]+", " ".join(words))
    folders = {path.stem for path in (ROOT / "src" / "agent_runtime").iterdir() if path.stem[0] != "_"}

    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "runtime-layers")
    level = {room: number for number, layer in enumerate(layers) for room in re.findall(r"[a-z_]+", layer)}

    assert set(rooms) - {"llm_client"} == folders - {"testing", "settings", "trust", "py"}
    assert rooms.pop() == "llm_client"
    assert rooms == sorted(rooms, key=level.__getitem__)


def pages_of_the_navigation(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    children = entry.values() if isinstance(entry, dict) else entry
    return [page for child in children for page in pages_of_the_navigation(child)]  # type: ignore[attr-defined]


def test_the_navigation_leads_to_every_page_once() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]

    assert sorted(pages_of_the_navigation(navigation)) == sorted(pages)


def test_the_reference_has_every_public_name_once() -> None:
    pages = (ROOT / "docs" / "reference").glob("*.md")
    told = [
        name
        for page in pages
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    packages = (agent_runtime, client, llm_client, observability, runner, server)
    public = [f"{package.__name__}.{name}" for package in packages for name in package.__all__]
    public.remove("agent_runtime.observability.metadata")  # SQLAlchemy's value, told of in words

    assert sorted(told) == sorted([*public, "agent_runtime.testing.clock.FakeClock"])
