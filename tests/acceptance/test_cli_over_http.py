"""Operators without access to the database: every command says the same over HTTP as on the database, or says that it cannot."""

from __future__ import annotations

import asyncio
import json
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    Budget,
    ExecutionRequest,
    LedgerEntry,
    NondeterminismError,
    OperatorContext,
    Role,
    ScheduledMessage,
    ScheduleRules,
    Timing,
)
from agent_runtime.ports.commit import Commit
from agent_runtime.storage.sqlite import SQLiteStorage
from support.cli import BOUND, CommandLine
from support.commands import Commands
from support.kernels import QUICK, kernel, pending, status_becomes

pytestmark = [pytest.mark.timeout(BOUND * 3), pytest.mark.xdist_group("cli-over-http")]

TEXT = "日本 – ❤ \x1b[31m"
SHOP = f"""
from agent_runtime import ActionSpec, KernelOptions, NondeterminismError, RuntimeKernel

async def op(context, given):
    if given == "fail":
        raise ValueError("no such thing")
    if given == "ask":
        spec = ActionSpec(type="choose", payload={{"message": "which colour?", "choices": ["red", "blue"]}})
        return (await context.action(spec)).resolution
    return {{"text": {TEXT!r}, "got": given}}

async def blocks(context, given):
    raise NondeterminismError("this code does not fit")

def make():
    operators = {{"op": op, "blocks": blocks}}
    return RuntimeKernel(storage="sqlite:///runs.db", operators=operators, options=KernelOptions(code_version="v1"))
"""
POLICY = "rules: [{name: no shell, tool: shell_*, decision: deny, reason: too sharp}]\n"
BUDGETS = "budgets: [{scope_id: acme, max_cost_daily: 5}, {max_tokens_total: 7}]\n"
_ID = re.compile(r"\b(job|act|message)-[0-9a-z]{8,}|\b1[0-9a-f]{16}\b|ark_[\w-]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?")


async def op(context: OperatorContext, given: Any) -> Any:
    if given == "fail":
        raise ValueError("no such thing")
    if given == "ask":
        spec = ActionSpec(
            type="choose",
            payload={"message": "which colour?", "choices": ["red", "blue"]},
            timeout_seconds=9000,
        )
        return (await context.action(spec)).resolution
    return {"text": TEXT, "got": given}


async def blocks(context: OperatorContext, given: Any) -> Any:
    raise NondeterminismError("this code does not fit")


def entry(number: int, **fields: Any) -> LedgerEntry:
    told: dict[str, Any] = {
        "entry_id": f"e{number}",
        "type": "model_usage",
        "scope_id": "acme",
        "timestamp": datetime(2026, 11, number, tzinfo=UTC),
        "provider": "openai",
        "model": "gpt-5.2",
        "cost": Decimal("0.0000012345"),
    }
    return LedgerEntry(**told | fields)


