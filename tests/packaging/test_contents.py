"""The wheel holds the two packages and what they need, and nothing else; the source distribution can build it again."""

import tarfile
import zipfile
from email.parser import Parser

import pytest

from support.environments import ROOT, Distribution

pytestmark = [pytest.mark.xdist_group("packaging"), pytest.mark.timeout(300)]

DATA = {
    "agent_runtime/py.typed",
    "agent_runtime/storage/migrations/script.py.mako",
    "agent_runtime/storage/sqlite/schema.sql",
    "llm_client/py.typed",
}


def in_the_wheel(distribution: Distribution) -> set[str]:
    with zipfile.ZipFile(distribution.wheel) as wheel:
        return set(wheel.namelist())


def test_the_wheel_holds_every_module_the_data_and_nothing_else(distribution: Distribution) -> None:
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    found = {name for name in in_the_wheel(distribution) if ".dist-info/" not in name}
    assert found == modules | DATA


def test_the_wheel_says_what_it_is(distribution: Distribution) -> None:
    names = sorted(
        name.partition(".dist-info/")[2] for name in in_the_wheel(distribution) if ".dist-info/" in name
    )
    assert names == ["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"]
    with zipfile.ZipFile(distribution.wheel) as wheel:
        (path,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        told = Parser().parsestr(wheel.read(path).decode())
    assert told["Name"] == "durable-agent-runtime"
    assert told["Requires-Python"] == ">=3.11"
    assert told["License-Expression"] == "Apache-2.0"
    assert "pip install durable-agent-runtime" in str(told.get_payload())


def test_the_source_distribution_holds_what_builds_and_tests_it(distribution: Distribution) -> None:
    with tarfile.open(distribution.source) as source:
        names = {member.name.partition("/")[2] for member in source.getmembers() if member.isfile()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "Makefile",
        "scripts/venv",
        "mkdocs.yml",
        "tests/conftest.py",
    } <= names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py")} <= names
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db"))] == []
