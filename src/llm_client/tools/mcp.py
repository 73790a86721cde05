"""Tools of MCP servers, over stdio or streamable HTTP, that look like any others. Needs the extra `mcp`."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import orjson

from llm_client.errors import ConfigurationError, MissingDependency, ToolError
from llm_client.json_text import dumps
from llm_client.logs import clean_foreign
from llm_client.middleware import HOST
from llm_client.network import NETWORK, is_here, is_private
from llm_client.public_text import kind_of, text_of, without_keys, without_keys_in
from llm_client.redaction.given_keys import keys_given
from llm_client.tools.aliases import aliases
from llm_client.tools.foreign_schema import MAX_DESCRIPTION, bounded_validator, plain_text, shown_schema
from llm_client.tools.mcp_bounds import BoundedServer, FewCookies
from llm_client.tools.mcp_connection import Connection, Made
from llm_client.tools.mcp_content import MAX_REFUSAL, check_digits, result_of, size_of
from llm_client.tools.mcp_http import MAX_RESPONSE_BYTES, bounding, minding
from llm_client.tools.mcp_stdio import StdioProgram
from llm_client.tools.tool import Effect, Tool, ToolContext, ToolResult
from llm_client.turns import aside, read_aside

if TYPE_CHECKING:
    from mcp import Client
    from mcp import Tool as McpTool

OPERATION_ID = "agent-runtime/operation-id"
"""Name under which a call's operation id travels in its `_meta`, for servers that can tell repetitions."""
MAX_PAGES = 100
"""Pages of a server's list of tools that are read."""
MAX_TOOLS = 500
"""Tools that a server may have."""
MAX_LIST_BYTES = 4 * 1024 * 1024
"""Of all that it says of them, as JSON."""
_LEAST_IN_NAME = 8
"""Characters of a key that is taken out of a tool's name, where a shorter one may be a word."""
_LOGGERS = ("mcp", "client", "httpx2", "httpcore2")
"""Of the SDK, one of whose loggers is called so, and of what it sends requests with."""
_CLEANED_HERE = 64 * 1024
"""Characters of a result up to which it is looked through on the event loop; longer ones in a thread."""


