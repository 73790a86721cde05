"""Programs for Node 22 that npm brings, kept in `build/`."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from support.environments import ROOT

NODE: Final = "22.23.3"
INSTALLING: Final = 180.0
"""Seconds that npm may take: Node is 120 MB, where there is none of that version."""
_MACHINES: Final = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def from_npm(package: str, version: str) -> tuple[str, Path]:
    """Return Node, and the folder of packages with this one, installed the first time; skip the test, and say why, where it cannot be had."""
    folder = ROOT / "build" / f"{package.removeprefix('@').replace('/', '-')}-{version}"
    modules = folder / "node_modules"
    of_npm = modules / _node_package() / "bin" / "node"
    node = _node_here()
    if not (modules / package).exists() or not (node or of_npm.exists()):
        _install(folder, f"{package}@{version}", *([] if node else [f"{_node_package()}@{NODE}"]))
    return node or str(of_npm), modules


def _node_here() -> str | None:
    """Return a Node that is new enough, if there is one."""
    node = shutil.which("node")
    if node is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
    return node if said[1:].partition(".")[0].isdigit() and int(said[1:].partition(".")[0]) >= 22 else None


def _node_package() -> str:
    machine = platform.machine().lower()
    return f"node-{sys.platform}-{_MACHINES.get(machine, machine)}"


def _install(folder: Path, *wanted: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"there is no npm here, which brings {wanted}")
    folder.mkdir(parents=True, exist_ok=True)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    try:
        done = subprocess.run(
            [npm, "install", "--prefix", str(folder), *quiet, *wanted],
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALLING,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm has not brought {wanted} within {INSTALLING:.0f} seconds")
    if done.returncode:
        pytest.skip(f"npm does not bring {wanted}: {done.stderr.strip()[-300:]}")
