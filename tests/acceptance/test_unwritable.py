"""A database that cannot be written: what was paid for is printed, and the cause is named."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.cli import BOUND, CommandLine, Ended, bound_by_permissions
from support.loopback import LoopbackServer, sse_reply
from support.wire import openai_chat

pytestmark = pytest.mark.timeout(BOUND * 2)
ANSWER = "Grüße aus Köln 🎉"
TEXT = sse_reply(*(f"data: {json.dumps(chunk)}\n\n" for chunk in openai_chat.TEXT_STREAM), "data: [DONE]\n\n")
OWN = """
from agent_runtime import Runtime, Settings

async def op(context, given):
    return "paid for"

def make():
    return Runtime(Settings.load(), operators={"op": op})
"""
MOUNTED = 'mount --bind kept kept && mount -o remount,bind,ro kept && exec "$@"'


class Kept:
    """A database in a folder that cannot be written.

    Args:
        cli: Where the folder is.
        how: `mount`, or `permissions`.
    """

    def __init__(self, cli: CommandLine, how: str) -> None:
        self._cli = cli
        self._how = how

    async def run(self, *arguments: str) -> Ended:
        """Run a command on it."""
        command = (*arguments, "--db", "kept/runs.db")
        if self._how == "mount":
            return await self._cli.run(*command, before=("unshare", "-m", "sh", "-c", MOUNTED, "sh"))
        return await self._cli.run(*command, **bound_by_permissions())


def may_mount(folder: Path) -> bool:
    """Whether a folder can be mounted read-only, for one process."""
    if shutil.which("unshare") is None:
        return False
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && ! touch "$0/x"'
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, folder], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture(params=["mount", "permissions"])
async def kept(cli: CommandLine, request: pytest.FixtureRequest) -> Any:
    folder = cli.folder / "kept"
    folder.mkdir()
    if request.param == "mount" and not await asyncio.to_thread(may_mount, folder):
        pytest.skip("this machine lets nobody mount a folder")
    (cli.folder / "own.py").write_text(OWN)
    cli.environment["OPENAI_API_KEY"] = "k"
    submitted = await cli.run("jobs", "submit", "op", "1", "--db", "kept/runs.db")
    job = submitted.out.strip()
    done = await cli.run("jobs", "resume", job, "--app", "own:make", "--db", "kept/runs.db")
    assert done.code == 0, done.err
    logged = await cli.run("logs", "update", "--db", "kept/runs.db")
    assert logged.code == 0, logged.err
    later = await cli.run("jobs", "submit", "op", "2", "--db", "kept/runs.db")
    if request.param == "permissions":
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
    yield Kept(cli, request.param), job, later.out.strip()
    folder.chmod(0o755)


async def test_what_a_read_only_database_holds_is_shown(kept: tuple[Kept, str, str]) -> None:
    database, job, _ = kept
    for command in (
        ("jobs", "result", job),
        ("jobs", "resume", job),
        ("jobs", "resume", job, "--app", "own:make"),
    ):
        ended = await database.run(*command)
        assert (ended.code, ended.out) == (0, "paid for\n"), ended.err
    for command in (("jobs", "list"), ("jobs", "show", job), ("actions", "list"), ("costs",), ("budgets",)):
        ended = await database.run(*command)
        assert (ended.code, ended.err) == (0, ""), ended.err
    assert "result: paid for" in (await database.run("jobs", "show", job)).out


async def test_logs_of_a_read_only_database_are_shown_as_they_are(kept: tuple[Kept, str, str]) -> None:
    database, job, waiting = kept
    listed = await database.run("logs", "list")
    assert (listed.code, job in listed.out, waiting in listed.out) == (0, True, False), listed.err
    for command in (("logs", "show", job), ("logs", "usage"), ("logs", "summary"), ("logs", "latency")):
        ended = await database.run(*command)
        assert ended.code == 0, ended.err
        (said,) = ended.err.splitlines()
        assert said.startswith("agent-runtime: the logs are as old as they are: "), ended.err
    refused = await database.run("logs", "forget", "--before", "0d", "--only-content")
    assert (refused.code, "Traceback" in refused.err) == (3, False), refused.err


async def test_what_would_write_a_read_only_database_names_the_cause(kept: tuple[Kept, str, str]) -> None:
    database, _, waiting = kept
    for command in (
        ("run", "--model", "openai:gpt-5.2", "hi"),
        ("run", "--app", "own:make", "hi"),
        ("jobs", "resume", waiting, "--app", "own:make"),
        ("worker", "--app", "own:make"),
        ("worker",),
        ("jobs", "submit", "op", "1"),
        ("jobs", "cancel", waiting),
        ("demo",),
    ):
        ended = await database.run(*command)
        assert (ended.code, ended.out) == (3, ""), (command, ended)
        (said,) = [line for line in ended.err.splitlines() if not line.startswith("job: ")]
        assert said.startswith("agent-runtime: "), ended.err
        assert "runs.db' cannot be written" in said, ended.err
    doctor = await database.run("doctor")
    assert (doctor.code, "cannot be written" in doctor.out) == (1, True)


async def test_a_log_that_nobody_can_write_into_its_file_is_named(cli: CommandLine) -> None:
    folder = cli.folder / "kept"
    folder.mkdir()
    await cli.run("jobs", "submit", "op", "1", "--db", "kept/runs.db")
    (folder / "runs.db-wal").write_bytes(b"what a killed process has left")
    folder.chmod(0o555)
    ended = await cli.run("jobs", "list", "--db", "kept/runs.db", **bound_by_permissions())
    folder.chmod(0o755)
    assert (ended.code, "its log, runs.db-wal, has to be written into it first" in ended.err) == (3, True)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of some megabytes, where this process may."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:  # until it is full
            ballast.write(bytes(4096))


@pytest.mark.parametrize("flags", [(), ("--json",)])
async def test_an_answer_that_finds_a_full_disk_is_printed(cli: CommandLine, flags: tuple[str, ...]) -> None:
    cli.environment |= {"OPENAI_API_KEY": "k", "AGENT_RUNTIME_STORAGE_PATIENCE": "0.5"}
    told = asyncio.Event()
    late = replace(TEXT, pieces=(told, *TEXT.pieces))
    disk = cli.folder / "disk"
    with small_disk(disk):
        async with LoopbackServer(late, TEXT) as server:
            model = ("--base-url", f"{server.url}/v1", "--model", "openai:gpt-5.2")
            running = await cli.start("run", *model, "--db", "disk/runs.db", *flags, "hi")
            job = (await running.says("job: ")).removeprefix("job: ")
            await server.wait_for_requests(1)
            await asyncio.to_thread(fill, disk)
            told.set()
            ended = await running.end()
            assert ended.code == 3, ended.err
            assert "Traceback" not in ended.err
            last = ended.err.rstrip("\n").splitlines()[-1]
            assert last.startswith("agent-runtime: "), ended.err
            assert "is full" in last, ended.err
            assert f"jobs resume {job}" in ended.err
            if flags:
                assert ended.json["content"] == ANSWER
                assert "is full" in ended.json["error"]
            else:
                assert ended.out == f"{ANSWER}\n"
            (disk / "ballast").unlink()
            resumed = await cli.run("jobs", "resume", job, "--db", "disk/runs.db")
            assert (resumed.code, resumed.out) == (0, f"{ANSWER}\n"), resumed.err