class McpServer:
    """A connection to one MCP server.

    The connection is made at the first use, lives in a task of its own, and is made anew when it was lost. A call that was
    lost with it fails; whether it is repeated is up to the tool's effect class.

    A tool is called only while the server says of it what it said when the tool was made: that is compared whenever the
    connection is made anew, whenever the server is asked for its tools, and before the next call once the server has said that they
    have changed.

    Args:
        command: Program and arguments of a server that talks over stdin and stdout.
        url: Address of a server that talks streamable HTTP, instead of `command`.
        env: Further environment variables of the program.
        cwd: Working directory of the program.
        headers: Headers of every HTTP request, for authentication.
        plain_http: Whether such headers, or a URL with a key in it, may be sent unencrypted to another machine.
        prefix: Put before the names of the tools, so that two servers' tools cannot clash.
        only: Names of the tools to take, as the server names them; by default all.
        effects: Effect classes by the server's tool names, for tools whose hints are missing or not to be trusted.
        trust_hints: Whether `readOnlyHint` and `idempotentHint` count; otherwise a tool is `unsafe` unless `effects` says more.
        connect_timeout: Seconds the connection may take.
        list_timeout: Seconds that telling its tools may take.

    Raises:
        ConfigurationError: There is neither a command nor a URL, or there are both, or a header or a URL with a secret would be sent
            unencrypted to another machine.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
        plain_http: bool = False,
        prefix: str = "",
        only: Collection[str] | None = None,
        effects: Mapping[str, Effect] | None = None,
        trust_hints: bool = False,
        connect_timeout: float = 30.0,
        list_timeout: float = 30.0,
    ) -> None:
        if (command is None) == (url is None):
            raise ConfigurationError("an MCP server has either a command or a url")
        sent = keys_given(headers, address=url or "")
        if url is not None and sent and not plain_http and not is_private(url):
            raise ConfigurationError(
                "a header or an address with a secret is not sent unencrypted: use https for the MCP server, or plain_http=True "
                "if nobody can read along"
            )
        self._command = list(command or ())
        self._url = url
        self._env = dict(env or {})
        self._cwd = cwd
        self._headers = dict(headers or {})
        self._keys = (*sent, *keys_given(self._env, command=self._command))
        self._long_keys = tuple(key for key in self._keys if len(key) >= _LEAST_IN_NAME)
        self._prefix = prefix
        self._only = None if only is None else frozenset(only)
        self._effects = dict(effects or {})
        self._trust_hints = trust_hints
        self._connect_timeout = connect_timeout
        self._list_timeout = list_timeout
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()

    async def tools(self) -> list[Tool]:
        """Return the server's tools; inside a job, what a host has on record of them, so that it goes on as it began.

        Raises:
            ToolError: The server cannot be reached, does not answer in time, or tells more than tools need.
            MissingDependency: The extra `mcp` is not installed.
        """
        name = f"mcp_tools {self._prefix}".strip()
        found = _entries(await HOST.get().read(name, self._recordable))
        try:
            return await aside(self._made, found)
        except Exception as error:
            raise self._told_badly(error) from error

    def _told_badly(self, error: Exception) -> ToolError:
        """Return what is wrong with what a server tells of its tools, or with the way to it."""
        if isinstance(error, ToolError):
            return ToolError(without_keys(str(error), self._keys))
        why = f"{kind_of(error)}: {text_of(error)[:MAX_REFUSAL]}"
        return ToolError(without_keys(f"the MCP server does not tell its tools: {why}", self._keys))

    def _made(self, found: Sequence[McpTool]) -> list[Tool]:
        """Return those of a server's tools that are wanted, each under a name of its own that every vendor accepts."""
        entries = {entry.name: entry for entry in found}
        called = {name: self._prefix + without_keys(name, self._long_keys) for name in entries}
        names = aliases(called.values())
        return [
            self._tool(entry, names[called[name]])
            for name, entry in entries.items()
            if self._only is None or name in self._only
        ]

    async def _recordable(self) -> list[dict[str, Any]]:
        """Return what the server tells of its tools, as JSON values."""
        _, found = await self._asked()
        return await aside(
            lambda: [entry.model_dump(mode="json", by_alias=True, exclude_none=True) for entry in found]
        )

    async def _asked(self, *, unless_fresh: bool = False) -> tuple[Connection, Sequence[McpTool]]:
        """Ask the server for its tools, in a new session where it has forgotten the one that was open."""
        while True:
            connection = await self._connected()
            known = connection.is_known
            try:
                async with connection.listing:
                    is_needed = not (unless_fresh and connection.is_fresh)
                    return connection, await self._listed(connection) if is_needed else ()
            except ToolError:
                if not (known and connection.is_forgotten):
                    raise

    async def _listed(self, connection: Connection) -> list[McpTool]:
        """Return what the server tells of its tools, in time, and keep what each is."""
        from mcp import MCPError

        client = connection.client
        try:
            async with asyncio.timeout(self._list_timeout):
                at = await connection.listened()
                found = await self._told(client)
        except TimeoutError:
            await self._lose(client)
            raise ToolError(
                f"the MCP server did not tell its tools within {self._list_timeout:g} seconds"
            ) from None
        except MCPError as error:
            await self._lose(client)
            why = connection.fault or _refusal(error)
            said = without_keys(f"the MCP server does not tell its tools: {why}", self._keys)
            raise ToolError(said) from None
        except ToolError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever the SDK makes of what it was told
            await self._lose(client)
            raise self._told_badly(error) from None
        connection.told(await aside(_definitions, found), at)
        return found

    async def _told(self, client: Client) -> list[McpTool]:
        """Return what the server tells of its tools, within bounds."""
        found: list[McpTool] = []
        cursor: str | None = None
        size = 0
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            found.extend(page.tools)
            size += len(await aside(page.model_dump_json))
            if len(found) > MAX_TOOLS or size > MAX_LIST_BYTES:
                raise ToolError(
                    f"the MCP server tells of more than {MAX_TOOLS} tools or {MAX_LIST_BYTES} bytes"
                )
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def aclose(self) -> None:
        """End the connection and the program; may be called twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> McpServer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.lost:
                await self.aclose()
                connection = Connection(self._make_client)
                try:
                    await connection.open(self._connect_timeout)
                except ToolError as error:
                    raise ToolError(without_keys(str(error), self._keys)) from None
                self._connection = connection
            return self._connection

    async def _serving(self, name: str, definition: str) -> Connection:
        """Return a connection to a server that says of a tool what it said when the tool was made."""
        connection, _ = await self._asked(unless_fresh=True)
        if (connection.definitions or {}).get(name) != definition:
            raise ToolError(
                f"the MCP server now says something else of its tool {without_keys(name, self._keys)!r} than when it was asked for "
                "its tools, so it is not called; ask for the tools again to use what it says now"
            )
        return connection

    async def _lose(self, client: Client) -> None:
        """Close a connection that turned out to be dead, unless somebody has made a new one since."""
        async with self._connecting:
            if self._connection is not None and self._connection.client is client:
                await self.aclose()

    def _make_client(self) -> Made:
        """Build the client, and what it leaves open; called in a thread, as imports and certificates take a while."""
        try:
            from mcp import Client
            from mcp.client.streamable_http import streamable_http_client
        except ImportError as error:
            raise MissingDependency("mcp", "mcp") from error
        importlib.import_module("jsonschema.validators")
        importlib.import_module("httpx2")
        clean_foreign(_LOGGERS, self, self._keys)
        if self._url is None:
            program = StdioProgram(self._command, self._env, self._cwd)
            requests = BoundedServer(program)
            return Made(Client(requests, cache=None), requests, program=program)
        NETWORK.check(self._url)
        import httpx2

        from llm_client.host_names.backend import look_up_aside

        host = httpx2.URL(self._url).host
        timeout = httpx2.Timeout(30.0, read=300.0)
        http_client = httpx2.AsyncClient(
            headers={"accept-encoding": "identity", **self._headers},
            cookies=FewCookies(),
            timeout=timeout,
            mounts={f"all://[{host}]" if ":" in host else f"all://{host}": None}
            if is_here(host)
            else None,  # no proxy
            event_hooks={
                "response": [bounding(httpx2.AsyncByteStream, httpx2.StreamError), minding(lambda: requests)]
            },
        )
        look_up_aside(http_client)
        over_http = streamable_http_client(
            self._url,
            http_client=http_client,
            max_sse_event_size=2 * MAX_RESPONSE_BYTES,  # beyond ours, which fails one call
        )
        requests = BoundedServer(over_http)
        return Made(Client(requests, cache=None), requests, http_client=http_client)

    def _tool(self, entry: McpTool, name: str) -> Tool:
        try:
            schema = shown_schema(entry.input_schema)
        except ToolError as error:
            raise ToolError(f"the MCP server's tool {name!r} is refused: {error}") from None
        definition = _definition(entry)
        return Tool(
            name=name,
            description=without_keys(plain_text(entry.description or ""), self._keys)[:MAX_DESCRIPTION],
            parameters=without_keys_in(schema, self._keys),
            handler=self._handler(entry.name, definition),
            definition=definition,
            validate=bounded_validator(entry.input_schema),
            takes_context="ctx",
            effect=self._effect(entry),
        )

    def _effect(self, entry: McpTool) -> Effect:
        if entry.name in self._effects:
            return self._effects[entry.name]
        hints = entry.annotations
        if hints is None or not self._trust_hints:
            return "unsafe"
        if hints.read_only_hint:
            return "read"
        return "idempotent" if hints.idempotent_hint else "unsafe"

    def _handler(self, name: str, definition: str) -> Callable[..., Any]:
        async def call(*, arguments: dict[str, Any], ctx: ToolContext) -> ToolResult:
            from mcp import MCPError
            from mcp_types import CONNECTION_CLOSED

            check_digits(arguments)
            connection = await self._serving(name, definition)
            client = connection.client
            meta: Any = {OPERATION_ID: ctx.operation_id}
            try:
                answer = await client.call_tool(name, arguments, meta=meta)
            except MCPError as error:
                if error.code != CONNECTION_CLOSED and not connection.is_forgotten:
                    raise ToolError(without_keys(_refusal(error), self._keys)) from None
                await self._lose(client)
                fault = "it has forgotten the session" if connection.is_forgotten else connection.fault
                why = f": {fault}" if fault else ""
                said = without_keys(f"the MCP server was lost during the call of {name!r}{why}", self._keys)
                raise ConnectionError(said) from None
            read = partial(result_of, answer, self._keys)
            if size_of(answer) > _CLEANED_HERE:
                return await aside(read)
            return await read_aside(answer.structured_content, read)

        return call


def _definition(entry: McpTool) -> str:
    """Return a hash of all that the server says of a tool and that anybody reads: people, models, or we."""
    hints = entry.annotations
    said = {
        "name": entry.name,
        "title": entry.title,
        "description": entry.description,
        "input": entry.input_schema,
        "output": entry.output_schema,
        "hints": None if hints is None else hints.model_dump(mode="json", exclude_none=True),
    }
    try:
        written = dumps(said, option=orjson.OPT_SORT_KEYS, default=str)
        orjson.loads(written)  # which no vendor reads either, if this does not
    except (TypeError, orjson.JSONDecodeError) as error:
        raise ToolError(
            f"the MCP server says of its tool {entry.name[:64]!r} what cannot be written as JSON: {error}"
        ) from None
    return hashlib.blake2b(written, digest_size=16).hexdigest()


def _entries(recorded: object) -> list[McpTool]:
    """Return what a server has told of its tools from JSON values."""
    from mcp import Tool as McpTool

    if not isinstance(recorded, list):
        raise ToolError("what is on record of an MCP server's tools is no list")
    return [McpTool.model_validate(entry, by_name=False) for entry in recorded]


def _definitions(entries: Sequence[McpTool]) -> dict[str, str]:
    return {entry.name: _definition(entry) for entry in entries}


def _refusal(error: BaseException) -> str:
    """Return what a server says when it refuses, as short and plain as a sentence has to be."""
    return plain_text(str(error)[:MAX_REFUSAL])
