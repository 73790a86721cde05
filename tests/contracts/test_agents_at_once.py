"""Many senders and writers at once, through several storages of one database: each place and each key is given once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agent_runtime.ports.agents import AgentChange, AgentView, Look, NewAgentEvent
from agent_runtime.ports.audit import Note
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.testing.agents_contract import message
from agent_runtime.testing.examples import NOW

pytestmark = pytest.mark.timeout(120)
SENDERS = 200
WRITERS = 8
EACH = 20


@pytest.fixture(params=["sqlite", "postgres"])
def back_end(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    """What makes another storage of one database."""
    if request.param == "sqlite":
        return lambda: SQLiteStorage(tmp_path / "runs.db", durability="process")
    database = request.getfixturevalue("database")
    return lambda: PostgresStorage(database)


@pytest.fixture
async def storages(back_end: Callable[[], Storage]) -> AsyncIterator[list[Storage]]:
    """Two storages of one database, as two processes have them."""
    made = [back_end(), back_end()]
    async with AsyncExitStack() as stack:
        for storage in made:
            await storage.open()
            stack.push_async_callback(storage.aclose)
        yield made


def sending(number: int, key: str) -> Callable[[AgentView], AgentChange[str]]:
    """Return the change that sends a message unless its key is known, and tells of it in the history."""

    def send(view: AgentView) -> AgentChange[str]:
        if view.known is not None:
            return AgentChange(answer=view.known.message_id)
        new = message(f"m{number:03}", dedupe_key=key)
        told = NewAgentEvent(type="mail.received", agent_id="ann", data={"key": key})
        return AgentChange(answer=new.message_id, messages=[new], events=[told])

    return send


def saying(events: list[NewAgentEvent], note: Note | None) -> Callable[[AgentView], AgentChange[None]]:
    """Return the change that only tells of something."""
    return lambda _: AgentChange(answer=None, events=events, note=note)


async def test_of_senders_at_once_each_key_is_taken_once_and_no_place_is_left_out(
    storages: list[Storage],
) -> None:
    async def send(number: int) -> str:
        key = f"k{number // 10}"
        change = sending(number, key)
        storage = storages[number % 2]
        return await storage.change_agent("default", "ann", change, at=NOW, look=Look(dedupe_key=key))

    answers = await asyncio.gather(*map(send, range(SENDERS)))

    found = await storages[0].list_agent_messages("default", "ann", limit=SENDERS)
    keys = {one.dedupe_key: one.message_id for one in found}
    assert len(found) == len(keys) == SENDERS // 10
    assert sorted(one.position for one in found) == list(range(1, SENDERS // 10 + 1))
    assert answers == [keys[f"k{number // 10}"] for number in range(SENDERS)]
    history = await storages[1].agent_events("default", limit=SENDERS)
    assert [one.seq for one in history] == list(range(1, SENDERS // 10 + 1))


async def test_entries_of_writers_at_once_are_seen_in_order_and_without_gaps(storages: list[Storage]) -> None:
    async def write(writer: int) -> None:
        storage, events = storages[writer % 2], [NewAgentEvent(type="one"), NewAgentEvent(type="two")]
        for number in range(EACH):
            note = Note("agent.changed", {"number": number}) if number % 5 == 0 else None
            await storage.change_agent("default", f"agent-{writer}", saying(events, note), at=NOW)

    async def follow(storage: Storage) -> list[int]:
        seen: list[int] = []
        while len(seen) < WRITERS * EACH * 2:
            page = await storage.agent_events("default", after=seen[-1] if seen else 0, limit=1000)
            seen += [one.seq for one in page]
        return seen

    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        followers = [group.create_task(follow(storage)) for storage in storages]
        for writer in range(WRITERS):
            group.create_task(write(writer))

    assert [follower.result() for follower in followers] == [list(range(1, WRITERS * EACH * 2 + 1))] * 2
    assert len(await storages[0].trail("default")) == WRITERS * EACH // 5
