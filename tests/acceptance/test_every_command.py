"""Every command, wherever its output goes and whatever it is given: an exit code and a sentence, never a traceback.

The commands are those that click knows, so a new one is in this by itself.
"""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from agent_runtime import ActionSpec, ExecutionRequest, OperatorContext, Role, Timing
from agent_runtime.cli.entry import commands
from agent_runtime.cli.operators import known_operators
from agent_runtime.observability import LLMCallLogger
from agent_runtime.storage.sqlite import SQLiteStorage
from support.cli import BOUND, CommandLine
from support.commands import Commands
from support.kernels import kernel, pending, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 5)
TEXT = "日本 – ❤ \x1b[31m"
"""Neither Latin-1 nor a terminal should be given this as it is."""
NAME = "日本"
"""Of a schedule."""
KNOWN, *_ = known_operators()
"""Of a job that the command line ends by itself when it is cancelled, rather than wait for a worker that knows its code."""
NARROW = {"COLUMNS": "40", "NO_COLOR": "1", "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "latin-1"}
OWN = f"""
from agent_runtime import Runtime, Settings

async def op(context, given):
    return {TEXT!r}

def make():
    return Runtime(Settings.load(), operators={{"op": op, "agent": op}})
"""
POLICY = "rules: [{name: no shell, tool: shell_*, decision: deny, reason: too sharp}]\n"
BUDGETS = "budgets: [{scope_id: acme, max_cost_daily: 5}]\n"


def all_commands(group: click.Group = commands, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))
            if command.invoke_without_command:
                yield (*path, name)
        else:
            yield (*path, name)


def command_of(path: tuple[str, ...]) -> click.Command:
    found: click.Command = commands
    for name in path:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name) or found
    return found


COMMANDS = sorted(all_commands())
HAS_JSON = {
    path
    for path in COMMANDS
    if any("--json" in p.opts and p.is_flag for p in command_of(path).params if isinstance(p, click.Option))
}
HAS_DB = {path for path in COMMANDS if any("--db" in parameter.opts for parameter in command_of(path).params)}
HAS_SERVER = {
    path
    for path in COMMANDS
    if any(
        "--server" in p.opts and not p.hidden for p in command_of(path).params if isinstance(p, click.Option)
    )
}
LASTS = {("worker",), ("serve",), ("demo",)}
"""What goes on for long: here it is only asked for what cannot be."""


def given(path: tuple[str, ...]) -> list[str]:
    """Return arguments that make sense; of a command that nobody has listed here, what its parameters are called."""
    return list(
        {
            ("actions", "show"): ["ASKED"],
            ("actions", "resolve"): ["ASKED", "--approve"],
            ("audit", "export"): ["--job", "DONE"],
            ("budgets", "apply"): ["budgets.yaml"],
            ("budgets", "set"): ["--scope", "acme", "--max-cost-daily", "3"],
            ("budgets", "remove"): ["--scope", "acme"],
            ("erase",): ["--principal", "nobody", "--yes"],
            ("jobs", "cancel"): ["WAITING"],
            ("jobs", "result"): ["DONE"],
            ("jobs", "resume"): ["DONE"],
            ("jobs", "retry"): ["FAILED"],
            ("jobs", "show"): ["DONE"],
            ("jobs", "submit"): ["op", "1"],
            ("jobs", "unblock"): ["DONE"],
            ("keys", "create"): ["ci", "--role", "viewer", "--scope", "acme"],
            ("keys", "revoke"): ["REVOKED"],
            ("keys", "rotate"): ["ROTATED"],
            ("logs", "call"): ["CALL"],
            ("logs", "delete"): ["DONE"],
            ("logs", "forget"): ["--before", "9000d"],
            ("logs", "show"): ["DONE"],
            ("migrate",): [],
            ("policy", "check"): ["policy.yaml"],
            ("policy", "explain"): ["policy.yaml", "tool", "shell_run"],
            ("projections", "drop"): [TEXT],
            ("prune",): ["--older-than", "9000"],
            ("run",): ["--app", "own:make", "hi"],
            ("schedules", "log"): [NAME],
            ("schedules", "pause"): [NAME],
            ("schedules", "remove"): [NAME],
            ("schedules", "resume"): [NAME],
            ("schedules", "show"): [NAME],
            ("send",): ["somebody", '"hi"'],
            ("serve",): ["--app", "nowhere:app"],
            ("worker",): ["--app", "nowhere:app"],
            ("demo",): ["--db", "no/such/runs.db"],
        }.get(path, unknown(path))
    )


