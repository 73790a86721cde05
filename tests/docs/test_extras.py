"""The extras are named in one place, `pyproject.toml`; the page that lists them and `doctor` say the same."""

import re
import tomllib
from pathlib import Path

from click.testing import CliRunner

from agent_runtime.cli.commands.doctor import doctor
from llm_client.errors import DISTRIBUTION, MissingDependency

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def test_the_page_lists_every_extra() -> None:
    page = (ROOT / "docs" / "index.md").read_text()
    table = page[page.index("| extra |") : page.index("## Where to read on")]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(cells))) == sorted(EXTRAS)


def test_the_last_extra_is_all_others() -> None:
    (everything,) = EXTRAS["all"]
    assert everything == f"{DISTRIBUTION}[{','.join(sorted(EXTRAS.keys() - {'all'}))}]"


def test_doctor_looks_at_every_extra_that_brings_something() -> None:
    shown = CliRunner().invoke(doctor, ["--db", "memory://"]).output
    told = set(re.findall(r"extra ([\w-]+)", shown))
    assert told == {name for name, packages in EXTRAS.items() if packages} - {"all"}
    assert f"{DISTRIBUTION}[kafka]" in shown or "confluent-kafka " in shown


def test_a_missing_package_is_said_with_what_pip_calls_it() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    assert f"pip install '{DISTRIBUTION}[redis]'" in str(MissingDependency("redis", "redis"))
