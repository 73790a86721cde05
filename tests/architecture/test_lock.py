"""The lock of CI: all that tests and checks need, in versions that pyproject.toml allows, with hashes, from no index in particular."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "scripts" / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = re.search(r"^EXTRAS +:= (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
LOCKED = dict(re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", LOCK, re.MULTILINE))
UNBOUND = {"tzdata", "pip", PROJECT["project"]["name"]}
"""Data that is named by year, what installs all of it, and the distribution itself, of which one extra is all others."""


def wanted() -> list[str]:
    """Return what is installed for tests and checks."""
    assert EXTRAS is not None
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    extras = [one for extra in EXTRAS[1].split(",") for one in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras, *groups["test"], *groups["lint"], *groups["build"]]


@pytest.mark.parametrize("requirement", wanted())
def test_what_is_needed_is_locked_in_a_version_that_is_allowed(requirement: str) -> None:
    asked = Requirement(requirement)
    assert asked.specifier.contains(LOCKED[canonicalize_name(asked.name)]), "run `make lock`"


@pytest.mark.parametrize(
    "requirement",
    [*wanted(), *(one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra)],
)
def test_no_major_version_comes_unasked(requirement: str) -> None:
    asked = Requirement(requirement)
    assert asked.name in UNBOUND or any(bound.operator == "<" for bound in asked.specifier)


def test_every_package_has_hashes() -> None:
    entries = re.split(r"^(?=\S)", LOCK, flags=re.MULTILINE)[1:]

    assert len(entries) == len(re.findall(r"^\S+==", LOCK, re.MULTILINE)) > 80
    assert all("--hash=sha256:" in entry for entry in entries)


def test_it_names_no_index_and_no_place_on_a_machine() -> None:
    allowed = r"[A-Za-z0-9.!+_-]+==[A-Za-z0-9.!+_-]+(?: ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?"
    assert [line for line in LOCK.splitlines() if not re.fullmatch(allowed, line)] == []
