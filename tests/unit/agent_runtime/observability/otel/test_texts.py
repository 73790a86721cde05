"""Texts of users and models: none unless they are asked for, and then redacted and short."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_runtime import ActionSpec, ExecutionRequest, OpenTelemetryAdapter, OperatorContext, OTelConfig
from agent_runtime.observability.otel.content import Texts, bounded_json
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.values.content import encode
from agent_runtime.values.event import RuntimeEvent
from llm_client import Agent, FunctionProvider, RequestSpec, ToolCall, tool
from llm_client.public_text import printable
from support.kernels import BOUND, kernel, pending
from support.redaction_corpus import ALNUM, body

pytestmark = pytest.mark.timeout(BOUND * 3)
EVERYTHING = OTelConfig(capture_input=True, capture_output=True, capture_tool_args=True)
KEY = "sk-" + "proj-" + body(ALNUM, 48)
WORDS = (
    "the prompt",
    "the arguments",
    "the tool's result",
    "the answer",
    "the question",
    "the reply",
    "the step",
)


@tool(effect="idempotent")
async def search(what: str) -> str:
    """Search."""
    return f"the tool's result {what} {KEY}"


def _answer(spec: RequestSpec) -> Any:
    has_results = any(message.role == "tool" for message in spec.messages)
    return f"the answer {KEY}" if has_results else [ToolCall("a", "search", {"what": f"the arguments {KEY}"})]


AGENT = Agent(provider=FunctionProvider(_answer), tools=[search], system_message="Brief.")


async def talk(context: OperatorContext, prompt: str) -> str:
    answer = await AGENT.run(prompt)
    await context.action(ActionSpec(type="confirm", payload={"text": f"the question {KEY}"}))
    return await context.step(echo, f"the step {answer.content}", effect="idempotent")


async def echo(text: str) -> str:
    return text


async def told(config: OTelConfig) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return everything that was told of a job full of words, as one text, and by span."""
    storage, exporter = MemoryStorage(), InMemorySpanExporter()
    adapter = OpenTelemetryAdapter(storage=storage, config=config, exporter=exporter)
    async with kernel(storage, operators=[talk], projections=[adapter]) as k:
        asked = ExecutionRequest(
            operator="talk",
            input=f"the prompt {KEY}",
            principal_id="ann",
            metadata={"who": "the caller"},
            tags={"where": "the tag"},
        )
        handle = await k.execute(asked)
        action = await pending(handle)
        await handle.resolve_action(action.action_id, {"confirmed": True, "reason": "the reply"})
        await handle.result(timeout=BOUND)
        assert await adapter.flush(BOUND)
    spans = exporter.get_finished_spans()
    return "\n".join(span.to_json() for span in spans), {
        span.name: dict(span.attributes or {}) for span in reversed(spans)
    }


async def test_nothing_that_people_and_models_say_is_told_unless_it_is_asked_for() -> None:
    text, _ = await told(OTelConfig())
    for words in (*WORDS, KEY[:12], "ann", "the caller", "the tag"):
        assert words not in text


async def test_what_is_asked_for_is_told_redacted() -> None:
    text, spans = await told(EVERYTHING)
    assert KEY[:12] not in text
    assert "REDACTED" in text
    said = spans["agent.tool"]
    assert json.loads(said["gen_ai.tool.call.arguments"])["what"].startswith("the arguments")
    assert "the tool's result" in said["gen_ai.tool.call.result"]
    asked = json.loads(spans["chat function"]["gen_ai.input.messages"])
    answered = json.loads(spans["chat function"]["gen_ai.output.messages"])
    assert answered[0]["role"] == "assistant"
    assert (answered[0]["parts"][0]["type"], answered[0]["finish_reason"]) == ("tool_call", "tool_calls")
    assert [message["role"] for message in asked] == ["system", "user"]
    assert "the answer" in text
    assert "the prompt" in spans["agent.job"]["agent.input"]
    assert "the step" in spans["agent.step"]["agent.step.result"]
    for words in ("the question", "the reply", "ann", "the caller", "the tag"):
        assert words not in text.replace("channel", "")


