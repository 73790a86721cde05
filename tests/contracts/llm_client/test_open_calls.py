"""Nothing dangling goes out: calls of vendors' own tools with their results, and reasoning with what it belongs to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llm_client.json_text import loads
from llm_client.messages import CompletionResult, Message, ReasoningPart
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.providers.failures import Origin
from llm_client.providers.google.request import GenerateContentFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from llm_client.spec import RequestSpec
from support.wire import anthropic_answers as claude
from support.wire import responses_answers as openai

ANTHROPIC = MessagesFormat()
RESPONSES = ResponsesFormat("openai")


def answered(blocks: list[Any], stop: str = "tool_use", *, stream: bool = False) -> Message:
    """Return an answer of Anthropic's as the message that goes on from it."""
    origin = Origin(provider="anthropic", model="m")
    if not stream:
        return ANTHROPIC.decode({"content": blocks, "stop_reason": stop, "usage": {}}, origin, None).message()
    reader = ANTHROPIC.reader(origin, None)
    for event in claude.streamed(blocks, stop):
        reader.read(loads(json.dumps(event), whole=False))
    return reader.result().message()


def turns(*messages: Message) -> list[Any]:
    spec = RequestSpec(messages=[Message.user("Hello!"), *messages])
    sent: list[Any] = ANTHROPIC.encode(spec, "m", stream=False)["messages"]  # type: ignore[assignment] -- the turns
    return [turn["content"] for turn in sent[1:]]


OPEN = [claude.thinking("a"), claude.SEARCH, claude.use("t1")]
GIVEN = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
OK = Message.tool("ok", "t1", "look")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "blocks",
    [
        OPEN,
        [claude.use("t1"), claude.SEARCH],
        [claude.text("I look."), claude.MCP, claude.use("t1")],
        [claude.SEARCH, claude.FOUND, {**claude.SEARCH, "id": "srv_9"}, claude.use("t1")],
        [claude.CODE, {**claude.use("t1"), "caller": {"type": "code_execution", "tool_id": "srv_2"}}],
    ],
)
def test_open_call_beside_one_of_ours_goes_back_with_our_results(blocks: list[Any], stream: bool) -> None:
    assert turns(answered(blocks, stream=stream), OK) == [blocks, [GIVEN]]


def test_result_that_comes_in_the_next_answer_belongs_to_the_call_before() -> None:
    second = [claude.FOUND, claude.text("Rhine.")]
    said = turns(answered(OPEN), OK, answered(second, "end_turn"), Message.user("Thanks."))
    assert said == [OPEN, [GIVEN], second, "Thanks."]


def test_code_that_calls_our_tools_is_open_over_several_turns() -> None:
    caller = {"type": "code_execution_20260120", "tool_id": "srv_2"}
    first = [claude.CODE, {**claude.use("t1"), "caller": caller}]
    second = [{**claude.use("t2"), "caller": caller}]
    asked = turns(answered(first), OK, answered(second), Message.tool("ok", "t2", "look"))
    assert (asked[0], asked[2]) == (first, second)
    last = turns(
        answered(first), OK, answered(second), Message.tool("ok", "t2", "look"), answered([claude.RAN, claude.text("4.")], "end_turn")
    )  # fmt: skip
    assert (last[0], last[2], last[4]) == (first, second, [claude.RAN, claude.text("4.")])


def test_call_whose_result_can_come_no_more_is_left_out_with_what_names_it() -> None:
    """Behind anything but results the turn is over: Anthropic asks for a message of results alone."""
    assert turns(answered(OPEN), OK, Message.user("Stop it.")) == [
        [claude.thinking("a"), claude.use("t1")],
        [GIVEN, {"type": "text", "text": "Stop it."}],
    ]
    called = [claude.CODE, {**claude.use("t1"), "caller": {"type": "code_execution", "tool_id": "srv_2"}}]
    assert turns(answered(called), OK, Message.user("Stop it."))[0] == [claude.use("t1")]


def test_result_whose_call_has_been_cut_off_is_left_out() -> None:
    """`unexpected tool_use_id found in web_search_tool_result blocks` (Anthropic's answer to it)."""
    second = [claude.FOUND, claude.text("Rhine.")]
    assert turns(answered(second, "end_turn"), Message.user("Thanks.")) == [
        [claude.text("Rhine.")],
        "Thanks.",
    ]


def test_paused_turn_goes_on_as_it_is_and_is_over_behind_a_question() -> None:
    paused = answered([claude.text("I look."), claude.SEARCH], "pause_turn")
    assert turns(paused) == [[claude.text("I look."), claude.SEARCH]]
    assert turns(paused, Message.user("And?")) == [[claude.text("I look.")], "And?"]
    again = [claude.FOUND, claude.CODE]
    assert turns(paused, answered(again, "pause_turn")) == [[claude.text("I look."), claude.SEARCH], again]


