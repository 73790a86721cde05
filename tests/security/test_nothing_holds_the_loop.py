"""What strangers make long is read beside the event loop, so that other jobs, heartbeats and cancellations go on."""

import threading
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ActionType,
    ExecutionRequest,
    OperatorContext,
    PolicyEngine,
    RedactionPolicy,
)
from agent_runtime.actions import votes
from agent_runtime.values.action import ActionRecord
from agent_runtime.values.content import LARGE
from llm_client import Agent, Conversation, ScriptedProvider, tool
from llm_client.messages import ToolCall
from llm_client.redaction import Redactor
from support.kernels import BOUND, kernel, pending

SECRET = "sk-" + "proj-" + "a1B2c3D4" * 6


async def test_long_texts_are_redacted_in_a_thread_and_each_message_of_a_conversation_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[tuple[str, bool]] = []
    redact = Redactor.redact

    def noted(self: Redactor, value: Any) -> Any:
        if isinstance(value, str) and len(value) > LARGE:
            read.append((value, threading.current_thread() is threading.main_thread()))
        return redact(self, value)

    monkeypatch.setattr(Redactor, "redact", noted)

    @tool(effect="read")
    async def fetch() -> str:
        """Fetch a page."""
        return f"{SECRET} " + "long page " * (LARGE // 8)

    provider = ScriptedProvider([ToolCall("1", "fetch", {}), "one", "two"])
    agent, conversation = Agent(provider=provider, tools=[fetch]), Conversation()
    question = f"{SECRET} " + "long question " * (LARGE // 8)

    async def operator(context: OperatorContext, given: Any) -> None:
        await agent.run(question, conversation=conversation)
        await agent.run("on", conversation=conversation)

    engine = PolicyEngine([RedactionPolicy()])
    async with kernel(operators={"talk": operator}, policy_engine=engine) as k:
        await (await k.execute(ExecutionRequest(operator="talk"))).result(timeout=BOUND)
    assert any("long page" in text for text, _ in read)
    assert not [text[:50] for text, on_loop in read if on_loop]
    assert [text for text, _ in read].count(question) == 1
    assert len(provider.requests) == 3
    assert all(SECRET not in message.text for spec in provider.requests for message in spec.messages)


async def test_long_answers_are_read_and_hashed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bool] = []
    hash_of_answer = votes.hash_of_answer

    def noted(action: ActionRecord, answer: dict[str, Any]) -> str:
        hashed.append(threading.current_thread() is threading.main_thread())
        return hash_of_answer(action, answer)

    async def ask(context: OperatorContext, given: Any) -> int:
        asked = await context.action(ActionSpec(type=ActionType.INPUT))
        return len((asked.resolution or {})["value"])

    monkeypatch.setattr(votes, "hash_of_answer", noted)
    async with kernel(operators={"ask": ask}) as k:
        for answer, on_loop in (([0.5] * 100_000, False), ("short", True)):
            handle = await k.execute(ExecutionRequest(operator="ask"))
            question = await pending(handle)
            await k.actions.resolve_by_id(question.action_id, {"value": answer})
            assert (await handle.result(timeout=BOUND)).output == len(answer)
            assert hashed.pop() is on_loop
    assert not hashed
