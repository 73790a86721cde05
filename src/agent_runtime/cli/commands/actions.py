"""`agent-runtime actions`: list and resolve."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypedDict

import click

from agent_runtime.cli.answers import choice_from, from_json, how_to_answer
from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.amounts import moment
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.output.shown import question_of, show
from agent_runtime.cli.output.table import show_table
from agent_runtime.cli.terminal import program
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.checks import check_text


@click.group()
def actions() -> None:
    """List and answer the questions that jobs ask people."""


@actions.command("list")
@click.option("--job", metavar="JOB", help="Only this job's.")
@click.option("--scope", metavar="SCOPE", help="Only this scope's.")
@click.option("--all", "everything", is_flag=True, help="Answered, expired and cancelled ones too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--before", metavar="ACTION", help="Go on after this action: the last one of the page before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@place_options
def list_actions(
    place: Place,
    job: str | None,
    scope: str | None,
    everything: bool,
    limit: int,
    before: str | None,
    as_json: bool,
) -> int:
    """List the questions that wait for an answer, the newest first."""
    if scope is not None:
        check_text("scope", scope)
    status = None if everything else ActionStatus.PENDING
    wanted = _Wanted(job_id=job, scope_id=scope, status=status, limit=limit, before=before)
    return asyncio.run(_list(place, wanted, as_json))


class _Wanted(TypedDict):
    """What is asked of the storage."""

    job_id: str | None
    scope_id: str | None
    status: ActionStatus | None
    limit: int
    before: str | None


async def _list(place: Place, wanted: _Wanted, as_json: bool) -> int:
    async with place.opened() as backend:
        if wanted["job_id"] is not None:
            await backend.jobs.get(wanted["job_id"])
        found = await backend.actions.list(**wanted)
    if as_json:
        click.echo(json.dumps([_action_json(action) for action in found], indent=1, default=str))
        return OK
    if not found:
        say("no actions" if wanted["status"] is None else "nobody waits for an answer")
        return OK
    rows = [
        (
            action.action_id,
            action.type,
            str(action.status),
            action.job_id or "–",
            action.scope_id,
            moment(action.created_at),
            "" if action.expires_at is None else moment(action.expires_at),
            question_of(action),
        )
        for action in found
    ]
    headers = ("action", "type", "status", "job", "scope", "asked", "expires", "question")
    show_table(headers, rows, sparse=("expires",))
    if any(not show(action).is_whole for action in found if action.is_pending):
        say("some are too long for a list; see all of one with: actions show ACTION", err=True)
    if len(found) == wanted["limit"]:
        say(f"more: --before {found[-1].action_id}", err=True)
    return OK


@actions.command("show")
@click.argument("action_id", metavar="ACTION")
@place_options
def show_action(place: Place, action_id: str) -> int:
    """Show all of a question, however long it is, and how it is answered."""
    return asyncio.run(_show(place, action_id))


async def _show(place: Place, action_id: str) -> int:
    async with place.opened() as backend:
        action = await backend.actions.get(action_id)
    for line in show(action, whole=True).lines:
        say(line)
    if action.approvers is not None:
        say(f"who may answer: {', '.join(action.approvers)} ({action.quorum} of them)")
    if action.job_id is not None:
        say(f"job: {action.job_id}")
    say(f"scope: {action.scope_id}")
    if action.expires_at is not None:
        say(f"expires: {moment(action.expires_at)}")
    say(f"status: {action.status}")
    if action.is_pending:
        say(f"answer: {program()} actions resolve {action_id} {how_to_answer(action)}{place.flag}")
    return OK


@actions.command()
@click.argument("action_id", metavar="ACTION")
@click.option(
    "--approve", "answers", flag_value="approve", multiple=True, help="Yes, to an approval or a confirm."
)
@click.option("--deny", "answers", flag_value="deny", multiple=True, help="No.")
@click.option("--choice", metavar="TEXT", help="To a choose.")
@click.option("--value", metavar="TEXT", help="To an input.")
@click.option(
    "--outcome", type=click.Choice(["done", "retry", "fail"]), help="To a reconcile: what became of it."
)
@click.option("--json", "as_json", metavar="JSON", help="Any answer, as a JSON object.")
@click.option("--reason", metavar="TEXT", help="Goes with the answer; a model reads why it was refused.")
@click.option(
    "--by", metavar="NAME", help="Who answers (default: your user name; of a service, who the key names)."
)
@place_options
def resolve(
    place: Place,
    action_id: str,
    answers: tuple[str, ...],
    choice: str | None,
    value: str | None,
    outcome: str | None,
    as_json: str | None,
    reason: str | None,
    by: str | None,
) -> int:
    """Answer a question. Of several answers the first one counts."""
    given: list[dict[str, Any]] = [{"approved": answer == "approve"} for answer in answers]
    given += [
        {name: text}
        for name, text in (("choice", choice), ("value", value), ("outcome", outcome))
        if text is not None
    ]
    if as_json is not None:
        given.append(from_json(as_json))
    if len(given) != 1:
        raise click.UsageError("give one answer: --approve, --deny, --choice, --value, --outcome or --json")
    (resolution,) = given
    if reason is not None:
        resolution["reason"] = reason
    return asyncio.run(_resolve(place, action_id, resolution, by))


async def _resolve(place: Place, action_id: str, resolution: dict[str, Any], by: str | None) -> int:
    async with place.opened() as backend:
        if isinstance(resolution.get("choice"), str):
            resolution["choice"] = choice_from(await backend.actions.get(action_id), resolution["choice"])
        answered = await backend.actions.resolve_by_id(action_id, resolution, resolved_by=by)
        goes_on = answered.job_id is None or await backend.executes()
    if answered.status is ActionStatus.PENDING:
        say(f"{action_id}: {len(answered.votes)} of {answered.quorum} answers are given")
        return OK
    say(f"{action_id} is {answered.status} by {answered.resolved_by}")
    if not goes_on:
        say(
            f"nothing executes its job now; a worker goes on with it, or: {program()} jobs resume {answered.job_id}{place.flag}"
        )
    return OK


def _action_json(action: ActionRecord) -> dict[str, Any]:
    def text(value: Any) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "action_id": action.action_id,
        "type": action.type,
        "status": str(action.status),
        "job_id": action.job_id,
        "scope_id": action.scope_id,
        "payload": dict(action.payload),
        "created_at": text(action.created_at),
        "expires_at": text(action.expires_at),
        "resolved_at": text(action.resolved_at),
        "resolved_by": action.resolved_by,
        "resolution": None if action.resolution is None else dict(action.resolution),
        "approvers": None if action.approvers is None else list(action.approvers),
        "quorum": action.quorum,
    }
