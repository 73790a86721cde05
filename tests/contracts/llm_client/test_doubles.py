"""The provider contract, over the doubles."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llm_client import (
    CompletionResult,
    FunctionProvider,
    Provider,
    RateLimited,
    RecordedProvider,
    RequestSpec,
    ScriptedProvider,
    ToolCall,
)
from llm_client.spec import RequestContext
from llm_client.testing.provider_contract import SPEC, SPEC_WITH_TOOLS, ProviderContract, collect

MANY = 30


async def hang(_spec: RequestSpec) -> str:
    await asyncio.Event().wait()
    return "never"


def reply(text: str, calls: tuple[ToolCall, ...]) -> CompletionResult:
    return CompletionResult(content=text, tool_calls=calls, finish_reason="tool_calls" if calls else "stop")


def limited() -> RateLimited:
    return RateLimited(status=429)


class TestScriptedProvider(ProviderContract):
    @asynccontextmanager
    async def answering(self, *, text: str = "", calls: tuple[ToolCall, ...] = ()) -> AsyncIterator[Provider]:
        yield ScriptedProvider([reply(text, calls)] * MANY)

    @asynccontextmanager
    async def failing(self) -> AsyncIterator[Provider]:
        yield ScriptedProvider([limited() for _ in range(MANY)])

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[Provider]:
        yield FunctionProvider(hang)


class TestFunctionProvider(ProviderContract):
    @asynccontextmanager
    async def answering(self, *, text: str = "", calls: tuple[ToolCall, ...] = ()) -> AsyncIterator[Provider]:
        yield FunctionProvider(lambda _: reply(text, calls))

    @asynccontextmanager
    async def failing(self) -> AsyncIterator[Provider]:
        def fail(_spec: RequestSpec) -> str:
            raise limited()

        yield FunctionProvider(fail)

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[Provider]:
        yield FunctionProvider(hang)


class TestReplayedRecording(ProviderContract):
    """A recording of every request of the suite, replayed without the provider that was recorded."""

    @pytest.fixture(autouse=True)
    def recording(self, tmp_path: Path) -> None:
        self.path = tmp_path / "recording.jsonl"

    @asynccontextmanager
    async def answering(self, *, text: str = "", calls: tuple[ToolCall, ...] = ()) -> AsyncIterator[Provider]:
        yield await self.replay(FunctionProvider(lambda _: reply(text, calls)))

    @asynccontextmanager
    async def failing(self) -> AsyncIterator[Provider]:
        yield await self.replay(ScriptedProvider([limited() for _ in range(MANY)]))

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[Provider]:
        yield await RecordedProvider.open(self.path, FunctionProvider(hang))

    async def replay(self, inner: Provider) -> Provider:
        recorder = await RecordedProvider.open(self.path, inner, mode="record")
        for spec in (SPEC, SPEC_WITH_TOOLS):
            await asyncio.gather(recorder.complete(spec, RequestContext()), return_exceptions=True)
            await asyncio.gather(collect(recorder, spec), return_exceptions=True)
        return await RecordedProvider.open(self.path, mode="replay")
