"""No tool runs of a call that was cut, whatever the answer around it says, and whichever way the server says it."""

from __future__ import annotations

from typing import Any

import pytest

from llm_client.agent.agent import Agent
from llm_client.agent.config import AgentConfig
from llm_client.agent.result import AgentResult
from llm_client.engine.engine import ExecutionEngine
from llm_client.engine.retry import RetryConfig
from llm_client.errors import InvalidResponse, MalformedToolCall
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.provider import OpenAIProvider
from llm_client.tools.decorator import tool
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import anthropic_answers, chat_answers, data_events, named_events, responses_answers

USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
SAID = {"chat": {"choices": [{"message": chat_answers.said("ok"), "finish_reason": "stop"}], "usage": USAGE},
        "responses": {"object": "response", "status": "completed",
                      "output": [responses_answers.message(1, responses_answers.part("ok"))]},
        "anthropic": {"content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn", "usage": {}},
        "google": {"candidates": [{"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP"}]}}  # fmt: skip


async def run(
    vendor: str, *answers: Reply, stream: bool, most: int | None = None
) -> tuple[AgentResult, list[str]]:
    wiped: list[str] = []

    @tool(effect="read")
    def wipe(path: str = "/") -> str:
        """Do harm."""
        wiped.append(path)
        return "gone"

    async with LoopbackServer(*answers, json_reply(SAID[vendor])) as server:
        model: Any
        if vendor in ("chat", "responses"):
            model = OpenAIProvider("gpt-5.2", api_key="k", base_url=server.url + "/v1", api=vendor)  # type: ignore[arg-type] -- one of both
        elif vendor == "anthropic":
            model = AnthropicProvider("claude-sonnet-4-6", api_key="k", base_url=server.url)
        else:
            model = GoogleProvider("gemini-3-pro", api_key="k", base_url=server.url)
        engine = ExecutionEngine(model, retry=RetryConfig(attempts=1))
        agent = Agent(
            engine, tools=[wipe], config=AgentConfig(max_tool_corrections=1, max_output_tokens=most)
        )
        try:
            if not stream:
                return await agent.run("Go."), wiped
            events = [event async for event in agent.stream("Go.")]
            return events[-1].result, wiped
        finally:
            await engine.aclose()
            await model.aclose()


def item(status: str | None, arguments: str) -> dict[str, Any]:
    about = {} if status is None else {"status": status}
    return responses_answers.call(1, "wipe", arguments, **about)


def response(output: list[Any], *, stream: bool, **fields: Any) -> Reply:
    payload = {"object": "response", "output": output, "error": None, **fields}
    if not stream:
        return json_reply(payload)
    return sse_reply(*named_events(responses_answers.streamed(output, payload)))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("arguments", ["", "{}", '{"path": "/tmp/x"}'])
@pytest.mark.parametrize("status", ["completed", None])
async def test_call_that_openai_calls_incomplete_does_not_run(
    status: str | None, arguments: str, stream: bool
) -> None:
    fields = {} if status is None else {"status": status}
    result, wiped = await run(
        "responses", response([item("incomplete", arguments)], stream=stream, **fields), stream=stream
    )
    assert (result.status, wiped) == ("truncated", [])
    assert result.messages[-1].role == "tool"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_message_that_openai_calls_incomplete_is_truncated(stream: bool) -> None:
    half = responses_answers.message(1, responses_answers.part("The answer is"), status="incomplete")
    result, _ = await run("responses", response([half], stream=stream, status="completed"), stream=stream)
    assert result.status == "truncated"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("arguments", "status", "ran"), [("", "truncated", []), ('{"path": "/tmp/x"}', "success", ["/tmp/x"])]
)
async def test_call_in_progress_runs_with_whole_arguments_alone(
    arguments: str, status: str, ran: list[str], stream: bool
) -> None:
    """Some servers never say that an item is completed."""
    begun = response([item("in_progress", arguments)], stream=stream, status="completed")
    result, wiped = await run("responses", begun, stream=stream)
    assert (result.status, wiped) == (status, ran)


async def test_item_that_has_begun_and_not_ended_does_not_run() -> None:
    events: list[Any] = [
        {"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", "")},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ]
    result, wiped = await run("responses", sse_reply(*named_events(events)), stream=True)
    assert (result.status, wiped) == ("truncated", [])


