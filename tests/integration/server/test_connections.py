"""Connections that stand still: half a request, and a reader who does not read, hold nothing up for long, nor the end of the process."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from agent_runtime import OperatorContext, Role, RuntimeKernel
from agent_runtime.server import connections, create_app, streams
from agent_runtime.server.running import serving
from support.service import BOUND, FAST, Service

TEXT = "x" * 100_000


async def talk(context: OperatorContext, given: Any) -> int:
    for number in range(80):
        await context.emit("custom.said", {"number": number, "text": TEXT})
    return 80


def kernel() -> RuntimeKernel:
    return RuntimeKernel(operators={"talk": talk})


async def connected(url: str, room: int = 4096) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with little room for what is not read."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    return await asyncio.open_connection(sock=connection, limit=room)


async def stream_of(service: Service, room: int = 4096) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for the events of a job that has said much, and read nothing."""
    key = await service.key(Role.OPERATOR)
    async with service.client(key) as client:
        job = (await client.post("/v1/jobs", json={"operator": "talk"})).json()["job_id"]
    await service.kernel.handle(job).result(timeout=BOUND)
    reader, writer = await connected(service.url, room)
    asked = f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nX-API-Key: {key}\r\n\r\n"
    writer.write(asked.encode())
    async with asyncio.timeout(BOUND):
        while not len(service.app.state.service.readers):
            await asyncio.sleep(0.01)
    return reader, writer


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /health/live HTT",
        b"POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{",
        b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /health",
    ],
    ids=["nothing", "half a head", "half a body", "half of a second one"],
)
async def test_a_request_that_does_not_come_is_not_waited_for(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.5)
    app = create_app(kernel(), FAST)
    async with serving(app) as url:
        reader, writer = await connected(url)
        writer.write(sent)
        async with asyncio.timeout(BOUND):
            while True:
                try:
                    if not await reader.read(1024):
                        break
                except ConnectionError:
                    break
        writer.close()


async def test_who_does_not_read_gives_its_place_to_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.5)
    app = create_app(own := kernel(), FAST)
    with caplog.at_level(logging.WARNING):
        async with serving(app) as url:
            service = Service(kernel=own, app=app, url=url)
            _, writer = await stream_of(service)
            async with asyncio.timeout(BOUND):
                while len(app.state.service.readers):
                    await asyncio.sleep(0.01)
            writer.close()
    assert caplog.text == ""


async def test_behind_another_server_a_stream_ends_for_who_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "SEND_SECONDS", 0.5)
    app = create_app(own := kernel(), FAST)
    async with serving(app) as url:
        service = Service(kernel=own, app=app, url=url)
        _, writer = await stream_of(service)
        async with asyncio.timeout(BOUND):
            while len(app.state.service.readers):
                await asyncio.sleep(0.01)
        writer.close()


async def test_who_reads_slowly_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.5)
    app = create_app(own := kernel(), FAST)
    async with serving(app) as url:
        reader, writer = await stream_of(Service(kernel=own, app=app, url=url), room=200_000)
        pieces: list[bytes] = []
        async with asyncio.timeout(BOUND):
            while not pieces or b"event: end" not in pieces[-1]:
                pieces.append(await reader.read(300_000))
                assert pieces[-1], f"given up after {sum(map(len, pieces)):,} bytes"
                await asyncio.sleep(0.1 if len(pieces) < 15 else 0)
        read = b"".join(pieces)
        assert read.count(b"event: custom.said") == 80
        writer.close()


async def test_the_process_ends_though_a_reader_does_not_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "LAST_SECONDS", 0.5)
    app = create_app(own := kernel(), FAST)
    with caplog.at_level(logging.WARNING):
        async with serving(app) as url:
            service = Service(kernel=own, app=app, url=url)
            readers = [await stream_of(service) for _ in range(2)]
            _, writer = await connected(url)
            writer.write(b"POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{")
            _, late = await connected(url)  # which nobody has heard of yet
    assert caplog.text == ""
    late.close()
    for _, each in readers:
        each.close()
    writer.close()
