"""What the vendors' answers mean, and what of them goes back in the next turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm_client.errors import ConfigurationError, ContentFiltered, RateLimited
from llm_client.messages import CompletionResult, MediaPart, Message, ReasoningPart, TextPart, ToolCall
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.chat_dialect import DEEPSEEK, OPENROUTER
from llm_client.providers.openai.provider import OpenAIProvider
from llm_client.providers.registry import create_provider
from llm_client.spec import OutputSchema
from llm_client.usage import Usage
from support.conversations import CITY_SCHEMA, CLOCK, WEATHER, complete, image, stream, tool_conversation
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import anthropic as anthropic_wire
from support.wire import data_events, named_events
from support.wire import google as google_wire
from support.wire import openai_chat as chat_wire
from support.wire import openai_responses as responses_wire

TEXT = "Grüße aus Köln 🎉"
CALLS = (("weather", {"city": "Köln"}), ("clock", {}))
VENDORS = ["chat", "responses", "anthropic", "google"]


def provider(vendor: str, server: LoopbackServer, **options: Any) -> Any:
    if vendor in ("chat", "responses"):
        return OpenAIProvider("gpt-5.2", api_key="k", base_url=server.url + "/v1", api=vendor, **options)
    if vendor == "anthropic":
        return AnthropicProvider("claude-sonnet-4-6", api_key="k", base_url=server.url, **options)
    return GoogleProvider("gemini-3-pro", api_key="k", base_url=server.url, **options)


async def answer(vendor: str, reply: Reply, **options: Any) -> CompletionResult:
    async with LoopbackServer(reply) as server:
        return await complete(provider(vendor, server, **options))


async def sent_next(vendor: str, first: Reply, answer_message: Any = None, **options: Any) -> dict[str, Any]:
    """Ask, answer the tool calls or say thanks, and return the body of the second request."""
    async with LoopbackServer(first) as server:
        model = provider(vendor, server, **options)
        if first.headers["content-type"].startswith("text/event-stream"):
            result = (await stream(model))[-1].result
        else:
            result = await complete(model)
        results = [Message.tool("ok", call.id, call.name) for call in result.tool_calls]
        follow = results or [Message.user("Thanks.")]
        asking = stream if first.headers["content-type"].startswith("text/event-stream") else complete
        await asking(model, [Message.user("Hello!"), result.message(), *follow])
        return server.requests[-1].json


@pytest.mark.parametrize(
    ("vendor", "payload", "usage"),
    [
        (
            "chat",
            chat_wire.TEXT,
            Usage(
                input_tokens=1117,
                output_tokens=46,
                cache_read_tokens=1024,
                reasoning_tokens=32,
                service_tier="standard",
                requests=1,
            ),
        ),
        (
            "responses",
            responses_wire.TEXT,
            Usage(
                input_tokens=1117, output_tokens=46, cache_read_tokens=1024, reasoning_tokens=32, requests=1
            ),
        ),
        (
            "anthropic",
            anthropic_wire.TEXT,
            Usage(
                input_tokens=21 + 188 + 1024,
                output_tokens=393,
                cache_read_tokens=1024,
                cache_write_tokens=188,
                reasoning_tokens=311,
                service_tier="standard",
                requests=1,
            ),
        ),
        (
            "google",
            google_wire.TEXT,
            Usage(
                input_tokens=1117, output_tokens=46, cache_read_tokens=1024, reasoning_tokens=32, requests=1
            ),
        ),
    ],
)
async def test_usage_is_counted_in_inclusive_buckets(vendor: str, payload: Any, usage: Usage) -> None:
    result = await answer(vendor, json_reply(payload, x_request_id="req_3"))
    assert result.usage == usage
    assert (result.content, result.finish_reason, result.request_id) == (TEXT, "stop", "req_3")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        # xAI counts reasoning beside the answer, which its total gives away.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
            Usage(input_tokens=10, output_tokens=105, reasoning_tokens=100, requests=1),
        ),
        # DeepSeek and Moonshot name their cached tokens in ways of their own.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_cache_hit_tokens": 8,
                "prompt_cache_miss_tokens": 2,
            },
            Usage(input_tokens=10, output_tokens=5, cache_read_tokens=8, requests=1),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 8},
            Usage(input_tokens=10, output_tokens=5, cache_read_tokens=8, requests=1),
        ),
        ({"prompt_tokens": None, "completion_tokens": 5}, Usage(output_tokens=5, requests=1)),
        (None, Usage(requests=1)),
    ],
)
async def test_usage_of_compatible_servers_is_inclusive_too(usage: Any, expected: Usage) -> None:
    result = await answer("chat", json_reply({**chat_wire.TEXT, "service_tier": None, "usage": usage}))
    assert result.usage == expected


@pytest.mark.parametrize(
    ("vendor", "payload"),
    [
        ("chat", chat_wire.TOOL_CALLS),
        ("responses", responses_wire.TOOL_CALLS),
        ("anthropic", anthropic_wire.TOOL_CALLS),
        ("google", google_wire.TOOL_CALLS),
    ],
)
async def test_parallel_tool_calls_are_read(vendor: str, payload: Any) -> None:
    result = await answer(vendor, json_reply(payload))
    assert tuple((call.name, call.arguments) for call in result.tool_calls) == CALLS
    assert len({call.id for call in result.tool_calls}) == 2
    assert result.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("vendor", "payload", "reason"),
    [
        ("chat", chat_wire.completion({"content": "x"}, "length"), "length"),
        ("chat", chat_wire.completion({"content": "x"}, "content_filter"), "content_filter"),
        ("chat", chat_wire.completion({"content": "x"}, "brand_new"), "other"),
        ("responses", responses_wire.INCOMPLETE, "length"),
        ("anthropic", anthropic_wire.message([], "max_tokens"), "length"),
        ("anthropic", anthropic_wire.message([], "pause_turn"), "pause"),
        ("google", google_wire.answer([{"text": "x"}], "MAX_TOKENS"), "length"),
        ("google", google_wire.SAFETY, "content_filter"),
        ("google", google_wire.answer([], "MALFORMED_FUNCTION_CALL"), "malformed_call"),
        ("google", google_wire.answer([], "BRAND_NEW"), "other"),
    ],
)
async def test_reason_to_stop_is_named(vendor: str, payload: Any, reason: str) -> None:
    assert (await answer(vendor, json_reply(payload))).finish_reason == reason


@pytest.mark.parametrize(
    ("vendor", "payload", "words"),
    [
        ("chat", chat_wire.REFUSAL, "I can't help with that."),
        ("responses", responses_wire.REFUSAL, "I can't help with that."),
        ("anthropic", anthropic_wire.REFUSAL, "This could enable cyber harm."),
        ("chat", chat_wire.TEXT, None),
        ("anthropic", anthropic_wire.TEXT, None),
    ],
)
async def test_refusal_is_told_apart_from_an_answer(vendor: str, payload: Any, words: str | None) -> None:
    assert (await answer(vendor, json_reply(payload))).refusal == words


async def test_blocked_prompt_is_an_error_that_tells_what_was_billed() -> None:
    with pytest.raises(ContentFiltered) as caught:
        await answer("google", json_reply(google_wire.BLOCKED))
    assert caught.value.usage == Usage(input_tokens=9, requests=1)
    assert caught.value.vendor_code == "prohibited_content"


async def test_response_that_failed_is_the_error_it_names() -> None:
    with pytest.raises(RateLimited, match="Rate limit reached"):
        await answer("responses", json_reply(responses_wire.FAILED))


@pytest.mark.parametrize("arguments", ['{"city": ', "[1]", "weather!"])
async def test_arguments_that_are_no_json_object_are_kept_as_they_came(arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    item = {**responses_wire.CALLS[0], "call_id": "c", "arguments": arguments}
    broken = ToolCall("c", "weather", {}, malformed=arguments)
    whole = json_reply(chat_wire.completion({"content": None, "tool_calls": [call]}))
    assert (await answer("chat", whole)).tool_calls == (broken,)
    assert (await answer("responses", json_reply(responses_wire.response([item])))).tool_calls == (broken,)
    sent = await sent_next("chat", whole)
    assert sent["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("arguments", ["", " ", "{}", None])
async def test_missing_arguments_are_no_arguments(arguments: str | None) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": arguments}}
    result = await answer("chat", json_reply(chat_wire.completion({"content": None, "tool_calls": [call]})))
    assert result.tool_calls == (ToolCall("c", "clock", {}),)


async def test_call_without_an_id_gets_one_that_its_result_can_name() -> None:
    call = {"type": "function", "function": {"name": "clock", "arguments": {"zone": "UTC"}}}
    sent = await sent_next("chat", json_reply(chat_wire.completion({"content": None, "tool_calls": [call]})))
    assistant, tool = sent["messages"][1:]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"] != ""
    assert assistant["tool_calls"][0]["function"]["arguments"] == '{"zone":"UTC"}'


async def test_anthropic_thinking_goes_back_unchanged_and_in_its_place() -> None:
    for reply in (
        json_reply(anthropic_wire.TOOL_CALLS),
        sse_reply(*named_events(anthropic_wire.TOOL_STREAM)),
    ):
        sent = await sent_next("anthropic", reply)
        assert sent["messages"][1] == {"role": "assistant", "content": anthropic_wire.TOOL_CALLS["content"]}
        assert [block["tool_use_id"] for block in sent["messages"][2]["content"]] == ["toolu_a", "toolu_b"]


async def test_anthropic_thinking_between_blocks_keeps_its_place() -> None:
    later = {**anthropic_wire.THINKING, "signature": "second"}
    content = [anthropic_wire.TEXT_BLOCK, later, *anthropic_wire.CALLS]
    sent = await sent_next("anthropic", json_reply(anthropic_wire.message(content, "tool_use")))
    assert sent["messages"][1]["content"] == content


async def test_anthropic_work_of_server_tools_goes_back() -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Köln"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "https://x"}]}
    start = {**use, "input": {}}
    events = [
        {"type": "content_block_start", "index": 0, "content_block": start},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": '{"query": "Köln"}'},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": found},
        {"type": "content_block_stop", "index": 1},
    ]
    streamed = [anthropic_wire.TEXT_STREAM[0], *events, *anthropic_wire.TEXT_STREAM[-2:]]
    for reply in (json_reply(anthropic_wire.message([use, found])), sse_reply(*named_events(streamed))):
        sent = await sent_next("anthropic", reply)
        assert sent["messages"][1]["content"] == [use, found]


async def test_openai_reasoning_goes_back_encrypted_and_in_its_place() -> None:
    for reply in (
        json_reply(responses_wire.TOOL_CALLS),
        sse_reply(*named_events(responses_wire.TOOL_STREAM)),
    ):
        sent = await sent_next("responses", reply)
        assert sent["store"] is False
        assert sent["include"] == ["reasoning.encrypted_content"]
        assert sent["input"][1] == responses_wire.REASONING
        assert [item.get("id") for item in sent["input"][2:4]] == ["fc_12345xyz", "fc_67890abc"]
        assert [item.get("call_id") for item in sent["input"][2:]] == ["call_a", "call_b", "call_a", "call_b"]


async def test_openai_message_goes_back_with_its_id_and_phase_behind_its_reasoning() -> None:
    for reply in (
        json_reply(responses_wire.TEXT),
        sse_reply(*named_events(responses_wire.TEXT_STREAM)),
    ):
        reasoning, message = (await sent_next("responses", reply))["input"][1:3]
        assert reasoning == responses_wire.REASONING
        assert (message["id"], message["phase"]) == (responses_wire.MESSAGE["id"], "final_answer")
        assert message["content"][0]["text"] == TEXT


async def test_openai_turn_of_several_messages_goes_back_as_it_came() -> None:
    comment = {**responses_wire.MESSAGE, "id": "msg_1", "phase": "commentary"}
    comment["content"] = [{"type": "output_text", "text": "Looking. ", "annotations": []}]
    later = {**responses_wire.REASONING, "id": "rs_2"}
    output = [responses_wire.REASONING, comment, responses_wire.CALLS[0], later, responses_wire.MESSAGE]
    first = await answer("responses", json_reply(responses_wire.response(output)))
    assert first.content == "Looking. " + TEXT
    sent = await sent_next("responses", json_reply(responses_wire.response(output)))
    ids = [item.get("id") for item in sent["input"][1:6]]
    assert ids == [item["id"] for item in output]
    assert [item["content"][0]["text"] for item in sent["input"] if item.get("type") == "message"] == [
        "Looking. ",
        TEXT,
    ]


@pytest.mark.parametrize("change", ["text", "calls", "encryption"])
async def test_openai_turn_that_was_changed_goes_back_without_its_reasoning(change: str) -> None:
    reasoning = {**responses_wire.REASONING, "encrypted_content": None if change == "encryption" else "x"}
    output = [reasoning, responses_wire.MESSAGE, *responses_wire.CALLS]
    async with LoopbackServer(json_reply(responses_wire.response(output))) as server:
        model = provider("responses", server)
        said = (await complete(model)).message()
        if change == "text":
            said = replace(said, content=(*said.content[:-1], TextPart(text="Something else.")))
        if change == "calls":
            said = replace(said, tool_calls=said.tool_calls[:1])
        await complete(model, [said])
        sent = server.requests[-1].json["input"]
    assert [item.get("type", item.get("role")) for item in sent[:2]] == ["assistant", "function_call"]
    assert not any("id" in item for item in sent)


async def test_encrypted_reasoning_is_not_asked_of_models_that_do_not_reason() -> None:
    async with LoopbackServer(json_reply(responses_wire.TEXT)) as server:
        await complete(provider("responses", server), model="gpt-4o")
        assert "include" not in server.requests[-1].json


async def test_google_signatures_go_back_on_the_parts_they_came_with() -> None:
    for reply in (json_reply(google_wire.TOOL_CALLS), sse_reply(*data_events(google_wire.TOOL_STREAM))):
        contents = (await sent_next("google", reply))["contents"]
        assert contents[1] == {"role": "model", "parts": google_wire.CALLS}
        assert contents[2]["parts"] == [
            {"functionResponse": {"name": "weather", "response": {"result": "ok"}, "id": "fc-1"}},
            {"functionResponse": {"name": "clock", "response": {"result": "ok"}}},
        ]
    for reply in (json_reply(google_wire.TEXT), sse_reply(*data_events(google_wire.TEXT_STREAM))):
        contents = (await sent_next("google", reply))["contents"]
        assert contents[1] == {"role": "model", "parts": [{"text": TEXT, "thoughtSignature": "dGV4dA=="}]}


DETAILS = [
    {"type": "reasoning.text", "text": "Hm. ", "index": 0, "format": "anthropic-claude-v1"},
    {"type": "reasoning.text", "text": "Yes.", "signature": "sig", "index": 0},
]


async def test_openrouter_reasoning_goes_back_joined_as_it_came() -> None:
    chunks = [
        *(chat_wire.chunk({"reasoning": d["text"], "reasoning_details": [d]}) for d in DETAILS),
        *chat_wire.TEXT_STREAM,
    ]
    reply = sse_reply(*data_events(chunks, done=True))
    sent = await sent_next("chat", reply, dialect=OPENROUTER)
    joined = {"type": "reasoning.text", "text": "Hm. Yes.", "index": 0, "format": "anthropic-claude-v1"}
    assert sent["messages"][1]["reasoning_details"] == [{**joined, "signature": "sig"}]


@pytest.mark.parametrize("streamed", [True, False])
async def test_encrypted_reasoning_of_openrouter_goes_back_block_by_block(streamed: bool) -> None:
    """Gemini's signatures come by call, all at index 0; two of them in one are valid for neither."""
    secret = {"type": "reasoning.encrypted", "format": "google-gemini-v1", "index": 0}
    blocks = [
        {**secret, "data": "SIGA", "id": "tool_0"},
        {**secret, "data": "SIGB", "id": "tool_1"},
        {**secret, "data": "SIGC"},
        {**secret, "data": "SIGD"},
        {"type": "reasoning.text", "text": "Hm.", "id": "rs_1", "index": 0},
        {"type": "reasoning.text", "text": "Yes.", "id": "rs_2", "index": 0},
    ]
    chunks = [*(chat_wire.chunk({"reasoning_details": [d]}) for d in blocks), *chat_wire.TEXT_STREAM]
    whole = json_reply(chat_wire.completion({"content": "x", "reasoning_details": blocks}))
    reply = sse_reply(*data_events(chunks, done=True)) if streamed else whole
    sent = await sent_next("chat", reply, dialect=OPENROUTER)
    assert sent["messages"][1]["reasoning_details"] == blocks


