"""`agent-runtime audit`: verify that entries are as they were written, and print what proves it later."""

from __future__ import annotations

import asyncio
import json
from typing import IO, TYPE_CHECKING, Any

import click

from agent_runtime.cli.database import db_option, existing, stored
from agent_runtime.cli.exit_codes import FAILED, OK
from agent_runtime.cli.output.amounts import counted
from agent_runtime.cli.output.printable import say, say_json

if TYPE_CHECKING:
    from agent_runtime.audit.report import AuditReport
    from agent_runtime.ports.audit import TrailHead
    from agent_runtime.settings import Settings


@click.group()
def audit() -> None:
    """Verify that the entries of jobs are as they were written."""


def _kept(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> list[TrailHead]:
    """Read heads as `audit heads` prints them."""
    from agent_runtime.ports.audit import TrailHead

    del context
    heads = []
    for value in values:
        scope_id, _, rest = value.rpartition(":")
        scope_id, _, number = scope_id.rpartition(":")
        try:
            head = TrailHead(scope_id, int(number), bytes.fromhex(rest))
        except ValueError:
            head = TrailHead("", 0, b"")
        if value.count(":") < 2 or not 0 < head.number < 2**63 or len(head.link) != 32:
            raise click.BadParameter(f"{value!r} is no SCOPE:NUMBER:LINK", param=option)
        heads.append(head)
    return heads


@audit.command()
@click.option("--scope", metavar="SCOPE", help="The jobs of one scope.")
@click.option("--job", "job_id", metavar="JOB", help="One job.")
@click.option(
    "--head", "heads", multiple=True, callback=_kept, metavar="SCOPE:NUMBER:LINK",
    help="A line that `audit heads` has printed and that was kept elsewhere. May be given several times.",
)  # fmt: skip
@click.option(
    "--evidence", type=click.File("rb"), metavar="FILE",
    help="What `audit export` has written, `-` for standard input; no database is read.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@db_option
def verify(
    db: str | None,
    scope: str | None,
    job_id: str | None,
    heads: list[TrailHead],
    evidence: IO[bytes] | None,
    as_json: bool,
) -> int:
    """Compute the links of all entries again and compare them with what is stored.

    Ends with 1 and names the first broken entry of each job when something was changed, inserted, reordered, cut off or taken
    away. Content that was pruned or erased is said, and is no error.
    """
    if job_id is not None and heads:
        raise click.UsageError("--head is for the trail of a scope, not for one job")
    if evidence is not None:
        if scope is not None or job_id is not None or heads or db is not None:
            raise click.UsageError(
                "--evidence is verified by itself: without --scope, --job, --head and --db"
            )
        return _verify_evidence(evidence, as_json)
    return asyncio.run(_verify(existing(db), scope, job_id, heads, as_json))


@audit.command("export")
@click.option("--job", "job_id", required=True, metavar="JOB", help="The job.")
@click.option("--scope", metavar="SCOPE", help="Its scope, which must be the right one.")
@db_option
def export_evidence(db: str | None, job_id: str, scope: str | None) -> int:
    """Write a job's entries to standard output, one line of JSON for each, with all that is private.

    `audit verify --evidence FILE` verifies the lines without the database.
    """
    return asyncio.run(_export(existing(db), job_id, scope))


@audit.command("heads")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@db_option
def show_heads(db: str | None, as_json: bool) -> int:
    """Print where the trail of each scope ends. Keep the lines where nobody who can write the database can write."""
    return asyncio.run(_show_heads(existing(db), as_json))


async def _verify(
    settings: Settings, scope: str | None, job_id: str | None, heads: list[TrailHead], as_json: bool
) -> int:
    from agent_runtime.audit.manager import AuditManager

    async with stored(settings) as here:
        report = await AuditManager(here.storage).verify(job_id, scope_id=scope, heads=heads)
    return _told(report, as_json)


def _verify_evidence(file: IO[bytes], as_json: bool) -> int:
    from agent_runtime.audit.evidence import verified

    return _told(verified(file), as_json)


def _told(report: AuditReport, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
    else:
        _tell(report)
    return OK if report.is_intact else FAILED


async def _export(settings: Settings, job_id: str, scope: str | None) -> int:
    from agent_runtime.audit.evidence import evidence
    from llm_client.json_text import dumps

    async with stored(settings) as here:
        async for line in evidence(here.storage, job_id, scope_id=scope):
            say_json(dumps(line))
    return OK


def _tell(report: AuditReport) -> None:
    for finding in report.findings:
        say(f"{finding.job_id or 'trail'}: {finding.text}")
    if report.problems > len(report.findings):
        say(f"and {report.problems - len(report.findings):,} more")
    parts: list[Any] = [counted(report.jobs, "job"), counted(report.entries, "entry", "entries")]
    if report.trail:
        parts.append(f"{counted(report.trail, 'entry', 'entries')} of trails")
    said = ", ".join(parts)
    for number, what in (
        (report.pruned, "without its content, which was pruned"),
        (report.erased, "erased"),
        (report.gone, "pruned as a whole"),
    ):
        if number:
            said += f"; {counted(number, 'job')} {what}"
    verdict = "intact" if report.jobs or report.trail else "there is nothing to verify"
    say(f"{said}: {verdict if report.is_intact else f'{report.problems:,} do not verify'}")


async def _show_heads(settings: Settings, as_json: bool) -> int:
    async with stored(settings) as here:
        heads = await here.storage.trail_heads()
    if as_json:
        told = [{"scope_id": h.scope_id, "number": h.number, "link": h.link.hex()} for h in heads]
        click.echo(json.dumps(told, indent=1))
    elif not heads:
        say("no trails: nothing keeps them yet (AGENT_RUNTIME_AUDIT_TRAIL=true)")
    else:
        for head in heads:
            say(f"{head.scope_id}:{head.number}:{head.link.hex()}")
    return OK
