"""What strangers make long is read beside the event loop, so that other jobs, heartbeats and cancellations go on."""

import threading
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, OperatorContext, PolicyEngine, RedactionPolicy
from agent_runtime.values.content import LARGE
from llm_client import Agent, Conversation, ScriptedProvider, tool
from llm_client.messages import ToolCall
from llm_client.redaction import Redactor
from support.kernels import BOUND, kernel

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
