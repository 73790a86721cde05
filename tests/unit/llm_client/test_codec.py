"""Values survive being written as JSON."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import (
    Citation,
    CompletionResult,
    MediaPart,
    Message,
    OutputSchema,
    ReasoningPart,
    RequestSpec,
    ScriptedProvider,
    StreamEvent,
    TextPart,
    TokenLogprob,
    ToolCall,
    Usage,
    tool,
)
from llm_client.codec import (
    dump_event,
    dump_message,
    dump_result,
    dump_spec,
    dump_usage,
    load_event,
    load_message,
    load_result,
    load_usage,
)
from llm_client.engine.keys import request_hash, scoped_key
from llm_client.usage import COUNTS

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(text, json, max_size=3)
calls = st.builds(ToolCall, text, text, objects, st.none() | text, st.none() | text)
reasoning = st.builds(ReasoningPart, provider=text, text=text, data=objects)
parts = (
    st.builds(TextPart, text=text, cache=st.booleans())
    | st.builds(
        MediaPart,
        media_type=text,
        url=st.none() | text,
        data=st.none() | text,
        file_id=st.none() | text,
        cite=st.booleans(),
        width=st.none() | st.integers(0, 9),
    )
    | reasoning
)
messages = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    text | st.lists(parts, max_size=3).map(tuple),
    st.lists(calls, max_size=2).map(tuple),
    st.none() | text,
    st.none() | text,
)
used = {
    **{name: st.integers(0, 10**9) for name in COUNTS},
    "cost": st.none() | st.decimals(0, 1000, places=10),
    "price_source": st.none() | text,
    "service_tier": st.none() | text,
    "model": st.none() | text,
    "requests": st.integers(0, 5),
}
usages = st.builds(Usage, **used, iterations=st.lists(st.builds(Usage, **used), max_size=2).map(tuple))
places = st.none() | st.integers(0, 9)
citations = st.builds(
    Citation,
    start=places,
    end=places,
    url=st.none() | text,
    quote=st.none() | text,
    document=places,
    pages=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
likely = st.floats(-100, 0)
logprobs = st.builds(TokenLogprob, text, likely, st.lists(st.tuples(text, likely), max_size=2).map(tuple))
results = st.builds(
    CompletionResult,
    content=text,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    usage=usages,
    reasoning=st.lists(reasoning, max_size=2).map(tuple),
    finish_reason=st.sampled_from(["stop", "length", "tool_calls"]),
    model=text,
    request_id=st.none() | text,
    citations=st.lists(citations, max_size=2).map(tuple),
    logprobs=st.lists(logprobs, max_size=2).map(tuple),
    cached=st.booleans(),
    saved=st.none() | usages,
)
events = st.builds(
    StreamEvent,
    type=st.sampled_from(["token", "tool_call_end", "usage", "done"]),
    text=text,
    tool_call=st.none() | calls,
    usage=st.none() | usages,
    result=st.none() | results,
)


def through_json(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))


@given(messages)
def test_messages_come_back(message: Message) -> None:
    assert load_message(through_json(dump_message(message))) == message


@given(usages)
def test_usage_comes_back_with_its_exact_cost(usage: Usage) -> None:
    assert load_usage(through_json(dump_usage(usage))) == usage


@given(results)
def test_results_come_back(result: CompletionResult) -> None:
    assert load_result(through_json(dump_result(result))) == result


@given(events)
def test_events_come_back(event: StreamEvent) -> None:
    assert load_event(through_json(dump_event(event))) == event


def test_what_a_newer_version_added_is_ignored() -> None:
    assert load_message({"role": "user", "content": "hi", "mood": "good"}) == Message.user("hi")


def test_an_agents_last_event_is_refused() -> None:
    with pytest.raises(TypeError):
        dump_event(StreamEvent(type="done", result="an agent's result"))


def test_defaults_take_no_room() -> None:
    assert dump_message(Message.user("hi")) == {"role": "user", "content": "hi"}
    assert dump_usage(Usage(cost=Decimal(0))) == {"cost": "0"}


def test_a_request_is_written_with_everything_that_changes_its_answer_and_nothing_else() -> None:
    @tool
    def look(city: str) -> str:
        """Look."""
        return city

    spec = RequestSpec(
        messages=[Message.user("hi")],
        tools=[look],
        stop=["x"],
        timeout=5,
        output_schema=OutputSchema(name="out", schema={"type": "object"}),
        extra={"service_tier": "flex"},
    )

    assert dump_spec(spec) == {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "look", "description": "Look.", "parameters": dict(look.parameters)}],
        "stop": ["x"],
        "output_schema": {"name": "out", "schema": {"type": "object"}},
        "extra": {"service_tier": "flex"},
    }


def test_equal_requests_have_equal_hashes_however_their_arguments_are_ordered() -> None:
    provider = ScriptedProvider([])
    one = Message.assistant("", [ToolCall("1", "f", {"a": 1, "b": 2})])
    other = Message.assistant("", [ToolCall("1", "f", {"b": 2, "a": 1})])

    assert request_hash(RequestSpec(messages=[one]), provider) == request_hash(
        RequestSpec(messages=(other,)), provider
    )


def test_the_model_and_its_address_are_part_of_the_hash() -> None:
    class Elsewhere(ScriptedProvider):
        base_url = "https://elsewhere.example/v1"

    spec = RequestSpec(messages=[Message.user("hi")])
    hashes = {
        request_hash(spec, ScriptedProvider([])),
        request_hash(spec, ScriptedProvider([], model="other")),
        request_hash(spec, ScriptedProvider([], name="other")),
        request_hash(spec, Elsewhere([])),
    }

    assert len(hashes) == 4


def test_keys_of_tenants_cannot_be_confused() -> None:
    assert scoped_key("a", "b:c") != scoped_key("a:b", "c")
    assert scoped_key(None, "x") != scoped_key("None", "x")
    assert scoped_key(None, "x", "a") == scoped_key("a", "x", "a") == scoped_key("a", "x")
    assert scoped_key("b", "x", "a") not in (
        scoped_key("b", "x"),
        scoped_key("b", "x", "c"),
        scoped_key("a", "x"),
    )