async def test_encrypted_reasoning_that_is_said_again_takes_the_place_of_what_it_was() -> None:
    secret = {"type": "reasoning.encrypted", "id": "rs_1", "index": 0}
    said = [
        {**secret, "data": "half"},
        {**secret, "data": "whole"},
        {"type": secret["type"], "index": 0, "format": "x"},
    ]
    chunks = [*(chat_wire.chunk({"reasoning_details": [d]}) for d in said), *chat_wire.TEXT_STREAM]
    sent = await sent_next("chat", sse_reply(*data_events(chunks, done=True)), dialect=OPENROUTER)
    assert sent["messages"][1]["reasoning_details"] == [{**secret, "data": "whole", "format": "x"}]


async def test_deepseek_reasoning_goes_back_and_others_stay_away() -> None:
    thinking = json_reply(chat_wire.completion({"content": "x", "reasoning_content": "Hm."}))
    assert (await sent_next("chat", thinking, dialect=DEEPSEEK))["messages"][1]["reasoning_content"] == "Hm."
    assert "reasoning_content" not in (await sent_next("chat", thinking))["messages"][1]


async def test_streamed_reasoning_is_told_apart_from_text() -> None:
    chunks = [chat_wire.chunk({"reasoning_content": piece}) for piece in ("Hm. ", "Yes.")]
    async with LoopbackServer(
        sse_reply(*data_events([*chunks, *chat_wire.TEXT_STREAM], done=True))
    ) as server:
        events = await stream(provider("chat", server, dialect=DEEPSEEK))
    assert [event.text for event in events if event.type == "reasoning"] == ["Hm. ", "Yes."]
    assert events[-1].result.content == TEXT
    assert events[-1].result.reasoning[0].text == "Hm. Yes."


