"""Resident agents by JSON-RPC: every method of the contract, what a client is told meanwhile, and nothing of other tenants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from agent_runtime import Role, RuntimeKernel
from agent_runtime.server.rpc.methods import Method
from agent_runtime.server.rpc.offered import offered
from agent_runtime.values.api_key import Permission
from llm_client import Agent, ContentFiltered, FunctionProvider
from support.rpc_clients import Client, socket_of
from support.service import BOUND, FAST, Service, served

MARK = "belongs-to-acme"
"""Stands in everything that the first tenant has, and must not stand in any answer to another one."""


def reply(spec: Any) -> str:
    if "fail" in str(spec.messages[-1].text):
        raise ContentFiltered("no")
    return f"done: {MARK}"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    agent = Agent(provider=FunctionProvider(reply))
    async with served(RuntimeKernel(agent=agent), FAST) as service:
        yield service


async def until(client: Client, method: str, *, more: int = 1) -> dict[str, Any]:
    """Return what the last of so many notifications of a kind says, once they have come."""
    async with asyncio.timeout(BOUND):
        while len(found := [one for one in client.told if one["method"] == method]) < more:
            await client.notified(len(client.told) + 1)
    params: dict[str, Any] = found[more - 1]["params"]
    return params


async def belongings(client: Client) -> dict[str, Any]:
    """Let a tenant have one of everything, and return params that name it."""
    config = {"maxAttempts": 1, "checkMailInterval": 30, "maxConcurrentTasks": 5, "wakeOnPriority": "high"}
    await client.call("startSession")
    await client.call("async.createAgent", agentId="duty", config=config)
    failing = (await client.call("async.sendTask", agentId="duty", task=f"fail {MARK}"))["taskId"]
    await until(client, "async.task.error")
    await client.call("async.stopAgent", agentId="duty", reason=MARK)
    task = (await client.call("async.sendTask", agentId="duty", task=MARK))["taskId"]
    mail = await client.call("async.sendMail", to="duty", subject=MARK, body=MARK)
    schedule = await client.call(
        "async.scheduleTask", agentId="duty", task=MARK, schedule="0 9 1 1 *", scheduleId="beat"
    )
    return {
        "agentId": "duty",
        "taskId": task,
        "messageId": failing,
        "scheduleId": schedule["scheduleId"],
        "to": "duty",
        "replyTo": mail["messageId"],
        "threadId": mail["threadId"],
    }


VALUES: dict[str, Any] = {"task": "look", "body": "hello", "event": "system_alert", "every": 3600}
"""What is given where something has to be."""
MAKES = frozenset(
    {"async.createAgent", "async.broadcastEvent", "startSession", "stopSession", "rpc.discover"}
)
"""What names nothing of anybody."""
LISTS = frozenset(
    {
        "async.getAgentStates",
        "async.getMail",
        "async.getEventHistory",
        "async.listDeadLetters",
        "async.listSchedules",
    }
)


def params_of(method: Method[Any], ids: dict[str, Any]) -> dict[str, Any]:
    """Return params that name what somebody has."""
    fields = method.params.model_fields
    wanted = [fields[name].alias or name for name in fields if fields[name].is_required()]
    wanted += ["agentId"] if "agentId" in method.positions and method.name not in LISTS else []
    wanted += ["every"] if method.name == "async.scheduleTask" else []
    wanted += ["to"] if method.name == "async.sendMail" else []
    return {name: ids.get(name, VALUES.get(name)) for name in wanted}


async def test_a_day_of_an_agent_by_the_documented_calls(service: Service) -> None:
    async with socket_of(service, await service.key(principal_id="ann")) as client:
        await client.call(
            "startSession", userId="ann", sessionParams={"language": "de", "context": {"ward": 3}}
        )
        made = await client.call(
            "async.createAgent",
            agentId="d",
            config={"checkMailInterval": 30, "maxConcurrentTasks": 5, "wakeOnPriority": "high"},
        )
        assert (made["state"], made["config"]["maxConcurrentTasks"]) == ("idle", 5)
        task = await client.call("async.sendTask", agentId="d", task="Look around", priority="high")
        assert (await until(client, "async.task.completed"))["messageId"] == task["taskId"]
        done = await client.call("async.getTask", taskId=task["taskId"])
        assert (done["status"], done["from"], done["priority"]) == ("done", "ann", "high")
        assert done["content"]["data"] == {"session": {"language": "de", "context": {"ward": 3}}}
        assert MARK in json.dumps(done["result"])
        slept = await client.call(
            "async.sleepAgent",
            agentId="d",
            untilTime="2999-01-01T09:00:00Z",
            wakeEvents=["urgent_mail", "system_alert"],
            wakeOnMailPriority="high",
        )
        assert (slept["state"], slept["sleepUntil"]) == ("sleeping", "2999-01-01T09:00:00Z")
        await client.call("async.sendMail", to="d", subject="calm", body="no hurry", priority="low")
        assert (await client.call("async.getAgentStates", agentId="d"))["agents"][0]["state"] == "sleeping"
        told = await client.call("async.broadcastEvent", event="system_alert", data={"load": 9})
        assert told["delivered"] == 1
        await until(client, "async.task.completed", more=3)
        mail = await client.call("async.getMail", agentId="d", search="hurry")
        assert [one["content"]["subject"] for one in mail["mail"]] == ["calm"]
        beat = await client.call(
            "async.scheduleTask",
            agentId="d",
            task="Check system health and report issues",
            schedule="*/15 * * * *",
        )
        assert beat["nextDue"] is not None
        assert [
            one["scheduleId"] for one in (await client.call("async.listSchedules", agentId="d"))["schedules"]
        ] == [beat["scheduleId"]]
        assert (await client.call("async.cancelSchedule", scheduleId=beat["scheduleId"]))[
            "status"
        ] == "cancelled"
        history = await client.call("async.getEventHistory")
        seqs = [one["seq"] for one in history["events"]]
        assert seqs == list(range(1, history["lastSeq"] + 1))
        await until(client, "async.task.completed", more=3)
        assert [one["params"]["seq"] for one in client.told] == seqs[: len(client.told)]
        assert {"async.agent.stateChanged", "async.task.started", "async.mail.received", "async.event"} <= {
            one["method"] for one in client.told
        }


async def test_what_fails_is_a_dead_letter_that_can_be_put_back(service: Service) -> None:
    async with socket_of(service, await service.key()) as client:
        ids = await belongings(client)
        [dead] = (await client.call("async.listDeadLetters"))["messages"]
        assert (dead["messageId"], dead["status"]) == (ids["messageId"], "dead")
        assert (await client.call("async.requeueDeadLetter", messageId=dead["messageId"]))[
            "status"
        ] == "waiting"
        assert (await client.call("async.cancelTask", taskId=ids["taskId"]))["status"] == "cancelled"
        unknown = await client.call("async.sendMail", to="nobody", body="?")
        assert (unknown["error"]["code"], unknown["error"]["data"]["code"]) == (-32004, "UNKNOWN_AGENT")


async def test_a_schedule_gives_its_agent_a_task_once_for_each_due_time(service: Service) -> None:
    async with socket_of(service, await service.key()) as client:
        await client.call("startSession")
        await client.call("async.createAgent", agentId="duty")
        await client.call("async.sleepAgent", agentId="duty")
        await client.call("async.scheduleTask", agentId="duty", task="look", every=1, scheduleId="beat")
        started = await until(client, "async.task.started")
        assert (started["kind"], started["name"]) == ("timer", "beat")
        done = await until(client, "async.task.completed")
        assert done["messageId"] == started["messageId"]


async def test_another_tenant_finds_nothing_and_changes_nothing(service: Service) -> None:
    methods = service.app.state.rpc.methods
    async with (
        socket_of(service, await service.key(Role.ADMIN, "acme")) as acme,
        socket_of(service, await service.key(Role.ADMIN, "rival")) as rival,
    ):
        ids = await belongings(acme)
        before = (await acme.call("async.getAgentStates"), await acme.call("async.getEventHistory"))
        await rival.call("startSession", afterSeq=0)
        for method in methods.values():
            answered = await rival.call(method.name, **params_of(method, ids))
            assert MARK not in json.dumps(answered), method.name
            if "scope_id" in method.params.model_fields:
                elsewhere = await rival.call(method.name, **{**params_of(method, ids), "scopeId": "acme"})
                assert elsewhere["error"]["code"] == -32003, method.name
        assert (await acme.call("async.getAgentStates"), await acme.call("async.getEventHistory")) == before
        assert MARK not in json.dumps(rival.told)


async def test_what_names_something_of_another_tenant_is_not_found(service: Service) -> None:
    methods = service.app.state.rpc.methods
    async with (
        socket_of(service, await service.key(Role.ADMIN, "acme")) as acme,
        socket_of(service, await service.key(Role.ADMIN, "rival")) as rival,
    ):
        ids = await belongings(acme)
        for method in methods.values():
            if method.name not in MAKES | LISTS:
                answered = await rival.call(method.name, **params_of(method, ids))
                assert answered["error"]["code"] == -32004, (method.name, answered)


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_call_what_it_is_for_and_nothing_else(service: Service, role: Role) -> None:
    async with socket_of(service, await service.key(Role.ADMIN)) as admin:
        ids = await belongings(admin)
    async with socket_of(service, await service.key(role)) as client:
        for method in service.app.state.rpc.methods.values():
            answered = await client.call(method.name, **params_of(method, ids))
            code = (answered.get("error") or {}).get("code")  # a task has an error, too
            may = method.permission is None or role.allows(method.permission)
            assert (code == -32003) != may, (method.name, answered)
            assert code != -32603, (method.name, answered)


def test_what_changes_something_takes_more_than_reading() -> None:
    reading = {
        method.name for method in offered("1").values() if method.permission in (None, Permission.READ)
    }
    assert reading == LISTS | {"async.getTask", "startSession", "stopSession", "rpc.discover"}


async def test_a_client_that_comes_back_has_missed_nothing_of_agents(service: Service) -> None:
    key = await service.key()
    async with socket_of(service, key) as client:
        await client.call("startSession", sessionId="s")
        await client.call("async.createAgent", agentId="duty")
        await client.notified(1)
        client.socket.transport.abort()
        with pytest.raises(ConnectionClosed):
            await client.call("rpc.discover")
        seen = [one["params"] for one in client.told]
    task = await service.kernel.agents.send_task("duty", "look", scope_id="acme")
    async with socket_of(service, key) as again:
        await again.call("startSession", sessionId="s", afterSeq=seen[-1]["seq"])
        done = await until(again, "async.task.completed")
        assert done["messageId"] == task.message_id
        seen += [one["params"] for one in again.told]
        assert [one["seq"] for one in seen] == list(range(1, len(seen) + 1))