def pieces(*arguments: str, finish: str | None = None) -> list[dict[str, Any]]:
    head = {"index": 0, "id": "a", "function": {"name": "wipe", "arguments": ""}}
    deltas = [head, *({"index": 0, "function": {"arguments": each}} for each in arguments)]
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"tool_calls": [delta]}}]} for delta in deltas]
    return chunks if finish is None else [*chunks, {"choices": [{"delta": {}, "finish_reason": finish}]}]


@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("arguments", [(), ("",), ('{"pa',), ("[1]",)])
async def test_stream_that_is_done_without_a_reason_has_cut_its_call(
    arguments: tuple[str, ...], usage: bool
) -> None:
    chunks = [*pieces(*arguments), *([{"choices": [], "usage": USAGE}] if usage else [])]
    result, wiped = await run("chat", sse_reply(*data_events(chunks, done=True)), stream=True)
    assert (result.status, wiped) == ("truncated", [])


async def test_stream_that_is_done_without_a_reason_runs_a_call_whose_arguments_are_whole() -> None:
    """Its end was said, and nothing can be missing of a whole object; several servers leave the reason out."""
    streamed = sse_reply(*data_events(pieces('{"path":', '"/tmp/x"}'), done=True))
    result, wiped = await run("chat", streamed, stream=True)
    assert (result.status, wiped) == ("success", ["/tmp/x"])


async def test_no_call_of_an_answer_runs_where_one_of_them_was_cut() -> None:
    chunks = [*pieces('{"path": "/tmp/x"}'), {"choices": [{"delta": {"tool_calls": [
        {"index": 1, "id": "b", "function": {"name": "wipe", "arguments": ""}}]}}]}]  # fmt: skip
    result, wiped = await run("chat", sse_reply(*data_events(chunks, done=True)), stream=True)
    assert (result.status, wiped) == ("truncated", [])


@pytest.mark.parametrize("usage", [False, True])
async def test_stream_that_just_ends_behind_the_head_of_a_call_is_no_answer(usage: bool) -> None:
    chunks = [*pieces(), *([{"choices": [], "usage": USAGE}] if usage else [])]
    result, wiped = await run("chat", sse_reply(*data_events(chunks)), stream=True)
    assert (result.status, wiped) == ("error", [])


@pytest.mark.parametrize("arguments", ["", None, '{"pa'])
async def test_whole_answer_without_a_reason_has_cut_its_call(arguments: str | None) -> None:
    called = {
        "message": chat_answers.called(chat_answers.call("a", "wipe", arguments)),
        "finish_reason": None,
    }  # type: ignore[arg-type] -- as it may come
    result, wiped = await run("chat", json_reply({"choices": [called], "usage": USAGE}), stream=False)
    assert (result.status, wiped) == ("truncated", [])


async def test_other_vendors_answers_without_a_reason_have_cut_their_call() -> None:
    google = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "wipe"}}]}}]}
    result, wiped = await run("google", json_reply(google), stream=False)
    assert (result.status, wiped) == ("truncated", [])

    begun = [
        {"type": "message_start", "message": {"content": [], "usage": {}}},
        {"type": "content_block_start", "index": 0,
         "content_block": {"type": "tool_use", "id": "t1", "name": "wipe", "input": {}}},
        {"type": "message_stop"},
    ]  # fmt: skip
    result, wiped = await run("anthropic", sse_reply(*named_events(begun)), stream=True)
    assert (result.status, wiped) == ("truncated", [])


CUT = {
    "chat": [{"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "wipe", "arguments": ""}}]},
                           "finish_reason": "length"}]},
             {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE}],
    "google": [{"candidates": [{"content": {"parts": [{"functionCall": {"name": "wipe"}}]}, "finishReason": "MAX_TOKENS"}]},
               {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}],
    "anthropic": [{"type": "message_start", "message": {"content": [], "usage": {}}},
                  {"type": "content_block_start", "index": 0,
                   "content_block": {"type": "tool_use", "id": "t1", "name": "wipe", "input": {}}},
                  {"type": "content_block_stop", "index": 0},
                  {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}},
                  {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
                  {"type": "message_stop"}],
}  # fmt: skip


