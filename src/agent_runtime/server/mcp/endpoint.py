"""`/mcp`: the streamable HTTP transport of the SDK, behind the keys, rates and bounds of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Final

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types import CallToolRequestParams, PaginatedRequestParams
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from agent_runtime.server.access import CALLER, Caller
from agent_runtime.server.mcp.calls import Calls
from agent_runtime.server.mcp.clients import TASKS
from agent_runtime.server.mcp.config import McpConfig
from agent_runtime.server.mcp.messages import Refused, read_message
from agent_runtime.server.mcp.offered import OfferedTools
from agent_runtime.server.mcp.origins import may_come_from
from agent_runtime.server.mcp.refusals import LEFT, guarded
from agent_runtime.server.mcp.sessions import Sessions
from agent_runtime.server.mcp.tasks import TaskParams, Tasks, UpdateParams
from agent_runtime.server.mcp.waiting import KEY_SECONDS
from agent_runtime.server.parts import Service
from agent_runtime.server.problems import problem
from llm_client.background import begin, ended, in_background
from llm_client.logs import clean_foreign, drop_foreign

PATH: Final = "/mcp"
LISTED_MS: Final = 60_000
"""For how long a client may take a list of tools for the newest one: they change with deploys."""
LAST_SECONDS: Final = 5.0
"""How long answers may take once the service is told to end."""


def server_of(service: Service, config: McpConfig, version: str) -> Server[object]:
    """Return the methods of the protocol, without a transport.

    Args:
        service: Whose operators are tools.
        config: What is offered and bounded.
        version: What clients are told.
    """
    tools, tasks = OfferedTools(service.kernel, config.operators), Tasks(service)
    calls = Calls(service, config, tools, tasks)
    server: Server[object] = Server(
        "agent-runtime",
        version=version,
        instructions="Each tool is an agent or a program that runs as a durable job.",
        cache_hints={"tools/list": CacheHint(ttl_ms=LISTED_MS, scope="private")},
        get_tool_input_schema=tools.schema_of,
    )
    server.middleware = [guarded]  # without the SDK's spans: those of a job are made from its journal
    server.extensions = {TASKS: {}}
    server.add_request_handler("tools/list", PaginatedRequestParams, calls.list)
    server.add_request_handler("tools/call", CallToolRequestParams, calls.call)
    server.add_request_handler("tasks/get", TaskParams, tasks.get)
    server.add_request_handler("tasks/update", UpdateParams, tasks.update)
    server.add_request_handler("tasks/cancel", TaskParams, tasks.cancel)
    return server


class McpEndpoint:
    """Answers at `/mcp`. What keeps sessions runs in a task of its own, from the first request on.

    Args:
        service: The service.
        config: What is offered and bounded.
        version: What clients are told.
    """

    def __init__(self, service: Service, config: McpConfig, version: str) -> None:
        self._service = service
        self._config = config
        self._sessions = Sessions(
            service.kernel.clock, most_each=config.max_sessions_per_key, idle=config.session_idle
        )
        self._manager = StreamableHTTPSessionManager(
            server_of(service, config, version),
            stateless=not config.sessions,
            max_request_body_size=service.config.max_body_bytes,
            session_idle_timeout=config.session_idle,
            max_sessions=config.max_sessions,
        )
        drop_foreign(("sse_starlette.sse",), _is_content)
        clean_foreign(("mcp", "sse_starlette"), self, ())
        self._answering = 0
        self._answered = asyncio.Event()
        self._ready = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def path(self) -> str:
        """Where it answers."""
        return PATH

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope["route"] = self  # by whose path requests are counted
        headers, caller = Headers(scope=scope), scope[CALLER]
        if not may_come_from(headers, self._service.config):
            raise HTTPException(403, "pages of this origin are not let in")
        if scope["method"] != "POST" and not self._config.sessions:
            await problem(405, "METHOD_NOT_ALLOWED", "there are no sessions here", headers={"Allow": "POST"})(
                scope, receive, send
            )
            return
        await self._start()
        scope["user"] = _user(caller)
        if scope["method"] == "POST":
            await self._answer_message(headers, caller, scope, receive, send)
        else:
            await self._listened(headers, caller, scope, receive, send)

    async def aclose(self) -> None:
        """End, after the service was told to: what still waits answers first. Idempotent."""
        if self._running is not None:
            await self._running

    async def _answer_message(
        self, headers: Headers, caller: Caller, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request that brings a message, and tell whoever answers when its client has left."""
        try:
            given = await read_message(scope, receive)
        except Refused as refused:
            await refused.response(scope, receive, send)
            return
        if given is None:
            return
        left = scope[LEFT] = asyncio.Event()
        with self._counted():
            try:
                await self._answer(headers, caller, scope, given, send)
            finally:
                left.set()  # within a session the SDK lets go of the answer alone

    async def _listened(
        self, headers: Headers, caller: Caller, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request that only listens, for as long as the key or token that it came with holds."""
        is_open = False

        async def noted(message: Message) -> None:
            nonlocal is_open
            is_open = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        answering = begin(self._answer(headers, caller, scope, receive, noted))
        try:
            while not (await asyncio.wait({answering}, timeout=KEY_SECONDS))[0]:
                if not await self._service.still_lets_in(caller):
                    await ended(answering)
                    if is_open:
                        await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
            await answering
        finally:
            await ended(answering)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a request that is going to be answered: one that only listens has no end of its own."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            if not self._answering:
                self._answered.set()

    async def _answer(
        self, headers: Headers, caller: Caller, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if not self._config.sessions:
            await self._manager.handle_request(scope, receive, send)
            return
        session_id = headers.get(MCP_SESSION_ID_HEADER)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                given, status = Headers(raw=message["headers"]).get(MCP_SESSION_ID_HEADER), message["status"]
                is_gone = status == 404 or (scope["method"] == "DELETE" and status < 400)
                if session_id is not None and is_gone:
                    self._sessions.closed(session_id, caller.name)
                elif given is not None and status < 400:
                    self._sessions.opened(given, caller.name)
            await send(message)

        if session_id is not None:
            counted: AbstractContextManager[None] = self._sessions.used(session_id, caller.name)
        else:
            counted = self._sessions.opening(caller.name) if _takes_session(headers) else nullcontext()
        with counted:
            await self._manager.handle_request(scope, receive, noted)

    async def _start(self) -> None:
        """Begin to answer; nobody else has started the kernel where this stands behind another application, and without keys."""
        if self._service.stopping.is_set():
            raise HTTPException(503, "the service is about to end", headers={"Retry-After": "1"})
        await self._service.kernel.start()
        if self._running is None:
            self._running = in_background(self._run(), name="answering MCP clients")
        await self._ready.wait()

    async def _run(self) -> None:
        async with self._manager.run():
            self._ready.set()
            await self._service.stopping.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    while self._answering:
                        self._answered.clear()
                        await self._answered.wait()


def _is_content(said: str) -> bool:
    """Whether a library would log what a client is told: results are private, whatever the level of logs."""
    return said.startswith("chunk: ")


def _takes_session(headers: Headers) -> bool:
    """Whether a request is of the protocol that has sessions; its first one need not say so."""
    return headers.get(MCP_PROTOCOL_VERSION_HEADER, LATEST_HANDSHAKE_VERSION) in HANDSHAKE_PROTOCOL_VERSIONS


def _user(caller: Caller) -> AuthenticatedUser:
    """Return a caller as the SDK knows one: it gives a session to nobody but the key that has opened it."""
    return AuthenticatedUser(AccessToken(token="", client_id=caller.name, scopes=[]))