async def fill(path: Path) -> dict[str, str]:
    """Make a database with jobs of every kind, each of those that commands change twice: for the database, and for the service."""
    names: dict[str, str] = {}
    storage = SQLiteStorage(path, durability="process")
    async with kernel(storage, operators=[op, blocks], options=replace(QUICK, code_version="v1")) as k:

        async def made(name: str, given: Any, status: str, operator: str = "op", **more: Any) -> str:
            request = ExecutionRequest(operator=operator, input=given, scope_id="acme", **more)
            handle = await k.execute(request)
            await status_becomes(handle, status)
            names[name] = handle.job_id
            if status == "waiting_action":
                names[f"{name}-ASKS"] = (await pending(handle)).action_id
            return handle.job_id

        done = await made(
            "DONE", {"big": 2**80, "text": TEXT}, "succeeded", tags={"team": "support"}, priority=3
        )
        await made("FAILED", "fail", "failed", principal_id="ann", session_id="s1", metadata={"a": [1, TEXT]})
        await made("ASKING", "ask", "waiting_action", identity="desk", deadline_seconds=900_000)
        for scope, name, timing in (
            ("acme", "daily", Timing(cron="30 9 * * *", timezone="Europe/Berlin")),
            ("default", "tick", Timing(every=864_000)),
            ("twins1", "a", Timing(cron="@yearly")),
            ("twins2", "a", Timing(cron="@yearly")),
        ):
            request = ExecutionRequest(operator="op", input={"text": TEXT}, scope_id=scope)
            await k.schedules.put(name, request, timing, rules=ScheduleRules(max_per_day=3))
        for twin in "12":
            message = ScheduledMessage(identity="desk", body=TEXT)
            await k.schedules.put(f"twin{twin}", message, Timing(cron="@yearly"))
            for name in ("WAITING", "ANSWERED", "CHOSEN"):
                await made(f"{name}{twin}", "ask", "waiting_action")
            await made(f"BROKEN{twin}", "fail", "failed")
            await made(f"BLOCKED{twin}", None, "blocked", operator="blocks")
            for name in ("ROTATED", "REVOKED"):
                key, _ = await k.keys.create(name=name, role=Role.VIEWER, scope_id="acme", principal_id="ann")
                names[f"{name}{twin}"] = key.key_id
        await k.ledger.save_budget(Budget(scope_id="acme", max_cost_daily="5.50", max_tokens_total=100))
        await k.ledger.save_budget(Budget(scope_id="*", principal_id="*", max_requests_daily=9))
        await k.ledger.save_budget(Budget(max_cost_total="1000"))
        entries = [
            entry(1, job_id=done, cost=None, price_source=None),
            entry(2, uncertain=True, metadata={"service_tier": "priority"}, price_source="prices 2026-11"),
            entry(3, status="adjusted", cost=Decimal("-0.0000000001"), metadata={"was": "uncertain"}),
            entry(4, scope_id="other", principal_id="=ann", agent="desk"),
        ]
        await storage.commit(Commit(at=storage.clock.now(), ledger=entries))
        for role in Role:
            names[f"KEY-{role}"] = (await k.keys.create(name=role, role=role, scope_id=None))[1]
        names["KEY-acme"] = (
            await k.keys.create(name="acme", role=Role.ADMIN, scope_id="acme", principal_id="ben")
        )[1]
    await storage.aclose()
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """A database, and a service of it in a process of its own."""

    commands: Commands
    names: Mapping[str, str]
    folder: Path
    url: str

    def on_database(self, *arguments: str, **environment: str) -> dict[str, Any]:
        return self._told(self.commands.run(*arguments, "--db", "runs.db", **environment))

    def over_http(self, *arguments: str, key: str = "KEY-admin", **environment: str) -> dict[str, Any]:
        secret = self.names.get(key, key)
        ended = self.commands.run(
            *arguments, AGENT_RUNTIME_SERVER=self.url, AGENT_RUNTIME_API_KEY=secret, **environment
        )
        assert secret not in ended["out"] + ended["err"]
        return self._told(ended)

    def _told(self, ended: dict[str, Any]) -> dict[str, Any]:
        """Return what a command said, without what tells another one where to look."""
        err = ended["err"].replace(f" --db {self.folder}/runs.db", "")
        out = ended["out"].replace(f" --db {self.folder}/runs.db", "")
        return {"code": ended["code"], "out": out, "err": err}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both")
    cli = CommandLine(folder, PYTHONIOENCODING="utf-8", TZ="UTC", USER="ada", LOGNAME="ada")
    for name, text in {"shop.py": SHOP, "policy.yaml": POLICY, "budgets.yaml": BUDGETS}.items():
        (folder / name).write_text(text, encoding="utf-8")
    names = asyncio.run(fill(folder / "runs.db"))
    with Commands(cli, names) as commands, serving(cli) as url:
        yield Both(commands=commands, names=names, folder=folder, url=url)


class serving:  # noqa: N801 -- reads as what it does
    """A service of the folder's application, in a process of its own."""

    def __init__(self, cli: CommandLine, *arguments: str) -> None:
        self._cli = cli
        self._arguments = arguments

    def __enter__(self) -> str:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "agent_runtime.cli",
                "serve",
                "--app",
                "shop:make",
                "--port",
                "0",
                *self._arguments,
            ],
            cwd=self._cli.folder,
            env={**self._cli.environment, "PYTHONPATH": str(self._cli.folder)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], BOUND)[0]
        return self._process.stdout.readline().split()[2].rstrip(";")

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            assert self._process.wait(BOUND) == 0
        finally:
            self._process.kill()
            self._process.communicate()


def without_ids(text: str) -> str:
    """Return an output with what differs from twin to twin taken out of it."""
    return re.sub(r"(KEY|other|me|desk|n|bad)[12]\b", r"\1", _TIME.sub("TIME", _ID.sub("ID", text)))


