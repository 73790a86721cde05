"""Ids of another vendor's calls are ones that the next vendor takes, and each result keeps to its call."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm_client.messages import CallPart, MediaPart, Message, TextPart, ToolCall
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.providers.openai.chat_dialect import COMPATIBLE, MISTRAL, OPENAI, ChatDialect
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from llm_client.spec import RequestSpec

FORMATS: dict[str, Any] = {
    "anthropic": MessagesFormat(),
    "responses": ResponsesFormat("openai"),
    "chat": ChatFormat("openai", OPENAI),
    "compatible": ChatFormat("somebody", COMPATIBLE),
}


def asked(*ids: str, name: str = "look") -> list[Message]:
    """Return a turn that calls tools, and their results."""
    calls = [ToolCall(call_id, name, {"n": number}) for number, call_id in enumerate(ids)]
    return [
        Message.assistant("", calls),
        *(Message.tool(f"result {number}", call_id, name) for number, call_id in enumerate(ids)),
    ]


def pairs(vendor: str, *turns: list[Message]) -> list[tuple[str, str]]:
    """Return the ids of all calls of a request, in their order, each with that of the result which answers it in the same turn."""
    messages = [Message.user("Go."), *(message for turn in turns for message in turn)]
    body: Any = FORMATS[vendor].encode(RequestSpec(messages=messages), "m", stream=False)
    found: list[tuple[str, str]] = []
    calls: list[str] = []
    results: list[str] = []
    if vendor == "responses":
        items = [(each["type"], each["call_id"]) for each in body["input"][1:]]
        calls = [call_id for kind, call_id in items if kind == "function_call"]
        results = [call_id for kind, call_id in items if kind == "function_call_output"]
        return list(zip(calls, results, strict=True))
    for message in body["messages"][1:]:
        if vendor == "anthropic":
            calls += [block["id"] for block in message["content"] if block["type"] == "tool_use"]
            results += [
                block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"
            ]
        else:
            calls += [call["id"] for call in message.get("tool_calls", ())]
            results += [message["tool_call_id"]] if message["role"] == "tool" else []
    found += zip(calls, results, strict=True)
    return found


def test_ids_of_other_letters_are_anthropics_own() -> None:
    """`tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'`."""
    found = pairs("anthropic", asked("functions.look:0", "functions_look_0"), asked("call_1|fc_2", "ü", ""))
    assert all(call == result for call, result in found)
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", call) for call, _ in found)
    assert len({call for call, _ in found}) == 5
    assert found[1][0] == "functions_look_0"


def test_id_of_each_turn_is_anthropics_once() -> None:
    """ "`tool_use` ids must be unique", in a whole conversation."""
    found = pairs("anthropic", asked("call_0", "call_1"), asked("call_0"), asked("call_0", "call_1"))
    assert all(call == result for call, result in found)
    assert [call for call, _ in found] == ["call_0", "call_1", "call_0-2", "call_0-3", "call_1-2"]


def test_ids_stay_what_they_were_when_the_conversation_goes_on() -> None:
    first, second = asked("functions.look:0"), asked("functions.look:0")
    assert pairs("anthropic", first, second)[0] == pairs("anthropic", first)[0]


@pytest.mark.parametrize(("vendor", "most"), [("responses", 64), ("chat", 40)])
def test_ids_that_are_too_long_for_openai_are_shorter(vendor: str, most: int) -> None:
    """`Invalid 'input[2].call_id': string too long. Expected a string with maximum length 64`."""
    long = "call_" + "x" * 100
    found = pairs(vendor, asked(long, f"{long}y", "a" * most))
    assert all(call == result and len(call) <= most for call, result in found)
    assert len({call for call, _ in found}) == 3
    assert found[2][0] == "a" * most


@pytest.mark.parametrize("vendor", FORMATS)
def test_ids_that_a_vendor_takes_stay_as_they_are(vendor: str) -> None:
    ids = ["toolu_01A-b", "call_abc", "a" * 40]
    assert pairs(vendor, asked(*ids)) == [(each, each) for each in ids]


def test_compatible_server_gets_its_own_ids_back() -> None:
    ids = ["functions.look:0", "chatcmpl-tool-" + "f" * 60]
    assert pairs("compatible", asked(*ids), asked(*ids)) == [(each, each) for each in [*ids, *ids]]


def test_blocks_of_a_turn_keep_to_their_calls() -> None:
    calls = [ToolCall("a.1", "look", {"n": 1}), ToolCall("a.1", "look", {"n": 2})]
    parts = (
        TextPart(text="First."),
        CallPart(call_id="a.1"),
        TextPart(text="Then."),
        CallPart(call_id="a.1"),
    )
    said = Message("assistant", parts, tuple(calls))
    results = [Message.tool("one", "a.1"), Message.tool("two", "a.1")]
    spec = RequestSpec(messages=[Message.user("Go."), said, *results])
    body: Any = MessagesFormat().encode(spec, "m", stream=False)
    blocks, answers = body["messages"][1]["content"], body["messages"][2]["content"]
    assert [block["type"] for block in blocks] == ["text", "tool_use", "text", "tool_use"]
    assert [block["input"]["n"] for block in blocks if block["type"] == "tool_use"] == [1, 2]
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert [(answer["tool_use_id"], answer["content"]) for answer in answers] == list(
        zip(ids, ["one", "two"], strict=True)
    )
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    "content", ["And now?", [MediaPart(media_type="image/png", data="iVBO")]], ids=["text", "media"]
)
def test_mistral_gets_an_answer_between_a_tools_result_and_a_person(content: Any) -> None:
    """400, `Unexpected role 'user' after role 'tool'`: behind a run that was ended, and before a tool's media."""
    said = [*asked("abcdefghi"), Message.user(content)] if isinstance(content, str) else asked("abcdefghi")
    if not isinstance(content, str):
        said[-1] = Message.tool([TextPart(text="A picture:"), *content], "abcdefghi", "look")

    def roles(dialect: ChatDialect) -> list[str]:
        body: Any = ChatFormat("mistral", dialect).encode(
            RequestSpec(messages=[Message.user("Go."), *said]), "m", stream=False
        )
        return [message["role"] for message in body["messages"]]

    assert roles(MISTRAL) == ["user", "assistant", "tool", "assistant", "user"]
    assert roles(COMPATIBLE) == ["user", "assistant", "tool", "user"]