async def test_mistral_answers_of_parts_are_read() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Yes."},
    ]
    async with LoopbackServer(
        json_reply(chat_wire.completion({"content": content})),
        sse_reply(
            *data_events([chat_wire.chunk({"content": content}), *chat_wire.TEXT_STREAM[-2:]], done=True)
        ),
    ) as server:
        model = create_provider("mistral:magistral", api_key="k", base_url=server.url)
        whole = await complete(model)
        done = (await stream(model))[-1].result
    assert (whole.content, whole.reasoning[0].text) == ("Yes.", "Hm.")
    assert (done.content, done.reasoning) == ("Yes.", whole.reasoning)


async def test_mistral_gets_its_thoughts_back_where_they_stood_and_other_servers_do_not() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True},
        {"type": "text", "text": "Yes."},
    ]
    reply = json_reply(chat_wire.completion({"content": content}))
    for name, right in (("mistral:mistral-medium-3-5", content), ("vllm:magistral", "Yes.")):
        async with LoopbackServer(reply) as server:
            model = create_provider(name, api_key="k", base_url=server.url)
            answer = await complete(model)
            await complete(model, [Message.user("Hello!"), answer.message(), Message.user("Sure?")])
            assert server.requests[1].json["messages"][1] == {"role": "assistant", "content": right}


