"""What came in is fit to go out again: every shape of answer, read whole and streamed, is carried back block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.codec import dump_message, dump_result, load_message, load_result
from llm_client.json_text import loads
from llm_client.messages import CompletionResult, Message, ToolCall
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.providers.failures import Origin
from llm_client.providers.google.request import GenerateContentFormat
from llm_client.providers.openai.chat_dialect import ChatDialect
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from llm_client.spec import RequestSpec
from support.wire import anthropic_answers, chat_answers, google_answers, responses_answers

CARRIED = ("reasoning", "reasoning_content", "reasoning_details", "chain_of_thought", "annotations")
FORMATS: dict[str, Any] = {
    "anthropic": MessagesFormat(),
    "google": GenerateContentFormat("v1beta"),
    "responses": ResponsesFormat("openai"),
    "chat": ChatFormat(
        "somebody", ChatDialect(carried_reasoning=CARRIED, thinking_chunks=True, takes_refusals=True)
    ),
}
NAMES = {"responses": "openai", "chat": "somebody"}
MODULES: dict[str, Any] = {
    "anthropic": anthropic_answers,
    "google": google_answers,
    "responses": responses_answers,
    "chat": chat_answers,
}


def origin(vendor: str) -> Origin:
    return Origin(provider=NAMES.get(vendor, vendor), model="m")


def whole(vendor: str, answer: Any, stop: str | None = None) -> dict[str, Any]:
    """Return a whole answer of a vendor around its blocks."""
    if vendor == "anthropic":
        return {"content": answer, "stop_reason": stop or "end_turn", "usage": {}, "model": "m", "id": "m"}
    if vendor == "google":
        return {"candidates": [{"content": {"parts": answer}, "finishReason": stop or "STOP"}]}
    if vendor == "responses":
        cut = (
            {"status": "incomplete", "incomplete_details": {"reason": stop}}
            if stop
            else {"status": "completed"}
        )
        return {"object": "response", "output": answer, "model": "m", **cut}
    return {"choices": [{"message": answer, "finish_reason": stop or "stop"}]}


def chunks(vendor: str, answer: Any, stop: str | None = None) -> list[dict[str, Any]]:
    """Return the events of a streamed answer."""
    if vendor == "responses":
        return responses_answers.streamed(answer, whole(vendor, answer, stop))
    defaults = {"anthropic": "end_turn", "google": "STOP", "chat": "stop"}
    streamed: list[dict[str, Any]] = MODULES[vendor].streamed(answer, stop or defaults[vendor])
    return streamed


def read(vendor: str, answer: Any, stop: str | None = None, *, stream: bool) -> CompletionResult:
    """Read an answer as it comes over the wire, in one of both ways."""
    if not stream:
        payload = loads(json.dumps(whole(vendor, answer, stop)))
        result: CompletionResult = FORMATS[vendor].decode(payload, origin(vendor), "req")
        return result
    reader = FORMATS[vendor].reader(origin(vendor), "req")
    told = ""
    for chunk in chunks(vendor, answer, stop):
        for event in reader.read(loads(json.dumps(chunk), whole=False)):
            told += event.text if event.type == "token" else ""
    reader.read_done_mark()
    result = reader.result()
    assert told == result.content
    return result


def carried(vendor: str, result: CompletionResult) -> Any:
    """Return what the next request holds of an answer that was saved in between."""
    saved = orjson.dumps(dump_message(load_result(orjson.loads(orjson.dumps(dump_result(result)))).message()))
    message = load_message(orjson.loads(saved))
    results = [Message.tool("ok", call.id, call.name) for call in result.tool_calls]
    messages = [Message.user("Hello!"), message, *(results or [Message.user("Thanks.")])]
    body = FORMATS[vendor].encode(RequestSpec(messages=messages), "gemini-3-pro", stream=False)
    if vendor == "anthropic":
        turns = [turn["content"] for turn in body["messages"] if turn["role"] == "assistant"]
        blocks = turns[0] if turns else []
        return [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
    if vendor == "google":
        return next((turn["parts"] for turn in body["contents"] if turn["role"] == "model"), [])
    if vendor == "responses":
        return [
            item
            for item in body["input"][1:]
            if item.get("role") != "user" and item.get("type") != "function_call_output"
        ]
    return next((turn for turn in body["messages"] if turn["role"] == "assistant"), None)


def expected(vendor: str, shape: Any) -> tuple[Any, Any]:
    return shape if isinstance(shape, tuple) else (shape, shape)


def same(vendor: str, sent: Any, right: Any) -> None:
    if vendor == "google":
        sent, right = google_answers.joined(sent), google_answers.joined(right)
    if vendor == "chat" and right and [call["id"] for call in right.get("tool_calls", ())] == ["?"]:
        right = {**right, "tool_calls": [{**right["tool_calls"][0], "id": sent["tool_calls"][0]["id"]}]}
    assert sent == right


def _shapes() -> Iterator[Any]:
    for vendor, module in MODULES.items():
        for name, shape in module.SHAPES.items():
            yield pytest.param(vendor, shape, id=f"{vendor}: {name}")


SHAPES = list(_shapes())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("vendor", "shape"), SHAPES)
def test_answer_goes_back_as_it_came(vendor: str, shape: Any, stream: bool) -> None:
    came, right = expected(vendor, shape)
    same(vendor, carried(vendor, read(vendor, came, stream=stream)), right)


@pytest.mark.parametrize("vendor", MODULES)
def test_corpus_is_large_enough(vendor: str) -> None:
    assert len(MODULES[vendor].SHAPES) >= 40


@pytest.mark.parametrize("other", MODULES)
@pytest.mark.parametrize(("vendor", "shape"), SHAPES)
def test_another_vendor_gets_text_and_calls_and_nothing_opaque(vendor: str, shape: Any, other: str) -> None:
    if other == vendor:
        return
    came, _ = expected(vendor, shape)
    result = read(vendor, came, stream=False)
    sent = json.dumps(carried(other, result), ensure_ascii=False)
    assert all(json.dumps(call.id) in sent for call in result.tool_calls)
    assert not result.content.strip() or result.content.strip()[-1] in sent
    for opaque in ("gAAA", "srv_", "msg_1", "rs_1", "fc_1", "ws_1", "EmwKAh", "chain_of_thought"):
        assert opaque not in sent or opaque in json.dumps([call.id for call in result.tool_calls])


_NUMBERS = st.integers(0, 99)
_ANTHROPIC = st.one_of(
    st.text("ab ü🎉\n", min_size=1, max_size=4).map(anthropic_answers.text),
    st.text("ab", max_size=3).map(anthropic_answers.thinking),
    st.just(anthropic_answers.REDACTED),
    st.just(anthropic_answers.COMPACTION),
    st.just(anthropic_answers.PAGES),
    st.just(anthropic_answers.CITED),
    _NUMBERS.map(lambda number: anthropic_answers.use(f"t{number}", n=number)),
)
_GOOGLE = st.one_of(
    st.text("abü🎉", min_size=1, max_size=4).map(google_answers.text),
    st.text("abü🎉", min_size=1, max_size=4).map(
        lambda words: google_answers.signed(google_answers.text(words))
    ),
    st.sampled_from([google_answers.CODE, google_answers.RAN, google_answers.IMAGE, google_answers.FOUND]),
    _NUMBERS.map(lambda number: google_answers.signed(google_answers.call(f"c{number}", n=number))),
)


@given(
    blocks=st.lists(_ANTHROPIC, max_size=8, unique_by=lambda block: block.get("id", str(block))),
    stream=st.booleans(),
)
def test_any_blocks_of_anthropic_come_back_in_order(blocks: list[Any], stream: bool) -> None:
    right = [block for block in blocks if block.get("type") != "text" or block["text"].strip()]
    while right and right[-1]["type"] in ("thinking", "redacted_thinking"):
        right.pop()
    assert carried("anthropic", read("anthropic", blocks, stream=stream)) == right


@given(parts=st.lists(_GOOGLE, max_size=8, unique_by=str), stream=st.booleans())
def test_any_parts_of_google_come_back_in_order(parts: list[Any], stream: bool) -> None:
    same("google", carried("google", read("google", parts, stream=stream)), parts)


@given(data=st.data(), stream=st.booleans())
def test_any_items_of_openai_come_back_in_order(data: st.DataObject, stream: bool) -> None:
    names = ["thought", "message", "call", "search", "code", "picture", "cited"]
    kinds = data.draw(st.lists(st.sampled_from(names), max_size=8))
    items = [
        {
            "thought": responses_answers.thought(number),
            "message": responses_answers.message(
                number, responses_answers.part(f"text {number}"), phase="commentary"
            ),
            "call": responses_answers.call(number, namespace="n"),
            "search": {**responses_answers.SEARCH, "id": f"ws_{number}"},
            "code": {**responses_answers.CODE, "id": f"ci_{number}"},
            "picture": {**responses_answers.DRAWN, "id": f"ig_{number}"},
            "cited": responses_answers.message(
                number,
                responses_answers.part(f"text {number}", annotations=[responses_answers.CITATION]),
                phase="commentary",
            ),
        }[kind]
        for number, kind in enumerate(kinds, 1)
    ]
    right = list(items)
    while right and right[-1]["type"] == "reasoning":
        right.pop()
    assert carried("responses", read("responses", items, stream=stream)) == right


@pytest.mark.parametrize("content", ["", " ", "\n\t"])
def test_what_is_blank_is_no_turn_of_anthropics(content: str) -> None:
    messages = [
        Message.user("Hello!"),
        Message.assistant(content),
        Message.user(content),
        Message.user("Go on."),
    ]
    body = MessagesFormat().encode(RequestSpec(messages=messages), "m", stream=False)
    assert body["messages"] == [{"role": "user", "content": "Hello!"}, {"role": "user", "content": "Go on."}]


@pytest.mark.parametrize("vendor", MODULES)
def test_pair_that_was_cut_in_two_is_one_again_and_a_half_is_a_sign(vendor: str) -> None:
    def pieces(words: list[str]) -> list[dict[str, Any]]:
        if vendor == "anthropic":
            blocks = [
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": each}}
                for each in words
            ]
            start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
            return [start, *blocks, {"type": "message_stop"}]
        if vendor == "google":
            parts = [{"candidates": [{"content": {"parts": [{"text": each}]}}]} for each in words]
            return [*parts, {"candidates": [{"finishReason": "STOP"}]}]
        if vendor == "responses":
            delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
            return [
                *({**delta, "delta": each} for each in words),
                {"type": "response.completed", "response": {"output": []}},
            ]
        return [
            *({"choices": [{"delta": {"content": each}}]} for each in words),
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        ]

    for words, right in (
        (["a\ud83c", "\udf89b"], "a🎉b"),
        (["a\ud83c", "b"], "a\ufffdb"),
        (["\udf89", "a\ud83c"], "\ufffda\ufffd"),
    ):
        reader = FORMATS[vendor].reader(origin(vendor), None)
        events = [
            event for chunk in pieces(words) for event in reader.read(loads(json.dumps(chunk), whole=False))
        ]
        assert reader.result().content == right
        assert "".join(event.text for event in events if event.type == "token") == right


def test_result_whose_text_was_changed_says_what_it_says_now() -> None:
    from dataclasses import replace

    result = read(
        "anthropic",
        [anthropic_answers.text("secret"), *[anthropic_answers.SEARCH, anthropic_answers.FOUND]],
        stream=False,
    )
    assert replace(result, content="<gone>").message().text == "<gone>"
    assert replace(result, tool_calls=(ToolCall("x", "f"),)).message().tool_calls == (ToolCall("x", "f"),)
