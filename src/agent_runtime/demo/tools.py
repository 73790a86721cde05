"""The auditor's tools, each with what it does to the world said honestly."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path

from agent_runtime.demo import packages
from agent_runtime.demo.licences import judge
from agent_runtime.demo.report import Finding, render, report_path, write
from agent_runtime.operators.context import current_context
from agent_runtime.values.action import ActionSpec, ActionType
from llm_client.tools.decorator import tool
from llm_client.tools.tool import Tool, ToolContext

MAX_ASKED = 200
"""Packages that one question may be about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A package whose licence a person should look at."""

    package: str
    licence: str
    why: str


@tool(effect="read")
def list_packages() -> list[dict[str, object]]:
    """List the Python packages that are installed here, with their versions."""
    return [asdict(package) for package in packages.installed()]


@tool(effect="read")
def read_licences(names: list[str]) -> list[dict[str, object]]:
    """Read what packages say of their licences. Ask for at most 25 packages at once.

    Each answer has a `statement`, the licence by the best source; several, joined by ` / `, when it is ambiguous.

    Args:
        names: Packages as `list_packages` names them.
    """
    return [
        {
            "package": found.package,
            "statement": found.statement(),
            "files": found.files,
            "problem": found.problem,
        }
        for found in packages.read_evidence(names)
    ]


@tool(effect="pure")
def classify_licences(licences: list[str]) -> list[dict[str, object]]:
    """Sort licences into categories: permissive, public domain, weak copyleft, strong copyleft, restricted, unknown.

    Args:
        licences: Distinct statements as `read_licences` gives them.
    """
    return [asdict(judge(licence)) for licence in licences]


@tool(effect="pure")
async def ask_person(question: str, doubts: list[Doubt]) -> dict[str, object]:
    """Ask a person which of the doubtful licences are acceptable. Ask once, about all of them.

    Args:
        question: What the person is to decide.
        doubts: The packages in doubt.
    """
    asked = doubts[:MAX_ASKED]
    answer = await current_context().action(
        ActionSpec(
            type=ActionType.CONFIRM,
            payload={
                "message": question,
                "packages": {doubt.package: f"{doubt.licence} ({doubt.why})" for doubt in asked},
                "hint": 'true accepts all, false none; "decisions": {"<package>": "accept" or "reject"} says it for one',
            },
        )
    )
    given = answer.resolution or {}
    rest = "accept" if given.get("confirmed") else "reject"
    decisions = given.get("decisions")
    single = decisions if isinstance(decisions, dict) else {}
    verdicts = {doubt.package: single.get(doubt.package, rest) for doubt in asked}
    return {
        "answered_by": answer.resolved_by or "an unnamed person",
        "accepted": [name for name, verdict in verdicts.items() if verdict == "accept"],
        "rejected": [name for name, verdict in verdicts.items() if verdict != "accept"],
        "not_asked": [doubt.package for doubt in doubts[MAX_ASKED:]],
    }


def report_tool(folder: Path) -> Tool:
    """Build the tool that writes the report into a folder. The file's name comes from the job, never from the model."""

    @tool(effect="idempotent")
    async def write_report(summary: str, findings: list[Finding], *, ctx: ToolContext) -> dict[str, object]:
        """Write the report. Every package belongs to exactly one finding.

        Args:
            summary: Two or three sentences for somebody in a hurry.
            findings: The packages, grouped by licence and verdict.
            ctx: The call.
        """
        job_id = ctx.job_id or "without-job"
        text = render(
            summary, findings, job_id=job_id, operation_id=ctx.operation_id, at=current_context().now()
        )
        written = await asyncio.to_thread(write, report_path(folder, job_id), text)
        return asdict(written)

    return write_report


def audit_tools(folder: Path) -> list[Tool]:
    """Return all tools of the audit, with reports going to `folder`."""
    return [list_packages, read_licences, classify_licences, ask_person, report_tool(folder)]
