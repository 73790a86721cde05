"""`agent-runtime policy`: check a policy file, and explain what it would decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from agent_runtime.cli.exit_codes import FAILED, OK
from agent_runtime.cli.filters import read_tags
from agent_runtime.cli.output.amounts import counted
from agent_runtime.cli.output.printable import say, say_text
from agent_runtime.errors import InvalidInput
from agent_runtime.policy.engine import PolicyEngine
from agent_runtime.policy.mistakes import mistakes
from agent_runtime.values.policy import PolicyAction, PolicyContext

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def policy() -> None:
    """Check a policy file, and explain what it would decide."""


@policy.command()
@click.argument("file", type=_FILE)
@click.option("--strict", is_flag=True, help="Fail for a rule that can never match.")
def check(file: Path, strict: bool) -> int:
    """Read a file whole, or name every line of it that is wrong; and warn of rules that can never match."""
    read = PolicyEngine.from_yaml(file).policy
    say(f"{read.name} {read.version}: {counted(len(read.rules), 'rule')}")
    found = list(mistakes(read.rules))
    for name, why in found:
        say(f"warning: the rule {name!r} decides nothing: {why}", err=True)
    return FAILED if strict and found else OK


@policy.command()
@click.argument("file", type=_FILE)
@click.argument("action", type=click.Choice([str(action) for action in PolicyAction]))
@click.argument("name")
@click.option("--arguments", default="{}", metavar="JSON", help="A tool's arguments.")
@click.option("--scope", default="default", show_default=True)
@click.option("--principal")
@click.option(
    "--tag", "tags", multiple=True, callback=read_tags, metavar="NAME=VALUE", help="May be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="The decision as one JSON object.")
def explain(
    file: Path,
    action: str,
    name: str,
    arguments: str,
    scope: str,
    principal: str | None,
    tags: dict[str, str],
    as_json: bool,
) -> int:
    """Show what the policy decides about a job, model, tool or connector, and what every rule had to say."""
    context = PolicyContext(scope_id=scope, principal_id=principal, tags=tags)
    told = PolicyEngine.from_yaml(file).explain(action, name, context, _object(arguments))
    if as_json:
        click.echo(json.dumps(told.result.to_dict(), indent=1))
    else:
        say_text(str(told))
    return OK


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--arguments is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput("--arguments is a JSON object")
    return value
