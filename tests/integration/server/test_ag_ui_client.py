"""The protocol's own client, as pages have it, on runs of ours, where npm can bring it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from agent_runtime import RuntimeKernel
from llm_client import Agent, ScriptedProvider, ToolCall, tool
from support.npm import INSTALLING, from_npm
from support.service import BOUND, served

pytestmark = pytest.mark.timeout(INSTALLING + 60)

VERSION: Final = "1.0.0"
PAGE: Final = """
import { HttpAgent } from "@ag-ui/client";
const [url, key] = process.argv.slice(2);
const told = [];
const agent = new HttpAgent({ url, headers: { Authorization: `Bearer ${key}` }, threadId: "thread-1" });
const run = async (asked) => {
  let finished = null;
  await agent.runAgent(asked, { onRunFinishedEvent: ({ event }) => { finished = event; } });
  told.push({ finished, messages: structuredClone(agent.messages) });
  return finished;
};
agent.addMessage({ id: "u1", role: "user", content: "1 + 2?" });
await run({ runId: "run-1" });
await run({ runId: "run-1" });  // as after a lost connection: with all that has come by then
agent.addMessage({ id: "u2", role: "user", content: "Pay Bob." });
const [asked] = (await run({ runId: "run-2" })).outcome.interrupts;
await run({ runId: "run-3", resume: [{ interruptId: asked.id, status: "resolved", payload: { approved: true } }] });
console.log(JSON.stringify(told));
"""


@tool(effect="read")
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(requires_approval=True)
async def pay(to: str) -> str:
    """Pay."""
    return f"paid {to}"


async def test_the_protocols_own_client_has_the_conversation_as_it_was() -> None:
    node, modules = from_npm("@ag-ui/client", VERSION)
    page = modules.parent / "page.mjs"
    await asyncio.to_thread(page.write_text, PAGE)
    replies: list[Any] = [
        [ToolCall("c1", "add", {"a": 1, "b": 2}), ToolCall("c2", "add", {"a": 2, "b": 1})],
        "It is 3 twice.",
        [ToolCall("c3", "pay", {"to": "bob"})],
        "Paid.",
    ]
    agent = Agent(provider=ScriptedProvider(replies), tools=[add, pay])
    async with served(RuntimeKernel(agent=agent)) as service:
        first, again, asked, answered = await played(
            node, page, f"{service.url}/v1/ag-ui/agent", await service.key()
        )
        assert len(await service.kernel.jobs.list()) == 2
    said = [(message["role"], message.get("content")) for message in first["messages"]]
    calls = ("assistant", None)
    assert said == [("user", "1 + 2?"), calls, ("tool", "3"), ("tool", "3"), ("assistant", "It is 3 twice.")]
    assert again["messages"] == first["messages"]
    assert asked["finished"]["outcome"]["interrupts"][0]["reason"] == "tool_call"
    assert answered["finished"]["outcome"] == {"type": "success"}
    last = [(message["role"], message.get("content")) for message in answered["messages"]]
    assert last == [*said, ("user", "Pay Bob."), calls, ("tool", "paid bob"), ("assistant", "Paid.")]


async def played(node: str, page: Path, url: str, key: str) -> Any:
    """Have Node run the page, and return what it tells."""
    process = await asyncio.create_subprocess_exec(
        *(node, str(page), url, key), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(BOUND):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()
    return json.loads(out)
