"""The scripts behind `make`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    outside = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHON", "VENV", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    return subprocess.run(
        command,
        cwd=ROOT,
        env=outside | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_target_that_is_meant_to_be_called() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony

    listed = {line.split()[0] for line in call("make", "help").stdout.splitlines()}

    assert listed == set(phony[1].split())


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench"])
def test_a_target_sets_itself_up(target: str) -> None:
    first, *_, last = call("make", "--dry-run", "--always-make", target).stdout.splitlines()

    assert first.startswith("scripts/venv .venv -e .")
    assert "scripts/venv" not in last


@pytest.mark.parametrize(("crash", "expected"), [("1", True), ("0", False), ("", False)])
def test_the_demo_crashes_on_request(crash: str, expected: bool) -> None:
    assert ("--crash" in call("make", "--dry-run", "demo", f"CRASH={crash}").stdout) is expected


def test_a_machine_without_a_new_python_gets_one_sentence(tmp_path: Path) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        old = tmp_path / name
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)

    done = call(
        ROOT / "scripts" / "venv", tmp_path / "venv", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    )

    assert done.returncode != 0
    assert done.stderr == "agent-runtime needs Python 3.11 or newer; set PYTHON=/path/to/python3.11\n"
    assert not (tmp_path / "venv").exists()


def interpreter(path: Path, *, runs: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {0 if runs else 127}\n")
    path.chmod(0o755)
    return path


def test_interpreters_are_found_behind_shims_that_do_not_run(tmp_path: Path) -> None:
    shims, pyenv = tmp_path / "shims", tmp_path / "pyenv"
    first = interpreter(shims / "python3.11", runs=True)
    for name in ("python3.12", "python3.13"):
        interpreter(shims / name, runs=False)
    second = interpreter(pyenv / "versions" / "3.12.1" / "bin" / "python3.12", runs=True)
    around = {"PATH": f"{shims}{os.pathsep}/usr/bin{os.pathsep}/bin", "PYENV_ROOT": str(pyenv)}

    assert call("scripts/interpreters", **around).stdout.split() == [str(first), str(second)]
    assert call("scripts/interpreters", "python3.12", **around).stdout.split() == [str(second)]
    none = call("scripts/interpreters", "python3.13", **around)
    assert (none.returncode, none.stdout) == (1, "")


def test_another_interpreter_has_an_environment_of_its_own_or_is_said_to_be_missing(tmp_path: Path) -> None:
    planned = call("make", "--dry-run", "--always-make", "test", "PYTHON=/opt/bin/python3.12").stdout
    assert planned.startswith("scripts/venv .venv-python3.12 -e .")

    done = call("scripts/venv", tmp_path / "venv", PYTHON="python3.99")
    assert done.returncode != 0
    assert done.stderr.startswith("there is no python3.99 here")


def test_ci_tries_every_interpreter() -> None:
    assert "for python in $(scripts/interpreters)" in (ROOT / ".ci" / "run").read_text()


def test_a_dead_link_of_the_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "guide").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="guide/#start">ok</a><a href="https://example.com/">web</a><a href="gone/">x</a><a href="#no">y</a>'
    )
    (tmp_path / "guide" / "index.html").write_text(
        '<h1 id="start">a</h1><a href="../#top">z</a><img src="a.png">'
    )

    done = call(sys.executable, "scripts/check_site.py", tmp_path)

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "guide/index.html: ../#top",
        "guide/index.html: a.png",
        "index.html: #no",
        "index.html: gone/",
    ]


def test_a_site_without_dead_links_passes_and_an_empty_one_does_not(tmp_path: Path) -> None:
    assert call(sys.executable, "scripts/check_site.py", tmp_path).returncode == 1
    (tmp_path / "index.html").write_text('<a id="a" href="#a">self</a>')

    assert call(sys.executable, "scripts/check_site.py", tmp_path).stdout == "1 pages, every link is alive\n"


@pytest.mark.parametrize(
    "script", sorted([*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"]), ids=lambda path: path.name
)
def test_shell_scripts_parse_and_can_be_started(script: Path) -> None:
    if script.read_bytes().startswith(b"#!/usr/bin/env bash"):
        assert os.access(script, os.X_OK)
        assert call("bash", "-n", script).returncode == 0
    else:
        assert script.suffix
