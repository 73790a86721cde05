"""A service under test: in this process, or over a socket of its own, with keys for everybody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from fastapi import FastAPI

from agent_runtime import Role, RuntimeKernel
from agent_runtime.server import ServerConfig, create_app
from agent_runtime.server.running import serving

BOUND = 20.0
"""Seconds after which a test that waits has failed."""
FAST = ServerConfig(requests_per_second=100_000, burst=100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that answers."""

    kernel: RuntimeKernel
    app: FastAPI
    url: str = "http://service"
    transport: httpx2.AsyncBaseTransport | None = None

    def client(self, key: str | None = None, **headers: str) -> httpx2.AsyncClient:
        """Return a client that sends a key."""
        sent = dict(headers) if key is None else {"Authorization": f"Bearer {key}", **headers}
        return httpx2.AsyncClient(base_url=self.url, transport=self.transport, headers=sent, timeout=BOUND)

    async def key(self, role: Role = Role.ADMIN, scope_id: str | None = "acme", **more: Any) -> str:
        """Return the text of a new key."""
        _, text = await self.kernel.keys.create(name="test", role=role, scope_id=scope_id, **more)
        return text


@asynccontextmanager
async def service_of(kernel: RuntimeKernel, config: ServerConfig = FAST) -> AsyncIterator[Service]:
    """Give a service of a kernel, without a socket."""
    app = create_app(kernel, config)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        yield Service(kernel=kernel, app=app, transport=transport)


@asynccontextmanager
async def served(kernel: RuntimeKernel, config: ServerConfig = FAST) -> AsyncIterator[Service]:
    """Give a service of a kernel, on loopback."""
    app = create_app(kernel, config)
    async with serving(app) as url:
        yield Service(kernel=kernel, app=app, url=url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A server-sent event."""

    event: str | None
    id: str | None
    data: Any


async def frames(response: httpx2.Response) -> AsyncIterator[Frame]:
    """Read server-sent events as a browser does."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = fields.get(name, "") + value.removeprefix(" ")
        elif not line and fields:
            data = json.loads(fields["data"]) if "data" in fields else None
            yield Frame(event=fields.get("event"), id=fields.get("id"), data=data)
            fields = {}


class Reading:
    """What a reader of a job has, who loses the connection again and again: the frames with an id, and the texts joined."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []
        self.texts: dict[str, str] = {}
        self.last_id: str | None = None
        self.connections = 0
        self.ended = False

    async def connect(
        self, client: httpx2.AsyncClient, path: str, *, leave_after: float | None = None, **params: Any
    ) -> None:
        """Read until the end, or for so many seconds."""
        headers = {"Accept": "text/event-stream"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        self.connections += 1
        try:
            async with (
                asyncio.timeout(leave_after),
                client.stream("GET", path, headers=headers, params=params) as response,
            ):
                assert response.status_code == 200, response.status_code
                async for frame in frames(response):
                    self._take(frame)
        except TimeoutError:
            return

    def _take(self, frame: Frame) -> None:
        if frame.id is not None:
            self.last_id = frame.id
            self.seen.append((int(frame.id), frame.data["type"]))
        if frame.event == "end":
            self.ended = True
        if frame.event == "model.partial":
            self.texts[frame.data["operation_id"]] = frame.data["data"]["text"]
        if frame.event == "model.token" and not frame.data["data"]["reasoning"]:
            operation = frame.data["operation_id"]
            self.texts[operation] = self.texts.get(operation, "") + frame.data["data"]["text"]


def problem_in(response: httpx2.Response, status: int) -> Mapping[str, Any]:
    """Return the problem of an answer that says why a request was not done."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    told: Mapping[str, Any] = response.json()
    assert told["status"] == status
    assert told["type"] == f"urn:agent-runtime:problem:{told['code'].lower()}"
    return told