def unknown(path: tuple[str, ...]) -> list[str]:
    """Return required arguments that name nothing there is."""
    found = []
    for parameter in command_of(path).params:
        if isinstance(parameter, click.Argument) and parameter.required:
            kind = parameter.type
            found.append(
                next(iter(kind.choices)) if isinstance(kind, click.Choice) else f"no-such-{parameter.name}"
            )
    if path in {("worker",), ("serve",)}:
        found += ["--app", "nowhere:app"]
    if path == ("run",):
        found += ["--model", "no-such-vendor:model", "hi"]
    return found


async def op(context: OperatorContext, given: object) -> object:
    if given == "fail":
        raise ValueError(TEXT)
    if given == "ask":
        return (await context.action(ActionSpec(type="confirm", payload={"message": TEXT}))).resolution
    return TEXT


async def fill(path: Path) -> dict[str, str]:
    """Make a database with one job of each kind, and return what their ids are called here."""
    storage = SQLiteStorage(path, durability="process")
    async with kernel(storage, operators={"op": op, KNOWN: op}) as k:
        done = await k.execute(ExecutionRequest(operator="op", input=TEXT))
        await done.result()
        failed = await k.execute(ExecutionRequest(operator="op", input="fail"))
        await k.wait_for_end(failed.job_id)
        asks = await k.execute(ExecutionRequest(operator="op", input="ask"))
        action = await pending(asks)
        await status_becomes(asks, "waiting_action")
        waits = await k.execute(ExecutionRequest(operator=KNOWN, input="ask"))
        await status_becomes(waits, "waiting_action")
        name = TEXT.replace("\x1b", "\u202e")
        await k.schedules.put(NAME, ExecutionRequest(operator="op", input=TEXT), Timing(cron="@yearly"))
        rotated, revoked = [
            (await k.keys.create(name=name, role=Role.VIEWER, scope_id=name, principal_id=name))[0]
            for _ in range(2)
        ]
    await storage.open()
    now = storage.clock.now()
    await storage.take_cursor(TEXT, holder=TEXT, at=now, until=now)
    calls = LLMCallLogger(storage)
    async with calls.log_llm_call(TEXT, TEXT, TEXT) as call:
        call.response = TEXT
    await calls.aclose()
    await storage.aclose()
    names = {"DONE": done.job_id, "FAILED": failed.job_id, "ASKED": action.action_id, "WAITING": waits.job_id}
    return names | {"CALL": call.log.id, "ROTATED": rotated.key_id, "REVOKED": revoked.key_id}


@pytest.fixture
def many(cli: CommandLine) -> Iterator[Commands]:
    files = {
        "own.py": OWN,
        "policy.yaml": POLICY,
        "budgets.yaml": BUDGETS,
        "agent-runtime.toml": "max_events = 5000\n",
    }
    for name, text in files.items():
        (cli.folder / name).write_text(text, encoding="utf-8")
    names = asyncio.run(fill(cli.folder / "runs.db"))
    cli.environment["AGENT_RUNTIME_STORAGE"] = "sqlite:///runs.db"
    with Commands(cli, names) as commands:
        yield commands


def check(ended: dict[str, Any], what: object, *, codes: tuple[int, ...] = (0, 1, 2, 3, 4)) -> None:
    assert ended["code"] in codes, (what, ended)
    for word in ("Traceback", "Exception ignored", "Error in sys.excepthook", "BrokenPipe"):
        assert word not in ended["err"], (what, ended["err"])
    assert "\x1b" not in ended["err"], what


def check_sentence(ended: dict[str, Any], what: object) -> None:
    assert ended["out"] == "", (what, ended)
    last = ended["err"].rstrip("\n").splitlines()[-1]
    assert last.startswith(("agent-runtime: ", "Error: ")), (what, ended["err"])


