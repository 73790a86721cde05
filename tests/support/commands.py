"""Many commands, one after another: each is a process of its own, and what they import is imported once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from support.cli import CommandLine

TESTS = Path(__file__).parent.parent


class Commands:
    """Commands in a folder with jobs, questions and files.

    Args:
        cli: The folder and its environment.
        names: What stands for ids that are there.
    """

    def __init__(self, cli: CommandLine, names: dict[str, str]) -> None:
        self._cli = cli
        self._names = names

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "support.forked_commands"],
            cwd=self._cli.folder,
            env={
                **self._cli.environment,
                "PYTHONPATH": os.pathsep.join([str(TESTS), str(self._cli.folder)]),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()

    def run(
        self, *arguments: str, read: int | None = None, closed: bool = False, **environment: str
    ) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        case = {
            "arguments": [self._names.get(argument, argument) for argument in arguments],
            "folder": str(self._cli.folder),
            "environment": environment,
            "read": read,
            "closed": closed,
        }
        process.stdin.write(json.dumps(case).encode() + b"\n")
        process.stdin.flush()
        found: dict[str, Any] = json.loads(process.stdout.readline())
        return found
