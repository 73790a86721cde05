"""A field of thoughts that a server wants back goes back empty where it came empty, with tool calls, and is never made up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_client.json_text import loads
from llm_client.messages import Message
from llm_client.providers.failures import Origin
from llm_client.providers.openai.chat_dialect import COMPATIBLE, DEEPSEEK, ChatDialect
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.spec import RequestSpec
from support.wire import chat_answers

CALL = chat_answers.call("a", "look", '{"city": "Köln"}')


def carried(message: dict[str, Any], dialect: ChatDialect, *, stream: bool) -> dict[str, Any]:
    """Return the turn that goes back of an answer."""
    wire, origin = ChatFormat("deepseek", dialect), Origin(provider="deepseek", model="m")
    if stream:
        reader = wire.reader(origin, None)
        head = {name: value for name, value in message.items() if name != "tool_calls"}
        calls = [{"index": number, **call} for number, call in enumerate(message.get("tool_calls", ()))]
        chunks = [
            {"choices": [{"delta": head}]},
            {"choices": [{"delta": {"tool_calls": calls} if calls else {}}]},
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        ]
        for chunk in chunks:
            reader.read(loads(json.dumps(chunk), whole=False))
        result = reader.result()
    else:
        result = wire.decode({"choices": [{"message": message, "finish_reason": "stop"}]}, origin, None)
    body = wire.encode(
        RequestSpec(messages=[Message.user("Hello!"), result.message()]), "deepseek-v4-pro", stream=False
    )
    turns: Any = body["messages"]
    return dict(turns[1])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("empty", ["", None])
def test_empty_thought_goes_back_with_a_call(empty: str | None, stream: bool) -> None:
    """400, "The `reasoning_content` in the thinking mode must be passed back to the API" (deepseek-ai/deepseek-harness#739)."""
    turn = carried(chat_answers.called(CALL, reasoning_content=empty), DEEPSEEK, stream=stream)
    assert turn["reasoning_content"] == ""
    assert len(turn["tool_calls"]) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_thought_goes_back_whole_where_later_pieces_are_empty(stream: bool) -> None:
    turn = carried(chat_answers.called(CALL, reasoning_content="hm"), DEEPSEEK, stream=stream)
    assert turn["reasoning_content"] == "hm"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_no_thought_is_made_up(stream: bool) -> None:
    assert "reasoning_content" not in carried(chat_answers.called(CALL), DEEPSEEK, stream=stream)
    assert carried(
        chat_answers.said("Yes.", reasoning_content=""), DEEPSEEK, stream=stream
    ) == chat_answers.said("Yes.")
    other = carried(chat_answers.called(CALL, reasoning_content=""), COMPATIBLE, stream=stream)
    assert "reasoning_content" not in other
