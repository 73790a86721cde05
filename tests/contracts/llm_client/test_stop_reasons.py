"""A stop reason counts, whatever else is in an answer: through agents, over every wire format, whole and streamed."""

from __future__ import annotations

from typing import Any

import pytest

from llm_client.agent.agent import Agent
from llm_client.agent.config import AgentConfig
from llm_client.agent.result import AgentResult
from llm_client.engine.engine import ExecutionEngine
from llm_client.engine.retry import RetryConfig
from llm_client.errors import InvalidResponse, MalformedToolCall, ProviderError
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.provider import OpenAIProvider
from llm_client.tools.decorator import tool
from support.loopback import LoopbackServer, Received, Reply, json_reply, sse_reply
from support.wire import (
    anthropic_answers,
    chat_answers,
    data_events,
    google_answers,
    named_events,
    responses_answers,
)

VENDORS = ("chat", "responses", "anthropic", "google")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


def provider(vendor: str, server: LoopbackServer) -> Any:
    if vendor in ("chat", "responses"):
        return OpenAIProvider("gpt-5.2", api_key="k", base_url=server.url + "/v1", api=vendor)  # type: ignore[arg-type] -- one of both
    if vendor == "anthropic":
        return AnthropicProvider("claude-sonnet-4-6", api_key="k", base_url=server.url)
    return GoogleProvider("gemini-3-pro", api_key="k", base_url=server.url)


def replies(vendor: str, content: Any, stop: str | None, *, stream: bool) -> Reply:
    """Return an answer of a vendor, with one of its own stop reasons."""
    if vendor == "anthropic":
        payload = {"type": "message", "content": content, "stop_reason": stop or "end_turn", "usage": {}}
        return (
            sse_reply(*named_events(anthropic_answers.streamed(content, stop or "end_turn")))
            if stream
            else json_reply(payload)
        )
    if vendor == "google":
        payload = {"candidates": [{"content": {"parts": content}, "finishReason": stop or "STOP"}]}
        return (
            sse_reply(*data_events(google_answers.streamed(content, stop or "STOP")))
            if stream
            else json_reply(payload)
        )
    if vendor == "responses":
        cut = (
            {"status": "incomplete", "incomplete_details": {"reason": stop}}
            if stop
            else {"status": "completed"}
        )
        payload = {"object": "response", "output": content, "error": None, **cut}
        events = responses_answers.streamed(content, payload)
        return sse_reply(*named_events(events)) if stream else json_reply(payload)
    payload = {"choices": [{"message": content, "finish_reason": stop or "stop"}], "usage": USAGE}
    events = chat_answers.streamed(content, stop or "stop")
    return sse_reply(*data_events(events, done=True)) if stream else json_reply(payload)


def text(vendor: str, words: str) -> Any:
    return {
        "chat": chat_answers.said(words),
        "responses": [responses_answers.message(1, responses_answers.part(words))],
        "anthropic": [anthropic_answers.text(words)],
        "google": [google_answers.text(words)],
    }[vendor]


def call(vendor: str, arguments: str) -> Any:
    """Return an answer with a call whose arguments were cut."""
    return {
        "chat": chat_answers.called(chat_answers.call("a", "wipe", arguments)),
        "responses": [responses_answers.call(1, "wipe", arguments)],
        "anthropic": [anthropic_answers.use("a", "wipe")],
        "google": [{"functionCall": {"name": "wipe"}}],
    }[vendor]


STOPS = {
    "chat": ("length", "content_filter"),
    "responses": ("max_output_tokens", "content_filter"),
    "anthropic": ("max_tokens", "refusal"),
    "google": ("MAX_TOKENS", "SAFETY"),
}