@pytest.mark.parametrize("vendor", CUT)
async def test_reason_that_was_said_once_is_not_taken_back(vendor: str) -> None:
    """Proxies say `stop` again with the usage behind an answer that was cut."""
    events = named_events(CUT[vendor]) if vendor == "anthropic" else data_events(CUT[vendor])
    result, wiped = await run(vendor, sse_reply(*events), stream=True)
    assert (result.status, wiped) == ("truncated", [])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_response_that_names_a_reason_why_it_is_incomplete_is_so(stream: bool) -> None:
    fields = {"status": "completed", "incomplete_details": {"reason": "max_output_tokens"}}
    result, wiped = await run("responses", response([item(None, "")], stream=stream, **fields), stream=stream)
    assert (result.status, wiped) == ("truncated", [])


def ended(reason: str | None, *, stream: bool, **fields: Any) -> Reply:
    choice: dict[str, Any] = {"index": 0, **fields} | ({} if reason is None else {"finish_reason": reason})
    payload = {"id": "c1", "choices": [choice], "usage": USAGE}
    return sse_reply(*data_events([payload], done=True)) if stream else json_reply(payload)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fields", [{}, {"message": None, "delta": None}, {"message": {}, "delta": {}}])
@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("content_filter: PROHIBITED_CONTENT", "refused"),
        ("content_filter: RECITATION", "refused"),
        ("content_filter: OTHER", "refused"),
        ("IMAGE_SAFETY", "refused"),
        ("sensitive", "refused"),
        ("guardrail_intervened", "refused"),
        ("length", "truncated"),
        ("model_context_window_exceeded", "truncated"),
        ("network_error", "error"),
    ],
)
async def test_choice_without_a_message_ends_as_it_says(
    reason: str, status: str, fields: dict[str, Any], stream: bool
) -> None:
    result, _ = await run("chat", ended(reason, stream=stream, **fields), stream=stream)
    assert result.status == status
    if ": PRO" in reason:
        assert "PROHIBITED_CONTENT" in str(result.error)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fields", [{}, {"message": {"content": ""}, "delta": {"content": ""}}])
@pytest.mark.parametrize(
    "reason",
    ["function_call_filter: MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL", "function_call_filter: UNEXPECTED_TOOL_CALL",
     "malformed_tool_use"],
)  # fmt: skip
async def test_call_that_google_cannot_read_is_asked_for_again_through_its_chat_interface(
    reason: str, fields: dict[str, Any], stream: bool
) -> None:
    broken = ended(reason, stream=stream, **fields)
    result, _ = await run("chat", broken, stream=stream)
    assert (result.status, result.output) == ("success", "ok")
    result, _ = await run("chat", broken, broken, stream=stream)
    assert isinstance(result.error, MalformedToolCall)


@pytest.mark.parametrize("fields", [{}, {"choices": None}, {"choices": []}])
async def test_answer_without_choices_says_so_and_what_it_took(fields: dict[str, Any]) -> None:
    result, _ = await run("chat", json_reply({"id": "c1", **fields, "usage": USAGE}), stream=False)
    assert isinstance(result.error, InvalidResponse)
    assert "without any choice" in str(result.error)
    assert (result.error.request_id, result.total_usage.input_tokens) == ("c1", 7)


async def test_choice_that_says_nothing_at_all_is_no_answer() -> None:
    result, _ = await run("chat", ended(None, stream=False), stream=False)
    assert isinstance(result.error, InvalidResponse)
    assert result.total_usage.input_tokens == 7