@pytest.mark.parametrize("said", ["I look.\n\n", "I look. "])
def test_turn_that_goes_on_does_not_end_in_white_space(said: str) -> None:
    """`messages: final assistant content cannot end with trailing whitespace`."""
    paused = answered([claude.SEARCH, claude.FOUND, claude.text(said)], "pause_turn")
    assert turns(paused) == [[claude.SEARCH, claude.FOUND, claude.text("I look.")]]
    assert turns(Message.assistant(said)) == ["I look."]
    assert turns(paused, Message.user("And?"))[0][-1] == claude.text(said)


def test_models_turns_in_a_row_are_one_to_google() -> None:
    """`Please ensure that function call turn comes immediately after a user turn or after a function response turn.`"""
    paused = answered([claude.text("I look.")], "pause_turn")
    called = answered([claude.use("t1")])
    spec = RequestSpec(messages=[Message.user("Hello!"), paused, called, OK])
    body: Any = GenerateContentFormat("v1").encode(spec, "gemini-2.5-pro", stream=False)
    assert [turn["role"] for turn in body["contents"]] == ["user", "model", "user"]
    assert [list(part) for part in body["contents"][1]["parts"]] == [["text"], ["functionCall"]]


def response(output: list[Any], **fields: Any) -> CompletionResult:
    origin = Origin(provider="openai", model="m")
    payload = {"object": "response", "status": "completed", "output": output, **fields}
    return RESPONSES.decode(loads(json.dumps(payload)), origin, None)


def items(message: Message) -> list[Any]:
    spec = RequestSpec(messages=[Message.user("Hello!"), message])
    sent: list[Any] = RESPONSES.encode(spec, "gpt-5.2", stream=False)["input"]  # type: ignore[assignment] -- the items
    return sent[1:]


UNREADABLE = {"type": "reasoning", "id": "rs_1", "summary": []}
OPAQUE = [openai.SEARCH, openai.CODE, openai.FILES, openai.IMAGE, openai.DRAWN, openai.FAILED_IMAGE]


@pytest.mark.parametrize("item", OPAQUE, ids=lambda item: item["type"])
def test_work_of_openais_tools_goes_with_the_reasoning_that_it_follows(item: dict[str, Any]) -> None:
    """`Item 'ws_1' of type 'web_search_call' was provided without its required 'reasoning' item`."""
    answer = openai.message(1, openai.part("Yes."))
    assert items(response([UNREADABLE, item, answer]).message()) == [openai.said("Yes.")]
    kept = [openai.thought(1), item, answer]
    assert items(response(kept).message()) == kept
    assert items(response([item, answer]).message()) == [item, answer]  # which has followed none
    assert items(response([item, UNREADABLE, answer]).message()) == [item, openai.said("Yes.")]


@pytest.mark.parametrize("item", [*OPAQUE, openai.call(1, namespace="n")], ids=lambda item: item["type"])
def test_reasoning_that_was_taken_out_takes_what_follows_it_along(item: dict[str, Any]) -> None:
    message = response([openai.thought(1), item, openai.message(1, openai.part("Yes."))]).message()
    assert not isinstance(message.content, str)
    left = tuple(
        part
        for part in message.content
        if not (isinstance(part, ReasoningPart) and part.data["item"]["type"] == "reasoning")
    )
    sent = items(replace(message, content=left))
    assert sent[-1] == openai.said("Yes.")
    assert [each for each in sent[:-1] if "id" in each] == []


@pytest.mark.parametrize("item", OPAQUE, ids=lambda item: item["type"])
def test_reasoning_without_what_followed_it_is_left_out(item: dict[str, Any]) -> None:
    message = response([openai.thought(1), item, openai.thought(2), openai.call(1)]).message()
    assert not isinstance(message.content, str)
    left = tuple(part for number, part in enumerate(message.content) if number != 1)
    assert items(replace(message, content=left)) == [openai.bare(openai.call(1))]


@pytest.mark.parametrize("item_id", ["x" * 408, "msg/1+a=="])
def test_ids_that_are_not_taken_back_are_left_out(item_id: str) -> None:
    """`Invalid 'input[2].id': string too long. Expected a string with maximum length 64` (github.com/can1357/oh-my-pi/issues/457)."""
    answer = {**openai.message(1, openai.part("Yes.")), "id": item_id}
    assert items(response([openai.thought(1), answer]).message()) == [openai.said("Yes.")]
    called = {**openai.call(1, namespace="n"), "id": item_id}
    assert items(response([openai.thought(1), called]).message()) == [openai.bare(called)]


def test_stream_that_broke_leaves_no_ids_behind() -> None:
    reader = RESPONSES.reader(Origin(provider="openai", model="m"), None)
    whole = openai.streamed([openai.thought(1), openai.SEARCH, openai.message(1, openai.part("Yes."))], {})
    for event in whole[:-2]:
        reader.read(loads(json.dumps(event), whole=False))
    assert items(reader.result(partial=True).message()) == [openai.said("Yes.")]
