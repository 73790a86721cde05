"""The terminal: whether there is one, and lines from it that can be waited for without blocking anything."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shlex
import shutil
import sys
import termios
from pathlib import Path


def is_interactive() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def program() -> str:
    """Return the command that starts this program, as somebody at this terminal would have to type it."""
    name = "agent-runtime"
    if shutil.which(name) is not None:
        return name
    started_as = Path(sys.argv[0])
    if started_as.name == name:
        return shlex.quote(str(started_as))
    return f"{shlex.quote(sys.executable)} -P -m agent_runtime.cli"


def user_name() -> str:
    """Return who answers when nobody says otherwise."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in this container
        return "somebody"


class Lines:
    """Lines typed at a terminal. Waiting for one can be cancelled, and what was typed meanwhile is the next one.

    Args:
        descriptor: The terminal's.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._typed = b""
        self._ended = False

    async def next(self) -> str | None:
        """Return the next line without its end, `None` when the terminal is closed."""
        while b"\n" not in self._typed and not self._ended:
            chunk = await self._read()
            self._ended = not chunk
            self._typed += chunk
        line, newline, self._typed = self._typed.partition(b"\n")
        return line.decode("utf-8", "replace").strip() if newline or line else None

    def forget(self) -> None:
        """Forget what was typed so far and has not been asked for."""
        self._typed = b""
        with contextlib.suppress(termios.error, OSError):  # a pipe, say, of which nothing is lost
            termios.tcflush(self._descriptor, termios.TCIFLUSH)

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(self._descriptor, wake)
        try:
            await readable
        finally:
            loop.remove_reader(self._descriptor)
        try:
            return os.read(self._descriptor, 4096)
        except OSError:  # a terminal that has gone away reads like one that was closed
            return b""