def difference(
    arguments: Sequence[str],
    here: Mapping[str, Any],
    there: Mapping[str, Any],
    *,
    plain: Callable[[str], str] = str,
) -> list[str]:
    """Return what a command has said otherwise over HTTP."""
    if here["code"] != there["code"]:
        return [f"{arguments}: ends with {there['code']} instead of {here['code']}: {there['err']}"]
    lines = [plain(ended["out"] + ended["err"]).splitlines() for ended in (here, there)]
    told = list(unified_diff(*lines, "database", "service", n=0, lineterm=""))
    return [f"{arguments}:", *told] if told else []


READS: Sequence[Sequence[str]] = [
    ("jobs", "list"),
    ("jobs", "list", "--json"),
    ("jobs", "list", "--limit", "2"),
    ("jobs", "list", "--status", "failed", "--status", "blocked", "--scope", "acme"),
    ("jobs", "list", "--tag", "team=support", "--since", "1d", "--operator", "op"),
    ("jobs", "list", "--principal", "ann", "--session", "s1", "--json"),
    ("jobs", "list", "--before", "DONE"),
    ("jobs", "list", "--before", "nobody"),
    ("jobs", "list", "--scope", "nobody"),
    ("jobs", "show", "DONE"),
    ("jobs", "show", "DONE", "--json"),
    ("jobs", "show", "FAILED", "--events"),
    ("jobs", "show", "FAILED", "--events", "--json"),
    ("jobs", "show", "ASKING"),
    ("jobs", "show", "ASKING", "--json"),
    ("jobs", "show", "nobody"),
    ("jobs", "result", "DONE"),
    ("jobs", "result", "DONE", "--json"),
    ("jobs", "result", "FAILED"),
    ("jobs", "result", "ASKING"),
    ("jobs", "resume", "DONE"),
    ("jobs", "resume", "FAILED"),
    ("jobs", "resume", "nobody"),
    ("jobs", "cancel", "DONE"),
    ("jobs", "cancel", "nobody"),
    ("jobs", "retry", "DONE"),
    ("jobs", "unblock", "DONE"),
    ("actions", "list"),
    ("actions", "list", "--json", "--all"),
    ("actions", "list", "--limit", "1"),
    ("actions", "list", "--job", "ASKING", "--scope", "acme"),
    ("actions", "list", "--job", "nobody"),
    ("actions", "list", "--before", "nobody"),
    ("actions", "show", "ASKING-ASKS"),
    ("actions", "show", "nobody"),
    ("actions", "resolve", "nobody", "--approve"),
    ("actions", "resolve", "ASKING-ASKS", "--approve"),
    ("actions", "resolve", "ASKING-ASKS", "--choice", "green"),
    ("budgets",),
    ("budgets", "list", "--json"),
    ("budgets", "--scope", "acme", "--principal", "ann"),
    ("budgets", "--scope", "nobody", "--json"),
    ("budgets", "set", "--scope", "acme", "--max-cost-daily", "3", "--dry-run"),
    ("budgets", "apply", "budgets.yaml", "--prune", "--dry-run", "--json"),
    ("budgets", "remove", "--scope", "nobody"),
    ("costs",),
    ("costs", "--json", "--by", "model", "--by", "tier", "--by", "price"),
    ("costs", "--csv", "--by", "principal", "--by", "agent", "--by", "day"),
    ("costs", "--job", "DONE"),
    ("costs", "--job", "DONE", "--scope", "other"),
    ("costs", "--job", "nobody"),
    ("costs", "--scope", "acme", "--since", "2026-11-02", "--until", "2026-11-03"),
    ("schedules", "list"),
    ("schedules", "list", "--json", "--scope", "acme"),
    ("schedules", "list", "--limit", "1"),
    ("schedules", "show", "daily", "--scope", "acme"),
    ("schedules", "show", "daily", "--scope", "acme", "--json"),
    ("schedules", "show", "tick"),
    ("schedules", "show", "nobody"),
    ("schedules", "log", "tick"),
    ("schedules", "log", "tick", "--json"),
    ("schedules", "log", "nobody"),
    ("schedules", "next", "--limit", "3"),
    ("schedules", "next", "--json", "--scope", "acme"),
    ("schedules", "pause"),
    ("schedules", "pause", "nobody"),
    ("schedules", "remove", "nobody"),
    ("keys", "list", "--all"),
    ("keys", "list", "--limit", "1", "--scope", "acme"),
    ("keys", "revoke", "nobody"),
    ("logs", "summary", "--since", "2026-01-01", "--until", "2036-01-01"),
    ("logs", "summary", "--since", "2026-01-01", "--until", "2036-01-01", "--scope", "acme", "--json"),
    ("logs", "summary", "--since", "2026-01-01", "--until", "2036-01-01", "--report", "nobody's", "--json"),
    ("logs", "delete", "nobody"),
    ("keys", "rotate", "REVOKED1", "--scope", "other"),
]


