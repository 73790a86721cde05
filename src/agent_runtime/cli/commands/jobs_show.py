"""`agent-runtime jobs show` and `jobs result`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.amounts import moment
from agent_runtime.cli.output.jobs import answer_of, job_json, show_head, show_value
from agent_runtime.cli.output.printable import say, say_text
from agent_runtime.cli.output.shown import question_of
from agent_runtime.cli.output.table import in_a_cell, show_table
from agent_runtime.cli.output.timeline import show_steps, steps_of
from agent_runtime.cli.output.waits import waits_of
from agent_runtime.operators.result import plain_output
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobStatus


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--events", is_flag=True, help="Every entry of the journal instead of the steps.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@place_options
def show(place: Place, job_id: str, events: bool, as_json: bool) -> int:
    """Show what a job was asked, what it waits for, did and gave, step by step, and what it cost.

    --events --json includes the private content of the entries: messages, arguments, results.
    """
    return asyncio.run(_show(place, job_id, events, as_json))


async def _show(place: Place, job_id: str, with_events: bool, as_json: bool) -> int:
    async with place.opened() as backend:
        job, state = await backend.jobs.get(job_id)
        entries = await backend.jobs.journal(job_id)
        pending = await backend.actions.list(job_id=job_id)
    waits = [] if job.status.is_terminal else waits_of(entries)
    given, result = _input_of(entries), _result_of(entries)
    if as_json:
        told: dict[str, Any] = {**job_json(job, state), "input": given, "result": result, "waits": waits}
        if with_events:
            told["events"] = [_event_json(event) for event in entries]
        else:
            told["steps"] = [step.to_json() for step in steps_of(entries)]
        told["pending_actions"] = [action.action_id for action in pending]
        click.echo(json.dumps(told, indent=1, default=str))
        return OK
    show_head(job, state)
    if given is not None:
        show_value("input", given)
    for action in pending:
        say(f"waits for: {action.action_id}: {question_of(action)}")
    for wait in waits:
        say(f"waits for: {wait}")
    if result is not None:
        show_value("result", result["content"] or result["output"])
    say("")
    if with_events:
        rows = [
            (str(event.seq), moment(event.timestamp), event.type, _place(event), _data(event))
            for event in entries
        ]
        show_table(("seq", "time", "type", "operation", "data"), rows, right=("seq",))
    else:
        show_steps(steps_of(entries))
    return OK


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with the output and the cost.")
@place_options
def result(place: Place, job_id: str, as_json: bool) -> int:
    """Print what a job has answered: its text, or its output as JSON where it has no text.

    Of a job in whose place another goes on, the last one's. One that has not ended yet is refused.
    """
    return asyncio.run(_result(place, job_id, as_json))


async def _result(place: Place, job_id: str, as_json: bool) -> int:
    async with place.opened() as backend:
        found, total = await backend.jobs.result(job_id)
    if not as_json:
        say_text(answer_of(found))
        return OK
    told = {
        "job_id": found.job_id,
        "status": str(found.status),
        "content": found.content,
        "output": found.output,
        "artifacts": list(found.artifacts),
        "turns": found.turns,
        "cost": None if total.unpriced else str(total.cost),
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "requests": total.entries,
    }
    click.echo(json.dumps(told, indent=1, default=str))
    return OK


def _input_of(entries: Sequence[RuntimeEvent]) -> Any:
    return entries[0].body() if entries else None


def _result_of(entries: Sequence[RuntimeEvent]) -> dict[str, Any] | None:
    """Return what a job gave, `None` of one that has not succeeded or whose content was deleted."""
    last = entries[-1] if entries else None
    if last is None or last.type != f"job.{JobStatus.SUCCEEDED}" or last.content is None:
        return None
    body = last.body() or {}
    return {"content": body.get("content", ""), "output": plain_output(body.get("output_data"))}


def _event_json(event: RuntimeEvent) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "type": event.type,
        "timestamp": event.timestamp.isoformat(),
        "operation_id": event.operation_id,
        "data": dict(event.data),
        "content": event.body(),
    }


def _place(event: RuntimeEvent) -> str:
    """Return an operation's place in its job: the part of its id that says something."""
    return (event.operation_id or "").partition(":")[2]


def _data(event: RuntimeEvent) -> str:
    return in_a_cell(json.dumps(dict(event.data), ensure_ascii=False, default=str) if event.data else "", 120)