@pytest.mark.parametrize("vendor", VENDORS)
async def test_reasoning_of_another_vendor_is_not_sent(vendor: str) -> None:
    foreign = ReasoningPart(provider="elsewhere", text="secret thoughts", data={"block": {"type": "x"}})
    history = [
        Message.user("Hello!"),
        Message.assistant([foreign, TextPart(text="Hi.")]),
        Message.user("Well?"),
    ]
    payloads = {
        "chat": chat_wire.TEXT,
        "responses": responses_wire.TEXT,
        "anthropic": anthropic_wire.TEXT,
        "google": google_wire.TEXT,
    }
    async with LoopbackServer(json_reply(payloads[vendor])) as server:
        await complete(provider(vendor, server), history)
        assert b"secret" not in server.requests[0].body
        assert b"Hi." in server.requests[0].body


@pytest.mark.parametrize(
    ("message", "role"),
    [
        (Message.assistant("", [ToolCall("1", "look", {"x": object()})]), "assistant|model|function_call"),
        (Message.assistant("", [ToolCall("1", "look", {"x": 10**5000})]), "assistant|model|function_call"),
        (Message.assistant([TextPart(text="a"), TextPart(text=b"b")]), "assistant|model"),  # type: ignore[arg-type] -- by mistake
    ],
)
@pytest.mark.parametrize("vendor", VENDORS)
async def test_what_cannot_be_written_names_the_message(vendor: str, message: Message, role: str) -> None:
    history = [Message.user("Hello!"), message, Message.user("Well?")]
    async with LoopbackServer(json_reply({})) as server:
        model = provider(vendor, server)
        for asked in (complete, stream):
            with pytest.raises(ConfigurationError, match=rf"message 2 of the request \(({role})\)"):
                await asked(model, history)
        assert server.requests == []