@pytest.mark.parametrize("noun", sorted({arguments[0] for arguments in READS}))
def test_what_is_looked_at_is_the_same(both: Both, noun: str) -> None:
    found = []
    for arguments in READS:
        if arguments[0] != noun:
            continue
        here, there = both.on_database(*arguments), both.over_http(*arguments)
        found += difference(arguments, here, there)
        assert here["code"] in (0, 1, 2), (arguments, here)
    assert not found, "\n".join(found)


CHANGES: Sequence[Sequence[str]] = [
    (
        "jobs",
        "submit",
        "op",
        '{"a": 1}',
        "--scope",
        "acme",
        "--key",
        "KEY{twin}",
        "--tag",
        "team=a",
        "--max-cost",
        "0.50",
    ),
    ("jobs", "submit", "op", "2", "--key", "other{twin}", "--deadline", "900", "--priority", "2"),
    ("jobs", "submit", "op", "--policy", "no-such-policy"),
    (
        "jobs",
        "submit",
        "op",
        "--scope",
        "acme",
        "--principal",
        "ann",
        "--queue",
        "slow",
        "--identity",
        "me{twin}",
    ),
    ("jobs", "cancel", "WAITING{twin}", "--reason", "no more"),
    ("jobs", "retry", "BROKEN{twin}", "--new-keys"),
    ("jobs", "retry", "BROKEN{twin}"),
    ("jobs", "unblock", "BLOCKED{twin}"),
    ("actions", "resolve", "ANSWERED{twin}-ASKS", "--json", '{"choice": "red"}', "--by", "ann"),
    ("actions", "resolve", "ANSWERED{twin}-ASKS", "--choice", "blue"),
    ("actions", "resolve", "CHOSEN{twin}-ASKS", "--choice", "blue", "--reason", "nicer", "--by", "ann"),
    ("schedules", "pause", "twin{twin}"),
    ("schedules", "resume", "twin{twin}"),
    ("schedules", "pause", "--all", "--scope", "twins{twin}"),
    ("schedules", "resume", "--all", "--scope", "twins{twin}"),
    ("schedules", "remove", "twin{twin}"),
    ("send", "desk{twin}", '{"a": 1}', "--scope", "acme", "--dedupe-key", "k"),
    ("send", "desk{twin}", '{"a": 1}', "--scope", "acme", "--dedupe-key", "k"),
    ("send", "desk{twin}", "2", "--scope", "acme"),
    ("send", "desk{twin}", "3"),
    ("logs", "delete", "BROKEN{twin}", "--scope", "acme"),
    ("logs", "delete", "BROKEN{twin}"),
    ("keys", "create", "ci", "--role", "viewer", "--scope", "acme", "--expires", "12h"),
    ("keys", "create", "all", "--role", "operator", "--all-scopes", "--principal", "ann"),
    ("keys", "rotate", "ROTATED{twin}", "--overlap", "1h", "--scope", "acme"),
    ("keys", "rotate", "ROTATED{twin}"),
    ("keys", "revoke", "REVOKED{twin}", "--scope", "acme"),
    (
        "budgets",
        "set",
        "--name",
        "n{twin}",
        "--scope",
        "acme",
        "--max-cost-daily",
        "3.10",
        "--on-exceed",
        "wait",
    ),
    ("budgets", "set", "--name", "n{twin}", "--scope", "acme", "--max-cost-daily", "4", "--json"),
    ("budgets", "set", "--name", "bad{twin}", "--timezone", "Nowhere/At_all", "--max-cost-daily", "4"),
    ("budgets", "remove", "--name", "n{twin}", "--scope", "acme"),
]
"""What changes something, of one of two twins."""


