"""Resident agents on a kernel, on every storage: tasks, mail, events, sleep and wake, failures, limits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    AgentMessage,
    AgentState,
    InboxFull,
    InvalidInput,
    MailStatus,
    MessageStatus,
    RuntimeKernel,
    ScheduledTask,
    Timing,
    UnknownAgent,
    UnknownMessage,
    UnknownOperator,
)
from agent_runtime.errors import InvalidTransition
from agent_runtime.ports.agents import AgentChange, AgentView, Look
from agent_runtime.ports.storage import Storage
from agent_runtime.residents.states import looked_after
from agent_runtime.values.content import decode
from llm_client import Agent, ExecutionEngine, FunctionProvider
from llm_client.errors import InvalidRequest
from llm_client.spec import RequestSpec
from support.kernels import BOUND, kernel, opened, until

pytestmark = pytest.mark.timeout(BOUND * 2)


class Model:
    """Answers what it was asked, when it may; fails where it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.failing = 0

    async def __call__(self, request: RequestSpec) -> str:
        self.asked.append(request.messages[-1].text)
        await self.may_answer.wait()
        if self.failing:
            self.failing -= 1
            raise InvalidRequest("no")
        return f"done: {request.messages[-1].text}"


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    found = request.param
    return str(request.getfixturevalue("database") if found == "postgres" else found)


