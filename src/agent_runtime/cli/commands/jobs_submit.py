"""`agent-runtime jobs submit`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.filters import read_tags
from agent_runtime.cli.given import dollars, text_of
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.terminal import program
from agent_runtime.kernel.request import ExecutionRequest
from agent_runtime.values.context import BudgetSpec, PolicyRef
from llm_client.json_text import loads

if TYPE_CHECKING:
    from agent_runtime.values.job import JobRecord


@click.command()
@click.argument("operator", metavar="OPERATOR")
@click.argument("given", metavar="[JSON]", required=False)
@click.option("--file", metavar="FILE", help="Read the input, as JSON, from a file; - is standard input.")
@click.option("--prompt", metavar="TEXT", help="The input of an agent: a text, not JSON.")
@click.option("--scope", metavar="NAME", help="Whose job it is (or AGENT_RUNTIME_SCOPE; default: default).")
@click.option("--principal", metavar="NAME", help="Who asks for it (or AGENT_RUNTIME_PRINCIPAL).")
@click.option("--identity", metavar="NAME", help="Whose messages it receives.")
@click.option("--key", metavar="TEXT", help="A second job with this key is not made: the first one is named.")
@click.option(
    "--tag", "tags", multiple=True, callback=read_tags, metavar="NAME=VALUE", help="May be repeated."
)
@click.option("--queue", default="default", show_default=True, help="The workers that take it.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher runs first.")
@click.option("--policy", metavar="NAME", help="A stored policy that it runs under.")
@click.option("--max-cost", metavar="DOLLARS", help="What it may cost.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens it may use, in and out.")
@click.option(
    "--deadline", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="When to give up."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@place_options
def submit(place: Place, as_json: bool, **asked: Any) -> int:
    """Submit a job for an operator, and print its id.

    Workers of the database execute it; this command does not. The input is JSON: the argument, or --file. `agent` is the agent of an
    application, and takes a --prompt.
    """
    given = [name for name in ("given", "file", "prompt") if asked[name] is not None]
    if len(given) > 1:
        raise click.UsageError("give the input once: as JSON, with --file, or as a --prompt")
    settings = place.settings(scope=asked["scope"], principal=asked["principal"])
    scope_id = settings.scope if "scope" in settings.model_fields_set else None
    limits = BudgetSpec(max_cost=dollars(asked["max_cost"]), max_tokens=asked["max_tokens"])
    request = ExecutionRequest(
        operator=asked["operator"],
        prompt=asked["prompt"],
        input=None if asked["prompt"] is not None else _input(asked["given"], asked["file"]),
        principal_id=settings.principal,
        identity=asked["identity"],
        idempotency_key=asked["key"],
        tags=asked["tags"],
        queue=asked["queue"],
        priority=asked["priority"],
        policy_ref=None if asked["policy"] is None else PolicyRef(name=asked["policy"]),
        budgets=limits if limits.to_dict() else None,
        deadline_seconds=asked["deadline"],
    )
    job, is_known = asyncio.run(_submit(place, request, scope_id))
    if as_json:
        told = {"job_id": job.job_id, "status": str(job.status), "is_known": is_known}
        click.echo(json.dumps(told, indent=1))
        return OK
    say(job.job_id)
    if not is_known and not job.status.is_terminal:
        say(f"it waits for a worker that knows {job.operator!r}", err=True)
    say(f"see it with: {program()} jobs show {job.job_id}{place.flag}", err=True)
    return OK


def _input(text: str | None, file: str | None) -> Any:
    written = text_of(file, what="input") if file is not None else text
    if written is None:
        return None
    try:
        return loads(written)
    except (ValueError, RecursionError):
        raise click.UsageError(
            "the input is not JSON; a text is written in quotes: '\"like this\"'"
        ) from None


async def _submit(place: Place, request: ExecutionRequest, scope_id: str | None) -> tuple[JobRecord, bool]:
    """Return the job, and whether a worker knows its operator."""
    async with place.opened(makes=True) as backend:
        job = await backend.jobs.submit(request, scope_id=scope_id)
        return job, await backend.knows(job.operator)
