"""The command line in real processes: run to the end, or watched and answered while it runs."""

import asyncio
import ctypes
import json
import os
import pty
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PR_CAPBSET_DROP = 24  # linux/prctl.h

BOUND = 40.0
"""Seconds after which a test that waits for a process has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def value(self, name: str) -> str:
        """Return what follows `name: ` on a line of its own."""
        (line,) = [line for line in self.out.splitlines() if line.startswith(f"{name}: ")]
        return line.removeprefix(f"{name}: ")


class Running:
    """A process that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen = ""

    async def says(self, text: str) -> str:
        """Wait until a line of standard error or, failing that, output contains a text, and return the line."""
        return await _line(self, self.process.stderr or self.process.stdout, text)

    async def prints(self, text: str) -> str:
        """Wait until a line of standard output contains a text, and return the line."""
        return await _line(self, self.process.stdout, text)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        await self.process.wait()
        await self.process.communicate()

    async def end(self) -> Ended:
        """Wait for its end; what was read before is not repeated."""
        async with asyncio.timeout(BOUND):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(code=self.process.returncode, out=(out or b"").decode(), err=(err or b"").decode())


async def _line(running: Running, stream: asyncio.StreamReader | None, text: str) -> str:
    assert stream is not None
    async with asyncio.timeout(BOUND):
        while line := (await stream.readline()).decode():
            running.seen += line
            if text in line:
                return line.rstrip("\n")
    raise AssertionError(f"the process ended without saying {text!r}; it said:\n{running.seen}")


class Terminal:
    """A process at a pseudo-terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self._arrived = asyncio.Event()
        self._closed = False
        self.screen = ""
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # the other side is closed
            data = b""
        self.screen += data.decode("utf-8", "replace").replace("\r\n", "\n")
        self._arrived.set()
        if not data:
            self._closed = True
            asyncio.get_running_loop().remove_reader(self._descriptor)

    async def shows(self, text: str) -> None:
        """Wait until the screen contains a text."""
        async with asyncio.timeout(BOUND):
            while text not in self.screen:
                assert not self._closed, f"the terminal was closed without {text!r}:\n{self.screen}"
                self._arrived.clear()
                await self._arrived.wait()

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._descriptor, f"{text}\n".encode())

    async def end(self) -> int:
        """Wait for the process's end and return its exit code; the screen holds everything it showed."""
        async with asyncio.timeout(BOUND):
            code = await self.process.wait()
            while not self._closed:
                self._arrived.clear()
                await self._arrived.wait()
        os.close(self._descriptor)
        return code


class CommandLine:
    """`agent-runtime` for one test: its own home, its own folder, no vendor's keys."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not _is_personal(name)}
        home = {"HOME": str(folder / "home"), "XDG_DATA_HOME": str(folder / "data"), "COLUMNS": "200"}
        self.environment = {**kept, **home, "PYTHONUNBUFFERED": "1", **variables}

    async def run(self, *arguments: str, given: bytes = b"", **options: Any) -> Ended:
        """Run a command to its end."""
        process = await self._process(arguments, stdin=asyncio.subprocess.PIPE, **options)
        async with asyncio.timeout(BOUND):
            out, err = await process.communicate(given)
        assert process.returncode is not None
        return Ended(code=process.returncode, out=out.decode(), err=err.decode())

    async def shell(self, script: str, *arguments: str) -> Ended:
        """Run a command in a script of the shell, which has it as `"$@"`."""
        return await self.run(*arguments, before=("sh", "-c", script, "sh"))

    async def start(self, *arguments: str) -> Running:
        """Start a command that is to be watched."""
        return Running(await self._process(arguments, stdin=asyncio.subprocess.DEVNULL))

    async def at_terminal(self, *arguments: str) -> Terminal:
        """Start a command at a terminal."""
        ours, theirs = pty.openpty()
        streams: Mapping[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        process = await self._process(arguments, start_new_session=True, **streams)
        os.close(theirs)
        return Terminal(process, ours)

    async def _process(
        self, arguments: tuple[str, ...], *, before: tuple[str, ...] = (), **options: Any
    ) -> asyncio.subprocess.Process:
        streams = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        return await asyncio.create_subprocess_exec(
            *before,
            sys.executable,
            "-P",
            "-m",
            "agent_runtime.cli",
            *arguments,
            cwd=self.folder,
            **{"env": self.environment, "limit": 2**20, **streams, **options},
        )

    async def events(self, job_id: str, *flags: str) -> list[dict[str, Any]]:
        """Return a job's journal."""
        shown = await self.run("jobs", "show", job_id, "--events", "--json", *flags)
        assert shown.code == 0, shown.err
        return list(shown.json["events"])


def bound_by_permissions() -> dict[str, Any]:
    """Return how to start a process that file permissions hold for, as they do not for root."""
    if os.geteuid() != 0:
        return {}

    def drop() -> None:
        libc = ctypes.CDLL(None)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0

    return {"preexec_fn": drop}


def _is_personal(name: str) -> bool:
    return name.endswith(("_API_KEY", "_BASE_URL", "_ENDPOINT")) or name.startswith(
        ("AGENT_RUNTIME_", "XDG_")
    )