async def test_media_of_a_tool_result_reaches_models_that_take_only_text_there() -> None:
    history = tool_conversation()
    history[3] = Message.tool([TextPart(text="A chart."), image()], "call_a")
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(provider("chat", server), history)
        roles = [message["role"] for message in server.requests[0].json["messages"]]
        attached = server.requests[0].json["messages"][5]["content"]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user", "user"]
    assert [part["type"] for part in attached] == ["text", "image_url"]
    assert "call_a" in attached[0]["text"]


async def test_media_of_a_tool_result_stays_in_it_where_the_vendor_takes_it() -> None:
    history = tool_conversation()
    history[3] = Message.tool([TextPart(text="A chart."), image()], "call_a")
    async with LoopbackServer(json_reply(responses_wire.TEXT)) as server:
        await complete(provider("responses", server), history)
        output = next(i for i in server.requests[0].json["input"] if i.get("type") == "function_call_output")
        assert [part["type"] for part in output["output"]] == ["input_text", "input_image"]
    async with LoopbackServer(json_reply(anthropic_wire.TEXT)) as server:
        await complete(provider("anthropic", server), history)
        result = server.requests[0].json["messages"][2]["content"][0]
        assert [part["type"] for part in result["content"]] == ["text", "image"]


@pytest.mark.parametrize(
    ("vendor", "part"),
    [
        ("chat", MediaPart(media_type="application/pdf", url="https://example.com/a.pdf")),
        ("chat", MediaPart(media_type="audio/flac", data="AAAA")),
        ("responses", MediaPart(media_type="audio/wav", data="AAAA")),
        ("anthropic", MediaPart(media_type="audio/wav", data="AAAA")),
        ("anthropic", MediaPart(media_type="text/plain", data="not base64!")),
    ],
)
async def test_part_that_a_vendor_does_not_take_is_refused_before_anything_is_sent(
    vendor: str, part: MediaPart
) -> None:
    async with LoopbackServer(json_reply({})) as server:
        with pytest.raises(ConfigurationError):
            await complete(provider(vendor, server), [Message.user([part])])
        assert server.requests == []


