"""The protocol's own conformance runner, from npm: a program for Node 22, kept in `build/`; and operators that its scenarios ask for by name."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent_runtime import OperatorContext
from agent_runtime.operators.operator import FunctionOperator
from support.npm import INSTALLING, from_npm

__all__ = ["INSTALLING", "OPERATORS", "SCENARIOS", "WITHIN_SESSIONS", "Runner", "conformance_runner"]

VERSION: Final = "0.1.16"
PACKAGE: Final = "@modelcontextprotocol/conformance"

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
    node, modules = from_npm(PACKAGE, VERSION)
    return Runner(node, modules / PACKAGE / "dist" / "index.js")


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
