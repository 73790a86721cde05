"""Events over a socket: a reader who loses the connection all the time has everything, once, and stops nothing by leaving."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import KernelOptions, OperatorContext, RetryPolicy, Role, RuntimeKernel
from agent_runtime.server import ServerConfig
from llm_client import ConnectionFailed, ExecutionEngine, FunctionProvider
from support.kernels import opened
from support.service import BOUND, Reading, frames, problem_in, served

WORDS = [f"word{number} " for number in range(60)]
gates: list[asyncio.Event] = []
"""What the answers of this test wait for."""


async def write(spec: Any) -> AsyncIterator[str]:
    for word in WORDS:
        await asyncio.sleep(0.01)
        yield word


async def hesitate(spec: Any) -> AsyncIterator[str]:
    for word in WORDS[:30]:
        yield word
    await gates[-1].wait()
    for word in WORDS[30:]:
        yield word


async def steps(context: OperatorContext, count: int) -> int:
    for number in range(count):
        await context.emit("custom.step", {"number": number})
        await context.sleep(0.001)
    return count


def engine(fn: Any = write) -> ExecutionEngine:
    return ExecutionEngine(FunctionProvider(fn))


@pytest.fixture
def waits() -> Any:
    gates.append(asyncio.Event())
    return gates[-1]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


async def submit(client: Any, **body: Any) -> str:
    response = await client.post("/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    return str(response.json()["job_id"])


async def until(condition: Any) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.01)


async def left(reading: Any, condition: Any) -> None:
    """Let a reader read until something is so, and lose it."""
    task = asyncio.ensure_future(reading)
    await until(condition)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.timeout(120)
async def test_a_thousand_lost_connections_reproduce_what_is_stored(place: str, tmp_path: Path) -> None:
    chance, lost = random.Random(5), 0
    async with opened(place, tmp_path) as storage:
        kernel = RuntimeKernel(storage=storage, engine=engine(), operators={"steps": steps})
        async with served(kernel) as service, service.client(await service.key()) as client:
            while lost < 1000:
                job = await submit(
                    client,
                    **({"prompt": "x"} if chance.random() < 0.5 else {"operator": "steps", "input": 40}),
                )
                readers = [Reading() for _ in range(12)]

                async def read(reader: Reading, job: str = job) -> None:
                    while not reader.ended:
                        leave_after = chance.choice((0.005, 0.02, 0.05, 0.2))
                        await reader.connect(client, f"/v1/jobs/{job}/events", leave_after=leave_after)

                await asyncio.gather(*map(read, readers))
                lost += sum(reader.connections - 1 for reader in readers)
                stored = [(event.seq, event.type) for event in await storage.events(job)]
                result = (await client.get(f"/v1/jobs/{job}/result")).json()
                assert result["status"] == "succeeded"
                for reader in readers:
                    assert reader.seen == stored
                    assert set(reader.texts.values()) <= {result["content"]}
            await until(lambda: len(service.app.state.service.readers) == 0)


async def test_who_comes_in_the_middle_of_an_answer_is_told_what_has_come(waits: asyncio.Event) -> None:
    async with (
        served(RuntimeKernel(engine=engine(hesitate))) as service,
        service.client(await service.key()) as client,
    ):
        job = await submit(client, prompt="x")
        await until(lambda: any(one.text for one in service.kernel.live.of(job)))
        reader = Reading()
        await left(reader.connect(client, f"/v1/jobs/{job}/events"), lambda: bool(reader.texts))
        assert list(reader.texts.values()) == ["".join(WORDS[:30])]

        waits.set()
        await reader.connect(client, f"/v1/jobs/{job}/events")
        assert reader.ended
        assert list(reader.texts.values()) == ["".join(WORDS)]


async def test_leaving_stops_nothing_unless_that_is_asked_for(waits: asyncio.Event) -> None:
    async with served(RuntimeKernel(engine=engine(hesitate))) as service:
        async with service.client(await service.key(Role.OPERATOR)) as client:
            kept, stopped = await submit(client, prompt="x"), await submit(client, prompt="y")
            for job, more in ((kept, {}), (stopped, {"cancel_on_leave": True})):
                reader = Reading()
                reading = reader.connect(client, f"/v1/jobs/{job}/events", **more)
                await left(reading, lambda reader=reader: bool(reader.seen))
            result = (await client.get(f"/v1/jobs/{stopped}/result", params={"wait": BOUND})).json()
            assert (result["status"], result["error"]) == ("cancelled", "its reader has left")
            waits.set()
            result = (await client.get(f"/v1/jobs/{kept}/result", params={"wait": BOUND})).json()
            assert result["content"] == "".join(WORDS)
        async with service.client(await service.key(Role.VIEWER)) as viewer:
            asked = await viewer.get(
                f"/v1/jobs/{kept}/events",
                params={"cancel_on_leave": True},
                headers={"Accept": "text/event-stream"},
            )
            assert problem_in(asked, 403)["code"] == "FORBIDDEN"


async def test_a_stream_says_that_it_lives_and_ends_with_the_service(waits: asyncio.Event) -> None:
    config = ServerConfig(heartbeat=0.05)
    lines: list[str] = []
    kernel = RuntimeKernel(engine=engine(hesitate), options=KernelOptions(drain_timeout=0.1))
    async with served(kernel, config) as service:
        client = service.client(await service.key())
        job = await submit(client, prompt="x")

        async def read() -> None:
            headers = {"Accept": "text/event-stream"}
            async with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as response:
                assert response.headers["cache-control"] == "no-store"
                async for line in response.aiter_lines():
                    lines.append(line)

        reading = asyncio.ensure_future(read())
        await until(lambda: lines.count(": ") >= 3)
    async with asyncio.timeout(BOUND):
        await reading
    await client.aclose()
    assert lines[0] == "retry: 1000"
    assert "event: end" not in lines


async def test_a_key_that_is_revoked_reads_no_further(
    waits: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_runtime.server.streams.KEY_SECONDS", 0.05)
    async with served(RuntimeKernel(engine=engine(hesitate))) as service:
        text = await service.key()
        async with service.client(text) as client:
            job = await submit(client, prompt="x")
            reading = asyncio.ensure_future(Reading().connect(client, f"/v1/jobs/{job}/events"))
            await until(lambda: len(service.app.state.service.readers) == 1)
            await service.kernel.keys.revoke(text.split("_")[1])
            async with asyncio.timeout(BOUND):
                await reading
        waits.set()


async def test_readers_are_counted_and_one_too_many_is_refused(waits: asyncio.Event) -> None:
    config = ServerConfig(max_streams=3, max_streams_per_key=2)
    async with served(RuntimeKernel(engine=engine(hesitate)), config) as service:
        ann, bob = service.client(await service.key()), service.client(await service.key())
        job = await submit(ann, prompt="x")
        path, headers = f"/v1/jobs/{job}/events", {"Accept": "text/event-stream"}
        reading = [asyncio.ensure_future(Reading().connect(each, path)) for each in (ann, ann, bob)]
        await until(lambda: len(service.app.state.service.readers) == 3)

        for each in (ann, bob):
            assert problem_in(await each.get(path, headers=headers), 429)["code"] == "TOO_MANY_REQUESTS"
        waits.set()
        await asyncio.gather(*reading)
        for each in (ann, bob):
            await each.aclose()


@pytest.mark.parametrize("last", ["x", "-1", "1e3", "٣"])
async def test_an_id_that_no_frame_has_is_refused(last: str) -> None:
    async with (
        served(RuntimeKernel(operators={"steps": steps})) as service,
        service.client(await service.key()) as client,
    ):
        job = await submit(client, operator="steps", input=1)
        headers = {b"Accept": b"text/event-stream", b"Last-Event-ID": last.encode()}
        problem_in(await client.get(f"/v1/jobs/{job}/events", headers=headers), 422)


async def test_a_reader_who_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    """It has some frames in hand and what the sockets hold; the rest waits in the storage, and comes when it reads on."""
    async with served(RuntimeKernel(operators={"steps": steps})) as service:
        host, port = service.url.removeprefix("http://").split(":")
        key = await service.key()
        async with service.client(key) as client:
            job = await submit(client, operator="steps", input=1500)
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            request = f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nAccept: text/event-stream\r\n\r\n"
            writer.write(request.encode())
            result = (await client.get(f"/v1/jobs/{job}/result", params={"wait": BOUND})).json()
            assert result["output"] == 1500
            stored = await service.kernel.storage.events(job, limit=10_000)
            content = b""
            while b"event: end" not in content:
                content += await reader.read(65536)
            writer.close()
            assert content.count(b"\nid: ") == len(stored)


async def test_frames_without_names_are_plain_messages_for_browsers() -> None:
    async with (
        served(RuntimeKernel(operators={"steps": steps})) as service,
        service.client(await service.key()) as client,
    ):
        job = await submit(client, operator="steps", input=1)
        path, headers = f"/v1/jobs/{job}/events", {"Accept": "text/event-stream"}
        async with client.stream("GET", path, headers=headers, params={"named": False}) as response:
            told = [frame async for frame in frames(response)]
    assert [frame.event for frame in told if frame.event not in (None, "end")] == []
    assert told[-1].event == "end"


async def test_a_stream_that_a_mistake_breaks_off_ends_and_half_a_character_breaks_none(
    monkeypatch: pytest.MonkeyPatch, waits: asyncio.Event
) -> None:
    async def halves(spec: Any) -> AsyncIterator[str]:
        yield "a"
        yield "\ud83d"
        await waits.wait()
        yield "b"

    async with (
        served(RuntimeKernel(engine=engine(halves), operators={"steps": steps})) as service,
        service.client(await service.key()) as client,
    ):
        reader = Reading()
        job = await submit(client, prompt="x")
        reading = asyncio.ensure_future(reader.connect(client, f"/v1/jobs/{job}/events"))
        await until(lambda: bool(reader.texts))
        waits.set()
        await reading
        assert reader.ended
        assert [text.startswith("a") and text.endswith("b") for text in reader.texts.values()] == [True]

        broken = await submit(client, operator="steps", input=1)
        await client.get(f"/v1/jobs/{broken}/result", params={"wait": BOUND})
        monkeypatch.setattr(service.app.state.service.frames, "of", lambda *_, **__: 1 / 0)
        async with asyncio.timeout(BOUND):
            await reader.connect(client, f"/v1/jobs/{broken}/events")
        assert len(service.app.state.service.readers) == 0


async def test_what_has_come_of_an_answer_is_told_with_its_scope_and_a_time(waits: asyncio.Event) -> None:
    async with (
        served(RuntimeKernel(engine=engine(hesitate))) as service,
        service.client(await service.key()) as client,
    ):
        job = await submit(client, prompt="x")
        await until(lambda: any(one.text for one in service.kernel.live.of(job)))
        headers = {"Accept": "text/event-stream"}
        async with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as response:
            async for each in frames(response):
                if each.event == "model.partial":
                    assert each.data["scope_id"] == "acme"
                    assert each.data["timestamp"] > "2026"
                    break
        waits.set()


async def test_who_claims_to_know_more_than_there_is_is_told_the_end() -> None:
    async with (
        served(RuntimeKernel(operators={"steps": steps})) as service,
        service.client(await service.key()) as client,
    ):
        job = await submit(client, operator="steps", input=1)
        await client.get(f"/v1/jobs/{job}/result", params={"wait": BOUND})
        for last in (10**6, 10**15):
            reader = Reading()
            reader.last_id = str(last)
            async with asyncio.timeout(BOUND):
                await reader.connect(client, f"/v1/jobs/{job}/events")
            assert (reader.ended, reader.seen) == (True, [])


async def test_who_waits_for_a_result_and_goes_leaves_nothing_behind(waits: asyncio.Event) -> None:
    async with (
        served(RuntimeKernel(engine=engine(hesitate))) as service,
        service.client(await service.key()) as client,
    ):
        job = await submit(client, prompt="x")
        await until(lambda: bool(service.kernel.live.of(job)))
        before = len(asyncio.all_tasks())
        asked = [
            asyncio.ensure_future(client.get(f"/v1/jobs/{job}/result", params={"wait": 60})) for _ in range(8)
        ]
        await until(lambda: len(asyncio.all_tasks()) >= before + 16)
        for each in asked:
            each.cancel()
        await asyncio.wait(asked)
        await until(lambda: len(asyncio.all_tasks()) <= before + 2)
        waits.set()


async def test_no_answer_waits_for_its_head_to_be_acknowledged() -> None:
    async with served(RuntimeKernel()) as service:
        loop, accepted = asyncio.get_running_loop(), []
        host, port = service.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for transport in list(getattr(loop, "_transports", {}).values()):
            sock = transport.get_extra_info("socket")
            if sock is not None and sock.getsockname()[1] == int(port):
                accepted.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        del reader
        assert accepted
        assert all(accepted)


async def test_an_answer_that_breaks_in_the_middle_and_is_tried_again_is_told_anew() -> None:
    attempts = 0

    async def breaks_once(spec: Any) -> AsyncIterator[str]:
        nonlocal attempts
        attempts += 1
        for word in WORDS[:10]:
            await asyncio.sleep(0.005)
            yield word
        if attempts == 1:
            raise ConnectionFailed("the connection was lost")
        for word in WORDS[10:20]:
            await asyncio.sleep(0.005)
            yield word

    retry = RetryPolicy(max_attempts=3, backoff=0.1)
    async with (
        served(RuntimeKernel(engine=engine(breaks_once), retry=retry)) as service,
        service.client(await service.key()) as client,
    ):
        job = await submit(client, prompt="x")
        reader, late = Reading(), Reading()
        reading = [asyncio.ensure_future(reader.connect(client, f"/v1/jobs/{job}/events"))]
        await until(lambda: attempts == 2 and any(each.text for each in service.kernel.live.of(job)))
        reading.append(asyncio.ensure_future(late.connect(client, f"/v1/jobs/{job}/events")))
        await asyncio.gather(*reading)
        result = (await client.get(f"/v1/jobs/{job}/result")).json()
    assert attempts == 2
    assert result["content"] == "".join(WORDS[:20])
    for each in (reader, late):
        assert list(each.texts.values()) == [result["content"]]
