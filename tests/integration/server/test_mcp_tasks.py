"""Calls that take long as tasks of MCP, and what jobs ask as questions of their callers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError
from mcp_types import ElicitResult

from agent_runtime import ActionSpec, OperatorContext, Role, RuntimeKernel
from support.kernels import QUICK, opened, status_becomes, until
from support.mcp_clients import Tasks, created, job_of, mcp_client, task
from support.mcp_scene import (
    CONFIRM,
    HEADERS,
    OPERATORS,
    ask,
    serving,
    yes,
)
from support.service import BOUND, served


async def test_a_call_that_takes_long_becomes_a_task_which_any_process_answers_for(tmp_path: Path) -> None:
    tasks = Tasks()
    async with opened("sqlite", tmp_path) as storage:
        executing = RuntimeKernel(storage=storage, operators=OPERATORS, options=QUICK)
        other = RuntimeKernel(storage=storage, operators=OPERATORS, options=QUICK, worker=False)
        async with serving(executing, task_after=0.05) as service, served(other) as beside:
            async with mcp_client(service, tasks=tasks) as client:
                task_id = await created(client, "ask", **CONFIRM)
            async with mcp_client(beside, tasks=tasks, person=yes, principal_id="ann") as client:

                async def asked() -> Any:
                    told = await task(client.session, "get", task_id)
                    return told if told["status"] == "input_required" else None

                ((key, form),) = (await until(asked))["inputRequests"].items()
                assert form["params"]["message"] == "Go on?"
                assert form["params"]["requestedSchema"]["required"] == ["confirmed"]
                answers = {
                    key: {"action": "accept", "content": {"confirmed": True}},
                    "other": {"action": "cancel"},
                }
                await task(client.session, "update", task_id, inputResponses=answers)

                async def done() -> Any:
                    told = await task(client.session, "get", task_id)
                    return told if told["status"] == "completed" else None

                told = await until(done)
                assert told["result"]["structuredContent"]["confirmed"] is True
                assert told["ttlMs"] is None
            action = await service.kernel.actions.get(key)
            assert action.resolved_by == "ann"


async def test_a_client_that_knows_tasks_needs_to_know_nothing_of_them() -> None:
    tasks = Tasks()
    async with (
        serving(task_after=0.05) as service,
        mcp_client(service, tasks=tasks, role=Role.OPERATOR) as client,
    ):
        calling = asyncio.ensure_future(client.call_tool("ask", CONFIRM))

        async def waits() -> Any:
            return await service.kernel.actions.list_pending()

        (action,) = await until(waits)
        await until(_seen(tasks, "it waits for a person's answer"))
        await service.kernel.actions.resolve_by_id(action.action_id, {"confirmed": False})
        result = await calling

        assert result.structured_content is not None
        assert result.structured_content["confirmed"] is False
        assert {seen["status"] for seen in tasks.seen} == {"working", "completed"}


def _seen(tasks: Tasks, words: str) -> Any:
    async def seen() -> bool:
        return any(told.get("statusMessage") == words for told in tasks.seen)

    return seen


async def test_only_who_may_approve_is_asked_and_answers() -> None:
    async with serving(task_after=0.05) as service:
        async with mcp_client(service, Role.OPERATOR, tasks=Tasks(), person=yes) as operator:
            task_id = await created(operator, "ask", **CONFIRM, approvers=["ann"])

            async def waits() -> Any:
                return await service.kernel.actions.list_pending()

            (action,) = await until(waits)
            assert (await task(operator.session, "get", task_id))["status"] == "working"
            answer = {action.action_id: {"action": "accept", "content": {"confirmed": True}}}
            with pytest.raises(MCPError, match="may not approve"):
                await task(operator.session, "update", task_id, inputResponses=answer)
        async with mcp_client(service, Role.APPROVER, tasks=Tasks(), person=yes, principal_id="bob") as bob:
            assert (await task(bob.session, "get", task_id))["status"] == "working"
            await task(bob.session, "update", task_id, inputResponses=answer)
        assert (await service.kernel.actions.get(action.action_id)).is_pending
        async with mcp_client(service, Role.APPROVER, tasks=Tasks(), person=yes, principal_id="Ann") as ann:
            assert (await task(ann.session, "get", task_id))["status"] == "input_required"
            with pytest.raises(MCPError, match="may not operate"):
                await task(ann.session, "cancel", task_id)
            wrong = {action.action_id: {"action": "accept", "content": {"confirmed": "perhaps"}}}
            with pytest.raises(MCPError, match="is answered with"):
                await task(ann.session, "update", task_id, inputResponses=wrong)
            await task(ann.session, "update", task_id, inputResponses=answer)
        assert (await service.kernel.actions.get(action.action_id)).resolved_by == "ann"


async def test_a_task_of_another_tenant_is_none() -> None:
    async with serving(task_after=0.05) as service:
        async with mcp_client(service, tasks=Tasks()) as client:
            task_id = await created(client, "wait")
        async with mcp_client(service, tasks=Tasks(), scope_id="other") as other:
            for verb, more in (("get", {}), ("cancel", {}), ("update", {"inputResponses": {}})):
                with pytest.raises(MCPError, match="there is no such task") as refused:
                    await task(other.session, verb, task_id, **more)
                assert refused.value.code == -32602
        assert (await service.kernel.jobs.get(task_id)).status.is_active


async def test_a_task_is_cancelled() -> None:
    async with serving(task_after=0.05) as service, mcp_client(service, tasks=Tasks()) as client:
        task_id = await created(client, "wait")
        await task(client.session, "cancel", task_id)
        await status_becomes(service.kernel.handle(task_id), "cancelled")

        assert (await task(client.session, "get", task_id))["status"] == "cancelled"


async def test_a_client_that_does_not_know_tasks_gets_none() -> None:
    async with serving(task_after=0.05, longest_call=0.2) as service, mcp_client(service) as client:
        late = await client.call_tool("wait", {})
        assert (late.is_error, (late.meta or {})["agent-runtime/code"]) == (True, "UNFINISHED")
        assert (await service.kernel.jobs.get(job_of(late))).status.is_active
        with pytest.raises(MCPError) as refused:
            await task(client.session, "get", job_of(late))
        assert refused.value.code == -32021
        assert refused.value.data == {
            "requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}
        }


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_caller_of_a_call_is_asked_and_asked_again_when_the_answer_is_none(mode: str) -> None:
    asked: list[str] = []

    def person(message: str) -> ElicitResult:
        asked.append(message)
        return ElicitResult(action="accept", content={"choice": "b" if len(asked) == 2 else "z"})

    question = {"type": "choose", "payload": {"message": "Which?", "choices": ["a", "b"]}}
    async with serving(sessions=True) as service, mcp_client(service, person=person, mode=mode) as client:
        result = await client.call_tool("ask", question)

        assert result.structured_content == {"choice": "b"}
        assert (len(asked), asked[0]) == (2, "Which?")
        assert "one of" in asked[1]


@pytest.mark.parametrize(
    ("question", "given", "answer"),
    [
        (CONFIRM, ElicitResult(action="decline"), {"approved": False, "confirmed": False}),
        (
            {"type": "choose", "payload": {"choices": [1, 2]}},
            ElicitResult(action="accept", content={"choice": "2", "reason": ""}),
            {"choice": 2},
        ),
        (
            {"type": "input"},
            ElicitResult(action="accept", content={"value": "17"}),
            {"value": "17"},
        ),
        (
            {"type": "custom"},
            ElicitResult(action="accept", content={"json": '{"deep": {"n": 1}}'}),
            {"deep": {"n": 1}},
        ),
    ],
)
async def test_each_kind_of_question_has_a_form(question: Any, given: ElicitResult, answer: Any) -> None:
    async with serving() as service, mcp_client(service, person=lambda _: given) as client:
        assert (await client.call_tool("ask", question)).structured_content == answer


async def test_within_a_session_somebody_else_may_answer_first() -> None:
    asked = asyncio.Event()

    def person(_: str) -> ElicitResult:
        asked.set()
        return ElicitResult(action="cancel")

    async with (
        serving(sessions=True) as service,
        mcp_client(service, person=person, mode="legacy") as client,
    ):
        calling = asyncio.ensure_future(client.call_tool("ask", CONFIRM))
        async with asyncio.timeout(BOUND):
            await asked.wait()
        (action,) = await service.kernel.actions.list_pending()
        await service.kernel.actions.resolve_by_id(action.action_id, {"confirmed": True})

        assert (await calling).structured_content == {"approved": True, "confirmed": True}


async def test_a_form_that_is_dismissed_leaves_the_question_open() -> None:
    dismissed = ElicitResult(action="cancel")
    async with serving() as service, mcp_client(service, person=lambda _: dismissed) as client:
        result = await client.call_tool("ask", CONFIRM)

        assert (result.meta or {})["agent-runtime/code"] == "UNANSWERED"
        assert len(await service.kernel.actions.list_pending()) == 1


async def test_a_header_that_names_another_task_is_refused() -> None:
    async with serving(task_after=0.05) as service:
        key = await service.key()
        async with mcp_client(service, key=key, tasks=Tasks()) as client:
            task_id = await created(client, "wait")
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {
                "extensions": {"io.modelcontextprotocol/tasks": {}}
            },
        }
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tasks/get",
            "params": {"taskId": task_id, "_meta": meta},
        }
        said = {
            **HEADERS,
            "Mcp-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tasks/get",
            "Mcp-Name": "other",
        }
        async with service.client(key, **said) as http:
            answer = await http.post("/mcp", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


async def two(context: OperatorContext, given: Any) -> Any:
    questions = [ActionSpec(type="confirm", payload={"message": text}) for text in ("A?", "B?")]
    answers = await context.gather(*(context.action(question) for question in questions))
    return [dict(answer.resolution or {}) for answer in answers]


@pytest.mark.parametrize(
    "other", [{"action": "cancel"}, {"action": "accept", "content": {"confirmed": "perhaps"}}]
)
@pytest.mark.parametrize("as_task", [False, True])
async def test_of_several_answers_each_is_taken_for_itself(as_task: bool, other: Any) -> None:
    kernel = RuntimeKernel(operators={"two": two}, options=QUICK)
    async with (
        serving(kernel, task_after=0.05) as service,
        mcp_client(service, tasks=Tasks(), person=yes) as client,
    ):
        task_id = await created(client, "two")

        async def asked() -> Any:
            pending = await kernel.actions.list_pending()
            return pending if len(pending) == 2 else None

        newest, oldest = await until(asked)
        answers = {
            newest.action_id: other,
            oldest.action_id: {"action": "accept", "content": {"confirmed": True}},
        }
        if as_task:
            with suppress(MCPError):  # one was none
                await task(client.session, "update", task_id, inputResponses=answers)
        else:
            async with mcp_client(service, person=yes) as caller:
                given = {name: ElicitResult.model_validate(answer) for name, answer in answers.items()}
                await caller.session.call_tool(
                    "two", {}, input_responses=given, request_state=task_id, allow_input_required=True
                )

        assert [action.action_id for action in await kernel.actions.list_pending()] == [newest.action_id]


async def test_a_form_lists_no_more_choices_than_a_person_reads() -> None:
    choices = ["a" * 100] * 10_000
    question = {"type": "choose", "payload": {"message": "Which?", "choices": choices}}
    async with (
        serving(task_after=0.05) as service,
        mcp_client(service, tasks=Tasks(), person=yes) as client,
    ):
        task_id = await created(client, "ask", **question)

        async def asked() -> Any:
            told = await task(client.session, "get", task_id)
            return told if told["status"] == "input_required" else None

        ((key, form),) = (await until(asked))["inputRequests"].items()
        assert "enum" not in form["params"]["requestedSchema"]["properties"]["choice"]
        assert len(form["params"]["message"]) < 5_000
        assert "all of it stands in the action" in form["params"]["message"]
        answer = {key: {"action": "accept", "content": {"choice": choices[0]}}}
        await task(client.session, "update", task_id, inputResponses=answer)
        assert not await service.kernel.actions.list_pending()


async def goes_on(context: OperatorContext, given: Any) -> Any:
    await context.emit("custom.look", {"name": f"number {given.get('number', 0)}"})
    if given.get("number", 0) < 1:
        await context.sleep(0.2)
        return await context.continue_as_new({"number": 1})
    return await ask(context, CONFIRM)


async def test_a_task_is_the_same_one_when_its_job_goes_on_as_another() -> None:
    kernel = RuntimeKernel(operators={"goes_on": goes_on}, options=QUICK)
    async with serving(kernel, task_after=0.05) as service, mcp_client(service, tasks=Tasks()) as client:
        task_id = await created(client, "goes_on")
        before = await task(client.session, "get", task_id)

        async def asks() -> Any:
            return await kernel.actions.list_pending()

        (action,) = await until(asks)
        assert action.job_id != task_id
        await kernel.actions.resolve_by_id(action.action_id, {"confirmed": True})

        async def done() -> Any:
            told = await task(client.session, "get", task_id)
            return told if told["status"] == "completed" else None

        after = await until(done)
        assert before["statusMessage"] == "custom.look: number 0"
        assert (after["taskId"], after["createdAt"]) == (task_id, before["createdAt"])
