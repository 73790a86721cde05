"""What every `Storage` must do with resident agents, their mailboxes and the histories of scopes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from agent_runtime.errors import UnknownAgent
from agent_runtime.ports.agents import (
    BROADCAST,
    CREATED,
    NOTHING,
    AgentChange,
    AgentEvent,
    AgentMessage,
    AgentState,
    AgentView,
    Look,
    MailStatus,
    MessageKind,
    MessageStatus,
    NewAgentEvent,
    Priority,
    StoredAgent,
)
from agent_runtime.ports.audit import Note
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW
from agent_runtime.values.event import RuntimeEvent

MINUTE = timedelta(minutes=1)


def agent(agent_id: str = "ann", scope_id: str = "default", **values: object) -> StoredAgent:
    """Return an agent."""
    made = StoredAgent(
        scope_id=scope_id,
        agent_id=agent_id,
        definition="helper",
        config={},
        state=AgentState.IDLE,
        last_active=NOW,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(made, **values)  # type: ignore[arg-type]  # fields by name


def message(
    message_id: str = "m1", mailbox: str = "ann", scope_id: str = "default", **values: object
) -> AgentMessage:
    """Return a message that may be handled now."""
    made = AgentMessage(
        message_id=message_id,
        scope_id=scope_id,
        mailbox=mailbox,
        kind=MessageKind.TASK,
        sent_at=NOW,
        not_before=NOW,
        content=b"{}",
    )
    return replace(made, **values)  # type: ignore[arg-type]  # fields by name


async def written(
    storage: Storage, *, of: str = "ann", scope_id: str = "default", at: datetime = NOW, **values: object
) -> None:
    """Make a change of an agent."""
    made = AgentChange(answer=None, **values)  # type: ignore[arg-type]  # fields by name
    await storage.change_agent(scope_id, of, lambda _: made, at=at)


async def kept(storage: Storage, *agents: StoredAgent) -> None:
    """Store agents."""
    for one in agents:
        await written(storage, of=one.agent_id, scope_id=one.scope_id, agent=one)


async def seen(storage: Storage, look: Look = NOTHING, *, of: str = "ann", at: datetime = NOW) -> AgentView:
    """Return what a change of an agent is shown."""
    return await storage.change_agent("default", of, lambda view: AgentChange(answer=view), at=at, look=look)


def ids(messages: Sequence[AgentMessage]) -> list[str]:
    """Return the ids of messages."""
    return [one.message_id for one in messages]


def places(events: Sequence[AgentEvent]) -> list[tuple[int, str]]:
    """Return where entries stand, and what they are."""
    return [(one.seq, one.type) for one in events]


class AgentNews:
    """A listener that remembers which agents have changed."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def agents_changed(self, changes: Sequence[tuple[str, str]]) -> None:
        """Remember them."""
        self.changes.extend(changes)

    def committed(self, commit: Commit, first_seq: int) -> None:
        """Nothing to remember."""

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """Nothing to remember."""

    def mailed(self, job_ids: Sequence[str]) -> None:
        """Nothing to remember."""

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        """Nothing to remember."""