@pytest.mark.parametrize("noun", sorted({arguments[0] for arguments in CHANGES}))
def test_what_is_changed_is_the_same(both: Both, noun: str) -> None:
    found = []
    for arguments in CHANGES:
        if arguments[0] != noun:
            continue
        here = both.on_database(*(one.replace("{twin}", "1") for one in arguments))
        there = both.over_http(*(one.replace("{twin}", "2") for one in arguments))
        found += difference(arguments, here, there, plain=without_ids)
        assert "Traceback" not in here["err"] + there["err"], (arguments, here, there)
    assert not found, "\n".join(found)


def test_a_submission_tells_its_job_as_json(both: Both) -> None:
    arguments = ("jobs", "submit", "op", "3", "--json", "--key", "json")
    there = both.over_http(*arguments)
    assert json.loads(there["out"])["is_known"] is True
    assert set(json.loads(there["out"])) == set(json.loads(both.on_database(*arguments)["out"]))


def test_each_key_works_in_its_own_scope_and_as_its_own_person(both: Both) -> None:
    made = both.over_http("jobs", "submit", "op", '"ask"', key="KEY-acme")
    job = made["out"].strip()
    shown = json.loads(both.over_http("jobs", "show", job, "--json", key="KEY-acme")["out"])
    assert (shown["scope_id"], shown["principal_id"]) == ("acme", "ben")
    named = both.over_http("jobs", "submit", "op", "--scope", "other", key="KEY-acme")
    assert (named["code"], "this key is for another scope" in named["err"]) == (2, True)
    asked = json.loads(both.over_http("jobs", "show", job, "--json")["out"])["pending_actions"]
    as_ann = both.over_http("actions", "resolve", *asked, "--choice", "red", "--by", "ann", key="KEY-acme")
    assert (as_ann["code"], "answers for nobody else" in as_ann["err"]) == (2, True)
    answered = both.over_http("actions", "resolve", *asked, "--choice", "red", key="KEY-acme")
    assert answered["out"] == f"{asked[0]} is resolved by ben\n"
    created = both.over_http("keys", "create", "x", "--role", "viewer", "--scope", "acme", "--by", "ann")
    assert "with a server leave --by out" in created["err"]


async def test_a_job_is_followed_and_answered_at_a_terminal(both: Both) -> None:
    cli = CommandLine(both.folder, AGENT_RUNTIME_API_KEY=both.names["KEY-acme"])
    job = both.over_http("jobs", "submit", "op", '"ask"', "--scope", "acme")["out"].strip()
    terminal = await cli.at_terminal("jobs", "resume", job, "--server", both.url)
    await terminal.shows("which of red, blue? ")
    assert f"--choice red --server {both.url}" in terminal.screen
    terminal.type("blue")
    assert await terminal.end() == 0
    assert '{"choice": "blue"}' in terminal.screen
    assert "resolved by ben" in terminal.screen


async def test_who_leaves_a_job_that_others_execute_is_told_that_it_goes_on(both: Both) -> None:
    cli = CommandLine(both.folder, AGENT_RUNTIME_API_KEY=both.names["KEY-acme"])
    running = await cli.start("jobs", "resume", both.names["ASKING"], "--server", both.url)
    await running.says("from any other terminal")
    running.interrupt()
    ended = await running.end()
    assert ended.code == 130
    assert "the job goes on" in ended.err
    assert f"jobs resume {both.names['ASKING']} --server {both.url}" in ended.err