async def test_stop_sequences_are_refused_where_they_would_be_ignored() -> None:
    async with LoopbackServer(json_reply(responses_wire.TEXT)) as server:
        with pytest.raises(ConfigurationError, match="api='chat'"):
            await complete(provider("responses", server), stop=["END"])


async def test_schema_that_strict_mode_cannot_say_is_sent_as_it_is() -> None:
    free = {
        "type": "object",
        "properties": {"scores": {"type": "object", "additionalProperties": {"type": "integer"}}},
    }
    output = OutputSchema(name="scores", schema=free)
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(provider("chat", server), output_schema=output)
        sent = server.requests[0].json["response_format"]["json_schema"]
    assert (sent["schema"], sent["strict"]) == (free, False)
    async with LoopbackServer(json_reply(anthropic_wire.TEXT)) as server:
        await complete(provider("anthropic", server), output_schema=output)
        told = server.requests[0].json
    assert "output_config" not in told
    assert '"scores"' in told["system"][0]["text"]


async def test_recursive_schema_stays_finite_in_strict_mode() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/Node", "description": "The next node"}},
    }
    schema = {"$defs": {"Node": node}, "$ref": "#/$defs/Node"}
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(provider("chat", server), output_schema=OutputSchema(name="node", schema=schema))
        sent = server.requests[0].json["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["additionalProperties"] is False


async def test_schema_goes_into_the_prompt_where_the_server_only_promises_json() -> None:
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        model = create_provider("deepseek:deepseek-chat", api_key="k", base_url=server.url)
        await complete(model, output_schema=OutputSchema(name="city", schema=CITY_SCHEMA))
        body = server.requests[0].json
    assert model.capabilities.supports_output_schema is False
    assert body["response_format"] == {"type": "json_object"}
    assert '"city"' in body["messages"][0]["content"]


async def test_strict_tools_are_closed_and_others_stay_as_they_are() -> None:
    strict = [WEATHER, CLOCK]
    async with LoopbackServer(json_reply(responses_wire.TEXT)) as server:
        await complete(provider("responses", server), tools=strict)
        assert [tool["strict"] for tool in server.requests[0].json["tools"]] == [False, False]
    closed = {**CITY_SCHEMA, "additionalProperties": False}
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(provider("chat", server), tools=[replace(WEATHER, strict=True)])
        function = server.requests[0].json["tools"][0]["function"]
        assert (function["strict"], function["parameters"]) == (True, closed)


async def test_call_of_another_model_is_signed_for_gemini_3_and_left_alone_for_older_ones() -> None:
    async with LoopbackServer(json_reply(google_wire.TEXT)) as server:
        await complete(provider("google", server), tool_conversation())
        signed = server.requests[-1].json["contents"][1]["parts"]
        await complete(provider("google", server), tool_conversation(), model="gemini-2.5-flash")
        unsigned = server.requests[-1].json["contents"][1]["parts"]
    assert ["thoughtSignature" in part for part in signed] == [False, True, False]
    assert not any("thoughtSignature" in part for part in unsigned)


async def test_ids_of_other_vendors_are_shortened_for_mistral_and_still_match() -> None:
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        model = create_provider("mistral:mistral-large", api_key="k", base_url=server.url)
        history = [*tool_conversation(), Message.assistant("", [ToolCall("D681PevKs", "clock", {})])]
        await complete(model, history, seed=7, tools=[CLOCK], tool_choice="required")
        body = server.requests[0].json
    calls = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
    results = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    assert results == calls[:2]
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in calls)
    assert calls[2] == "D681PevKs"
    assert (body["random_seed"], body["tool_choice"]) == (7, "any")