class AgentsContract:
    """The suite."""

    async def test_an_agent_comes_back_as_it_was_written(self, storage: Storage) -> None:
        full = agent(
            "the\x00agent",
            "tenant \x1a",
            revision=2**40,
            config={"cap": 3, "note": "\x00"},
            principal_id="ada",
            state=AgentState.SLEEPING,
            reason="it sleeps",
            sleep={"wake_on": ["mail"]},
            wake_load=0.25,
            listens_to=("news.*", "alarm"),
            look_at=NOW + MINUTE,
            holder="worker-1",
            queued=2**40,
            running=1,
            turns=2,
            errors=3,
            failures=4,
            broken_until=NOW,
            woken=5,
            woken_on="2026-12-01",
            created_by="grace",
            updated_at=NOW + MINUTE,
        )
        await kept(storage, full, agent())
        assert await storage.get_agent(full.scope_id, full.agent_id) == full
        assert await storage.get_agent("default", "ann") == agent()
        assert await storage.get_agent("default", full.agent_id) is None

    async def test_a_change_sees_the_agent_as_the_one_before_has_left_it(self, storage: Storage) -> None:
        def grown(view: AgentView) -> AgentChange[int]:
            stored = view.agent or agent(turns=0)
            return AgentChange(answer=stored.turns + 1, agent=replace(stored, turns=stored.turns + 1))

        made = await asyncio.gather(
            *(storage.change_agent("default", "ann", grown, at=NOW) for _ in range(20))
        )
        assert sorted(made) == list(range(1, 21))
        assert (await seen(storage)).agent == agent(turns=20)

    async def test_a_change_that_raises_changes_nothing(self, storage: Storage) -> None:
        await kept(storage, agent())

        def refused(view: AgentView) -> AgentChange[None]:
            assert view.agent is not None
            raise UnknownAgent("not now")

        others = [written(storage, of=name, agent=agent(name)) for name in ("bob", "cat")]
        results = await asyncio.gather(
            others[0],
            storage.change_agent("default", "ann", refused, at=NOW),
            others[1],
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), UnknownAgent, type(None)]
        assert [one.agent_id for one in await storage.list_agents("default")] == ["ann", "bob", "cat"]
        assert await storage.last_agent_seq("default") == 0

    async def test_agents_are_listed_by_scope_and_name(self, storage: Storage) -> None:
        made = [agent(name, scope) for scope in ("a", "b") for name in ("x", "y", "z")]
        await kept(storage, *reversed(made))
        assert list(await storage.list_agents()) == made
        assert list(await storage.list_agents(after=("a", "y"), limit=2)) == made[2:4]
        assert list(await storage.list_agents("b")) == made[3:]
        assert list(await storage.list_agents("b", after=("b", "x"), limit=1)) == [made[4]]
        assert list(await storage.list_agents("c")) == []
        assert [await storage.count_agents(scope, most=2) for scope in ("a", "c")] == [2, 0]
        assert await storage.count_agents("a", most=5) == 3

    async def test_those_come_first_that_have_to_be_looked_after_first(self, storage: Storage) -> None:
        assert await storage.next_agent_look() is None
        looks = {"never": None, "later": NOW + MINUTE, "now": NOW, "long": NOW - MINUTE}
        await kept(storage, *(agent(name, look_at=at) for name, at in looks.items()))
        assert [one.agent_id for one in await storage.due_agents(NOW)] == ["long", "now"]
        assert [one.agent_id for one in await storage.due_agents(NOW, limit=1)] == ["long"]
        assert await storage.due_agents(NOW - 2 * MINUTE) == []
        assert await storage.next_agent_look() == NOW - MINUTE

    async def test_those_come_first_that_permit_the_least_load(self, storage: Storage) -> None:
        loads = {"any": None, "half": 0.5, "most": 0.9, "little": 0.1}
        asleep = {"state": AgentState.SLEEPING}
        await kept(storage, *(agent(name, wake_load=load, **asleep) for name, load in loads.items()))
        assert [one.agent_id for one in await storage.agents_waiting_for_load(0.2)] == ["half", "most"]
        assert [one.agent_id for one in await storage.agents_waiting_for_load(0.0, limit=1)] == ["little"]
        assert await storage.agents_waiting_for_load(0.9) == []

    async def test_who_listens_is_told_once_and_in_order(self, storage: Storage) -> None:
        listens = {"bob": ("a.*", "a.b"), "ann": ("a.*",), "cat": ("c",), "dot": ("a.b",)}
        await kept(storage, *(agent(name, listens_to=to) for name, to in listens.items()))
        await kept(storage, agent("eve", "other", listens_to=("a.*",)))
        patterns = ["a.*", "a.b", "*"]
        assert list(await storage.subscribers("default", patterns)) == ["ann", "bob", "dot"]
        assert list(await storage.subscribers("default", patterns, after="ann", limit=1)) == ["bob"]
        await kept(storage, agent("bob", listens_to=("c",)), agent("dot"))
        assert list(await storage.subscribers("default", patterns)) == ["ann"]
        assert list(await storage.subscribers("default", ["c"])) == ["bob", "cat"]

    async def test_a_message_comes_back_as_it_was_written(self, storage: Storage) -> None:
        full = message(
            "m-1",
            kind=MessageKind.MAIL,
            status=MessageStatus.DEAD,
            priority=Priority.URGENT,
            sender="b\x00b",
            name="news",
            dedupe_key="once",
            thread_id="m-0",
            reply_to="m-0",
            mail_status=MailStatus.UNREAD,
            expires_at=NOW + MINUTE,
            attempts=3,
            job_id="job-1",
            claimed_at=NOW,
            ended_at=NOW,
            error="it failed",
            content=b"\x00\xff",
            result=b"\x01",
        )
        await written(storage, messages=[full, message("m-2")])
        assert await storage.get_agent_message("default", "m-1") == replace(full, position=1)
        assert await storage.get_agent_message("default", "m-2") == message("m-2", position=2)
        assert await storage.get_agent_message("other", "m-1") is None
        assert "xff" not in repr(full)

    async def test_of_a_message_that_is_there_content_and_result_stay(self, storage: Storage) -> None:
        await written(storage, messages=[message(content=b"1")])
        view = await seen(storage, Look(message_ids=["m1", "m9"]))
        assert view.messages == {"m1": message(position=1, content=None)}
        changed = replace(view.messages["m1"], status=MessageStatus.DONE, ended_at=NOW)
        await written(storage, messages=[replace(changed, result=b"2")])
        await written(storage, messages=[replace(changed, attempts=1, error="told")])
        stays = replace(changed, attempts=1, error="told", content=b"1", result=b"2")
        assert await storage.get_agent_message("default", "m1") == stays
        assert list(await storage.list_agent_messages("default", "ann")) == [replace(stays, result=None)]

    async def test_the_most_important_and_oldest_message_is_ready_first(self, storage: Storage) -> None:
        made = [
            message("low", priority=Priority.LOW),
            message("first"),
            message("second"),
            message("urgent", priority=Priority.URGENT),
            message("later", not_before=NOW + 2 * MINUTE, priority=Priority.URGENT),
            message("soon", not_before=NOW + MINUTE, expires_at=NOW + 5 * MINUTE),
            message("late", expires_at=NOW, priority=Priority.URGENT),
            message("done", status=MessageStatus.DONE, ended_at=NOW),
            message("held", status=MessageStatus.CLAIMED, claimed_at=NOW),
        ]
        await written(storage, messages=made)
        await written(storage, of="bob", messages=[message("other", "bob", priority=Priority.URGENT)])
        view = await seen(storage, Look(ready=3, expired=5, claimed=True))
        assert ids(view.ready) == ["urgent", "first", "second"]
        assert (ids(view.claimed), ids(view.expired)) == (["held"], ["late"])
        assert (view.next_ready, view.next_expiry) == (NOW + MINUTE, NOW + 5 * MINUTE)
        assert all(one.content is None for one in (*view.ready, *view.claimed, *view.expired))
        later = await seen(storage, Look(ready=9), at=NOW + 5 * MINUTE)
        assert ids(later.ready) == ["urgent", "later", "first", "second", "low"]
        assert (later.next_ready, later.next_expiry, list(later.expired)) == (None, None, [])
        unasked = await seen(storage)
        assert [*unasked.ready, *unasked.claimed] == []
        assert (unasked.messages, unasked.known) == ({}, None)

    async def test_a_message_is_found_by_its_key_in_its_mailbox_alone(self, storage: Storage) -> None:
        await written(storage, messages=[message(dedupe_key="k")])
        await written(storage, of="bob", messages=[message("m2", "bob", dedupe_key="k")])
        assert (await seen(storage, Look(dedupe_key="k"))).known == message(
            position=1, dedupe_key="k", content=None
        )
        assert (await seen(storage, Look(dedupe_key="l"))).known is None

    async def test_senders_at_once_share_no_place_and_no_key(self, storage: Storage) -> None:
        def sent(number: int) -> Callable[[AgentView], AgentChange[str]]:
            def send(view: AgentView) -> AgentChange[str]:
                if view.known is not None:
                    return AgentChange(answer=view.known.message_id)
                new = message(f"m{number}", dedupe_key=f"k{number % 3}")
                return AgentChange(answer=new.message_id, messages=[new])

            return send

        answers = await asyncio.gather(
            *(
                storage.change_agent("default", "ann", sent(n), at=NOW, look=Look(dedupe_key=f"k{n % 3}"))
                for n in range(30)
            )
        )
        found = await storage.list_agent_messages("default", "ann")
        assert sorted(one.position for one in found) == [1, 2, 3]
        assert {one.dedupe_key for one in found} == {"k0", "k1", "k2"}
        assert set(answers) == set(ids(found))

    async def test_messages_are_listed_with_the_newest_first(self, storage: Storage) -> None:
        made = [message(f"m{n}", sent_at=NOW + (n // 2) * MINUTE, content=b"x" * n) for n in range(6)]
        made[1] = replace(made[1], kind=MessageKind.MAIL, thread_id="t", status=MessageStatus.DEAD)
        made[4] = replace(made[4], kind=MessageKind.EVENT, thread_id="t")
        await written(storage, messages=made)
        await written(storage, of="bob", messages=[message("b", "bob", status=MessageStatus.DEAD)])
        await written(storage, of="ann", scope_id="other", messages=[message("o", scope_id="other")])

        async def listed(mailbox: str | None = "ann", **asked: object) -> str:
            found = await storage.list_agent_messages("default", mailbox, **asked)  # type: ignore[arg-type]
            return " ".join(ids(found))

        assert await listed() == "m5 m4 m3 m2 m1 m0"
        assert await listed(limit=2, before=(NOW + MINUTE, "m3")) == "m2 m1"
        assert await listed(kinds=[MessageKind.MAIL, MessageKind.EVENT]) == "m4 m1"
        assert await listed(statuses=[MessageStatus.DEAD]) == "m1"
        assert await listed(None, statuses=[MessageStatus.DEAD, MessageStatus.DONE]) == "m1 b"
        assert await listed(None, thread_id="t", kinds=[MessageKind.MAIL]) == "m1"
        assert await listed(max_bytes=9) == "m5 m4"
        assert await listed(max_bytes=1) == "m5"
        assert await listed("nobody") == ""

    async def test_what_an_agent_remembers_stays_until_it_is_changed(self, storage: Storage) -> None:
        await written(storage, memory=b"1")
        await kept(storage, agent())
        assert await storage.agent_memory("default", "ann") == b"1"
        assert (await seen(storage, Look(memory=True))).memory == b"1"
        assert (await seen(storage)).memory is None
        await written(storage, memory=b"2")
        assert await storage.agent_memory("default", "ann") == b"2"
        assert await storage.agent_memory("other", "ann") is None

    async def test_with_an_agent_all_goes_but_its_history(self, storage: Storage) -> None:
        await kept(storage, agent(listens_to=("a",)), agent("bob", listens_to=("a",)))
        event = NewAgentEvent(type="agent.removed", agent_id="ann")
        await written(storage, messages=[message(), message("m2")], memory=b"1")
        await written(storage, of="bob", messages=[message("m3", "bob")], memory=b"2")
        await written(storage, remove=True, events=[event])
        assert await storage.get_agent("default", "ann") is None
        assert await storage.agent_memory("default", "ann") is None
        assert list(await storage.subscribers("default", ["a"])) == ["bob"]
        assert ids(await storage.list_agent_messages("default")) == ["m3"]
        assert await storage.agent_memory("default", "bob") == b"2"
        assert places(await storage.agent_events("default", agent_id="ann")) == [(1, "agent.removed")]
        await written(storage, agent=agent(), messages=[message()])
        assert (await seen(storage, Look(ready=1))).ready == [message(position=1, content=None)]

    async def test_a_history_has_no_gaps_and_is_read_in_order(self, storage: Storage) -> None:
        assert await storage.last_agent_seq("default") == 0
        full = NewAgentEvent(
            type=BROADCAST,
            agent_id="a\x00",
            priority=Priority.HIGH,
            data={"event": "\x00"},
            content=b"\xff",
            delivered=7,
        )
        two = [
            NewAgentEvent(type="one", agent_id="ann"),
            NewAgentEvent(type="two", agent_id="bob", content=b"abc"),
        ]
        await written(storage, events=two, at=NOW + MINUTE)
        added = await storage.add_agent_event("default", full, at=NOW)
        other = await storage.add_agent_event("other", NewAgentEvent(type="all"), at=NOW)
        last = await storage.add_agent_event("default", NewAgentEvent(type="all"), at=NOW)
        assert (added.seq, other.seq, last.seq) == (3, 1, 4)
        found = await storage.agent_events("default")
        assert found[2:] == [added, last]
        assert places(found[:2]) == [(1, "one"), (2, "two")]
        assert found[1].content == b"abc"
        assert {one.at for one in found[:2]} == {NOW + MINUTE}
        assert (added.agent_id, added.priority, added.data) == ("a\x00", Priority.HIGH, {"event": "\x00"})
        assert (added.content, added.delivered, added.scope_id) == (b"\xff", 7, "default")
        assert await storage.last_agent_seq("default") == 4
        assert list(await storage.agent_events("other")) == [other]

    async def test_a_page_of_a_history_is_what_was_asked_for(self, storage: Storage) -> None:
        made = [
            NewAgentEvent(type=f"t{n % 2}", agent_id=who, content=b"x" * 3)
            for n, who in enumerate(("ann", "bob", None, "ann"))
        ]
        await written(storage, events=made)

        async def seqs(**asked: object) -> list[int]:
            found = await storage.agent_events("default", **asked)  # type: ignore[arg-type]
            return [one.seq for one in found]

        assert await seqs(after=1, limit=2) == [2, 3]
        assert await seqs(agent_id="ann") == [1, 3, 4]
        assert await seqs(types=["t1"], agent_id="ann") == [4]
        assert await seqs(types=["t0", "t1"]) == [1, 2, 3, 4]
        assert await seqs(max_bytes=6) == [1, 2]
        assert await seqs(max_bytes=0) == [1]
        assert await seqs(after=4) == []

    async def test_writers_at_once_leave_no_gap_in_a_history(self, storage: Storage) -> None:
        events = [NewAgentEvent(type="x"), NewAgentEvent(type="y")]
        await asyncio.gather(
            *(written(storage, of=f"a{n}", events=events, note=Note(CREATED, {})) for n in range(10)),
            *(storage.add_agent_event("default", events[0], at=NOW) for _ in range(10)),
        )
        found = await storage.agent_events("default")
        assert [one.seq for one in found] == list(range(1, 31))
        assert len(await storage.trail("default")) == 10

    async def test_a_broadcast_is_on_its_way_until_it_is_delivered(self, storage: Storage) -> None:
        told = NewAgentEvent(type=BROADCAST)
        for minute in (2, 1, 3):
            await storage.add_agent_event("default", told, at=NOW + minute * MINUTE)
        await storage.add_agent_event("default", NewAgentEvent(type="other"), at=NOW)
        assert [one.seq for one in await storage.undelivered_events(before=NOW + 3 * MINUTE)] == [2, 1]
        assert [one.seq for one in await storage.undelivered_events(before=NOW + 9 * MINUTE, limit=1)] == [2]
        await storage.event_delivered("default", 2, delivered=0)
        await storage.event_delivered("default", 1, delivered=4)
        await storage.event_delivered("default", 99, delivered=1)
        assert [one.seq for one in await storage.undelivered_events(before=NOW + 9 * MINUTE)] == [3]
        assert places(await storage.agent_events("default", dead=True)) == [(2, BROADCAST)]
        assert [one.delivered for one in await storage.agent_events("default")] == [4, 0, None, None]

    async def test_a_note_of_a_change_is_in_the_trail_with_it(self, storage: Storage) -> None:
        await written(storage, agent=agent(), note=Note(CREATED, {"agent_id": "ann"}))
        (entry,) = await storage.trail("default")
        assert (entry.kind, entry.data, entry.at) == (CREATED, {"agent_id": "ann"}, NOW)

    async def test_listeners_are_told_of_what_has_changed(self, storage: Storage) -> None:
        news = AgentNews()
        storage.listen(news)
        await kept(storage, agent())
        await seen(storage)
        await written(storage, of="bob", messages=[message("m2", "bob")])
        await storage.add_agent_event("default", NewAgentEvent(type="x"), at=NOW)
        await written(storage, remove=True)
        assert news.changes == [("default", name) for name in ("ann", "bob", "", "ann")]
        storage.unlisten(news)
        await kept(storage, agent())
        assert len(news.changes) == 4

    @pytest.mark.parametrize("scope_id", ["other", "Default", "default\x00", ""])
    async def test_another_scope_sees_nothing_of_agents(self, storage: Storage, scope_id: str) -> None:
        await written(
            storage,
            agent=agent(listens_to=("a",)),
            messages=[message(dedupe_key="k")],
            memory=b"1",
            events=[NewAgentEvent(type=BROADCAST, delivered=0)],
        )
        look = Look(message_ids=["m1"], dedupe_key="k", ready=1, claimed=True, expired=1, memory=True)
        view = await storage.change_agent(
            scope_id, "ann", lambda seen: AgentChange(answer=seen), at=NOW, look=look
        )
        assert (view.agent, view.known, view.memory, view.messages) == (None, None, None, {})
        assert [*view.ready, *view.claimed, *view.expired] == []
        assert list(await storage.list_agents(scope_id)) == []
        assert list(await storage.list_agent_messages(scope_id)) == []
        assert list(await storage.agent_events(scope_id)) == []
        assert list(await storage.subscribers(scope_id, ["a"])) == []
        assert await storage.get_agent_message(scope_id, "m1") is None
        assert await storage.agent_memory(scope_id, "ann") is None
        assert await storage.last_agent_seq(scope_id) == 0

    async def test_messages_that_ended_long_ago_are_forgotten(self, storage: Storage) -> None:
        ends = {"old": NOW, "older": NOW - MINUTE, "oldest": NOW - 2 * MINUTE, "new": NOW + MINUTE}
        done = [
            message(name, status=MessageStatus.DONE, ended_at=at, dedupe_key=name)
            for name, at in ends.items()
        ]
        held = message("held", status=MessageStatus.CLAIMED, claimed_at=NOW - MINUTE)
        await written(storage, messages=[*done, message("open", sent_at=NOW - 3 * MINUTE), held])
        before = NOW + timedelta(seconds=1)
        assert await storage.forget("agent_messages", before=before, limit=2) == 2
        assert set(ids(await storage.list_agent_messages("default"))) == {"old", "new", "open", "held"}
        assert await storage.forget("agent_messages", before=before) == 1
        assert await storage.forget("agent_messages", before=before) == 0
        assert (await seen(storage, Look(dedupe_key="old"))).known is None
        await written(storage, messages=[message("next")])
        assert ids((await seen(storage, Look(ready=9))).ready) == ["open", "next"]

    async def test_a_history_goes_on_where_it_was_when_it_is_forgotten(self, storage: Storage) -> None:
        for minute in range(3):
            event = NewAgentEvent(type="x", agent_id="ann")
            await storage.add_agent_event("default", event, at=NOW + minute * MINUTE)
        await storage.add_agent_event("default", NewAgentEvent(type=BROADCAST), at=NOW)
        before = NOW + 3 * MINUTE
        assert await storage.forget("agent_events", before=before, limit=2) == 2
        assert [one.seq for one in await storage.agent_events("default")] == [3, 4]
        assert await storage.forget("agent_events", before=before) == 1
        await storage.event_delivered("default", 4, delivered=1)
        assert await storage.forget("agent_events", before=before) == 1
        assert await storage.last_agent_seq("default") == 4
        assert (await storage.add_agent_event("default", NewAgentEvent(type="x"), at=NOW)).seq == 5
        assert await storage.last_agent_seq("default") == 5
