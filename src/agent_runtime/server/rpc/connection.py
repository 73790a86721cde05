"""One socket: frames in, answers and notifications out, and the one way in which it ends.

Nothing is kept for a client that does not read. An answer waits for its turn to be sent, and with it the call, of which there are only so many;
notifications are read from the history as they are sent. Whoever takes nothing for long is let go of, and comes back to the place where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect

from agent_runtime.errors import AgentRuntimeError, StorageError
from agent_runtime.server.access import FROM_ELSEWHERE, Caller
from agent_runtime.server.parts import Service
from agent_runtime.server.rpc.dispatcher import Dispatcher
from agent_runtime.server.rpc.methods import Method
from agent_runtime.server.rpc.notifications import notification_of
from agent_runtime.server.rpc.refusals import refused
from agent_runtime.server.rpc.session import History, Session
from agent_runtime.values.api_key import Permission
from llm_client.background import begin, ended, in_background, leave
from llm_client.logs import logger_of

logger = logger_of(__name__)

CALLS: Final = 16
"""Calls of one socket that go on at a time."""
FRAMES: Final = 32
"""Frames of one socket that are worked on at a time; no more is read of it meanwhile."""
SEND_SECONDS: Final = 30.0
"""How long what is sent may wait for its reader."""
DRAIN_SECONDS: Final = 5.0
"""How long calls may take to end once the process is told to."""
_WANTED: ContextVar[list[tuple[str, int]]] = ContextVar("wanted")
"""What a frame has asked to follow, which begins once its answer is sent."""


class Ending(NamedTuple):
    """Why a socket is closed."""

    code: int
    reason: str


GOING_AWAY: Final = Ending(1001, "the service ends; come back and go on with afterSeq")
NO_TEXT: Final = Ending(1003, "frames are texts")
TOO_LONG: Final = Ending(1009, "a frame is longer than it may be")
OURS: Final = Ending(1011, "the service made a mistake")
UNREAD: Final = Ending(1013, "what was sent was not read; come back and go on with afterSeq")
AWAY: Final = Ending(1013, "the storage is away; come back and go on with afterSeq")
NO_KEY: Final = Ending(4401, "the key does not hold any more")


class Connection:
    """A client's socket, once it is open.

    Args:
        service: The service.
        history: What notifications are made of.
        caller: Whoever has brought the key.
        methods: What can be called.
        socket: The socket.
    """

    def __init__(
        self,
        service: Service,
        history: History,
        caller: Caller,
        methods: Mapping[str, Method[Any]],
        socket: WebSocket,
    ) -> None:
        self.caller = caller
        self._service = service
        self._history = history
        self._socket = socket
        self._session = Session(service.kernel, history, caller, self)
        self._dispatcher = Dispatcher(methods, self._admit, room=CALLS)
        self._frames = asyncio.Semaphore(FRAMES)
        self._working: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()
        self._follower: asyncio.Task[None] | None = None
        self._ending: Ending | None = None
        self._over = asyncio.Event()

    def end(self, ending: Ending) -> None:
        """Have the socket closed; the first reason counts."""
        if self._ending is None:
            self._ending = ending
        self._over.set()

    def follow(self, scope_id: str, after: int) -> None:
        """Send all entries after a place, once what has asked for it is answered, and none of any other scope any more."""
        self.unfollow()
        _WANTED.get().append((scope_id, after))

    def unfollow(self) -> None:
        """Send no more."""
        if self._follower is not None:
            leave(self._follower)
            self._follower = None

    async def run(self) -> None:
        """Serve the client until it leaves or the socket has to be closed."""
        reading = begin(self._read(), name="reading a socket")
        over = begin(self._over.wait())
        stopping = begin(self._service.stopping.wait())
        try:
            await asyncio.wait({reading, over, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._service.stopping.is_set():
                self.end(GOING_AWAY)
            await ended(reading)
            if self._ending is GOING_AWAY and self._working:
                await asyncio.wait(self._working, timeout=DRAIN_SECONDS)
        finally:
            self.unfollow()
            await ended(over, stopping, reading, *self._working)
        if self._ending is not None:
            with suppress(RuntimeError, WebSocketDisconnect):  # it has closed by itself
                await self._socket.close(*self._ending)

    async def _read(self) -> None:
        """Work on what comes until the client leaves."""
        while True:
            await self._frames.acquire()
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                self._over.set()
                return
            text = message.get("text")
            if text is None:
                self.end(NO_TEXT)
                return
            if len(text) > self._service.config.max_body_bytes:
                self.end(TOO_LONG)
                return
            task = begin(self._answer(text), name="answering a frame")
            self._working.add(task)
            task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        self._frames.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a frame was not answered", exc_info=error)
            self.end(OURS)

    async def _answer(self, text: str) -> None:
        wanted: list[tuple[str, int]] = []
        _WANTED.set(wanted)
        answered = await self._dispatcher.answer(text, self._session)
        if answered is not None:
            await self._send(answered)
        if wanted and self._session.session_id is not None:
            self.unfollow()
            self._follower = in_background(self._follow(*wanted[-1]), name="telling a socket of agents")

    def _admit(self, method: Method[Any] | None) -> None:
        """Count a call, and refuse one that is too many or not for this key."""
        wait = self._service.rates.take(self.caller.name)
        if wait > 0:
            raise refused(429, "too many requests; wait a moment", retryAfter=wait)
        needed = None if method is None else method.permission
        if needed is None:
            return
        if self.caller.only_reads and needed is not Permission.READ:
            raise refused(403, FROM_ELSEWHERE)
        if not self.caller.role.allows(needed):
            raise refused(403, f"the role {self.caller.role} may not {needed}")

    async def _send(self, content: bytes) -> None:
        """Send a text, one after the other."""
        try:
            async with self._sending:
                if self._ending not in (None, GOING_AWAY):
                    return
                async with asyncio.timeout(SEND_SECONDS):
                    await self._socket.send_text(content.decode())
        except TimeoutError:
            self.end(UNREAD)
        except (RuntimeError, WebSocketDisconnect, OSError):  # it has left
            self._over.set()

    async def _follow(self, scope_id: str, after: int) -> None:
        """Send what happens, from the entry after a place."""
        try:
            async with aclosing(self._history.follow(scope_id=scope_id, after=after)) as entries:  # type: ignore[type-var]  # a generator
                async for entry in entries:
                    await self._send(await notification_of(entry))
                    if self._over.is_set():
                        return
        except (StorageError, AgentRuntimeError) as error:
            logger.warning("a socket is closed: %s", error)
            self.end(AWAY)
        except Exception:
            logger.exception("a socket is closed because of a mistake")
            self.end(OURS)
