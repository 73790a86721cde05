"""`/ws`: who is let in, and that a key that is revoked closes its sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from agent_runtime.server.access import BEARER, CALLER, Caller
from agent_runtime.server.parts import Service
from agent_runtime.server.problems import deny, problem
from agent_runtime.server.rpc.connection import NO_KEY, Connection
from agent_runtime.server.rpc.methods import Method
from agent_runtime.server.rpc.session import History
from llm_client.background import BackgroundLoop, Backoff
from llm_client.logs import logger_of

logger = logger_of(__name__)

PATH: Final = "/ws"
SUBPROTOCOL: Final = "jsonrpc"
"""What is chosen where a client offers subprotocols: a browser closes a socket for which none was."""
LOOK_SECONDS: Final = 0.5
"""How often it is seen whether the keys of open sockets hold: once for each key, however many sockets it has."""


class RpcEndpoint:
    """The sockets of one service.

    Args:
        service: The service.
        history: What notifications are made of.
        methods: What can be called.
    """

    def __init__(self, service: Service, history: History, methods: Mapping[str, Method[Any]]) -> None:
        self.history = history
        self._service = service
        self.methods = methods
        self._open: set[Connection] = set()
        self._looking = BackgroundLoop(
            self._look,
            name="looking at the keys of sockets",
            logger=logger,
            backoff=Backoff(LOOK_SECONDS, LOOK_SECONDS),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open a socket, if there is room for one more, and serve it until it is closed."""
        service, caller = self._service, scope[CALLER]
        if service.stopping.is_set():
            await deny(problem(503, "SERVICE_UNAVAILABLE", "the service ends"), scope, receive, send)
            return
        if not service.readers.has_room(caller.name):
            retry = {"Retry-After": "5"}
            answer = problem(429, "TOO_MANY_REQUESTS", "too many streams are read already", headers=retry)
            await deny(answer, scope, receive, send)
            return
        with service.readers.one_more(caller.name):
            await service.kernel.start()  # nobody else has, where this stands behind another application
            socket = WebSocket(scope, receive, send)
            await socket.accept(subprotocol=_chosen(scope["subprotocols"]))
            connection = Connection(service, self.history, caller, self.methods, socket)
            if not self._open:
                self._looking.start(after=LOOK_SECONDS)
            self._open.add(connection)
            try:
                await connection.run()
            finally:
                self._open.discard(connection)
                if not self._open:
                    await self._looking.stop()

    async def _look(self) -> float:
        """Close the sockets of keys and tokens that do not hold any more."""
        callers: dict[tuple[object, ...], Caller] = {
            (one.caller.name, one.caller.expires_at): one.caller for one in self._open
        }
        for name, caller in callers.items():
            if not await self._service.still_lets_in(caller):
                for one in list(self._open):
                    if (one.caller.name, one.caller.expires_at) == name:
                        one.end(NO_KEY)
        return LOOK_SECONDS


def _chosen(offered: list[str]) -> str | None:
    """Return the subprotocol to name: never one that holds a key."""
    return SUBPROTOCOL if SUBPROTOCOL in offered or any(one.startswith(BEARER) for one in offered) else None
