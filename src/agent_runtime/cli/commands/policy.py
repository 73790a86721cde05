"""`agent-runtime policy`: check a policy file, and explain what it would decide."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent_runtime.cli.backends.address import SERVER, Server, named_server, server_options
from agent_runtime.cli.backends.choice import served
from agent_runtime.cli.exit_codes import FAILED, OK
from agent_runtime.cli.filters import read_tags
from agent_runtime.cli.output.amounts import counted
from agent_runtime.cli.output.printable import say, say_text
from agent_runtime.errors import InvalidInput
from agent_runtime.policy.engine import PolicyEngine
from agent_runtime.policy.mistakes import mistakes
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.policy import PolicyAction, PolicyContext

if TYPE_CHECKING:
    from agent_runtime.client.models import PolicyAnswer, PolicyQuestion

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
@click.argument("asked", nargs=-1, required=True, metavar="[FILE] ACTION NAME")
@click.option("--arguments", default="{}", metavar="JSON", help="A tool's arguments.")
@click.option("--scope", help="Whose it is (default: default; of a service, the key's).")
@click.option("--principal")
@click.option(
    "--tag", "tags", multiple=True, callback=read_tags, metavar="NAME=VALUE", help="May be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="The decision as one JSON object.")
@server_options
def explain(
    asked: tuple[str, ...],
    server: str | None,
    key_file: str | None,
    arguments: str,
    scope: str | None,
    principal: str | None,
    tags: dict[str, str],
    as_json: bool,
) -> int:
    """Show what a policy decides about a job, model, tool or connector (ACTION), and what every rule had to say.

    The policy is that of a FILE; without one, that of the --server.
    """
    *files, action, name = asked if len(asked) in (2, 3) else ("", "", "")
    if action not in list(PolicyAction):
        raise click.UsageError(
            f"say what is asked: a FILE, one of {', '.join(PolicyAction)}, and its name; without a FILE a --server is asked"
        )
    if files:
        path = _FILE.convert(files[0], None, None)
        context = PolicyContext(scope_id=scope or DEFAULT_SCOPE, principal_id=principal, tags=tags)
        told = PolicyEngine.from_yaml(Path(path)).explain(action, name, context, _object(arguments))
        return _tell(told.result.to_dict(), str(told), as_json)
    service = named_server(None, server, key_file)
    if service is None:
        raise click.UsageError(f"whose policy? Name its FILE, or a --server (or {SERVER})")
    from agent_runtime.client.models import PolicyQuestion

    question = PolicyQuestion.model_validate(
        {
            "action": action,
            "name": name,
            "arguments": _object(arguments),
            "scope_id": scope,
            "principal_id": principal,
            "tags": tags,
        }
    )
    answer = asyncio.run(_asked(service, question))
    return _tell(answer.decision, answer.explanation, as_json)


async def _asked(server: Server, question: PolicyQuestion) -> PolicyAnswer:
    async with served(server) as service:
        return await service.explain(question)


def _tell(decision: Mapping[str, object], explanation: str, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(decision, indent=1))
    else:
        say_text(explanation)
    return OK


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--arguments is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput("--arguments is a JSON object")
    return value
