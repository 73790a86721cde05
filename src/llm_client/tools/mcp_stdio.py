"""A program that speaks MCP over its stdin and stdout, one message a line, each of a bounded length.

The SDK's own transport collects a line however long it is, so a program that never ends its line fills the memory. Here such a
program is given up, with its whole process group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import orjson

from llm_client.background import begin, ended
from llm_client.json_text import TooManyParts, check_lists, check_parts, loads
from llm_client.logs import logger_of
from llm_client.tools.mcp_bounds import INTERNAL_ERROR, MAX_LISTS
from llm_client.turns import aside

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Of one message of the program."""
_PARSED_HERE: Final = 256 * 1024
"""Bytes of a message up to which it is read on the event loop; longer ones in a thread."""
_ANSWER: Final = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,15}|"[A-Za-z0-9_-]{1,100}")\s*,\s*"(?:result|error)"'
)
"""How an answer begins, as nearly every server writes it: with what it answers."""
_MOST_SKIPPED: Final = 8
"""Times as much as a message may have that is skipped of an answer that is too long."""
_PATIENCE: Final = 2.0
"""Seconds between the end of its input, SIGTERM and SIGKILL."""

logger = logger_of(__name__)


class StdioProgram:
    """A transport for the SDK's client: an async context manager that gives a pair of streams.

    Args:
        command: Program and arguments.
        env: Further environment variables; of ours, only those that every program needs are passed on.
        cwd: Its working directory.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: str | Path | None) -> None:
        self._command = list(command)
        self._env = dict(env)
        self._cwd = cwd
        self._exit = contextlib.AsyncExitStack()
        self.fault: str | None = None
        """Why the program was given up, if it was."""

    async def __aenter__(self) -> tuple[Any, Any]:
        return await self._exit.enter_async_context(self._opened())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._exit.__aexit__(kind, error, traceback)

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Any, Any]]:
        import anyio
        from mcp.client.stdio import get_default_environment

        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            env={**get_default_environment(), **self._env},
            cwd=self._cwd,
            limit=MAX_MESSAGE_BYTES,
            start_new_session=True,
        )
        heard, to_client = anyio.create_memory_object_stream[Any](0)
        from_client, told = anyio.create_memory_object_stream[Any](0)
        tasks = [
            begin(self._hear(process, heard), name="MCP program, output"),
            begin(self._tell(process, told, heard), name="MCP program, input"),
        ]
        try:
            yield to_client, from_client
        finally:
            to_client.close()
            from_client.close()
            await asyncio.shield(_killed(process, tasks))
            heard.close()
            told.close()

    async def _hear(self, process: Process, heard: Any) -> None:
        """Pass messages on, one at a time, until the output ends or the client is gone."""
        import anyio

        output = process.stdout
        assert output is not None  # noqa: S101 -- it was asked for
        async with heard:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                try:
                    while line := await _line(output, heard.send):
                        await heard.send(await _message(_bounded(line)))
                except TooManyParts as error:
                    self.fault = f"it sent a message of more than {error.most}"
                    logger.warning("an MCP server is given up: %s", self.fault)
                    _signal(process, signal.SIGKILL)
        while await output.read(65536):  # a program that cannot write does not see that its input has ended
            pass

    async def _tell(self, process: Process, told: Any, heard: Any) -> None:
        inputs = process.stdin
        assert inputs is not None  # noqa: S101 -- it was asked for
        try:
            async with told:
                async for message in told:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    inputs.write(f"{text}\n".encode())
                    await inputs.drain()
        except OSError:  # it has gone, or does not listen any more: nobody shall wait for its answer
            heard.close()
        finally:
            inputs.close()


async def _line(output: asyncio.StreamReader, send: Callable[[Any], Awaitable[None]]) -> bytes:
    """Return the next line; of an answer that is too long its failure is told at once, and the line behind it is the next.

    Raises:
        TooManyParts: A line is too long, and does not begin as answers do, or goes on and on.
    """
    skipped = 0
    while True:
        try:
            line = await output.readuntil()
        except asyncio.IncompleteReadError as end:
            line = end.partial
        except asyncio.LimitOverrunError as overrun:
            head = await output.readexactly(overrun.consumed)
            error = TooManyParts(f"{MAX_MESSAGE_BYTES} bytes")
            if not skipped:
                await send(await _message(_failed(head, error)))
            skipped += len(head)
            if skipped > _MOST_SKIPPED * MAX_MESSAGE_BYTES:
                raise error from None
            continue
        if not skipped:
            return line
        skipped = 0


def _bounded(line: bytes) -> bytes:
    """Return a message, or in place of an answer that has too many parts its failure: others wait for answers of their own.

    Raises:
        TooManyParts: It does not begin as answers do.
    """
    try:
        check_parts(line)
        check_lists(line, MAX_LISTS)
    except TooManyParts as error:
        return _failed(line, error)
    return line


def _failed(line: bytes, error: TooManyParts) -> bytes:
    """Return the failure that stands in the place of an answer. Raises the error where it does not begin as answers do."""
    answers = _ANSWER.match(line)
    if answers is None:
        raise error
    said = orjson.dumps(f"the MCP server's answer has more than {error.most}").decode()
    failure = f'{{"code": {INTERNAL_ERROR}, "message": {said}}}'
    return f'{{"jsonrpc": "2.0", "id": {answers[1].decode()}, "error": {failure}}}'.encode()


async def _message(line: bytes) -> Any:
    """Return a message, or the error that stands for what is none."""
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    def read() -> Any:
        try:
            try:
                said = jsonrpc_message_adapter.validate_python(loads(line), by_name=False)
            except (
                orjson.JSONDecodeError
            ):  # a number without end, say: whoever waits for it is told what the SDK makes of it
                said = jsonrpc_message_adapter.validate_json(line, by_name=False)
            return SessionMessage(said)
        except ValueError as error:
            return error

    return read() if len(line) <= _PARSED_HERE else await aside(read)


async def _killed(process: Process, tasks: Sequence[asyncio.Task[None]]) -> None:
    """End a program: it sees the end of its input, then is asked, then killed with what it has started."""
    for way in (None, signal.SIGTERM, signal.SIGKILL):
        if way is not None:
            _signal(process, way)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _PATIENCE)
            break
    await ended(*tasks)
    transport: Any = getattr(process, "_transport", None)
    if transport is not None:  # a grandchild may hold its pipes open
        transport.close()


def _signal(process: Process, way: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, way)