def test_the_policy_of_a_service_is_explained(both: Both) -> None:
    told = both.over_http("policy", "explain", "tool", "shell_run")
    assert (told["code"], "allow" in told["out"]) == (0, True)
    as_json = both.over_http("policy", "explain", "tool", "shell_run", "--json", "--scope", "acme")
    assert json.loads(as_json["out"])["decision"] == "allow"
    of_file = both.over_http("policy", "explain", "policy.yaml", "tool", "shell_run")
    assert "too sharp" in of_file["out"]
    nowhere = both.commands.run("policy", "explain", "tool", "shell_run")
    assert (nowhere["code"], "whose policy?" in nowhere["err"]) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (("jobs", "list"), {"AGENT_RUNTIME_API_KEY": ""}, 2, "the service asks for a key: set AGENT_RUNTIME_API_KEY"),
        (("jobs", "list"), {"AGENT_RUNTIME_API_KEY": "ark_x_y"}, 2, "does not know this key, or it holds no more"),
        (("jobs", "list"), {"AGENT_RUNTIME_API_KEY": "two words é"}, 2, "this is no API key"),
        (("jobs", "list"), {"AGENT_RUNTIME_SERVER": "http://127.0.0.1:9"}, 3, "the service does not answer"),
        (("jobs", "list"), {"AGENT_RUNTIME_SERVER": "{url}/elsewhere"}, 3, "no service of agent-runtime, or one of another release"),
        (("jobs", "list"), {"AGENT_RUNTIME_SERVER": "agents.example.com"}, 2, "--server is an address such as"),
        (("jobs", "list"), {"AGENT_RUNTIME_SERVER": "https://ark_a_b@agents.example.com"}, 2, "an address and nothing else"),
        (("jobs", "list", "--db", "runs.db", "--server", "{url}"), {}, 2, "exclude each other"),
        (("jobs", "list", "--key-file", "no-such-file"), {}, 2, "the key cannot be read from 'no-such-file'"),
        (("jobs", "list", "--key-file", "policy.yaml"), {}, 2, "does not hold a key"),
        (("jobs", "list", "--key-file", "shop.key"), {"AGENT_RUNTIME_SERVER": ""}, 2, "--key-file goes with --server"),
        (("jobs", "resume", "DONE", "--model", "a:b"), {}, 2, "executed by its workers"),
        (("migrate", "--server", "{url}"), {}, 2, "works on a database, not over HTTP"),
        (("--server", "{url}", "prune", "--older-than", "9000"), {}, 2, "works on a database, not over HTTP"),
        (("logs", "list"), {}, 2, "works on a database, not over HTTP, and AGENT_RUNTIME_SERVER is set"),
        (("doctor",), {}, 2, "AGENT_RUNTIME_SERVER is set: name the database with --db, or unset it"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_sentence(
    both: Both, arguments: Sequence[str], environment: Mapping[str, str], code: int, said: str
) -> None:
    known = {"AGENT_RUNTIME_SERVER": both.url, "AGENT_RUNTIME_API_KEY": both.names["KEY-admin"]}
    given = {name: value.replace("{url}", both.url) for name, value in environment.items()}
    ended = both.commands.run(*(one.replace("{url}", both.url) for one in arguments), **(known | given))
    assert (ended["code"], said in ended["err"]) == (code, True), ended
    assert ended["out"] == ""
    assert "ark_" not in ended["err"]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER])
def test_a_role_that_may_not_is_told_so(both: Both, role: Role) -> None:
    ended = both.over_http("jobs", "cancel", "ASKING", key=f"KEY-{role}")
    assert ended["code"] == 2
    assert f"the role {role} may not operate; that takes another key than this one" in ended["err"]


def test_keys_are_read_from_files_and_an_open_line_is_warned_of(both: Both) -> None:
    file = both.folder / "shop.key"
    file.write_text(f"{both.names['KEY-viewer']}\r\n", encoding="utf-8")
    by_option = both.commands.run("jobs", "list", "--server", both.url, "--key-file", "shop.key", "--json")
    before = both.commands.run("--server", both.url, "--key-file", "shop.key", "jobs", "list", "--json")
    by_name = both.commands.run(
        "jobs", "list", "--json", AGENT_RUNTIME_SERVER=both.url, AGENT_RUNTIME_API_KEY_FILE=str(file)
    )
    assert by_option["out"] == before["out"] == by_name["out"] != ""
    assert by_option["err"] == before["err"] == by_name["err"] == ""
    readable = both.url.replace("127.0.0.1", "0.0.0.0")
    warned = both.commands.run("jobs", "list", "--server", readable, "--key-file", "shop.key", "--json")
    assert warned["err"].count("is not encrypted") == 1
    assert warned["out"] == by_option["out"]
    more = both.commands.run("jobs", "list", "--server", both.url, "--key-file", "shop.key", "--limit", "1")
    assert more["code"] == 0
    shown = both.commands.run(
        "actions", "show", "ASKING-ASKS", "--server", both.url, "--key-file", "shop.key"
    )
    assert f"--server {both.url} --key-file {file}" in shown["out"]


def test_what_a_list_of_the_service_leaves_out_is_asked_for(both: Both) -> None:
    tags = [f"--tag=t{number}={'x' * 2_000}" for number in range(20)]
    made = both.over_http("jobs", "submit", "op", "1", "--scope", "long", *tags)
    assert made["code"] == 0, made
    found = [
        both_ways("jobs", "list", "--scope", "long", "--json")
        for both_ways in (both.on_database, both.over_http)
    ]
    assert [len(json.loads(one["out"])[0]["tags"]) for one in found] == [20, 20]