@pytest.mark.parametrize("only", ["capture_input", "capture_output", "capture_tool_args"])
async def test_each_kind_is_asked_for_by_itself(only: str) -> None:
    _, spans = await told(replace(OTelConfig(), **{only: True}))  # type: ignore[arg-type]
    texts = {
        name
        for said in spans.values()
        for name in said
        if name.rpartition(".")[2] in {"input", "output", "arguments", "result", "messages"}
    }
    assert (
        texts
        == {
            "capture_input": {"agent.input", "gen_ai.input.messages"},
            "capture_output": {
                "agent.output",
                "gen_ai.output.messages",
                "gen_ai.tool.call.result",
                "agent.step.result",
            },
            "capture_tool_args": {"gen_ai.tool.call.arguments", "agent.step.arguments"},
        }[only]
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=20), inner, max_size=6),
    max_leaves=30,
)


@given(JSON, st.integers(256, 4096))
def test_a_text_is_never_longer_than_it_may_be(value: Any, limit: int) -> None:
    text = bounded_json(value, limit)
    assert len(text.encode()) <= limit
    if len(printable(orjson.dumps(value).decode()).encode()) <= limit:
        orjson.loads(text)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 3_000_000,
        {"words": ["w" * 10] * 200_000},
        {"deep": [[[[[["x" * 100_000]]]]]]},
        {str(number): "value" for number in range(50_000)},
    ],
)
def test_large_content_becomes_a_short_text(value: Any) -> None:
    event = RuntimeEvent(type="tool.completed", job_id="job-1", seq=3, content=encode(value))
    text = Texts(EVERYTHING).gave(event)
    assert text is not None
    assert 0 < len(text.encode()) <= EVERYTHING.max_attribute_bytes


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\x78\x9c broken", b"\xff\xfe", b'{"messages": 7}', b"[" * 5000]
)
def test_content_that_cannot_be_read_is_left_out(content: bytes) -> None:
    event = RuntimeEvent(type="model.started", job_id="job-1", seq=3, content=content)
    texts = Texts(EVERYTHING)
    for read in (texts.gave, texts.arguments, texts.asked, texts.answered):
        found = read(event)
        assert found is None or len(found) < 300
    for several in (texts.given(event), texts.result(event)):
        assert all(found is None or len(found) < 300 for found in several.values())


def test_a_key_that_the_cut_goes_through_is_not_told_in_part() -> None:
    texts = Texts(replace(EVERYTHING, max_attribute_bytes=256))
    for length in range(180, 260, 4):
        event = RuntimeEvent(
            type="x", job_id="j", seq=1, content=encode({"text": "y " * (length // 2) + KEY})
        )
        text = texts.gave(event)
        assert text is not None
        assert KEY[:16] not in text


async def test_what_an_agents_job_was_asked_and_answered_is_a_conversation() -> None:
    storage, exporter = MemoryStorage(), InMemorySpanExporter()
    adapter = OpenTelemetryAdapter(storage=storage, config=EVERYTHING, exporter=exporter)
    async with kernel(storage, agent=AGENT, projections=[adapter]) as k:
        for request in (
            ExecutionRequest(prompt="the prompt"),
            ExecutionRequest(prompt="the prompt", input={"style": "brief"}),
        ):
            await (await k.execute(request)).result(timeout=BOUND)
        assert await adapter.flush(BOUND)
    plain, more = [
        dict(span.attributes or {}) for span in exporter.get_finished_spans() if span.name == "agent.job"
    ]
    for said in (plain, more):
        assert json.loads(said["gen_ai.input.messages"]) == [  # type: ignore[arg-type]
            {"role": "user", "parts": [{"type": "text", "content": "the prompt"}]}
        ]
        (answer,) = json.loads(said["gen_ai.output.messages"])  # type: ignore[arg-type]
        assert answer["parts"][0]["content"].startswith("the answer")
    assert "agent.input" not in plain
    assert more["agent.input"] == '{"style":"brief"}'
