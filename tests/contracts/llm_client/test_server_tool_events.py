"""Tools that run at the vendor are heard of while an answer comes, in every wire format that tells of them."""

from __future__ import annotations

from typing import Any

import pytest

from llm_client.engine.engine import ExecutionEngine
from llm_client.messages import StreamEvent
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.provider import OpenAIProvider
from support.conversations import spec
from support.engine import collect
from support.loopback import LoopbackServer, sse_reply
from support.wire import anthropic_answers, data_events, google_answers, named_events, responses_answers

SEARCHED = {"type": "search", "query": "K", "sources": None}
MCP_CALL = {
    "type": "mcp_call",
    "id": "mcp_1",
    "name": "ask",
    "server_label": "s",
    "arguments": '{"q": 1}',
    "output": "r",
}

Told = list[tuple[str, str, str, dict[str, Any]]]


async def told(vendor: str, answer: Any) -> Told:
    """Return what a reader of a stream hears of tools, and where the text came."""
    if vendor == "anthropic":
        events = named_events(anthropic_answers.streamed(answer, "end_turn"))
    elif vendor == "google":
        events = data_events(google_answers.streamed(answer))
    else:
        last = {"object": "response", "output": answer, "status": "completed"}
        events = named_events(responses_answers.streamed(answer, last))
    async with LoopbackServer(sse_reply(*events)) as server:
        model: Any = {
            "anthropic": lambda: AnthropicProvider("claude-opus-5", api_key="k", base_url=server.url),
            "google": lambda: GoogleProvider("gemini-3-pro", api_key="k", base_url=server.url),
            "responses": lambda: OpenAIProvider(
                "gpt-5.2", api_key="k", base_url=f"{server.url}/v1", api="responses"
            ),
        }[vendor]()
        heard: list[StreamEvent] = await collect(ExecutionEngine(model).stream(spec()))
        await model.aclose()
    return [
        (event.type, event.tool_call.id, event.tool_call.name, event.tool_call.arguments)
        for event in heard
        if event.tool_call is not None
    ]


@pytest.mark.parametrize(
    ("vendor", "answer", "right"),
    [
        (
            "anthropic",
            [anthropic_answers.SEARCH, anthropic_answers.FOUND, anthropic_answers.text("Rhine.")],
            [
                ("server_tool_start", "srv_1", "web_search", {"query": "Köln"}),
                ("server_tool_end", "srv_1", "web_search", {}),
            ],
        ),
        (
            "anthropic",
            [anthropic_answers.CODE, anthropic_answers.BASH, anthropic_answers.text("4.")],
            [
                ("server_tool_start", "srv_2", "code_execution", {"code": "print(4)"}),
                ("server_tool_end", "srv_2", "code_execution", {}),
            ],
        ),
        (
            "anthropic",
            [anthropic_answers.MCP, anthropic_answers.MCP_RESULT],
            [("server_tool_start", "mcp_1", "q", {}), ("server_tool_end", "mcp_1", "q", {})],
        ),
        ("anthropic", [anthropic_answers.FOUND], [("server_tool_end", "srv_1", "web_search", {})]),
        (
            "responses",
            [responses_answers.SEARCH, responses_answers.message(1, responses_answers.part("Rhine."))],
            [
                ("server_tool_start", "ws_1", "web_search", SEARCHED),
                ("server_tool_end", "ws_1", "web_search", SEARCHED),
            ],
        ),
        (
            "responses",
            [responses_answers.CODE],
            [
                ("server_tool_start", "ci_1", "code_execution", {"code": "4"}),
                ("server_tool_end", "ci_1", "code_execution", {"code": "4"}),
            ],
        ),
        (
            "responses",
            [responses_answers.FILES, responses_answers.IMAGE],
            [
                ("server_tool_start", "fs_1", "file_search", {"queries": ["K"]}),
                ("server_tool_end", "fs_1", "file_search", {"queries": ["K"]}),
                ("server_tool_start", "ig_1", "image_generation", {}),
                ("server_tool_end", "ig_1", "image_generation", {}),
            ],
        ),
        (
            "responses",
            [MCP_CALL],
            [("server_tool_start", "mcp_1", "ask", {"q": 1}), ("server_tool_end", "mcp_1", "ask", {"q": 1})],
        ),
        ("responses", [responses_answers.thought(1), responses_answers.CUSTOM], []),
        (
            "google",
            [google_answers.CODE, google_answers.RAN, google_answers.text("4.")],
            [
                (
                    "server_tool_start",
                    "code_execution",
                    "code_execution",
                    {"language": "PYTHON", "code": "print(4)"},
                ),
                ("server_tool_end", "code_execution", "code_execution", {}),
            ],
        ),
        (
            "google",
            [google_answers.ASKED, google_answers.FOUND],
            [
                ("server_tool_start", "g1", "web_search", {"queries": ["Köln"]}),
                ("server_tool_end", "g1", "web_search", {}),
            ],
        ),
    ],
)
async def test_a_tool_at_the_vendor_is_heard_of(vendor: str, answer: Any, right: Told) -> None:
    assert await told(vendor, answer) == right


@pytest.mark.parametrize(
    ("vendor", "odd"),
    [
        ("anthropic", {"type": "server_tool_use", "id": 5, "name": ["x"], "input": "y"}),
        ("anthropic", {"type": "_tool_result", "tool_use_id": {}}),
        ("responses", {"type": "mcp_call", "id": None, "name": 5, "arguments": 7}),
        ("responses", {"type": "web_search_call", "id": [], "action": "x"}),
        ("google", {"toolCall": {"toolType": 5, "args": []}}),
        ("google", {"toolResponse": "x"}),
    ],
)
async def test_a_call_that_is_none_harms_no_answer(vendor: str, odd: Any) -> None:
    for event in await told(vendor, [odd]):
        assert event[0].startswith("server_tool")
