"""crewAI #5802: when a run was retried, a tool that had done its work did it again.

Here a tool that has finished is recalled; one whose end nobody knows waits for a person and is not tried again by itself;
and neither the agent's nor the job's retries change that.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionRequest
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from llm_client import Agent, ScriptedProvider, tool
from llm_client.messages import ToolCall
from support.kernels import BOUND, DOOMED, kernel, opened, pending, types

pytestmark = pytest.mark.timeout(BOUND * 3)


class Post:
    """Sends letters, and counts them."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.hang = False
        post = self

        @tool
        async def send(to: str) -> str:
            """Send a letter."""
            post.sent.append(to)
            if post.hang:
                await asyncio.Event().wait()
            return f"sent to {to}"

        self.tool = send

    def agent(self, *replies: Any) -> Agent:
        return Agent(provider=ScriptedProvider(list(replies)), tools=[self.tool])


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def storage(place: str, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(place, tmp_path) as storage:
        yield storage


CALL = ToolCall("1", "send", {"to": "ann"})


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("at", ["tool.completed", "model.completed"])
async def test_a_tool_that_had_finished_is_not_called_again_by_the_run_that_follows(
    storage: Storage, moment: Any, at: str
) -> None:
    """The process dies around the outcome of the tool, or of the model's next answer."""
    post = Post()
    dying = DyingStorage(storage, commit_of(at), moment=moment)
    doomed = kernel(dying, agent=post.agent(CALL, "done"), options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(prompt="send it"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)

    is_known = at == "tool.completed" or moment == "after"
    replies = ["done"] if is_known else [CALL, "done"]  # the first answer is recalled, or was lost
    async with kernel(storage, agent=post.agent(*replies)) as k:
        handle = k.handle(handle.job_id)
        if (at, moment) == ("tool.completed", "before"):  # nobody knows whether it was sent: a person says
            question = await pending(handle)
            assert question.type == "reconcile"
            assert post.sent == ["ann"]
            await handle.resolve_action(question.action_id, {"outcome": "done", "result": "sent to ann"})
        assert (await handle.result(timeout=BOUND)).content == "done"
    assert post.sent == ["ann"]


async def test_a_tool_that_was_killed_in_the_middle_is_unknown_and_a_person_is_asked(
    storage: Storage,
) -> None:
    post = Post()
    post.hang = True
    dying = DyingStorage(storage, lambda commit: False)
    doomed = kernel(dying, agent=post.agent(CALL), options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(prompt="send it"))
    async with asyncio.timeout(BOUND):
        while not post.sent:
            await asyncio.sleep(0.001)
    await bury(doomed, dying, storage)

    post.hang = False
    for _ in range(3):  # however often processes come and go
        async with kernel(storage, agent=post.agent("done")) as k:
            question = await pending(k.handle(handle.job_id))
            assert (question.type, post.sent) == ("reconcile", ["ann"])
    async with kernel(storage, agent=post.agent("done")) as k:
        handle = k.handle(handle.job_id)
        assert (await types(handle)).count("tool.unknown") == 1
        await handle.resolve_action(question.action_id, {"outcome": "done", "result": "sent to ann"})
        assert (await handle.result(timeout=BOUND)).content == "done"
    assert post.sent == ["ann"]