@pytest.fixture
async def storage(kind: str, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(kind, tmp_path) as found:
        yield found


@pytest.fixture
async def k(storage: Storage, model: Model) -> AsyncIterator[RuntimeKernel]:
    agent = Agent(engine=ExecutionEngine(FunctionProvider(model)))
    async with kernel(storage, agent=agent) as made:
        yield made


async def over(k: RuntimeKernel, message: AgentMessage) -> AgentMessage:
    """Wait until a message is over."""

    async def ended() -> AgentMessage | None:
        found = await k.agents.get_message(message.message_id)
        return None if found.status.is_open else found

    found: AgentMessage = await until(ended)
    return found


async def becomes(k: RuntimeKernel, state: AgentState, agent_id: str = "duty") -> None:
    async def reached() -> bool:
        return (await k.agents.get(agent_id)).state is state

    await until(reached)


async def test_a_task_is_done_and_its_answer_kept(k: RuntimeKernel) -> None:
    await k.agents.create("duty")

    done = await over(k, await k.agents.send_task("duty", "look around", sender="anna"))

    assert done.status is MessageStatus.DONE
    assert done.result is not None
    assert decode(done.result)["content"] == "done: look around"
    await becomes(k, AgentState.IDLE)
    agent = await k.agents.get("duty")
    assert (agent.turns, agent.queue_depth, agent.running) == (1, 0, 0)
    job = await k.jobs.get(done.job_id or "")
    assert (job.operator, job.session_id) == ("resident.agent", "agent:duty")


async def test_a_second_message_with_a_key_is_the_first_one(k: RuntimeKernel, model: Model) -> None:
    await k.agents.create("duty")

    first, second = [await k.agents.send_task("duty", "once", dedupe_key="k") for _ in range(2)]
    await over(k, first)

    assert second.message_id == first.message_id
    assert model.asked == ["once"]


async def test_a_sleeping_agent_is_woken_by_what_matters_enough_and_then_handles_all(
    k: RuntimeKernel, model: Model
) -> None:
    await k.agents.create("duty")
    await k.agents.sleep("duty", wake_on_mail_priority="high", reason="night")
    low = await k.mail.send("duty", "later", "some day", sender="bob", priority="normal")
    assert (await k.agents.get("duty")).state is AgentState.SLEEPING
    assert model.asked == []

    urgent = await k.mail.send("duty", "now", "fire", sender="bob", priority="urgent")

    assert (await over(k, urgent)).mail_status is MailStatus.READ
    assert (await over(k, low)).status is MessageStatus.DONE
    assert "fire" in model.asked[0]


async def test_sleep_that_is_asked_during_a_turn_begins_after_it(k: RuntimeKernel, model: Model) -> None:
    await k.agents.create("duty")
    model.may_answer.clear()
    task = await k.agents.send_task("duty", "long")
    await becomes(k, AgentState.ACTIVE)

    asleep = await k.agents.sleep("duty", seconds=3600)
    waits = await k.agents.send_task("duty", "next")

    assert asleep.state is AgentState.ACTIVE
    model.may_answer.set()
    await over(k, task)
    await becomes(k, AgentState.SLEEPING)
    assert (await k.agents.get_message(waits.message_id)).status is MessageStatus.WAITING
    await k.agents.wake("duty")
    await over(k, waits)


async def test_what_wakes_an_agent_and_is_there_already_keeps_it_awake(
    k: RuntimeKernel, model: Model
) -> None:
    await k.agents.create("duty")
    model.may_answer.clear()
    first = await k.agents.send_task("duty", "long")
    await becomes(k, AgentState.ACTIVE)
    urgent = await k.agents.send_task("duty", "now", priority="urgent")

    await k.agents.sleep("duty", wake_on_mail_priority="urgent")
    model.may_answer.set()

    await over(k, first)
    await over(k, urgent)


async def test_an_agent_sleeps_until_a_time_an_event_or_a_load(k: RuntimeKernel) -> None:
    for name, how in {
        "by-time": {"seconds": 0.2},
        "by-event": {"wake_events": ["orders.*"]},
        "by-load": {"wake_when_load_below": 1e6},
    }.items():
        await k.agents.create(name)
        await k.agents.sleep(name, **how)  # type: ignore[arg-type]  # one of its conditions
    told = await k.agent_events.broadcast("orders.late", {"order": 7})

    assert told.delivered == 1
    for name in ("by-time", "by-event", "by-load"):
        await becomes(k, AgentState.IDLE, name)


async def test_events_reach_subscribers_once_and_are_dead_letters_without_any(
    k: RuntimeKernel, model: Model
) -> None:
    for name in ("one", "two"):
        await k.agents.create(name, config={"subscriptions": ["orders.*"]})

    told = [await k.agent_events.broadcast("orders.late", dedupe_key="7") for _ in range(2)]
    unheard = await k.agent_events.broadcast("weather.fine")

    assert [one.delivered for one in told] == [2, None]
    assert unheard.delivered == 0
    dead = await k.agent_events.events(dead=True)
    assert [event.data["event"] for event in dead] == ["weather.fine"]
    events = await k.agents.messages("one")
    assert len(events) == 1
    await over(k, events[0])


async def test_what_fails_is_tried_again_and_then_is_a_dead_letter_that_can_be_put_back(
    k: RuntimeKernel, model: Model
) -> None:
    await k.agents.create("duty", config={"max_attempts": 2, "retry_backoff": 0.01})
    model.failing = 2

    dead = await over(k, await k.agents.send_task("duty", "hard"))

    assert (dead.status, dead.attempts) == (MessageStatus.DEAD, 2)
    assert dead.error is not None
    assert [one.message_id for one in await k.agents.messages(statuses=[MessageStatus.DEAD])] == [
        dead.message_id
    ]
    await k.agents.requeue(dead.message_id)
    done = await over(k, dead)
    assert done.status is MessageStatus.DONE
    with pytest.raises(InvalidTransition):
        await k.agents.requeue(dead.message_id)


async def test_a_claim_whose_process_died_before_the_turn_went_on_costs_no_attempt(
    storage: Storage, model: Model
) -> None:
    agent, model.failing = Agent(engine=ExecutionEngine(FunctionProvider(model))), 1
    async with kernel(storage, agent=agent) as first:
        await first.agents.create("duty", config={"max_attempts": 2, "retry_backoff": 3600})
        task = await first.agents.send_task("duty", "hard")

        async def has_failed() -> bool:
            return (await first.agents.get("duty")).errors == 1

        await until(has_failed)
        now = first.clock.now()
    tomorrow = now + timedelta(days=1)
    look = Look(ready=1, claimed=True, expired=1)
    await storage.change_agent(
        "default", "duty", lambda view: looked_after(view, tomorrow, holder="dead"), at=tomorrow, look=look
    )

    def at_once(view: AgentView) -> AgentChange[None]:
        assert view.agent is not None
        return AgentChange(answer=None, agent=replace(view.agent, look_at=now))

    await storage.change_agent("default", "duty", at_once, at=now)
    async with kernel(storage, agent=agent) as second:
        done = await over(second, task)

    assert (done.status, done.attempts) == (MessageStatus.DONE, 2)


async def test_after_failures_in_a_row_no_turn_begins_for_a_while_and_a_person_may_end_that(
    k: RuntimeKernel, model: Model
) -> None:
    config = {"max_attempts": 1, "breaker_failures": 2, "breaker_seconds": 3600}
    await k.agents.create("duty", config=config)
    model.failing = 2
    for _ in range(2):
        await over(k, await k.agents.send_task("duty", "hard"))

    broken = await k.agents.get("duty")
    waits = await k.agents.send_task("duty", "later")

    assert broken.health == "broken"
    assert "2 turns have failed in a row" in (broken.reason or "")
    assert (await k.agents.get_message(waits.message_id)).status is MessageStatus.WAITING
    await k.agents.wake("duty")
    assert (await over(k, waits)).status is MessageStatus.DONE
    assert (await k.agents.get("duty")).health == "healthy"


async def test_a_full_inbox_refuses_and_a_stopped_agent_keeps(k: RuntimeKernel) -> None:
    await k.agents.create("duty", config={"maxQueueSize": 1}, start=False)
    kept = await k.agents.send_task("duty", "first")

    with pytest.raises(InboxFull, match="max_queue_size is 1"):
        await k.agents.send_task("duty", "second")

    await k.agents.start("duty")
    await over(k, kept)


async def test_unknown_agents_definitions_and_recipients_are_refused_at_once(k: RuntimeKernel) -> None:
    with pytest.raises(UnknownAgent):
        await k.agents.send_task("nobody", "x")
    with pytest.raises(UnknownAgent):
        await k.mail.send("nobody", "x", "y")
    with pytest.raises(UnknownOperator):
        await k.agents.create("duty", definition="nothing")
    with pytest.raises(InvalidInput, match="stands for all"):
        await k.agents.create("*")
    with pytest.raises(InvalidInput, match="maxQueueSize"):
        await k.agents.create("duty", config={"maxQueueSise": 1})
    await k.agents.create("duty")
    with pytest.raises(UnknownAgent):
        await k.agents.get("duty", scope_id="other")


async def test_replies_are_of_one_thread_and_reach_people_too(k: RuntimeKernel) -> None:
    for name in ("duty", "night"):
        await k.agents.create(name, start=False)
    asked = await k.mail.send("duty", "orders", "how many?", sender="anna")

    answer = await k.mail.send(None, "re: orders", "seven", sender="duty", reply_to=asked.message_id)

    assert (answer.mailbox, answer.thread_id) == ("anna", asked.thread_id)
    assert (await k.mail.get(asked.message_id)).mail_status is MailStatus.REPLIED
    assert [one.message_id for one in await k.mail.list(thread_id=asked.thread_id)] == [
        answer.message_id,
        asked.message_id,
    ]
    assert [one.message_id for one in await k.mail.search("anna", "SEVEN duty")] == [answer.message_id]
    with pytest.raises(UnknownMessage):
        await k.mail.send(None, "x", "y", sender="night", reply_to=asked.message_id)


async def test_no_more_turns_than_allowed_go_on_at_once(k: RuntimeKernel, model: Model) -> None:
    await k.agents.create("duty", config={"max_concurrent_tasks": 2})
    model.may_answer.clear()
    tasks = [await k.agents.send_task("duty", f"task {n}") for n in range(4)]

    async def two_are_asked() -> bool:
        return len(model.asked) == 2

    await until(two_are_asked)
    agent = await k.agents.get("duty")
    assert (agent.running, agent.queue_depth) == (2, 2)
    model.may_answer.set()
    for task in tasks:
        await over(k, task)


async def test_a_cancelled_task_is_given_up_whether_it_waits_or_goes_on(
    k: RuntimeKernel, model: Model
) -> None:
    await k.agents.create("duty")
    model.may_answer.clear()
    running = await k.agents.send_task("duty", "one")
    await becomes(k, AgentState.ACTIVE)
    waiting = await k.agents.send_task("duty", "two")

    for task in (running, waiting):
        await k.agents.cancel_message(task.message_id)

    assert (await over(k, running)).status is MessageStatus.CANCELLED
    assert (await over(k, waiting)).status is MessageStatus.CANCELLED
    await becomes(k, AgentState.IDLE)


async def test_an_idle_agent_hibernates_and_anything_wakes_it(k: RuntimeKernel) -> None:
    await k.agents.create("duty", config={"idleTimeout": 0.05})
    await becomes(k, AgentState.SLEEPING)

    await over(k, await k.agents.send_task("duty", "hello", priority="low"))


async def test_a_schedule_gives_a_task_that_wakes(k: RuntimeKernel, model: Model) -> None:
    await k.agents.create("duty")
    await k.agents.sleep("duty")

    due = k.clock.now() + timedelta(seconds=0.2)
    await k.schedules.put("beat", ScheduledTask(agent_id="duty", task="check health"), Timing(at=due))

    async def asked() -> bool:
        return bool(model.asked)

    await until(asked)
    assert "check health" in model.asked[0]


async def test_wakes_beyond_those_of_a_day_wait_for_the_next(k: RuntimeKernel, model: Model) -> None:
    await k.agents.create("duty", config={"max_wakes_per_day": 1})
    for _ in range(2):
        await k.agents.sleep("duty", wake_on_mail_priority="low")
        sent: Any = await k.agents.send_task("duty", "up")
        if not model.asked:
            await over(k, sent)
            await becomes(k, AgentState.IDLE)

    agent = await k.agents.get("duty")
    assert agent.state is AgentState.SLEEPING
    assert "as often today as it may" in (agent.reason or "")
    assert len(model.asked) == 1


async def test_the_history_has_no_gaps_and_followers_miss_nothing(k: RuntimeKernel) -> None:
    await k.agents.create("duty")
    seen: list[int] = []

    async def follow() -> None:
        async for event in k.agent_events.follow(after=0):
            seen.append(event.seq)

    following = asyncio.ensure_future(follow())
    for n in range(5):
        await over(k, await k.agents.send_task("duty", f"task {n}"))
    last = await k.agent_events.last_seq()

    async def has_seen_all() -> bool:
        return len(seen) >= last

    await until(has_seen_all)
    following.cancel()
    assert seen == list(range(1, len(seen) + 1))
    assert await k.agent_events.events(scope_id="other") == []


async def test_a_removed_agent_is_gone_with_its_messages(k: RuntimeKernel) -> None:
    await k.agents.create("duty", start=False)
    task = await k.agents.send_task("duty", "x")

    await k.agents.remove("duty")

    with pytest.raises(UnknownAgent):
        await k.agents.get("duty")
    with pytest.raises(UnknownMessage):
        await k.agents.get_message(task.message_id)
