"""The tools of resident agents in turns: done once, in the name of the agent, and refused in words that a model can use."""

from __future__ import annotations

from typing import Any

import pytest
from orjson import loads

from agent_runtime.ports.agents import MessageKind
from agent_runtime.residents.definitions import AgentDefinition, AgentRegistry
from agent_runtime.residents.tools import RESIDENT_TOOLS, resident_tools
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, Moment, bury, commit_of
from llm_client import Agent, ExecutionEngine, ScriptedProvider, ToolCall
from support.kernels import BOUND, DOOMED
from support.residents import Done, Scene, message

pytestmark = pytest.mark.timeout(BOUND * 3)


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(f"call_{name}", name, arguments)


def scene(*replies: Any) -> tuple[Scene, ScriptedProvider]:
    provider = ScriptedProvider(replies)
    registry = AgentRegistry(engine=ExecutionEngine(provider))
    registry.add(AgentDefinition(name="duty"))
    return Scene(registry), provider


def last(provider: ScriptedProvider) -> str:
    return provider.requests[-1].messages[-1].text


def test_every_tool_says_what_it_is_for_and_hides_what_is_not_the_models() -> None:
    tools = resident_tools(Done())

    assert tuple(sorted(one.name for one in tools)) == RESIDENT_TOOLS
    for one in tools:
        assert one.description
        assert "ctx" not in one.parameters.get("properties", {})


async def test_mail_is_sent_in_the_name_of_the_agent() -> None:
    here, provider = scene(
        call("send_mail", to="anna", subject="Disks", body="All fine", priority="high", reply_to="mail-0"),
        "Sent.",
    )

    await here.turn("Tell Anna")

    (sent,) = here.done.mail.values()
    assert (sent.sender, sent.mailbox, sent.scope_id, sent.reply_to) == ("duty", "anna", "acme", "mail-0")
    assert loads(last(provider)) == {"mail_id": "mail-1", "thread_id": None}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_mail_whose_turn_dies_is_sent_once(moment: Moment) -> None:
    here, _ = scene(call("send_mail", to="anna", subject="Disks", body="All fine"), "Sent.", "Sent.")
    inner = MemoryStorage()
    dying = DyingStorage(inner, commit_of("tool.completed"), moment=moment)
    doomed = here.kernel(dying, options=DOOMED)
    handle = await doomed.execute(here.request("Tell Anna"))
    await dying.died.wait()
    await bury(doomed, dying, inner)

    async with here.kernel(inner) as host:
        await host.handle(handle.job_id).result(timeout=BOUND)

    assert len(here.done.mail) == 1


async def test_an_unknown_recipient_is_told_to_the_model() -> None:
    here, provider = scene(call("send_mail", to="nobody", subject="", body=""), "I could not.")

    await here.turn("Tell nobody")

    assert "nobody has this name" in last(provider)


async def test_mail_is_read_newest_first_and_found_by_its_words() -> None:
    here, provider = scene(call("read_mail", limit=1), call("search_mail", words="DISK full"), "Read.")
    for number, body in enumerate(["The disk is full", "Lunch?"]):
        here.done.mail[str(number)] = message(
            {"subject": "Hi", "body": body}, MessageKind.MAIL, message_id=f"mail-{number}", sender="anna"
        )

    await here.turn("Read your mail")

    read, found = (loads(one.messages[-1].text) for one in provider.requests[1:])
    assert [one["body"] for one in read] == ["Lunch?"]
    assert [(one["mail_id"], one["from"]) for one in found] == [("mail-0", "anna")]


async def test_an_agent_sleeps_under_the_conditions_that_it_names() -> None:
    here, _ = scene(
        call(
            "sleep",
            until="2026-12-01T09:00:00+01:00",
            wake_events=["alarm"],
            wake_on_mail_priority="urgent",
            reason="night",
        ),
        "Good night.",
    )

    await here.turn("Sleep")

    (asked,) = here.done.sleeps
    assert asked["agent_id"] == "duty"
    assert asked["until"].isoformat() == "2026-12-01T09:00:00+01:00"
    assert (asked["wake_events"], asked["wake_on_mail_priority"]) == (("alarm",), "urgent")


@pytest.mark.parametrize("until", ["tomorrow", "2026-12-01T09:00:00"])
async def test_a_time_that_is_none_is_told_to_the_model(until: str) -> None:
    here, provider = scene(call("sleep", until=until), "I could not.")

    await here.turn("Sleep")

    assert "2026-11-30T09:00:00+01:00" in last(provider)
    assert here.done.sleeps == []


async def test_events_are_told_to_all() -> None:
    here, _ = scene(call("broadcast_event", type="disk.full", data={"host": "db1"}), "Told.")

    await here.turn("Tell all")

    assert list(here.done.told.values()) == [("disk.full", {"host": "db1"})]


async def test_outside_of_turns_the_tools_say_that_they_serve_nobody() -> None:
    provider = ScriptedProvider([call("read_mail"), "I could not."])
    agent = Agent(provider=provider, tools=resident_tools(Done()))

    await agent.run("Read")

    assert "turns of resident agents" in last(provider)
