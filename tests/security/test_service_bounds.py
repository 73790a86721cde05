"""What a service takes from strangers: bounded in size, depth and number, and answered without a word too many."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

import agent_runtime.errors
from agent_runtime import AgentRuntimeError, OperatorContext, Role, RuntimeKernel
from agent_runtime.errors import StorageError
from agent_runtime.ports.keys import StoredKey
from agent_runtime.server import ServerConfig, bodies, create_app
from agent_runtime.server.problems import status_of
from agent_runtime.storage.memory import MemoryStorage
from support.service import BOUND, problem_in, served, service_of

SECRET = "ark_" + "a1b2c3d4e5f6_" + "S3cr3t" * 7
SMALL = ServerConfig(max_body_bytes=10_000)


async def echo(context: OperatorContext, given: Any) -> Any:
    return given


def kernel(**more: Any) -> RuntimeKernel:
    return RuntimeKernel(operators={"echo": echo}, **more)


async def test_what_is_too_long_is_refused_before_it_is_read() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b" " * 1_000

    async with served(kernel(), SMALL) as service, service.client(await service.key()) as client:
        said = await client.post("/v1/jobs", content=b" " * 10_001)
        assert problem_in(said, 413)["detail"] == "a request may have 10,000 bytes"
        headers = {"Content-Type": "application/json"}
        unsaid = await client.post("/v1/jobs", content=pieces(), headers=headers)
        assert problem_in(unsaid, 413)["code"] == "CONTENT_TOO_LARGE"
        fits = await client.post("/v1/jobs", json={"operator": "echo", "input": "x" * 9_000})
        assert fits.status_code == 202


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/session", "/mcp"])
async def test_what_does_not_come_is_not_waited_for(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of half a request the first half is kept, and nobody can know whether the rest will ever come."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    async with served(kernel(), SMALL) as service:
        host, port = service.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (f"Authorization: Bearer {await service.key()}", "Content-Length: 100", f"Host: {host}:{port}")
        writer.write("\r\n".join([f"POST {path} HTTP/1.1", *head, "", "{"]).encode())
        async with asyncio.timeout(BOUND):
            told = await reader.read()  # to the end: the connection is closed
        assert told.startswith(b"HTTP/1.1 408 ")
        assert b'"REQUEST_TIMEOUT"' in told
        writer.close()
        await writer.wait_closed()


async def test_who_waits_for_an_answer_is_not_hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)

    async def slow(context: OperatorContext, given: Any) -> str:
        await asyncio.sleep(0.6)
        return "done"

    slowly = RuntimeKernel(operators={"slow": slow})
    async with served(slowly) as service, service.client(await service.key()) as client:
        job = (await client.post("/v1/jobs", json={"operator": "slow"})).json()["job_id"]
        result = await client.get(f"/v1/jobs/{job}/result", params={"wait": BOUND})
        assert result.json()["output"] == "done"
        headers = {"Accept": "text/event-stream"}
        async with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as events:
            assert b"event: end" in await events.aread()


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "9" * 30, "+5"])
async def test_a_length_that_is_none_is_refused(length: str) -> None:
    async with service_of(kernel()) as service, service.client(await service.key()) as client:
        request = client.build_request("POST", "/v1/jobs", content=b"{}")
        request.headers["Content-Length"] = length
        problem_in(await client.send(request), 413)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"operator":' * 10_000,
        b'{"operator": NaN}',
        b'{"operator": "echo", "input": 1e999999}',
        b'{"operator": "echo", "input": "\\ud800"}',
        b'{"operator": "a\\u0000b"}',
        b'{"operator": "echo", "tags": {"a": 1}}',
        b'{"operator": "echo", "unknown": 1}',
        b'{"operator": "echo", "priority": 99999999999999999999}',
        b"9" * 100_000,
        b'{"operator": "echo", "messages": [{"role": "tool", "content": "x"}]}',
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
async def test_what_is_no_request_is_said_to_be_none(body: bytes) -> None:
    async with service_of(kernel()) as service, service.client(await service.key()) as client:
        headers = {"Content-Type": "application/json"}
        response = await client.post("/v1/jobs", content=body, headers=headers)
        if response.status_code != 202:  # half of a pair becomes a mark, and a number too large infinity
            problem_in(response, 422)


async def test_a_mistake_does_not_repeat_what_stood_there() -> None:
    async with service_of(kernel()) as service, service.client(await service.key()) as client:
        for body in (
            {"operator": SECRET, "priority": SECRET},
            {"operator": SECRET},
            {"operator": "echo", "queue": SECRET + "\x00"},
            {SECRET: 1},
        ):
            told = await client.post("/v1/jobs", json=body)
            assert SECRET not in told.text
            problem_in(told, 422)
        for path in (f"/v1/jobs/{SECRET}", f"/v1/actions/{SECRET}", f"/v1/jobs?since={SECRET}"):
            assert SECRET not in (await client.get(path)).text


async def test_a_mistake_of_ours_tells_its_name_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the innermost")

    async with service_of(kernel()) as service, service.client(await service.key()) as client:
        monkeypatch.setattr(service.kernel.jobs, "part", broken)
        with caplog.at_level(logging.ERROR):
            told = problem_in(await client.get("/v1/jobs"), 500)
    assert told["code"] == "INTERNAL"
    assert "innermost" not in json.dumps(told)
    assert told["instance"] in caplog.text
    assert "the innermost" in caplog.text


async def test_a_storage_that_is_away_is_no_answer_about_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StorageError("the database cannot be reached")

    storage = MemoryStorage()
    async with service_of(kernel(storage=storage)) as service:
        key = await service.key()
        monkeypatch.setattr(service.kernel.keys, "authenticate", away)
        monkeypatch.setattr(storage, "list_workers", away)
        async with service.client(key) as client:
            told = await client.get("/v1/jobs")
            assert problem_in(told, 503)["code"] == "STORAGE_ERROR"
            assert told.headers["retry-after"] == "5"
            assert (await client.get("/health/live")).json() == {"status": "ok"}
            assert (await client.head("/health/live")).status_code == 200
            ready = await client.get("/health/ready")
            assert (ready.status_code, ready.json()) == (503, {"status": "unavailable"})
        monkeypatch.undo()


async def test_a_key_asks_as_often_as_it_may_and_others_as_often_as_before() -> None:
    config = ServerConfig(requests_per_second=0.5, burst=3)
    async with service_of(kernel(), config) as service:
        ann, bob = service.client(await service.key()), service.client(await service.key())
        assert [(await ann.get("/v1/jobs")).status_code for _ in range(4)] == [200, 200, 200, 429]
        told = await ann.get("/v1/jobs")
        assert problem_in(told, 429)["code"] == "TOO_MANY_REQUESTS"
        assert 1 <= int(told.headers["retry-after"]) <= 2
        assert (await bob.get("/v1/jobs")).status_code == 200
        strangers = [(await service.client("ark_x_y").get("/v1/jobs")).status_code for _ in range(5)]
        assert strangers == [401, 401, 401, 429, 429]
        assert (await bob.get("/v1/jobs")).status_code == 200
        assert (await ann.get("/health/live")).status_code == 200


class CountingStorage(MemoryStorage):
    """Counts how often keys are read."""

    reads = 0

    async def get_key(self, key_id: str) -> StoredKey | None:
        self.reads += 1
        return await super().get_key(key_id)


async def test_keys_that_a_stranger_makes_up_are_looked_for_no_oftener_than_a_stranger_may_ask() -> None:
    storage = CountingStorage()
    config = ServerConfig(requests_per_second=0.01, burst=5)
    async with service_of(kernel(storage=storage), config) as service:
        known, late = await service.key(), await service.key()
        async with service.client(known) as client:
            assert (await client.get("/v1/jobs")).status_code == 200
        storage.reads = 0
        for number in range(20):
            made_up = f"ark_{number:017x}_{'x' * 43}"
            headers = {"Authorization": f"Bearer {made_up}"}
            if number % 2:
                headers = {"Cookie": f"agent_runtime_session=ark_{number:017x}{2**32:010x}_{'x' * 43}"}
            async with service.client(None, **headers) as client:
                assert (await client.get("/v1/jobs")).status_code == (401 if number < 5 else 429)
        assert storage.reads == 5
        async with service.client(known) as client:  # others at the same address go on
            assert (await client.get("/v1/jobs")).status_code == 200
        async with service.client(late) as client:  # and who has not been here before has to wait
            assert (await client.get("/v1/jobs")).status_code == 429


async def test_many_new_keys_of_one_address_are_let_in() -> None:
    config = ServerConfig(requests_per_second=0.01, burst=3)
    async with service_of(kernel(), config) as service:
        for _ in range(10):
            async with service.client(await service.key()) as client:
                assert (await client.get("/v1/jobs")).status_code == 200


async def test_no_other_origin_reads_an_answer_unless_it_is_named() -> None:
    origin = "https://console.example.com"
    async with service_of(kernel()) as service, service.client(await service.key(), Origin=origin) as client:
        assert "access-control-allow-origin" not in (await client.get("/v1/jobs")).headers
    named = ServerConfig(cors_origins=(origin,))
    async with service_of(kernel(), named) as service:
        key = await service.key()
        async with service.client(key, Origin=origin) as client:
            assert (await client.get("/v1/jobs")).headers["access-control-allow-origin"] == origin
            asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
            assert (await service.client(Origin=origin).options("/v1/jobs", headers=asked)).status_code == 200
        async with service.client(key, Origin="https://else.example.com") as client:
            assert "access-control-allow-origin" not in (await client.get("/v1/jobs")).headers
    with pytest.raises(agent_runtime.errors.InvalidInput):
        ServerConfig(cors_origins=("*",))


def test_every_error_of_the_runtime_has_a_status_and_a_server_error_is_never_a_users_mistake() -> None:
    def below(kind: type[BaseException]) -> list[type[BaseException]]:
        return [kind, *(each for child in kind.__subclasses__() for each in below(child))]

    found = {kind: status_of(kind.__new__(kind)) for kind in below(AgentRuntimeError)}
    ours = {
        kind
        for kind in found
        if kind.__module__ == "agent_runtime.errors" and not kind.__name__.startswith("_")
    }
    told = {kind.__name__ for kind in ours if found[kind] == 500}
    assert told <= {
        "AgentRuntimeError", "AlreadySettled", "ChildFailed", "ConcurrentSteps", "ExportFailed", "JobSuspected", "JournalLimitReached",
        "MissingDependency", "NondeterminismError", "RunError", "SignalsPending", "StepFailed", "CallExpired", "CallRefused",
        "InvalidArguments", "UnrecordedCancellation",
    }, told  # fmt: skip
    assert all(found[kind] < 500 for kind in ours if issubclass(kind, agent_runtime.errors.InvalidInput))


async def test_behind_another_application_the_first_request_starts_it() -> None:
    own = kernel()
    outer = FastAPI()
    outer.mount("/runtime", create_app(own))
    transport = httpx2.ASGITransport(app=outer)
    async with own:
        _, key = await own.keys.create(name="x", role=Role.ADMIN, scope_id="acme")
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://x", headers={"X-API-Key": key}
        ) as client:
            made = await client.post("/runtime/v1/jobs", json={"operator": "echo", "input": 3})
            assert made.status_code == 202
            assert made.headers["location"] == f"/runtime/v1/jobs/{made.json()['job_id']}"
            assert (await client.delete("/runtime/v1/jobs")).headers["allow"] == "GET, POST"
            result = await client.get(
                f"/runtime/v1/jobs/{made.json()['job_id']}/result", params={"wait": BOUND}
            )
            assert result.json()["output"] == 3
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as stranger:
            assert (await stranger.get("/runtime/health/live")).status_code == 200
            problem_in(await stranger.get("/runtime/v1/jobs"), 401)


async def test_long_reads_of_one_caller_leave_turns_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service_of(kernel()) as service:
        ann, bob = service.client(await service.key()), service.client(await service.key(scope_id="rival"))
        free = asyncio.Event()
        costs = service.kernel.ledger.costs

        async def slow(*given: Any, **filters: Any) -> Any:
            if filters["scope_id"] == "acme":
                await free.wait()
            return await costs(*given, **filters)

        monkeypatch.setattr(service.kernel.ledger, "costs", slow)
        asked = [asyncio.ensure_future(ann.get("/v1/ledger/costs")) for _ in range(20)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(BOUND):
            assert (await bob.get("/v1/ledger/costs")).status_code == 200
            assert (await bob.get("/v1/overview")).status_code == 200
        free.set()
        assert [response.status_code for response in await asyncio.gather(*asked)] == [200] * 20


@pytest.mark.parametrize(
    "body",
    [
        {f"name{number}": 1 for number in range(100_000)},
        {"messages": [1] * 400_000},
        {"operator": "echo", "tags": {f"t{number}": 1 for number in range(100_000)}},
        {"operator": "echo", "budgets": {f"b{number}": 1 for number in range(100_000)}},
    ],
    ids=["names", "messages", "tags", "names further in"],
)
async def test_a_request_with_countless_mistakes_holds_nobody_up(body: dict[str, Any]) -> None:
    async with service_of(kernel()) as service, service.client(await service.key()) as client:
        content = json.dumps(body, separators=(",", ":")).encode()
        assert len(content) < 2 * 1024 * 1024
        told = await client.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
        assert len(problem_in(told, 422)["errors"]) <= 2


async def test_who_brings_no_key_sends_little() -> None:
    async with service_of(kernel()) as service, service.client() as stranger:
        told = await stranger.post("/v1/session", json={"key": "x" * 9_000})
        assert problem_in(told, 413)["detail"] == "a request may have 8,192 bytes"


async def test_readers_who_come_at_once_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServerConfig(max_streams_per_key=5)
    async with served(kernel(), config) as service, service.client(await service.key()) as client:

        async def read() -> int:
            headers = {"Accept": "text/event-stream"}
            async with client.stream("GET", "/v1/events", headers=headers) as response:
                if response.status_code == 200:
                    await asyncio.sleep(1)
                return response.status_code

        told = await asyncio.gather(*(read() for _ in range(40)))
    assert sorted(told) == [200] * 5 + [429] * 35


def test_origins_are_named_one_by_one() -> None:
    with pytest.raises(agent_runtime.errors.InvalidInput):
        ServerConfig(cors_origins="https://console.example.com")  # type: ignore[arg-type]
