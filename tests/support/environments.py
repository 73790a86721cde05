"""Virtual environments that hold nothing but what a test installs, and what users install into them.

The packages that ours depends on come from whatever index pip is set up for, as they do at `make`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 240.0
"""How long a command of a user's first hour may take."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A fresh virtual environment, in which nothing of this one can be seen."""

    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "AGENT_RUNTIME", "VIRTUAL_ENV", "COV", "PYTEST"))
        }
        return kept | {"PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *command: object, cwd: Path | None = None, **variables: str) -> str:
        """Run a command of the environment and return what it prints."""
        program, *arguments = map(str, command)
        done = subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=cwd or self.folder,
            env=self.variables | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *packages: object) -> None:
        quick = ("--quiet", "--disable-pip-version-check", "--no-compile")  # few of the modules are ever used
        self.run("python", "-m", "pip", "install", *quick, *packages)


def fresh_environment(folder: Path) -> Environment:
    """Make one with pip, as `make` does where Debian has split ensurepip off."""
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError:
        venv.create(folder, with_pip=False, clear=True)
        pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(folder / "bin" / "python")]
        subprocess.run([*pip, "install", "pip"], check=True, timeout=SECONDS)
    return Environment(folder)


@dataclass(frozen=True, slots=True)
class Distribution:
    wheel: Path
    source: Path

    def extras(self, names: str) -> str:
        """What to tell pip for the wheel with extras."""
        return f"{self.wheel}[{names}]"
