"""What a model writes in one process, to readers in another one: over Postgres and over Redis, from the beginning, exactly, and only if somebody reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent_runtime import (
    ExecutionHandle,
    ExecutionRequest,
    KernelOptions,
    PostgresStorage,
    RedisChangeNotifier,
    RuntimeEvent,
    RuntimeKernel,
)
from agent_runtime.ports.storage import Storage
from agent_runtime.worker import live_text
from llm_client import ExecutionEngine, FunctionProvider
from support.kernels import BOUND

pytestmark = pytest.mark.timeout(BOUND * 3)
WORDS = [f"Wört{number} " for number in range(50)]
gates: list[asyncio.Event] = []


async def write(spec: Any) -> AsyncIterator[str]:
    for word in WORDS[:25]:
        await asyncio.sleep(0.005)
        yield word
    await gates[-1].wait()
    for word in WORDS[25:]:
        await asyncio.sleep(0.005)
        yield word


@pytest.fixture(params=["postgres", "redis"])
def notifier(request: pytest.FixtureRequest) -> Any:
    if request.param == "postgres":
        return lambda: None
    url = request.getfixturevalue("redis_url")
    return lambda: RedisChangeNotifier(url)


@asynccontextmanager
async def two_processes(
    database: str, notifier: Any, *, always: bool = True
) -> AsyncIterator[tuple[RuntimeKernel, RuntimeKernel]]:
    """Give one that executes and one that serves."""
    gates.append(asyncio.Event())
    storages: list[Storage] = [PostgresStorage(database, notifier=notifier()) for _ in range(2)]
    engine = ExecutionEngine(FunctionProvider(write))
    options = KernelOptions(stream_answers=always)
    try:
        async with (
            RuntimeKernel(storage=storages[0], engine=engine, options=options) as worker,
            RuntimeKernel(storage=storages[1], worker=False) as server,
        ):
            yield worker, server
    finally:
        for storage in storages:
            await storage.aclose()


class Text:
    """What a reader has of a job's answer."""

    def __init__(self) -> None:
        self.text = ""
        self.kinds: list[str] = []

    async def read(self, handle: ExecutionHandle) -> None:
        async for event in handle.events(partials=True):
            self._take(event)

    def _take(self, event: RuntimeEvent) -> None:
        if event.type in ("model.token", "model.partial"):
            self.kinds.append(event.type)
            self.text = (
                event.data["text"] if event.type == "model.partial" else self.text + event.data["text"]
            )

    async def has(self, text: str) -> None:
        async with asyncio.timeout(BOUND):
            while self.text != text:
                await asyncio.sleep(0.01)


async def test_readers_of_another_process_have_the_text_from_the_beginning_whenever_they_come(
    database: str, notifier: Any
) -> None:
    async with two_processes(database, notifier) as (_, server):
        handle = await server.execute(ExecutionRequest(prompt="write", operator="agent"))
        early, late = Text(), Text()
        reading = [asyncio.ensure_future(early.read(handle))]
        await early.has("".join(WORDS[:25]))
        reading.append(asyncio.ensure_future(late.read(handle)))
        await late.has("".join(WORDS[:25]))
        assert not (await handle.status()).is_terminal
        gates[-1].set()
        await asyncio.gather(*reading)
        for reader in (early, late):
            assert reader.text == "".join(WORDS)
        assert late.kinds[0] == "model.partial"
        assert "model.token" in early.kinds
        assert server.live.of(handle.job_id) == []


async def test_an_answer_is_streamed_if_another_process_has_a_reader_when_it_begins(
    database: str, notifier: Any
) -> None:
    async with two_processes(database, notifier, always=False) as (worker, server):
        handle = await server.execute(ExecutionRequest(prompt="write", operator="agent"))
        gates[-1].set()
        await handle.result(timeout=BOUND)
        unread = Text()
        await unread.read(handle)
        assert unread.kinds == []  # nobody has listened: it was not streamed

        first = await server.execute(ExecutionRequest(prompt="again", operator="agent"))
        wanted = Text()
        reading = asyncio.ensure_future(wanted.read(first))
        await reading
        assert wanted.text in ("", "".join(WORDS))
        assert worker.live.of(first.job_id) == []


async def test_pieces_that_are_lost_are_asked_for_again(
    database: str, notifier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_text, "AGAIN_SECONDS", 0.05)
    async with two_processes(database, notifier) as (worker, server):
        channel: Any = worker.storage.live_channel
        say, said = channel.say, 0

        async def lossy(text: str) -> None:
            nonlocal said
            said += 1
            if said % 3:
                await say(text)

        monkeypatch.setattr(channel, "say", lossy)
        handle = await server.execute(ExecutionRequest(prompt="write", operator="agent"))
        reader = Text()
        reading = asyncio.ensure_future(reader.read(handle))
        gates[-1].set()
        await reading
        assert reader.text == "".join(WORDS)
        assert said > 1


async def test_what_nobody_can_have_meant_is_not_heard(database: str, notifier: Any) -> None:
    async with two_processes(database, notifier) as (worker, server):
        handle = await server.execute(ExecutionRequest(prompt="write", operator="agent"))
        reader = Text()
        reading = asyncio.ensure_future(reader.read(handle))
        await reader.has("".join(WORDS[:25]))
        channel: Any = worker.storage.live_channel
        for text in (
            "",
            "[]",
            "{}",
            "null",
            "[1]",
            '["text"]',
            '["want"]',
            '["text","a","b","c",0,"x",1,2]',
            "\x00",
            "x" * 100,
        ):
            with_nul = "\x00" in text
            if not with_nul:
                await channel.say(text)
        job = handle.job_id
        await channel.say(f'["text","{job}","another","call",0,5,"from the middle","default"]')
        await channel.say('["text","job-of-nobody","op","call",0,0,"unheard","default"]')
        gates[-1].set()
        await reading
        assert reader.text == "".join(WORDS)
        assert server.live.of("job-of-nobody") == []