async def test_error_in_a_list_ends_a_stream_of_googles_chat_interface() -> None:
    told = [{"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}]
    result, _ = await run("chat", sse_reply(*data_events([told])), stream=True)
    assert (result.status, getattr(result.error, "code", None)) == ("error", "rate_limited")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_refusal_without_any_content_is_one(stream: bool) -> None:
    payload = {"type": "message", "content": None, "stop_reason": "refusal", "usage": {"input_tokens": 7}}
    begun = {"type": "message_start", "message": {"content": None, "usage": {"input_tokens": 7}}}
    events = [begun, {"type": "message_delta", "delta": {"stop_reason": "refusal"}}, {"type": "message_stop"}]
    result, _ = await run(
        "anthropic", sse_reply(*named_events(events)) if stream else json_reply(payload), stream=stream
    )
    assert (result.status, result.total_usage.input_tokens) == ("refused", 7)

    empty = {
        "object": "response",
        "output": None,
        "status": "incomplete",
        "incomplete_details": {"reason": "content_filter"},
    }
    last = {"type": "response.incomplete", "response": empty}
    result, _ = await run(
        "responses", sse_reply(*named_events([last])) if stream else json_reply(empty), stream=stream
    )
    assert result.status == "refused"

    refused = {
        "choices": [
            {"message": {"content": [{"type": "refusal", "refusal": "I can't."}]}, "finish_reason": "stop"}
        ]
    }
    result, _ = await run("chat", json_reply(refused), stream=False)
    assert (result.status, str(result.error)) == ("refused", "I can't.")


async def test_stream_of_one_whole_message_is_an_answer() -> None:
    """Servers that know no streams send it as the first piece."""
    chunk = {"choices": [{"message": chat_answers.said("Yes."), "finish_reason": "stop"}], "usage": USAGE}
    result, _ = await run("chat", sse_reply(*data_events([chunk], done=True)), stream=True)
    assert (result.status, result.output) == ("success", "Yes.")
    # Perplexity repeats the whole in each piece.
    pieces = [
        {
            "choices": [
                {"delta": {"content": words}, "message": {"content": so_far}, "finish_reason": finish}
            ],
            "usage": USAGE,
        }
        for words, so_far, finish in (("Y", "Y", None), ("es.", "Yes.", None), ("", "Yes.", "stop"))
    ]
    pieces.append(
        {"choices": [{"delta": {}, "message": {"content": "Yes."}, "finish_reason": "stop"}], "usage": USAGE}
    )
    result, _ = await run("chat", sse_reply(*data_events(pieces, done=True)), stream=True)
    assert result.output == "Yes."


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_call_of_anthropics_that_a_proxy_gives_no_id_gets_one(stream: bool) -> None:
    use = {"type": "tool_use", "name": "wipe", "input": {"path": "/tmp/x"}}
    events = [
        {"type": "message_start", "message": {"content": [], "usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": use},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ]
    payload = {"content": [use], "stop_reason": "tool_use", "usage": {}}
    result, wiped = await run(
        "anthropic", sse_reply(*named_events(events)) if stream else json_reply(payload), stream=stream
    )
    assert (result.status, wiped) == ("success", ["/tmp/x"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_paused_turn_with_a_call_of_ours_goes_on_with_its_result(stream: bool) -> None:
    """Left open, the call would be refused; the vendor's own runs when ours is answered."""
    blocks = [anthropic_answers.SEARCH, anthropic_answers.use("t1", "wipe", path="/tmp/x")]
    payload = {"content": blocks, "stop_reason": "pause_turn", "usage": {}}
    events = named_events(anthropic_answers.streamed(blocks, "pause_turn"))
    result, wiped = await run(
        "anthropic", sse_reply(*events) if stream else json_reply(payload), stream=stream
    )
    assert (result.status, wiped) == ("success", ["/tmp/x"])
    assert [message.role for message in result.messages] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("arguments", "written", "status"), [
    ("", 10, "truncated"), ('{"pa', 10, "truncated"), ("{}", 10, "truncated"), ('{"path": "/tmp/x"}', 10, "success"), ("", 9, "success"),
])  # fmt: skip
async def test_call_that_was_cut_at_the_bound_does_not_run_whatever_its_server_calls_it(
    arguments: str, written: int, status: str, stream: bool
) -> None:
    """vLLM says `tool_calls` of a streamed call that was cut at `max_tokens`, even with `{}` (github.com/vllm-project/vllm/issues/53269)."""
    message = chat_answers.called(chat_answers.call("a", "wipe", arguments))
    usage = {"prompt_tokens": 7, "completion_tokens": written}
    whole = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage}
    head, *rest = chat_answers.streamed(message, "tool_calls")
    streamed = data_events([head, *rest, {"choices": [], "usage": usage}], done=True)
    reply = sse_reply(*streamed) if stream else json_reply(whole)
    result, wiped = await run("chat", reply, stream=stream, most=10)
    assert (result.status, len(wiped)) == (status, int(status == "success"))
