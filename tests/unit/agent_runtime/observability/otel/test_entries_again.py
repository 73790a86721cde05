"""Entries come again, in other pieces, to other processes, while exports fail: the spans are the same."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from agent_runtime import (
    ExecutionRequest,
    ExportFailed,
    FeedEntry,
    OpenTelemetryAdapter,
    OperatorContext,
    OTelConfig,
    RuntimeKernel,
)
from agent_runtime.storage.memory import MemoryStorage
from support.kernels import BOUND, QUICK, kernel, pending, until
from support.tracing_child import leg, trip

pytestmark = pytest.mark.timeout(BOUND * 3)
CONFIG = OTelConfig(begin="first", capture_input=True, capture_output=True, capture_tool_args=True)


class Kept(SpanExporter):
    """Keeps spans, and fails when it is told to, before or after it has kept some."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.fails: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        how = self.fails.pop(0) if self.fails else "works"
        if how != "before":
            self.spans += spans
        if how == "raises":
            raise OSError("the line is dead")
        return SpanExportResult.SUCCESS if how == "works" else SpanExportResult.FAILURE

    def told(self) -> dict[int, Any]:
        """Return what was told by id; what was told twice was told the same twice."""
        found: dict[int, Any] = {}
        for span in self.spans:
            assert span.context is not None
            text = {**json.loads(span.to_json()), "resource": None}  # it names the process that tells
            assert found.setdefault(span.context.span_id, text) == text
        return found


async def again(context: OperatorContext, given: int) -> str:
    await context.step(fails_at, given, effect="idempotent")
    if given:
        context.continue_as_new(given - 1)
    return "done"


async def fails_at(number: int) -> None:
    if number == 0 and Weather.is_bad:
        raise ValueError("bad weather")


class Weather:
    is_bad = True


async def _happened(storage: MemoryStorage) -> list[FeedEntry]:
    """Have all sorts of things happen, and return what was written of them."""
    Weather.is_bad = True
    async with kernel(storage, operators=[trip, leg, again]) as k:
        handle = await k.execute(ExecutionRequest(operator="trip"))
        await handle.resolve_action((await pending(handle)).action_id, {"confirmed": True})

        async def child() -> Any:
            return next((a for a in await k.actions.list_pending() if a.job_id != handle.job_id), None)

        asked = await until(child)
        await k.handle(asked.job_id).resolve_action(asked.action_id, {"confirmed": True})
        await handle.result(timeout=BOUND)
        failed = await k.execute(ExecutionRequest(operator="again", input=1))
        head = await until(lambda: _ended(k, failed.job_id))
        Weather.is_bad = False
        await (await k.retry(head)).result(timeout=BOUND)
        return list(await storage.feed(after=0, upto=await storage.feed_end(), limit=10_000))


async def _ended(k: RuntimeKernel, job_id: str) -> str | None:
    head = await k.jobs.head(job_id)
    return head.job_id if head.status.is_terminal else None


@pytest.fixture(scope="module")
def happened() -> Iterator[tuple[MemoryStorage, list[FeedEntry], dict[int, Any]]]:
    storage = MemoryStorage()
    entries = asyncio.run(_happened(storage))
    exporter = Kept()
    asyncio.run(adapter(storage, exporter).project(entries))
    told = exporter.told()
    assert len(told) == len(exporter.spans) > 25
    return storage, entries, told  # type: ignore[return-value]


def adapter(storage: MemoryStorage, exporter: Kept) -> OpenTelemetryAdapter:
    return OpenTelemetryAdapter(storage=storage, config=CONFIG, exporter=exporter)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_however_entries_are_handed_out_the_spans_are_the_same(happened: Any, data: st.DataObject) -> None:
    storage, entries, reference = happened
    exporter = Kept()

    async def hand_out() -> None:
        told = adapter(storage, exporter)
        place = 0
        while place < len(entries):
            size = data.draw(st.integers(1, 40), label="size")
            exporter.fails = data.draw(
                st.lists(st.sampled_from(["before", "after", "raises"]), max_size=2), label="fails"
            )
            if data.draw(st.booleans(), label="another process"):
                told = adapter(storage, exporter)
            try:
                await told.project(entries[place : place + size])
            except ExportFailed:
                continue  # the same place again
            back = data.draw(st.integers(0, 10), label="back")
            place = max(0, place + size - (back if back < size else 0))

    asyncio.run(hand_out())
    assert exporter.told() == reference


def test_entries_that_are_handed_out_once_are_told_once(happened: Any) -> None:
    storage, entries, reference = happened
    exporter = Kept()

    async def hand_out() -> None:
        told = adapter(storage, exporter)
        for entry in entries:
            await told.project([entry])

    asyncio.run(hand_out())
    assert exporter.told() == reference
    assert len(exporter.spans) == len(reference)


STEPS = 5_000


async def long(context: OperatorContext, given: object) -> None:
    for number in range(STEPS):
        await context.step(one, number, effect="pure")


async def one(number: int) -> int:
    return number


class Counted(SpanExporter):
    def __init__(self) -> None:
        self.count = 0
        self.most = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.count += len(spans)
        self.most = max(self.most, len(spans))
        return SpanExportResult.SUCCESS


async def test_a_long_journal_is_told_in_little_memory_also_by_who_has_not_seen_its_beginning() -> None:
    storage = MemoryStorage()
    async with kernel(storage, operators=[long], options=QUICK) as k:
        handle = await k.execute(ExecutionRequest(operator="long"))
        await handle.result(timeout=BOUND)
    end = await storage.feed_end()
    exporter = Counted()
    told = OpenTelemetryAdapter(storage=storage, config=CONFIG, exporter=exporter)
    await told.project(await storage.feed(after=0, upto=end, limit=1))  # what is made once is made
    gc.collect()
    tracemalloc.start()
    try:
        place = 0
        while entries := await storage.feed(after=place, upto=end):
            await told.project(entries)
            place = entries[-1].position
        assert exporter.count == STEPS + 2
        late = OpenTelemetryAdapter(storage=storage, config=CONFIG, exporter=exporter)
        await late.project(await storage.feed(after=end - 1, upto=end))
        assert exporter.count == STEPS + 4  # the run and the job, whose beginnings it has read
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert exporter.most <= 256
    assert peak < 16 * 1024 * 1024
    for one_adapter in (told, late):
        assert one_adapter._projection is not None
        assert not one_adapter._projection._traces
