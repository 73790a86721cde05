"""An answer is read and decoded once for all who follow its job, and not kept for long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent_runtime.errors import StorageError
from agent_runtime.events.bus import InMemoryEventBus
from agent_runtime.events.live_calls import LiveCall, LiveCalls
from agent_runtime.kernel import answers as module
from agent_runtime.kernel.answers import Answers
from agent_runtime.kernel.following import Follower
from agent_runtime.values.content import encode
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from llm_client.codec import dump_result
from llm_client.messages import CompletionResult

READERS = 50


def ended(text: str, seq: int = 1, operation_id: str = "op") -> RuntimeEvent:
    return RuntimeEvent(
        type=RuntimeEventType.MODEL_COMPLETED,
        job_id="job-1",
        seq=seq,
        operation_id=operation_id,
        content=encode(dump_result(CompletionResult(content=text))),
    )


class Journal:
    """A journal whose readings are counted."""

    def __init__(self, *events: RuntimeEvent) -> None:
        self.entries = list(events)
        self.reads: list[int] = []
        self.fails = 0

    async def events(
        self,
        job_id: str,
        *,
        scope_id: str | None = None,
        after_seq: int = 0,
        limit: int = 1000,
        max_bytes: int | None = None,
        with_content: bool = True,
    ) -> Sequence[RuntimeEvent]:
        await asyncio.sleep(0)
        page = [event for event in self.entries if (event.seq or 0) > after_seq][:limit]
        if self.fails:
            self.fails -= 1
            raise StorageError("the database cannot be reached")
        if with_content:
            self.reads.append(after_seq)
            return page
        return [replace(event, content=None) for event in page]

    async def tail(
        self, job_id: str, limit: int, *, scope_id: str | None = None, with_content: bool = True
    ) -> Sequence[RuntimeEvent]:
        return self.entries[-limit:]

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        return self.entries[-1:]


async def test_many_who_want_an_answer_have_it_read_once() -> None:
    event = ended("Hello " * 50_000)
    journal = Journal(event)
    answers = Answers(journal)
    public = replace(event, content=None)
    found = await asyncio.gather(*(answers.of(public) for _ in range(READERS)))
    assert set(found) == {"Hello " * 50_000}
    assert journal.reads == [0]


async def test_an_answer_is_asked_for_again_where_it_could_not_be_read() -> None:
    event = ended("Hello")
    journal = Journal(event)
    journal.fails = 1
    answers = Answers(journal)
    public = replace(event, content=None)
    with pytest.raises(StorageError):
        await answers.of(public)
    assert await answers.of(public) == "Hello"


async def test_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    answers = Answers(Journal(event := ended("Hello")))
    public = replace(event, content=None)
    first = asyncio.ensure_future(answers.of(public))
    second = asyncio.ensure_future(answers.of(public))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "Hello"


async def test_what_was_deleted_is_told_no_longer_than_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    event = ended("Hello")
    journal = Journal(event)
    answers = Answers(journal)
    public = replace(event, content=None)
    assert await answers.of(public) == "Hello"
    journal.entries = [public]
    monkeypatch.setattr(module, "KEPT_SECONDS", 0)
    answers = Answers(journal)
    assert await answers.of(public) is None
    assert await answers.of(replace(public, type=RuntimeEventType.MODEL_FAILED)) is None


async def test_answers_are_not_kept_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 100)
    events = [ended("x" * 60, seq) for seq in range(1, 4)]
    journal = Journal(*events)
    answers = Answers(journal)
    for event in events:
        assert await answers.of(replace(event, content=None)) == "x" * 60
    assert await answers.of(replace(events[-1], content=None)) == "x" * 60
    assert journal.reads == [0, 1, 2]
    await answers.of(replace(events[0], content=None))
    assert journal.reads == [0, 1, 2, 0]


async def test_all_who_follow_a_job_share_the_answer_that_each_has_a_part_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[object] = []
    load = module.load_result

    def counted(body: dict[str, object]) -> CompletionResult:
        decoded.append(body)
        return load(body)

    monkeypatch.setattr(module, "load_result", counted)
    last = RuntimeEvent(type=RuntimeEventType.JOB_SUCCEEDED, job_id="job-1", seq=2)
    journal = Journal()
    bus, live = InMemoryEventBus(), LiveCalls(always=True)
    call = live.add_call(LiveCall("job-1", "default", "op"))
    live.add(call, "Hello ", reasoning=False)
    answers = Answers(journal)
    readers = [
        Follower(
            "job-1", bus=bus, storage=journal, live=live, answers=answers, partials=True, with_content=False
        )
        for _ in range(READERS)
    ]

    async def read(reader: Follower) -> tuple[str, list[object]]:
        text, contents = "", []
        async for event in reader.events():
            contents.append(event.content)
            if event.type == "model.partial":
                text = event.data["text"]
        reader.close()
        return text, contents

    reading = [asyncio.ensure_future(read(reader)) for reader in readers]
    await asyncio.sleep(0.01)
    journal.entries = [ended("Hello there."), last]
    for event in journal.entries:
        bus.publish_live(event)
    found = await asyncio.gather(*reading)
    assert {text for text, _ in found} == {"Hello there."}
    assert all(set(contents) == {None} for _, contents in found)
    assert len(decoded) == 1
    assert journal.reads == []