async def run(
    vendor: str, *answers: Reply, stream: bool, retries: int = 1
) -> tuple[AgentResult, list[str], list[Received]]:
    wiped: list[str] = []

    @tool(effect="read")
    def wipe(path: str = "/") -> str:
        """Do harm."""
        wiped.append(path)
        return "gone"

    async with LoopbackServer(*answers) as server:
        model = provider(vendor, server)
        engine = ExecutionEngine(model, retry=RetryConfig(attempts=retries))
        agent = Agent(engine, tools=[wipe], config=AgentConfig(max_tool_corrections=2))
        try:
            if stream:
                events = [event async for event in agent.stream("Go.")]
                result = events[-1].result
            else:
                result = await agent.run("Go.")
        finally:
            await engine.aclose()
            await model.aclose()
        return result, wiped, server.requests


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("arguments", ["", '{"pa', "{}"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_no_tool_runs_of_an_answer_that_was_cut_or_filtered(
    vendor: str, arguments: str, stream: bool
) -> None:
    for stop, status in zip(STOPS[vendor], ("truncated", "refused"), strict=True):
        result, wiped, _ = await run(
            vendor, replies(vendor, call(vendor, arguments), stop, stream=stream), stream=stream
        )
        assert (result.status, wiped) == (status, [])
        assert result.messages[-1].role == "tool"  # no call stays open


@pytest.mark.parametrize(
    ("vendor", "stop", "status"),
    [
        ("google", "CONTINUATION", "truncated"),
        ("google", "ESCALATION", "refused"),
        ("google", "LANGUAGE", "refused"),
        ("responses", "max_messages", "truncated"),
        ("responses", "brand_new", "truncated"),
        ("chat", "model_length", "truncated"),
        ("chat", "insufficient_system_resource", "error"),
    ],
)
async def test_no_tool_runs_of_an_answer_that_ends_for_another_reason(
    vendor: str, stop: str, status: str
) -> None:
    result, wiped, _ = await run(
        vendor, replies(vendor, call(vendor, "{}"), stop, stream=False), stream=False
    )
    assert (result.status, wiped) == (status, [])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_empty_answer_is_asked_for_once_more(vendor: str, stream: bool) -> None:
    nothing = chat_answers.said(None) if vendor == "chat" else []
    empty, full = (
        replies(vendor, nothing, None, stream=stream),
        replies(vendor, text(vendor, "Yes."), None, stream=stream),
    )

    result, _, requests = await run(vendor, empty, full, stream=stream)
    assert (result.status, result.output, len(requests)) == ("success", "Yes.", 2)

    result, _, requests = await run(vendor, empty, stream=stream)
    assert (result.status, len(requests)) == ("error", 2)
    assert isinstance(result.error, InvalidResponse)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_turn_that_anthropic_pauses_goes_on(stream: bool) -> None:
    begun = [anthropic_answers.text("I look."), anthropic_answers.SEARCH]
    first = replies("anthropic", begun, "pause_turn", stream=stream)
    second = replies("anthropic", text("anthropic", "Rhine."), None, stream=stream)

    result, _, requests = await run("anthropic", first, second, stream=stream)

    assert (result.status, result.output) == ("success", "Rhine.")
    assert requests[1].json["messages"][-1] == {"role": "assistant", "content": begun}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_call_that_google_cannot_read_is_asked_for_again_and_not_for_ever(stream: bool) -> None:
    broken = replies("google", [], "MALFORMED_FUNCTION_CALL", stream=stream)
    full = replies("google", text("google", "Yes."), None, stream=stream)

    result, _, _ = await run("google", broken, full, stream=stream)
    assert (result.status, result.output) == ("success", "Yes.")

    result, _, requests = await run("google", broken, stream=stream)
    assert (result.status, len(requests)) == ("error", 3)
    assert isinstance(result.error, MalformedToolCall)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_call_that_google_cannot_read_is_asked_for_again_through_openrouter(stream: bool) -> None:
    """Its body as in OpenRouterTeam/openrouter-examples#67."""
    said = {"role": "assistant", "content": None}
    ended = {"index": 0, "finish_reason": "error", "native_finish_reason": "MALFORMED_FUNCTION_CALL"}
    chunk = {"id": "gen-1", "choices": [{**ended, "delta" if stream else "message": said}]}
    broken = sse_reply(*data_events([chunk], done=True)) if stream else json_reply(chunk)
    full = replies("chat", text("chat", "Yes."), None, stream=stream)

    result, _, _ = await run("chat", broken, full, stream=stream)
    assert (result.status, result.output) == ("success", "Yes.")

    result, _, requests = await run("chat", broken, stream=stream)
    assert (result.status, len(requests)) == ("error", 3)
    assert isinstance(result.error, MalformedToolCall)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_words_of_google_for_the_end_are_shown(stream: bool) -> None:
    def ended(reason: str, words: str) -> Reply:
        candidate = {"content": {"parts": []}, "finishReason": reason, "finishMessage": words}
        chunks = google_answers.streamed([], reason, finishMessage=words)
        return sse_reply(*data_events(chunks)) if stream else json_reply({"candidates": [candidate]})

    broken = "Malformed function call: print(default_api.wipe('/'"
    full = replies("google", text("google", "Yes."), None, stream=stream)
    result, _, requests = await run("google", ended("MALFORMED_FUNCTION_CALL", broken), full, stream=stream)
    assert result.status == "success"
    assert requests[1].json["contents"][-1]["parts"][0]["text"].endswith(f"\n{broken}")

    result, _, _ = await run("google", ended("MALFORMED_FUNCTION_CALL", broken), stream=stream)
    assert (result.status, broken in str(result.error)) == ("error", True)

    result, _, _ = await run("google", ended("SAFETY", "It was unsafe."), stream=stream)
    assert (result.status, str(result.error)) == ("refused", "It was unsafe.")
    assert result.answer is not None
    assert result.answer.finish_message == "It was unsafe."

    result, _, _ = await run("google", ended("MISSING_THOUGHT_SIGNATURE", "One is missing."), stream=stream)
    assert result.status == "error"
    assert "One is missing." in str(result.error)


async def test_model_reads_what_groq_could_not() -> None:
    error = {
        "message": "Failed to call a function.",
        "code": "tool_use_failed",
        "failed_generation": "<wipe>{",
    }
    full = replies("chat", text("chat", "Yes."), None, stream=False)

    result, _, requests = await run("chat", json_reply({"error": error}, 400), full, stream=False, retries=3)

    assert (result.status, result.output, len(requests)) == ("success", "Yes.", 2)
    assert "<wipe>{" in requests[1].json["messages"][-1]["content"]


@pytest.mark.parametrize("status", ["queued", "in_progress"])
async def test_response_in_the_background_is_no_answer_and_asked_for_once(status: str) -> None:
    waiting = json_reply(
        {"object": "response", "id": "resp_1", "status": status, "output": [], "error": None}
    )

    result, _, requests = await run("responses", waiting, stream=False, retries=3)

    assert (result.status, len(requests)) == ("error", 1)
    assert isinstance(result.error, InvalidResponse)
    assert (result.error.provider, result.error.request_id, status in str(result.error)) == (
        "openai",
        "resp_1",
        True,
    )


async def test_answer_without_choices_keeps_its_usage() -> None:
    result, _, _ = await run("chat", json_reply({"id": "c1", "choices": [], "usage": USAGE}), stream=False)

    assert isinstance(result.error, InvalidResponse)
    assert (result.error.request_id, result.total_usage.input_tokens, result.total_usage.output_tokens) == (
        "c1",
        7,
        3,
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_error_inside_a_choice_is_the_error_it_names(stream: bool) -> None:
    error = {"code": 429, "message": "Slow down."}
    choice = {"error": error, "finish_reason": "error", "message": {"content": ""}, "delta": {"content": ""}}
    payload = {"id": "c1", "choices": [choice], "usage": USAGE}
    reply = sse_reply(*data_events([payload], done=True)) if stream else json_reply(payload)

    result, _, _ = await run("chat", reply, stream=stream)

    assert isinstance(result.error, ProviderError)
    assert (result.error.code, result.error.request_id) == ("rate_limited", "c1")
    assert result.total_usage.input_tokens == 7


async def test_id_that_comes_again_in_another_turn_is_answered_there() -> None:
    again = replies("chat", chat_answers.called(chat_answers.call("a", "wipe")), None, stream=False)
    cut = replies("chat", chat_answers.called(chat_answers.call("a", "wipe", "")), "length", stream=False)

    result, wiped, _ = await run("chat", again, again, cut, stream=False)

    assert (result.status, wiped) == ("truncated", ["/", "/"])
    assert [message.role for message in result.messages][-6:] == ["assistant", "tool"] * 3


@pytest.mark.parametrize("name", ["functions.wipe", "wipe<|channel|>json", " wipe"])
async def test_model_is_told_the_name_it_means(name: str) -> None:
    wrong = replies("chat", chat_answers.called(chat_answers.call("a", name)), None, stream=False)
    full = replies("chat", text("chat", "Yes."), None, stream=False)

    _, wiped, requests = await run("chat", wrong, full, stream=False)

    sent = requests[1].json["messages"]
    assert wiped == []
    assert "did you mean 'wipe'?" in sent[-1]["content"]
    assert sent[-2]["tool_calls"][0]["function"]["name"].replace("_", "").isalnum()


@pytest.mark.parametrize("vendor", VENDORS)
async def test_prompt_and_tools_may_hold_halves_of_characters(vendor: str) -> None:
    asked: list[Any] = []

    @tool(effect="read")
    def listing() -> list[str]:
        """List files."""
        asked.append(1)
        return ["caf\udce9.txt"]

    first = {
        "chat": chat_answers.called(chat_answers.call("a", "listing")),
        "responses": [responses_answers.call(1, "listing")],
        "anthropic": [anthropic_answers.use("a", "listing")],
        "google": [google_answers.call("a", "listing")],
    }[vendor]
    answers = (
        replies(vendor, first, None, stream=False),
        replies(vendor, text(vendor, "Yes."), None, stream=False),
    )
    async with LoopbackServer(*answers) as server:
        model = provider(vendor, server)
        agent = Agent(model, tools=[listing])
        result = await agent.run("Half a pair: \ud83c")
        await model.aclose()

    assert (result.status, asked) == ("success", [1])
    assert "\ufffd" in server.requests[0].body.decode()
    assert "caf\ufffd" in server.requests[1].body.decode()


def pieces(*deltas: dict[str, Any], finish: str | None = None, done: bool = True) -> Reply:
    """Return a stream of pieces of one call, with a reason to end beside each of them."""
    chunks = [{"choices": [{"delta": delta, "finish_reason": finish}]} for delta in deltas]
    return sse_reply(*data_events([*chunks, {"choices": [], "usage": USAGE}], done=done))


def piece(arguments: str, **head: Any) -> dict[str, Any]:
    return {
        "tool_calls": [{"index": 0, **head, "function": {**head.pop("function", {}), "arguments": arguments}}]
    }


HEAD = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "wipe", "arguments": ""}}]}


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "null"])
async def test_what_comes_behind_a_reason_to_end_belongs_to_the_call(finish: str) -> None:
    """Proxies are known that give one with every chunk."""
    streamed = pieces(HEAD, piece('{"path":'), piece(' "/tmp/x"}'), finish=finish)
    result, wiped, _ = await run(
        "chat", streamed, replies("chat", text("chat", "ok"), None, stream=True), stream=True
    )
    assert (result.status, wiped) == ("success", ["/tmp/x"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("stop", "status"),
    [
        ("MAX_TOKENS", "truncated"),
        ("max_tokens", "truncated"),
        ("SAFETY", "refused"),
        ("CONTENT_FILTER", "refused"),
        ("abort", "error"),
        ("repetition", "error"),
    ],
)
async def test_other_vendors_words_are_known_where_gateways_pass_them_on(
    stop: str, status: str, stream: bool
) -> None:
    result, wiped, _ = await run(
        "chat", replies("chat", call("chat", ""), stop, stream=stream), stream=stream
    )
    assert (result.status, wiped) == (status, [])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_call_without_arguments_runs_for_no_reason_that_nobody_knows(stream: bool) -> None:
    answers = [
        replies("chat", call("chat", ""), "brand_new", stream=stream),
        replies("chat", call("chat", '{"path": "/tmp/x"}'), "brand_new", stream=stream),
        replies("chat", text("chat", "ok"), None, stream=stream),
    ]
    result, wiped, requests = await run("chat", *answers, stream=stream)
    assert (result.status, wiped, len(requests)) == ("success", ["/tmp/x"], 3)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_turn_that_ends_with_a_compaction_goes_on_from_it(stream: bool) -> None:
    summary = {"type": "compaction", "content": "Summary so far."}
    answers = [
        replies("anthropic", [summary], "compaction", stream=stream),
        replies("anthropic", text("anthropic", "ok"), None, stream=stream),
    ]
    result, _, requests = await run("anthropic", *answers, stream=stream)
    assert result.status == "success"
    said = requests[1].json["messages"]
    assert [message["role"] for message in said] == ["user", "assistant"]
    assert said[1]["content"][0]["content"] == "Summary so far."


async def test_a_failure_that_is_told_flatly_in_a_stream_is_one() -> None:
    told = {"object": "error", "message": "EngineDead", "type": "InternalServerError", "code": 500}
    answer = sse_reply(
        *data_events([{"choices": [{"delta": {"content": "The answer is"}}]}, told], done=True)
    )
    result, _, _ = await run("chat", answer, stream=True)
    assert result.status == "error"
    assert "EngineDead" in str(result.error)
