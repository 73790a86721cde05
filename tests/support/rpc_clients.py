"""Clients of `/ws`, as browsers and programs are, and a history that tests write."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from agent_runtime.ports.agents import STATE_CHANGED, AgentEvent, Priority
from support.service import BOUND, Service


class Histories:
    """Histories of scopes, in memory."""

    def __init__(self) -> None:
        self._entries: dict[str, list[AgentEvent]] = {}
        self._news = asyncio.Condition()

    async def add(self, scope_id: str, *, size: int = 0, kind: str = STATE_CHANGED) -> None:
        """Write one more entry."""
        entries = self._entries.setdefault(scope_id, [])
        entry = AgentEvent(
            scope_id=scope_id,
            seq=len(entries) + 1,
            at=datetime(2026, 12, 1, tzinfo=UTC),
            type=kind,
            agent_id="duty",
            priority=Priority.NORMAL,
            data={"state": "idle", "filling": "x" * size},
            content=None,
            delivered=None,
        )
        entries.append(entry)
        async with self._news:
            self._news.notify_all()

    async def events(self, *, scope_id: str, after: int, limit: int) -> Sequence[AgentEvent]:
        """Return entries behind a place."""
        return self._entries.get(scope_id, [])[after : after + limit]

    async def last_seq(self, *, scope_id: str) -> int:
        """Return the place of the newest."""
        return len(self._entries.get(scope_id, []))

    async def follow(self, *, scope_id: str, after: int) -> AsyncGenerator[AgentEvent]:
        """Yield what there is and what comes."""
        while True:
            for entry in await self.events(scope_id=scope_id, after=after, limit=10):
                after = entry.seq
                yield entry
            async with self._news:
                while len(self._entries.get(scope_id, [])) <= after:
                    await self._news.wait()


class Client:
    """A client that keeps what it is told until it is asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []
        self._ids = count(1)

    async def call(self, method: str, **params: Any) -> Any:
        """Return the answer to a call: its result, or its error under that name."""
        id_ = next(self._ids)
        await self.socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id_}))
        async with asyncio.timeout(BOUND):
            while True:
                said = json.loads(await self.socket.recv())
                if said.get("id") == id_:
                    return said["result"] if "result" in said else {"error": said["error"]}
                self.told.append(said)

    async def notified(self, most: int) -> list[dict[str, Any]]:
        """Return what it is told, once it is so much."""
        async with asyncio.timeout(BOUND):
            while len(self.told) < most:
                self.told.append(json.loads(await self.socket.recv()))
        return self.told


@asynccontextmanager
async def socket_of(service: Service, key: str | None = None, **more: Any) -> AsyncIterator[Client]:
    """Give a client of a service."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with connect(
        service.url.replace("http", "ws", 1) + "/ws",
        additional_headers={**headers, **more.pop("headers", {})},
        compression=None,
        proxy=None,
        **more,
    ) as socket:
        yield Client(socket)