CHANGES = {
    ("actions", "resolve"),
    ("budgets", "remove"),
    ("jobs", "cancel"),
    ("jobs", "retry"),
    ("jobs", "unblock"),
    ("projections", "drop"),
    ("schedules", "remove"),
    ("schedules", "resume"),
    ("schedules", "show"),
}
"""What has been done by the first of several."""


def test_every_command_prints_what_it_finds_on_a_narrow_output_that_cannot_show_it(
    many: Commands,
) -> None:
    for path in COMMANDS:
        if path in LASTS:
            continue
        plain = many.run(*path, *given(path), closed=True, **NARROW)
        check(plain, path, codes=(0, 2) if path in CHANGES else (0, 1) if path == ("doctor",) else (0,))
        if path in HAS_JSON:
            shown = many.run(*path, "--json", *given(path), closed=True, **NARROW)
            check(shown, path, codes=(0, 2) if path in CHANGES else (0, 1) if path == ("doctor",) else (0,))
            if shown["code"] != 2:
                json.loads(shown["out"])


def test_every_command_may_have_its_output_closed_early(many: Commands) -> None:
    for path in COMMANDS:
        flags = ["--json"] if path in HAS_JSON else []
        check(many.run(*path, *flags, *given(path), read=len(flags)), path)
    check(many.run("--help", read=1), "--help")


def test_every_command_answers_what_names_nothing_with_one_sentence(many: Commands) -> None:
    for path in COMMANDS:
        ended = many.run(*path, *unknown(path))
        check(ended, path)
        if (
            any(isinstance(p, click.Argument) and p.required for p in command_of(path).params)
            or path in LASTS
        ) and ended["code"]:
            check_sentence(ended, path)
            assert ended["code"] == 2, (path, ended)
        nonsense = many.run(*path, "--no-such-option")
        check(nonsense, path, codes=(2,))
        check_sentence(nonsense, path)
        if path in HAS_DB:
            elsewhere = many.run(*path, *given(path), "--db", "no/such/folder/runs.db")
            check(elsewhere, path, codes=(0,) if path == ("doctor",) else (2, 3))
            if path != ("doctor",):
                check_sentence(elsewhere, path)


def test_every_command_tells_what_it_is_for_in_forty_columns(many: Commands) -> None:
    for path in ((), *COMMANDS):
        ended = many.run(*path, "--help", **NARROW)
        check(ended, path, codes=(0,))
        assert ended["out"].startswith("Usage: agent-runtime"), ended
        assert ended["err"] == ""


def test_every_command_works_on_a_service_or_says_in_a_sentence_that_it_does_not(many: Commands) -> None:
    """That of the environment, where nobody listens."""
    alone = {("demo",), ("trust",), ("policy", "check"), ("policy", "explain")}
    for path in COMMANDS:
        ended = many.run(*path, *given(path), AGENT_RUNTIME_SERVER="http://127.0.0.1:9")
        if path in HAS_SERVER - alone:
            check(ended, path, codes=(3,))
            assert "the service does not answer" in ended["err"], (path, ended)
            check_sentence(ended, path)
        elif path not in alone:
            check(ended, path, codes=(2,))
            assert "works on a database, not over HTTP" in ended["err"], (path, ended)
            check_sentence(ended, path)
        if path in HAS_DB - HAS_SERVER:
            said = many.run(*path, *given(path), "--server", "http://127.0.0.1:9")
            check(said, path, codes=(2,))
            assert "works on a database, not over HTTP" in said["err"], (path, said)


async def test_a_worker_whose_output_is_closed_works_and_ends(cli: CommandLine) -> None:
    (cli.folder / "own.py").write_text(OWN, encoding="utf-8")
    running = await cli.start("worker", "--app", "own:make", "--db", "runs.db")
    await running.prints("executes")
    running.process.send_signal(signal.SIGTERM)
    assert (await running.end()).code == 0
    closed = await cli.shell(
        'timeout --preserve-status -s TERM 3 "$@" >&-', "worker", "--app", "own:make", "--db", "runs.db"
    )
    assert (closed.code, "Traceback" in closed.err) == (0, False), closed.err
