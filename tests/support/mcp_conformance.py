"""The protocol's own conformance runner, from npm: a program for Node 22, kept in `build/`; and operators that its scenarios ask for by name."""

from __future__ import annotations

import asyncio
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from agent_runtime import OperatorContext
from agent_runtime.operators.operator import FunctionOperator
from support.environments import ROOT

VERSION: Final = "0.1.16"
NODE: Final = "22.23.3"
INSTALLING: Final = 180.0
"""Seconds that npm may take: Node is 120 MB, where there is none of that version."""
_MACHINES: Final = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}

SCENARIOS: Final = (
    "server-initialize",
    "ping",
    "tools-list",
    "tools-call-simple-text",
    "tools-call-error",
    "tools-call-with-progress",
    "json-schema-2020-12",
    "dns-rebinding-protection",
)
"""Those of what operators offer. The others are of resources, prompts, completion, sampling, log levels, images and sounds, of forms with fields that
no question has, and of streams that are read again: nothing that is here."""
WITHIN_SESSIONS: Final = ("server-sse-multiple-streams",)
"""Those that take a session, beside them."""


@dataclass(frozen=True, slots=True)
class Runner:
    """The runner, and what runs it."""

    node: str
    program: Path

    async def says(self, scenario: str, url: str) -> str | None:
        """Play a scenario, and return what was wrong; nothing where all was right."""
        process = await asyncio.create_subprocess_exec(
            *(self.node, self.program, "server", "--url", url, "--scenario", scenario),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        return None if process.returncode == 0 else f"{scenario}:\n{said.decode(errors='replace')}"


def conformance_runner() -> Runner:
    """Return the runner, installed by npm the first time; skip the test, and say why, where it cannot be had."""
    folder = ROOT / "build" / f"mcp-conformance-{VERSION}"
    program = folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    of_npm = folder / "node_modules" / _node_package() / "bin" / "node"
    node = _node_here()
    if not program.exists() or not (node or of_npm.exists()):
        _install(folder, *([] if node else [f"{_node_package()}@{NODE}"]))
    return Runner(node or str(of_npm), program)


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


def _install(folder: Path, *more: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm here, which the conformance runner of MCP comes with")
    folder.mkdir(parents=True, exist_ok=True)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    wanted = (f"@modelcontextprotocol/conformance@{VERSION}", *more)
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


async def test_simple_text(context: OperatorContext, given: Any) -> str:
    """Say something."""
    return "This is a simple text response for testing."


async def test_error_handling(context: OperatorContext, given: Any) -> Any:
    """Fail."""
    raise ValueError("This tool intentionally returns an error for testing")


async def test_tool_with_progress(context: OperatorContext, given: Any) -> str:
    """Tell of progress."""
    for part in (0.0, 0.5, 1.0):
        await context.progress(part, f"Completed step {part:.0%}")
    return "done"


async def _described(context: OperatorContext, given: Any) -> str:
    return "described"


OPERATORS: Final = {
    "test_simple_text": test_simple_text,
    "test_error_handling": test_error_handling,
    "test_tool_with_progress": test_tool_with_progress,
    "json_schema_2020_12_tool": FunctionOperator(
        "json_schema_2020_12_tool",
        _described,
        input_schema={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {
                "address": {
                    "type": "object",
                    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
                }
            },
            "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
            "additionalProperties": False,
        },
    ),
}
