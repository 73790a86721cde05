"""The documented names over a kernel's resident agents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from agent_runtime import RuntimeKernel
from agent_runtime.errors import InvalidTransition, RunError, UnknownAgent, UnknownMessage
from agent_runtime.ports.agents import MailStatus, Priority
from agent_runtime.sessions import (
    AgentDefinition,
    AgentMonitor,
    AgentRegistry,
    AgentState,
    AsyncAgentSessionManager,
    AsyncAgentStateStore,
    EventManager,
    Mailbox,
    SleepScheduler,
)
from agent_runtime.storage.memory import MemoryStorage
from llm_client import ExecutionEngine, FunctionProvider, ToolCall
from llm_client.messages import CompletionResult
from llm_client.spec import RequestSpec
from support.kernels import BOUND, kernel, until

pytestmark = pytest.mark.timeout(BOUND * 3)


def echo(spec: RequestSpec) -> str:
    return f"Done: {spec.messages[-1].text}"


@asynccontextmanager
async def opened(
    answer: Callable[[RequestSpec], Any] = echo, storage: Any = None
) -> AsyncIterator[AsyncAgentSessionManager]:
    registry = AgentRegistry(engine=ExecutionEngine(FunctionProvider(answer)))
    registry.add(AgentDefinition(name="duty", prompt="You watch."))
    registry.add(AgentDefinition(name="night", prompt="You watch at night."))
    async with (
        kernel(storage or MemoryStorage(), agents=registry) as host,
        AsyncAgentSessionManager(host) as manager,
    ):
        yield manager


async def becomes(manager: AsyncAgentSessionManager, agent_id: str, state: AgentState) -> None:
    async def reached() -> bool:
        return (await manager.get(agent_id)).state is state

    await until(reached)


async def test_a_session_processes_a_task_and_gives_what_was_said() -> None:
    async with opened() as manager:
        session = await manager.create_agent_session("duty", config={"maxConcurrentTasks": 2})

        result = await session.process_task_async("Check the disks", timeout=BOUND)

        assert result.content == "Done: Check the disks"
        assert result.said_in("final") == "Done: Check the disks"
        assert session.session_id == "agent:duty"
        assert session.resident.settings.max_concurrent_tasks == 2
        assert session.agent is not None
        assert session.ai_loop is session.agent.engine
        assert (await session.refreshed()).resident.turns == 1


async def test_a_task_that_fails_too_often_says_so_to_who_waits() -> None:
    cut = CompletionResult(content="Half an", finish_reason="length")
    async with opened(lambda spec: cut) as manager:
        session = await manager.create_agent_session("duty", config={"maxAttempts": 1})

        with pytest.raises(RunError):
            await session.process_task_async("Check", timeout=BOUND)

        (dead,) = await manager.dead_letters("duty")
        await manager.requeue(dead)


async def test_a_task_that_nobody_begins_expires_for_who_waits() -> None:
    async with opened() as manager:
        session = await manager.create_agent_session("duty", auto_start=False)
        with pytest.raises(TimeoutError):
            await session.process_task_async("Check", timeout=0.05)

        assert [one.kind for one in (await session.refreshed()).task_queue] == ["task"]


async def test_a_session_shows_the_turn_that_goes_on_and_what_waits() -> None:
    go = asyncio.Event()

    async def slow(spec: RequestSpec) -> str:
        await go.wait()
        return "Done"

    async with opened(slow) as manager:
        await manager.create_agent_session("duty")
        first = await manager.send_task("duty", "One")
        await becomes(manager, "duty", AgentState.ACTIVE)
        second = await manager.send_task("duty", "Two")

        async def begun() -> Any:
            return (await manager.get("duty")).background_task

        job = await until(begun)
        session, states = await manager.get("duty"), await manager.get_agent_states()

        assert [one.message_id for one in session.task_queue] == [second]
        assert states["duty"].current_task == first
        assert states["duty"].queue_depth == 1
        go.set()
        assert (await job.result(timeout=BOUND)).content == "Done"
        await becomes(manager, "duty", AgentState.IDLE)


async def test_agents_stop_start_sleep_and_wake() -> None:
    async with opened() as manager:
        await manager.create_agent_session("duty")

        assert (await manager.sleep_agent("duty", wake_events=["alarm"])).state is AgentState.SLEEPING
        assert (await manager.get("duty")).wake_events == {"alarm"}
        assert (await manager.wake_agent("duty")).state is AgentState.IDLE
        assert (await manager.stop_agent("duty", reason="tired")).state is AgentState.STOPPED
        assert [one.agent_id for one in await manager.list(state="stopped")] == ["duty"]
        assert (await manager.start_agent("duty")).state is AgentState.IDLE
        await manager.remove_agent("duty")
        with pytest.raises(UnknownAgent):
            await manager.get("duty")


async def test_what_an_earlier_process_has_left_is_restored() -> None:
    storage = MemoryStorage()
    await storage.open()
    async with opened(storage=storage) as before:
        await before.create_agent_session("duty")
        await before.create_agent_session("night", auto_start=False)
        await before.sleep_agent("duty", wake_on_mail_priority="urgent")

    async with opened(storage=storage) as after:
        sessions = await after.restore()

        assert [(one.agent_id, one.state) for one in sessions] == [
            ("duty", AgentState.SLEEPING),
            ("night", AgentState.STOPPED),
        ]


async def test_agents_of_other_scopes_are_not_seen() -> None:
    async with opened() as manager:
        await manager.create_agent_session("duty")
        other = AsyncAgentSessionManager(manager.kernel, scope_id="other")

        assert await other.list() == []
        assert await other.get_agent_states() == {}
        with pytest.raises(UnknownAgent):
            await other.send_task("duty", "Check")


async def test_the_scheduler_keeps_what_else_wakes_an_agent() -> None:
    async with opened() as manager:
        await manager.create_agent_session("duty")
        scheduler, at = SleepScheduler(manager.kernel), manager.kernel.clock.now() + timedelta(hours=1)
        await manager.sleep_agent("duty", wake_events=["alarm"], reason="night")

        await scheduler.schedule_wake("duty", at)
        scheduled = await manager.get("duty")
        await scheduler.cancel_wake("duty")
        cancelled = await manager.get("duty")

        assert (scheduled.sleep_until, scheduled.wake_events) == (at, {"alarm"})
        assert (cancelled.sleep_until, cancelled.wake_events) == (None, {"alarm"})
        assert cancelled.state is AgentState.SLEEPING
        assert await scheduler.get_next_wake_time("duty") is None


async def test_events_reach_who_has_subscribed_and_others_are_dead_letters() -> None:
    async with opened() as manager:
        events = EventManager(manager.kernel)
        await manager.create_agent_session("duty")

        assert await events.subscribe("duty", "orders.*", "alarm") == ("alarm", "orders.*")
        assert await events.unsubscribe("duty", "alarm") == ("orders.*",)
        assert await events.broadcast("orders.late", {"order": 7}) == 1
        assert await manager.broadcast_event("alarm") == 0

        told = await events.history(types=["event"])
        assert [entry.data["event"] for entry in told] == ["orders.late", "alarm"]
        assert [entry.data["event"] for entry in await events.dead_letters()] == ["alarm"]
        async for entry in events.follow(after_seq=told[0].seq - 1):
            assert entry.seq == told[0].seq
            break


async def test_mail_is_sent_read_answered_found_and_archived() -> None:
    async with opened() as manager:
        await manager.create_agent_session("duty", auto_start=False)
        await manager.create_agent_session("night", auto_start=False)
        duty, night = Mailbox(manager.kernel, "duty"), Mailbox(manager.kernel, "night")

        sent = await duty.send("night", "Disks", "They are full", priority="high")
        read = await night.read(sent.mail_id)
        answer = await night.reply(sent.mail_id, "I clean up")

        assert (read.subject, read.body, read.priority) == ("Disks", "They are full", Priority.HIGH)
        assert (answer.to, answer.subject, answer.thread_id) == ("duty", "Disks", sent.mail_id)
        assert (await night.list())[0].status is MailStatus.REPLIED
        assert [mail.body for mail in await duty.thread(sent.mail_id)] == ["They are full", "I clean up"]
        assert [mail.mail_id for mail in await night.search("full disks")] == [sent.mail_id]
        assert await night.list(unread=True) == []
        await duty.archive(answer.mail_id)
        assert (await duty.list())[0].status is MailStatus.ARCHIVED
        with pytest.raises(UnknownMessage):
            await duty.read(sent.mail_id)
        with pytest.raises(UnknownAgent):
            await duty.send("nobody", "Hi", "")


async def test_states_are_kept_without_being_saved_and_can_be_asked_for() -> None:
    async with opened() as manager:
        store = AsyncAgentStateStore(manager.kernel)
        await manager.create_agent_session("duty")

        assert await store.load_state("nobody") is None
        for state in ("stopped", "idle", "sleeping", "idle"):
            await store.save_state("duty", state)
            assert await store.load_state("duty") == state
        assert await store.list_active_agents() == ["duty"]
        with pytest.raises(InvalidTransition, match="turns"):
            await store.save_state("duty", AgentState.ACTIVE)
        await store.save_state("duty", AgentState.STOPPED)
        assert await store.list_active_agents() == []


async def test_the_monitor_adds_up_what_agents_do() -> None:
    async with opened() as manager:
        duty = await manager.create_agent_session("duty")
        await manager.create_agent_session("night", auto_start=False)
        await manager.send_task("night", "Later")
        await duty.process_task_async("Now", timeout=BOUND)
        await becomes(manager, "duty", AgentState.IDLE)

        metrics = await AgentMonitor(manager.kernel).metrics()

        assert metrics.agents == 2
        assert metrics.by_state == {AgentState.IDLE: 1, AgentState.STOPPED: 1}
        assert (metrics.queued, metrics.turns, metrics.errors) == (1, 1, 0)
        assert (await AgentMonitor(manager.kernel).status("night")).queue_depth == 1


async def test_an_agent_sleeps_by_its_own_wish_and_writes_mail() -> None:
    """The tools of a turn, through everything there is."""

    def answer(spec: RequestSpec) -> Any:
        answered = [one for one in spec.messages if one.role == "tool"]
        if not answered:
            mail = {"to": "night", "subject": "Over to you", "body": "Good night"}
            return [ToolCall("1", "send_mail", mail), ToolCall("2", "sleep", {"reason": "night"})]
        return "Good night."

    async with opened(answer) as manager:
        duty = await manager.create_agent_session("duty")
        await manager.create_agent_session("night", auto_start=False)

        await duty.process_task_async("Hand over", timeout=BOUND)
        await becomes(manager, "duty", AgentState.SLEEPING)

        (mail,) = await Mailbox(manager.kernel, "night").list()
        assert (mail.sender, mail.body) == ("duty", "Good night")


def test_the_facade_needs_a_kernel_alone() -> None:
    assert AsyncAgentSessionManager(RuntimeKernel()).scope_id == "default"
