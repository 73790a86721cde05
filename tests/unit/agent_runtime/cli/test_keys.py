"""Making, listing, rotating and revoking API keys from the command line."""

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_runtime import ApiKey, ApiKeyManager, InvalidInput, UnknownKey
from agent_runtime.cli.commands.keys import keys
from agent_runtime.cli.commands.prune import prune
from agent_runtime.errors import ConfigurationError, InvalidTransition
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.sqlite import SQLiteStorage


def using(database: Path, use: Callable[[ApiKeyManager, Storage], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        storage = SQLiteStorage(database)
        await storage.open()
        manager = ApiKeyManager(storage)
        try:
            return await use(manager, storage)
        finally:
            await manager.aclose()
            await storage.aclose()

    return asyncio.run(run())


def found(database: Path, text: str) -> ApiKey | None:
    """Return the key that a text opens."""

    async def use(manager: ApiKeyManager, storage: Storage) -> ApiKey | None:
        return await manager.authenticate(text)

    key: ApiKey | None = using(database, use)
    return key


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"

    async def nothing(manager: ApiKeyManager, storage: Storage) -> None:
        """Make the tables."""

    using(path, nothing)
    return path


def run(*arguments: str, db: Path, command: Any = keys) -> Result:
    result = CliRunner().invoke(command, [*arguments, "--db", str(db)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def made(database: Path, *arguments: str, name: str = "ci", scope: str | None = "a") -> str:
    whose = ("--all-scopes",) if scope is None else ("--scope", scope)
    done = run("create", name, "--role", "operator", *whose, *arguments, db=database)
    assert done.exit_code == 0
    return done.stdout.strip()


def listed(database: Path, *arguments: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(run("list", "--json", *arguments, db=database).stdout)
    return told


def test_the_text_of_a_new_key_stands_alone_on_standard_output(database: Path) -> None:
    done = run(
        *("create", "web shop", "--role", "approver", "--scope", "acme", "--principal", "ada"),
        *("--expires", "30d", "--by", "grace"),
        db=database,
    )
    assert re.fullmatch(r"ark_[0-9a-f]{17}_[\w-]{43}\n", done.stdout)
    key = found(database, done.stdout.strip())
    assert key is not None
    assert (key.name, key.role, key.scope_id, key.principal_id, key.created_by) == (
        "web shop",
        "approver",
        "acme",
        "ada",
        "grace",
    )
    assert key.expires_at is not None
    assert abs(key.expires_at - key.created_at - timedelta(days=30)) < timedelta(seconds=10)
    assert f"key {key.key_id}: approver of acme, until " in done.stderr
    assert "shown this once" in done.stderr
    assert done.stdout.strip()[-43:] not in done.stderr


def test_a_key_for_every_scope_is_asked_for_in_words(database: Path) -> None:
    key = found(database, made(database, scope=None))
    assert key is not None
    assert key.scope_id is None
    for whose in ((), ("--scope", "a", "--all-scopes")):
        refused = run("create", "ci", "--role", "admin", *whose, db=database)
        assert refused.exit_code == 2
        assert "--scope SCOPE or --all-scopes" in refused.output
    assert run("create", "ci", "--scope", "a", db=database).exit_code == 2  # without a role
    assert run("create", "ci", "--scope", "a", "--role", "king", db=database).exit_code == 2


@pytest.mark.parametrize("length", ["", "30", "d", "-1d", "1.5d", "30 d", "9" * 9 + "d", "x"])
def test_what_is_no_length_of_time_is_refused(database: Path, length: str) -> None:
    refused = run("create", "ci", "--role", "admin", "--scope", "a", "--expires", length, db=database)
    assert refused.exit_code == 2
    assert "no length of time" in refused.output
    assert listed(database, "--all") == []


@pytest.mark.parametrize("length", ["0s", "999999d"])
def test_a_key_expires_in_a_time_to_come(database: Path, length: str) -> None:
    with pytest.raises(InvalidInput, match="expires_at"):
        made(database, "--expires", length)


def test_keys_that_hold_are_listed_and_the_others_when_they_are_asked_for(database: Path) -> None:
    first, second = made(database, name="one"), made(database, name="two", scope="b")
    made(database, name="three", scope=None)
    key_id = first.split("_")[1]
    run("revoke", key_id, db=database)
    found(database, second)

    table = run("list", db=database).stdout
    assert table.splitlines()[0].split() == (
        ["key", "name", "role", "scope", "made", "last", "used", "state"]
    )
    assert "one" not in table
    assert "every scope" in table
    assert [key["name"] for key in listed(database)] == ["two", "three"]
    assert [key["name"] for key in listed(database, "--all")] == ["one", "two", "three"]
    assert [key["name"] for key in listed(database, "--scope", "b")] == ["two"]
    (revoked,) = listed(database, "--all", "--scope", "a")
    assert (revoked["state"], revoked["scope_id"], revoked["role"]) == ("revoked", "a", "operator")
    assert datetime.fromisoformat(revoked["revoked_at"]) >= datetime.fromisoformat(revoked["created_at"])
    assert not {first[-43:], second[-43:]} & set(re.findall(r"[\w-]{43}", str(listed(database, "--all"))))
    assert run("list", "--scope", "nobody", db=database).stdout == "no key holds\n"


def test_a_list_is_read_in_pages(database: Path) -> None:
    for number in range(5):
        made(database, name=str(number))
    everyone = [key["key_id"] for key in listed(database)]
    first = run("list", "--limit", "2", db=database)
    assert f"more: --after {everyone[1]}" in first.stderr
    rest = listed(database, "--after", everyone[1])
    assert [key["key_id"] for key in rest] == everyone[2:]
    assert "more" not in run("list", "--limit", "5", db=database).stderr


def test_names_write_nothing_to_the_terminal(database: Path) -> None:
    made(database, name="\u202eeman", scope="\u2066s")
    shown = run("list", db=database).stdout
    assert "\\u202eeman" in shown
    assert "\\u2066s" in shown


def test_a_rotated_key_holds_for_the_overlap(database: Path) -> None:
    old = made(database, "--principal", "ada")
    key_id = old.split("_")[1]
    done = run("rotate", key_id, "--overlap", "1h", "--by", "grace", db=database)
    new = found(database, done.stdout.strip())
    assert new is not None
    assert (new.name, new.principal_id, new.created_by) == ("ci", "ada", "grace")
    assert f"in the place of {key_id}, which ends at " in done.stderr
    assert found(database, old) is not None
    states = {key["key_id"]: key["state"] for key in listed(database)}
    assert states == {key_id: "is replaced", new.key_id: "holds"}

    at_once = run("rotate", new.key_id, db=database)
    assert found(database, done.stdout.strip()) is None
    assert found(database, at_once.stdout.strip()) is not None
    with pytest.raises(InvalidTransition):
        run("rotate", new.key_id, db=database)
    assert {key["state"] for key in listed(database, "--all")} == {"is replaced", "replaced", "holds"}


def test_a_revoked_key_opens_nothing(database: Path) -> None:
    text = made(database)
    done = run("revoke", text.split("_")[1], "--by", "grace", db=database)
    assert done.stdout.startswith(f"{text.split('_')[1]} is revoked")
    assert found(database, text) is None

    async def trail(manager: ApiKeyManager, storage: Storage) -> list[tuple[str, Any]]:
        return [(entry.kind, entry.data["by"]) for entry in await storage.trail("a")]

    assert using(database, trail)[1:] == [("key.revoked", "grace")]


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_another_scopes_key_is_not_there(database: Path, command: str) -> None:
    key_id = made(database, scope="b").split("_")[1]
    for arguments in ((key_id, "--scope", "a"), ("none",)):
        with pytest.raises(UnknownKey):
            run(command, *arguments, db=database)
    assert [key["state"] for key in listed(database, "--all")] == ["holds"]


def test_a_name_that_is_a_secret_is_refused(database: Path) -> None:
    with pytest.raises(InvalidInput, match="looks like a secret"):
        made(database, name=made(database))


def test_keys_that_ended_long_ago_are_pruned(database: Path) -> None:
    kept, gone = made(database), made(database)
    run("revoke", gone.split("_")[1], db=database)
    assert "0 API keys deleted" in run("--keys-older-than", "1", db=database, command=prune).stdout
    assert "1 API key deleted" in run("--keys-older-than", "0", db=database, command=prune).stdout
    assert [key["key_id"] for key in listed(database, "--all")] == [kept.split("_")[1]]


APPLICATIONS = """
from agent_runtime import Runtime, RuntimeKernel
from agent_runtime.settings import Settings

named = RuntimeKernel(storage="sqlite:///own place.db")
in_memory = RuntimeKernel()
settled = Runtime(Settings(storage="sqlite:///settled.db", model=None))


async def made():
    return RuntimeKernel(storage="sqlite:///made.db")
"""


@pytest.mark.parametrize(
    ("name", "file"), [("named", "own place.db"), ("settled", "settled.db"), ("made", "made.db")]
)
def test_a_key_is_made_in_the_database_that_an_application_names(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"shop_of_{name}"
    (tmp_path / f"{module}.py").write_text(APPLICATIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    asked = ["create", "ci", "--role", "viewer", "--scope", "a", "--app", f"{module}:{name}"]
    done = CliRunner().invoke(keys, asked)
    assert done.exit_code == 0, done.output
    key = found(tmp_path / file, done.stdout.strip())
    assert key is not None
    assert key.name == "ci"


def test_a_key_is_made_in_no_memory_and_in_no_two_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_in_memory.py").write_text(APPLICATIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    asked = ["create", "ci", "--role", "viewer", "--scope", "a", "--app", "shop_in_memory:in_memory"]
    refused = CliRunner().invoke(keys, asked)
    assert isinstance(refused.exception, ConfigurationError)
    assert "kernel.keys.create" in str(refused.exception)
    both = CliRunner().invoke(keys, [*asked, "--db", "x.db"])
    assert both.exit_code == 2
    assert "--app, --db or --server" in both.output
