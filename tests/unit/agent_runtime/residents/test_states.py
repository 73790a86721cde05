"""The state machine of a resident agent, played at random: whatever comes in whatever order, nothing is lost or counted wrongly."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent_runtime.errors import InboxFull, InvalidTransition
from agent_runtime.ports.agents import (
    STATE_CHANGED,
    AgentChange,
    AgentMessage,
    AgentState,
    Look,
    MessageKind,
    MessageStatus,
    Priority,
    StoredAgent,
)
from agent_runtime.residents import states
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.residents.sleep import Sleep
from agent_runtime.storage.memory import MemoryStorage

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
SETTINGS = AgentSettings(
    max_concurrent_tasks=2,
    max_queue_size=6,
    max_attempts=2,
    breaker_failures=3,
    check_mail_interval=600,
    idle_timeout=3600,
    max_wakes_per_day=5,
)
ALL = Look(ready=10, claimed=True, expired=10)


class Life(RuleBasedStateMachine):
    """One agent, senders, a keeper and people."""

    def __init__(self) -> None:
        super().__init__()
        self.storage, self.now, self.sent = MemoryStorage(), NOW, 0
        self.loop = asyncio.Runner()
        agent = StoredAgent(
            scope_id="s",
            agent_id="a",
            definition="agent",
            config=SETTINGS.to_json(),
            state=AgentState.IDLE,
            last_active=NOW,
            created_at=NOW,
            updated_at=NOW,
        )
        self.change(lambda view: AgentChange(answer=None, agent=agent))

    def change(self, how: Any, look: Look = ALL) -> Any:
        return self.loop.run(self.storage.change_agent("s", "a", how, at=self.now, look=look))

    def messages(self, *statuses: MessageStatus) -> list[AgentMessage]:
        found = self.loop.run(self.storage.list_agent_messages("s", "a", statuses=statuses, limit=1000))
        return list(found)

    def teardown(self) -> None:
        self.loop.close()

    @property
    def agent(self) -> StoredAgent:
        found = self.loop.run(self.storage.get_agent("s", "a"))
        assert found is not None
        return found

    @rule(
        kind=st.sampled_from(MessageKind),
        priority=st.sampled_from(Priority),
        expires=st.sampled_from([None, 1, 10_000]),
    )
    def something_is_sent(self, kind: MessageKind, priority: Priority, expires: int | None) -> None:
        self.sent += 1
        message = AgentMessage(
            message_id=f"m{self.sent}",
            scope_id="s",
            mailbox="a",
            kind=kind,
            priority=priority,
            name="news" if kind is MessageKind.EVENT else None,
            sent_at=self.now,
            not_before=self.now,
            expires_at=None if expires is None else self.now + timedelta(seconds=expires),
        )
        was_full = self.agent.queued >= SETTINGS.max_queue_size  # what has failed waits besides
        try:
            self.change(lambda view: states.arrived(view, message, self.now))
        except InboxFull:
            assert was_full
            self.sent -= 1
        else:
            assert not was_full

    @rule(seconds=st.sampled_from([0, 1, 60, 3600, 86_400]), load=st.sampled_from([None, 0.1, 5.0]))
    def the_keeper_looks(self, seconds: int, load: float | None) -> None:
        self.now += timedelta(seconds=seconds)
        before = self.agent
        taken = self.change(
            lambda view: states.looked_after(view, self.now, holder="w", load=load, may_spend=True)
        )
        if before.sleep is not None and before.state is not AgentState.SLEEPING:
            assert not taken.begun  # it sleeps when its turns have ended
        assert len(taken.begun) + before.running <= SETTINGS.max_concurrent_tasks
        if self.agent.state in (AgentState.SLEEPING, AgentState.STOPPED):
            assert not taken.begun

    @precondition(lambda self: self.messages(MessageStatus.CLAIMED))
    @rule(end=st.sampled_from(["well", "badly", "cancelled", "refused"]), data=st.data())
    def a_turn_ends(self, end: str, data: st.DataObject) -> None:
        self.ends(data.draw(st.sampled_from(self.messages(MessageStatus.CLAIMED))), end)

    def ends(self, message: AgentMessage, end: str) -> None:
        """End the turn of a message."""
        look, now, name = Look(message_ids=[message.message_id]), self.now, message.message_id
        match end:
            case "well":
                for is_new in (True, False):  # a crash may have it acknowledged twice
                    assert is_new is self.change(
                        lambda view: states.completed(view, name, now, job_id="j", result=b"1", memory=None),
                        look,
                    )
            case "badly":
                self.change(lambda view: states.failed(view, name, now, job_id="j", error="no"), look)
            case "cancelled":
                self.change(lambda view: states.cancelled(view, name, now), look)
            case _:
                self.change(lambda view: states.released(view, name, now, seconds=5), look)

    @rule(
        ends=st.lists(st.sampled_from(["well", "badly", "refused"]), min_size=1, max_size=3),
        seconds=st.sampled_from([0, 1, 60]),
    )
    def it_works_for_a_while(self, ends: list[str], seconds: int) -> None:
        """What happens most in real lives, and seldom among rules by lot."""
        if self.agent.state is AgentState.STOPPED:
            self.somebody_does_something("start")
        self.somebody_does_something("wake")
        for end in ends:
            if self.agent.queued < SETTINGS.max_queue_size:
                self.something_is_sent(MessageKind.TASK, Priority.NORMAL, None)
            self.the_keeper_looks(0, None)
            for message in self.messages(MessageStatus.CLAIMED)[:1]:
                self.ends(message, end)
                self.somebody_will_look_after_what_there_is_to_do()
            self.the_keeper_looks(seconds, None)
            self.somebody_will_look_after_what_there_is_to_do()

    @precondition(lambda self: self.agent.queued)
    @rule(data=st.data())
    def a_message_that_waits_is_given_up(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.messages(MessageStatus.WAITING)))
        look = Look(message_ids=[message.message_id])
        self.change(lambda view: states.cancelled(view, message.message_id, self.now), look)

    @precondition(lambda self: self.messages(MessageStatus.DEAD))
    @rule()
    def a_dead_letter_is_put_back(self) -> None:
        message = self.messages(MessageStatus.DEAD)[0]
        look = Look(message_ids=[message.message_id])
        if self.agent.queued < SETTINGS.max_queue_size:
            self.change(lambda view: states.put_back(view, message.message_id, self.now), look)

    @rule(
        seconds=st.sampled_from([None, 0, 600]),
        priority=st.sampled_from([None, *Priority]),
        events=st.sampled_from([(), ("news",), ("urgent_mail",)]),
        load=st.sampled_from([None, 1.0]),
    )
    def it_is_told_to_sleep(
        self, seconds: int | None, priority: Priority | None, events: tuple[str, ...], load: float | None
    ) -> None:
        until = None if seconds is None else self.now + timedelta(seconds=seconds)
        sleep = Sleep(until=until, priority=priority, events=events, load_below=load)
        if self.agent.state is AgentState.STOPPED:
            with pytest.raises(InvalidTransition):
                self.change(lambda view: states.slept(view, sleep, self.now))
        else:
            self.change(lambda view: states.slept(view, sleep, self.now))

    @rule(what=st.sampled_from(["wake", "stop", "start", "waits", "goes on"]))
    def somebody_does_something(self, what: str) -> None:
        was_stopped = self.agent.state is AgentState.STOPPED
        match what:
            case "wake" if was_stopped:
                with pytest.raises(InvalidTransition):
                    self.change(lambda view: states.woken(view, self.now, reason="by hand"))
            case "wake":
                self.change(lambda view: states.woken(view, self.now, reason="by hand"))
                assert self.agent.state is not AgentState.SLEEPING
            case "stop":
                self.change(lambda view: states.stopped(view, self.now, reason=None))
                assert self.agent.state is AgentState.STOPPED
            case "start":
                self.change(lambda view: states.started(view, self.now))
                assert self.agent.state is not AgentState.STOPPED
            case _ if self.agent.running:
                turns = [what == "waits"] * self.agent.running
                self.change(lambda view: states.waits(view, self.now, turns=turns))

    @invariant()
    def nothing_is_lost_or_counted_wrongly(self) -> None:
        agent, messages = self.agent, self.messages()
        assert {message.message_id for message in messages} >= {f"m{n}" for n in range(1, self.sent + 1)}
        assert agent.queued == sum(one.status is MessageStatus.WAITING for one in messages)
        assert agent.running == sum(one.status is MessageStatus.CLAIMED for one in messages)

    @invariant()
    def its_state_says_what_it_does(self) -> None:
        agent = self.agent
        if agent.state in (AgentState.IDLE, AgentState.SLEEPING):
            assert agent.running == 0
        if agent.state in (AgentState.ACTIVE, AgentState.WAITING):
            assert agent.running > 0
        if agent.state is AgentState.SLEEPING:
            assert agent.sleep is not None
            assert agent.wake_load == Sleep.from_json(agent.sleep).load_below
        if agent.state is AgentState.IDLE:
            assert agent.sleep is None
        assert agent.wake_load is None or agent.state is AgentState.SLEEPING

    @invariant()
    def somebody_will_look_after_what_there_is_to_do(self) -> None:
        """No wake-up is lost: whatever can be done by itself, at some time, has a time at which it is looked at."""
        agent = self.agent
        may_begin = (
            agent.queued and agent.state in (AgentState.IDLE, AgentState.ACTIVE) and agent.sleep is None
        )
        is_tried = agent.failures >= SETTINGS.breaker_failures  # whether it works again
        has_room = agent.running < (1 if is_tried else SETTINGS.max_concurrent_tasks)
        if agent.running or (may_begin and has_room):
            assert agent.look_at is not None
        waiting = self.messages(MessageStatus.WAITING)
        is_ready = any(
            one.not_before <= self.now and (one.expires_at is None or one.expires_at > self.now)
            for one in waiting
        )
        if is_ready and may_begin and has_room and agent.broken_until is None:
            assert agent.look_at is not None
            assert agent.look_at <= self.now
        if agent.state is AgentState.SLEEPING and Sleep.from_json(agent.sleep or {}).looks_at() is not None:
            assert agent.look_at is not None

    @invariant()
    def every_change_of_state_is_one_of_the_table_and_stands_in_the_history(self) -> None:
        history = self.loop.run(self.storage.agent_events("s", types=[STATE_CHANGED], limit=10_000))
        state = AgentState.IDLE
        for event in history:
            assert event.data["from"] == state
            assert (state, AgentState(event.data["to"])) in states.TRANSITIONS
            state = AgentState(event.data["to"])
        assert state is self.agent.state


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
