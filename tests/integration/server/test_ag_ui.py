"""Jobs as runs of AG-UI: a page that loses its connection, or comes back, has everything once, and a question ends a run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, OperatorContext, RetryPolicy, Role, RuntimeKernel
from agent_runtime.server import ServerConfig
from llm_client import (
    Agent,
    ConnectionFailed,
    ExecutionEngine,
    FunctionProvider,
    ScriptedProvider,
    ToolCall,
    tool,
)
from llm_client.messages import CompletionResult, ReasoningPart
from support.ag_ui import Page
from support.kernels import opened
from support.service import BOUND, problem_in, served, service_of

WORDS = [f"word{number} " for number in range(60)]
paid: list[str] = []


@tool(effect="read")
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(requires_approval=True)
async def pay(to: str) -> str:
    """Pay."""
    paid.append(to)
    return f"paid {to}"


@tool
async def broken() -> str:
    """Fail."""
    raise ValueError("out of order")


def agent(*replies: Any) -> Agent:
    return Agent(provider=ScriptedProvider(replies), tools=[add, pay, broken])


async def write(spec: Any) -> AsyncIterator[str]:
    for word in WORDS:
        await asyncio.sleep(0.005)
        yield word


async def ask(context: OperatorContext, given: Any) -> Any:
    answer = await context.action(ActionSpec(type="confirm", payload={"message": "go on?"}))
    return answer.resolution


async def echo(context: OperatorContext, given: Any) -> Any:
    return given


async def fail(context: OperatorContext, given: Any) -> Any:
    raise ValueError("it cannot be done")


async def wait(context: OperatorContext, given: Any) -> Any:
    await context.sleep(3600)


async def many(context: OperatorContext, given: Any) -> Any:
    async def step() -> int:
        await asyncio.sleep(0.02)
        return 1

    await context.emit("shop.sold", {"what": "a book"})
    await context.progress(0.5, "half")
    await context.gather(*(context.step(step, name="look", key=str(number)) for number in range(3)))
    return {"done": True}


async def ask_two(context: OperatorContext, given: Any) -> Any:
    async def asked(number: int) -> bool:
        spec = ActionSpec(type="confirm", payload={"message": f"question {number}"})
        return bool((await context.action(spec)).resolution["confirmed"])

    first = await context.gather(asked(1), asked(2))
    return [*first, await asked(3)]


async def again(context: OperatorContext, given: Any) -> Any:
    left = given if isinstance(given, int) else 2
    if left:
        context.continue_as_new(left - 1)
    return "the last one"


OPERATORS = {
    "ask": ask,
    "ask_two": ask_two,
    "echo": echo,
    "fail": fail,
    "wait": wait,
    "many": many,
    "again": again,
}


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


async def until(condition: Any) -> None:
    async with asyncio.timeout(BOUND):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_a_conversation_with_tools_is_told_and_the_same_run_again_does_nothing_twice() -> None:
    calls = [ToolCall("call_1", "add", {"a": 1, "b": 2}), ToolCall("call_2", "broken", {})]
    async with (
        served(RuntimeKernel(agent=agent(calls, "It is 3.", "You are welcome."))) as service,
        service.client(await service.key(Role.OPERATOR)) as client,
    ):
        page = Page(client)
        page.say("1 + 2?")
        first = await page.run("run-1")
        assert page.outcome == {"type": "success"}
        assert page.texts == ["It is 3."]
        results = [message["content"] for message in page.messages if message["role"] == "tool"]
        assert results == ["3", "Error: ValueError: out of order"]
        assert [one["function"]["name"] for one in page.messages[1]["toolCalls"]] == ["add", "broken"]
        assert first[0]["protocolVersion"] == "1.0"
        assert first[-1]["result"] == "It is 3."

        other = Page(client)
        other.say("1 + 2?")
        await other.run("run-1")
        assert other.messages == page.messages
        assert other.events[0]["metadata"] == first[0]["metadata"]

        page.say("Thank you!")  # with all that was said before
        await page.run("run-2")
        assert page.texts == ["It is 3.", "You are welcome."]
        jobs = await service.kernel.jobs.list()
        assert len(jobs) == 2
        assert {job.session_id for job in jobs} == {"thread-1"}


@pytest.mark.timeout(120)
async def test_whoever_loses_the_connection_all_the_time_has_the_text_once(
    place: str, tmp_path: Path
) -> None:
    chance = random.Random(7)
    async with opened(place, tmp_path) as storage:
        kernel = RuntimeKernel(storage=storage, engine=ExecutionEngine(FunctionProvider(write)))
        async with served(kernel) as service, service.client(await service.key(Role.OPERATOR)) as client:

            async def read(number: int) -> tuple[Page, int]:
                page, lost = Page(client, thread=f"thread-{number % 4}"), 0
                page.say("Write.")
                while not page.events or page.events[-1]["type"] != "RUN_FINISHED":
                    await page.run("run-1", leave_after=chance.choice((0.02, 0.05, 0.1, 0.2, 0.5)))
                    lost += 1
                return page, lost

            read_by = await asyncio.gather(*(read(number) for number in range(12)))
            assert sum(lost for _, lost in read_by) > 24
            for page, _ in read_by:
                assert page.texts == ["".join(WORDS)]
            jobs = await kernel.jobs.list()
            assert [str(job.status) for job in jobs] == ["succeeded"] * 4


async def test_who_comes_back_with_half_a_text_goes_on_with_it_whole() -> None:
    gate = asyncio.Event()

    async def hesitate(spec: Any) -> AsyncIterator[str]:
        for word in WORDS[:30]:
            yield word
        await gate.wait()
        for word in WORDS[30:]:
            yield word

    kernel = RuntimeKernel(engine=ExecutionEngine(FunctionProvider(hesitate)))
    async with served(kernel) as service, service.client(await service.key(Role.OPERATOR)) as client:
        page = Page(client)
        page.say("Write.")
        await page.run("run-1", leave_after=0.5)
        assert page.texts == ["".join(WORDS[:30])]
        [job] = await kernel.jobs.list()
        assert job.status.is_active  # leaving stops nothing

        reading = asyncio.ensure_future(page.run("run-1"))
        await asyncio.sleep(0.2)
        assert page.texts == ["".join(WORDS[:30])]
        assert "MESSAGES_SNAPSHOT" in page.types
        gate.set()
        await reading
        assert page.texts == ["".join(WORDS)]
        assert len(await kernel.jobs.list()) == 1


async def test_an_answer_that_is_given_up_is_taken_back() -> None:
    attempts = 0

    async def breaks_once(spec: Any) -> AsyncIterator[str]:
        nonlocal attempts
        attempts += 1
        for word in WORDS[:10]:
            await asyncio.sleep(0.005)
            yield word if attempts > 1 else word.upper()
        if attempts == 1:
            raise ConnectionFailed("the connection was lost")

    kernel = RuntimeKernel(
        engine=ExecutionEngine(FunctionProvider(breaks_once)), retry=RetryPolicy(max_attempts=3, backoff=0.1)
    )
    async with served(kernel) as service, service.client(await service.key(Role.OPERATOR)) as client:
        page = Page(client)
        page.say("Write.")
        events = await page.run("run-1")
        assert attempts == 2
        assert "".join(WORDS[:10]).upper() in "".join(str(event.get("delta")) for event in events)
        assert page.texts == ["".join(WORDS[:10])]
        assert [message["role"] for message in page.messages] == ["user", "assistant"]


async def test_what_a_model_thinks_is_told_apart() -> None:
    async def think(spec: Any) -> CompletionResult:
        parts = tuple(ReasoningPart(provider="x", text=text) for text in ("Let ", "me ", "see."))
        return CompletionResult(content="Yes.", reasoning=parts)

    kernel = RuntimeKernel(engine=ExecutionEngine(FunctionProvider(think)))
    async with served(kernel) as service, service.client(await service.key(Role.OPERATOR)) as client:
        page = Page(client)
        page.say("Well?")
        for _ in range(2):
            events = await page.run("run-1")
            thoughts = [each["delta"] for each in events if each["type"] == "REASONING_MESSAGE_CONTENT"]
            assert "".join(thoughts) == "Let me see."
            assert page.types.index("REASONING_END") < page.types.index("TEXT_MESSAGE_START")
            assert page.texts == ["Yes."]


async def test_a_tool_that_has_to_be_approved_ends_the_run_and_an_answer_goes_on_with_it() -> None:
    paid.clear()
    kernel = RuntimeKernel(agent=agent([ToolCall("call_1", "pay", {"to": "bob"})], "Done."))
    async with served(kernel) as service, service.client(await service.key(principal_id="ann")) as client:
        page = Page(client)
        page.say("Pay Bob.")
        await page.run("run-1")
        assert page.outcome["type"] == "interrupt"
        [asked] = page.outcome["interrupts"]
        [call] = [event for event in page.events if event["type"] == "TOOL_CALL_START"]
        assert (asked["reason"], asked["toolCallId"]) == ("tool_call", call["toolCallId"])
        assert asked["responseSchema"]["required"] == ["approved"]
        assert not paid

        answer = {"interruptId": asked["id"], "status": "resolved"}
        edited = {"approved": True, "editedArgs": {"to": "bert"}}
        await page.run("run-2", resume=[{**answer, "payload": edited}])
        assert page.outcome == {"type": "success"}
        assert paid == ["bert"]
        assert page.texts == ["Done."]
        told = [event for event in page.events if event["type"] == "TOOL_CALL_RESULT"]
        assert [(event["toolCallId"], event["content"]) for event in told] == [
            (call["toolCallId"], "paid bert")
        ]
        assert "TOOL_CALL_START" not in page.types

        before = [dict(message) for message in page.messages]
        await page.run("run-2", resume=[{**answer, "payload": edited}])  # sent again
        assert page.messages == before
        assert paid == ["bert"]
        [job] = await kernel.jobs.list()
        action = await kernel.actions.get(asked["id"].partition("@")[0])
        assert (action.job_id, action.resolved_by) == (job.job_id, "ann")


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ({"status": "resolved", "payload": {"confirmed": True, "reason": "why not"}}, True),
        ({"status": "resolved", "payload": False}, False),
        ({"status": "cancelled"}, False),
    ],
    ids=str,
)
async def test_a_question_is_answered_by_a_form_a_value_or_not_at_all(answer: Any, output: bool) -> None:
    async with (
        served(RuntimeKernel(operators=OPERATORS)) as service,
        service.client(await service.key()) as client,
    ):
        page = Page(client, "ask")
        await page.run("run-1")
        [asked] = page.outcome["interrupts"]
        assert (asked["reason"], asked["message"]) == ("confirmation", "go on?")
        await page.run("run-2", resume=[{"interruptId": asked["id"], **answer}])
        assert page.events[-1]["result"]["confirmed"] is output


async def test_answers_that_are_none_end_the_run_with_an_error_and_the_job_waits_on() -> None:
    async with (
        served(RuntimeKernel(operators=OPERATORS)) as service,
        service.client(await service.key()) as client,
        service.client(await service.key(scope_id="rival")) as rival,
    ):
        page = Page(client, "ask")
        await page.run("run-1")
        [asked] = page.outcome["interrupts"]
        right = {"interruptId": asked["id"], "status": "resolved", "payload": True}

        async def refused(of: Page, code: str, *answers: Any) -> None:
            events = await of.run("run-2", resume=list(answers))
            assert [event["type"] for event in events] == ["RUN_STARTED", "RUN_ERROR"]
            assert events[-1]["code"] == code, events[-1]

        await refused(page, "UNKNOWN_ACTION", {**right, "interruptId": "act-1@8"})
        await refused(page, "UNKNOWN_ACTION", {**right, "interruptId": "x"})
        await refused(page, "UNKNOWN_ACTION", {**right, "interruptId": asked["id"] + "x"})
        await refused(page, "INVALID_INPUT", {**right, "payload": "perhaps"})
        await refused(page, "INVALID_INPUT", {**right, "payload": None})
        await refused(Page(client, "ask", thread="another"), "UNKNOWN_ACTION", right)
        await refused(Page(rival, "ask"), "UNKNOWN_ACTION", right)
        await refused(Page(client, "echo"), "UNKNOWN_ACTION", right)
        async with service.client(await service.key(Role.OPERATOR)) as operator:
            told = await operator.post("/v1/ag-ui/ask", json=page.body("run-2", resume=[right]))
            assert "may not answer" in problem_in(told, 403)["detail"]
        assert [str(job.status) for job in await service.kernel.jobs.list()] == ["waiting_action"]
        await page.run("run-2", resume=[right])
        assert page.outcome == {"type": "success"}


@pytest.mark.parametrize("first", ["resolved", "cancelled"])
async def test_somebody_elses_question_is_neither_answered_nor_withdrawn_nor_is_another_one_beside_it(
    first: str,
) -> None:
    async def both(context: OperatorContext, given: Any) -> Any:
        async def asked(**more: Any) -> Any:
            return (await context.action(ActionSpec(type="input", payload={}, **more))).resolution

        return await context.gather(asked(), asked(approvers=("boss",)))

    kernel = RuntimeKernel(operators={"both": both})
    async with served(kernel) as service, service.client(await service.key()) as client:
        page = Page(client, "both")
        await page.run("run-1")
        [mine] = page.outcome["interrupts"]
        bosses = next(each for each in await kernel.actions.list_pending() if each.approvers is not None)
        seq = mine["id"].rpartition("@")[2]
        events = await page.run(
            "run-2",
            resume=[
                {"interruptId": mine["id"], "status": first, "payload": "a"},
                {"interruptId": f"{bosses.action_id}@{seq}", "status": "cancelled"},
            ],
        )
        assert [event["type"] for event in events] == ["RUN_STARTED", "RUN_ERROR"]
        assert events[-1]["code"] == "INVALID_INPUT"
        assert len(await kernel.actions.list_pending()) == 2


async def test_questions_that_are_asked_at_once_are_answered_at_once_or_not_at_all() -> None:
    async with (
        served(RuntimeKernel(operators=OPERATORS)) as service,
        service.client(await service.key()) as client,
    ):
        page = Page(client, "ask_two")
        await page.run("run-1")
        asked = page.outcome["interrupts"]
        assert sorted(each["message"] for each in asked) == ["question 1", "question 2"]
        right = [{"interruptId": each["id"], "status": "resolved", "payload": True} for each in asked]
        for answers in (right[:1], [right[0], {**right[1], "payload": "perhaps"}]):
            events = await page.run("run-2", resume=answers)
            assert events[-1]["code"] == "INVALID_INPUT"
            assert len(await service.kernel.actions.list_pending()) == 2
        await page.run("run-2", resume=right)
        [third] = page.outcome["interrupts"]
        assert third["message"] == "question 3"

        await page.run("run-1")  # which is at this question by now, too
        assert page.outcome["interrupts"] == [third]
        await page.run("run-3", resume=[{"interruptId": third["id"], "status": "cancelled"}])
        assert page.events[-1]["result"] == [True, True, False]


async def test_whoever_may_not_answer_is_told_that_it_waits_and_reads_on_when_somebody_has() -> None:
    kernel = RuntimeKernel(operators=OPERATORS)
    async with served(kernel) as service, service.client(await service.key(Role.OPERATOR)) as client:
        page = Page(client, "ask")
        reading = asyncio.ensure_future(page.run("run-1"))

        async def waits() -> bool:
            return "CUSTOM" in page.types

        await until(waits)
        assert page.events[-1]["name"] == "agent-runtime.waits"
        [action] = await kernel.actions.list_pending()
        await kernel.actions.resolve_by_id(action.action_id, {"confirmed": True}, resolved_by="boss")
        await reading
        assert page.outcome == {"type": "success"}


async def test_steps_progress_and_an_applications_own_events_are_told() -> None:
    async with (
        served(RuntimeKernel(operators=OPERATORS)) as service,
        service.client(await service.key(Role.OPERATOR)) as client,
    ):
        page = Page(client, "many")
        events = await page.run("run-1")
        custom = {event["name"]: event["value"] for event in events if event["type"] == "CUSTOM"}
        assert custom == {
            "shop.sold": {"what": "a book"},
            "agent-runtime.progress": {"progress": 0.5, "message": "half"},
        }
        assert page.types.count("STEP_FINISHED") == 3
        names = {event["stepName"] for event in events if event["type"] == "STEP_STARTED"}
        assert len(names) == 3  # they are there at the same time
        assert "look" in names
        assert events[-1]["result"] == {"done": True}


CONVERSATION: list[dict[str, Any]] = [
    {"id": "1", "role": "developer", "content": "Be brief."},
    {
        "id": "2",
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {
                "type": "image",
                "source": {
                    "type": "url",
                    "value": "https://x.example/a.png",
                    "mimeType": "image/png",
                },
            },
            {
                "type": "document",
                "source": {"type": "data", "value": "QQ==", "mimeType": "application/pdf"},
            },
        ],
    },
    {"id": "3", "role": "reasoning", "content": "Hm."},
    {"id": "4", "role": "activity", "activityType": "x", "content": {}},
    {
        "id": "5",
        "role": "assistant",
        "toolCalls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "look", "arguments": '{"at": "it"}'},
            }
        ],
    },
    {"id": "6", "role": "tool", "toolCallId": "c1", "content": "A cat."},
]


async def test_an_operator_is_given_what_the_page_has_sent() -> None:
    async with (
        served(RuntimeKernel(operators=OPERATORS)) as service,
        service.client(await service.key(Role.OPERATOR)) as client,
    ):
        page = Page(client, "echo")
        page.messages = [dict(message) for message in CONVERSATION]
        more = {
            "state": {"page": 3},
            "tools": [{"name": "highlight", "description": "Mark it.", "parameters": {"type": "object"}}],
            "context": [{"description": "theme", "value": "dark"}],
            "forwardedProps": {"a": 1},
            "parentRunId": "run-0",
        }
        events = await page.run("run-1", **more)
        assert events[0]["parentRunId"] == "run-0"
        given = events[-1]["result"]
        assert given["state"] == {"page": 3}
        assert (given["tools"], given["context"]) == (more["tools"], more["context"])
        assert (given["thread_id"], given["run_id"], given["forwarded_props"]) == (
            "thread-1",
            "run-1",
            {"a": 1},
        )
        assert [message["role"] for message in given["messages"]] == ["system", "user", "assistant", "tool"]
        assert given["messages"][1]["content"][1]["url"] == "https://x.example/a.png"
        assert given["messages"][2]["tool_calls"][0]["arguments"] == {"at": "it"}


async def test_a_run_ends_as_its_job_does() -> None:
    kernel = RuntimeKernel(operators=OPERATORS)
    async with served(kernel) as service, service.client(await service.key(Role.OPERATOR)) as client:
        failing = Page(client, "fail")
        events = await failing.run("run-1")
        assert events[-1]["type"] == "RUN_ERROR"
        assert "it cannot be done" in events[-1]["message"]

        waiting = Page(client, "wait")
        reading = asyncio.ensure_future(waiting.run("run-1"))

        async def begun() -> bool:
            return bool(waiting.events)

        await until(begun)
        await kernel.handle(waiting.events[0]["metadata"]["agent-runtime"]["jobId"]).cancel()
        await reading
        assert waiting.outcome == {"type": "cancelled"}

        following = Page(client, "again")
        events = await following.run("run-1")
        assert events[-1]["result"] == "the last one"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"threadId": "t", "runId": "r"},
        {"threadId": "", "runId": "r", "messages": []},
        {"threadId": "t", "runId": "r" * 513, "messages": []},
        {"threadId": "t", "runId": "r", "messages": {}},
        {"threadId": "t", "runId": "r", "messages": [1]},
        {"threadId": "t", "runId": "r", "messages": [{"role": "user"}] * 2_001},
        {"threadId": "t", "runId": "r", "messages": [{"role": "boss", "content": "x"}]},
        {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": 1}]},
        {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": [{"type": "image"}]}]},
        {"threadId": "t", "runId": "r", "messages": [{"role": "tool", "content": "x"}]},
        {"threadId": "t", "runId": "r", "messages": [{"role": "assistant", "toolCalls": [{"id": "1"}]}]},
        {
            "threadId": "t",
            "runId": "r",
            "messages": [
                {
                    "role": "assistant",
                    "toolCalls": [{"id": "1", "function": {"name": "x", "arguments": "[["}}],
                }
            ],
        },
        {
            "threadId": "t",
            "runId": "r",
            "messages": [],
            "resume": [{"interruptId": "x", "status": "perhaps"}],
        },
        {"threadId": "t", "runId": "r", "messages": [], "resume": [{}] * 1_000},
        {"threadId": "t\x00", "runId": "r", "messages": []},
    ],
    ids=lambda body: str(body)[:80],
)
async def test_what_is_no_run_is_refused_before_anything_begins(body: dict[str, Any]) -> None:
    async with (
        service_of(RuntimeKernel(operators=OPERATORS)) as service,
        service.client(await service.key()) as client,
    ):
        problem_in(await client.post("/v1/ag-ui/echo", json=body), 422)
        assert not await service.kernel.jobs.list()


async def test_a_run_takes_the_right_to_operate_an_operator_and_room_and_is_one_thing() -> None:
    config = ServerConfig(max_streams_per_key=1)
    async with served(RuntimeKernel(operators=OPERATORS), config) as service:
        async with service.client(await service.key(Role.VIEWER)) as viewer:
            problem_in(await viewer.post("/v1/ag-ui/echo", json=Page(viewer).body("run-1")), 403)
        async with service.client(await service.key(Role.OPERATOR)) as client:
            told = await client.post("/v1/ag-ui/nobody", json=Page(client).body("run-1"))
            assert problem_in(told, 422)["code"] == "OPERATOR_NOT_FOUND"
            page = Page(client, "echo")
            page.say("this")
            await page.run("run-1")
            page.say("that")
            told = await client.post("/v1/ag-ui/echo", json=page.body("run-1"))
            assert problem_in(told, 409)["code"] == "IDEMPOTENCY_CONFLICT"
            reading = asyncio.ensure_future(Page(client, "wait").run("run-1", leave_after=1))
            await asyncio.sleep(0.3)
            told = await client.post("/v1/ag-ui/wait", json=Page(client).body("run-2"))
            assert problem_in(told, 429)["code"] == "TOO_MANY_REQUESTS"
            await reading