async def test_strict_tools_of_anthropic_carry_their_limits_in_words() -> None:
    limited = {
        "type": "object",
        "properties": {"days": {"type": "integer", "minimum": 1}},
        "required": ["days"],
    }
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    tools = [replace(WEATHER, strict=True, parameters=limited), replace(CLOCK, strict=True, parameters=free)]
    async with LoopbackServer(json_reply(anthropic_wire.TEXT)) as server:
        await complete(provider("anthropic", server), tools=tools)
        first, second = server.requests[0].json["tools"]
    assert first["strict"] is True
    assert first["input_schema"]["properties"]["days"] == {"type": "integer", "description": "{minimum: 1}"}
    assert first["input_schema"]["additionalProperties"] is False
    assert (second.get("strict"), second["input_schema"]) == (None, free)


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"reasoning_effort": "high"}, {"effort": "high"}),
        ({"reasoning_effort": "high", "reasoning_tokens": 900}, {"max_tokens": 900}),
        ({}, None),
    ],
)
async def test_openrouter_is_asked_for_reasoning_in_its_own_way(fields: Any, reasoning: Any) -> None:
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(provider("chat", server, dialect=OPENROUTER), **fields)
        assert server.requests[0].json.get("reasoning") == reasoning


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-3-pro", "high", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3-pro", "none", {"thinkingLevel": "minimal", "includeThoughts": False}),
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0, "includeThoughts": False}),
    ],
)
async def test_google_thinks_by_level_or_by_budget(model: str, effort: Any, config: Any) -> None:
    async with LoopbackServer(json_reply(google_wire.TEXT)) as server:
        await complete(provider("google", server), model=model, reasoning_effort=effort)
        assert server.requests[0].json["generationConfig"]["thinkingConfig"] == config


async def test_names_of_speakers_are_sent() -> None:
    history = [
        Message("user", "Hello!", name="ada"),
        Message("assistant", "Hi.", name="bot"),
        Message.user("Well?"),
    ]
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(provider("chat", server), history)
        assert [message.get("name") for message in server.requests[0].json["messages"]] == [
            "ada",
            "bot",
            None,
        ]


async def test_media_of_the_last_tool_result_are_sent_too() -> None:
    history = [*tool_conversation()[:4], Message.tool([TextPart(text="A chart."), image()], "call_b")]
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        await complete(provider("chat", server), history)
        last = server.requests[0].json["messages"][-1]
    assert (last["role"], [part["type"] for part in last["content"]]) == ("user", ["text", "image_url"])
