"""What an agent remembers: the newest exchanges, whole ones, within their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.errors import InvalidInput
from agent_runtime.residents.memory import MAX_MEMORY_BYTES, recalled, remembered
from agent_runtime.residents.settings import AgentSettings
from llm_client.messages import Message, ToolCall
from llm_client.tokens import TokenEstimator


def exchange(number: int, *, calls: int = 0, size: int = 5) -> list[Message]:
    between = [
        message
        for call in range(calls)
        for message in (
            Message.assistant("", [ToolCall(f"{number}.{call}", "look", {"at": call})]),
            Message.tool("seen" * size, f"{number}.{call}"),
        )
    ]
    return [Message.user(f"ask {number}"), *between, Message.assistant(f"answer {number}")]


def texts(memory: bytes) -> list[str]:
    return [message.text for message in recalled(memory)]


def test_nothing_is_remembered_at_first() -> None:
    assert recalled(None) == []


def test_messages_come_back_as_they_were() -> None:
    said = exchange(1, calls=2)

    assert recalled(remembered(None, said, AgentSettings())) == said


def test_the_oldest_exchanges_are_forgotten_first_and_whole() -> None:
    settings = AgentSettings(memory_messages=8)
    memory: bytes | None = None
    for number in range(4):
        memory = remembered(memory, exchange(number, calls=1), settings)

    assert memory is not None
    assert [one for one in texts(memory) if one.startswith("ask")] == ["ask 2", "ask 3"]
    assert len(recalled(memory)) == 8


def test_tokens_bound_what_is_remembered() -> None:
    settings = AgentSettings(memory_tokens=200)
    memory: bytes | None = None
    for number in range(20):
        memory = remembered(memory, exchange(number, calls=1, size=20), settings)

    assert TokenEstimator().estimate(recalled(memory)) <= 200
    assert texts(memory or b"")[-1] == "answer 19"


def test_of_an_exchange_that_is_too_long_question_and_answer_are_left() -> None:
    long = [
        Message.user("Read it all"),
        Message.assistant("", [ToolCall("1", "read", {})]),
        Message.tool("\x01" * MAX_MEMORY_BYTES, "1"),
        Message.assistant("It says " + "\x01" * MAX_MEMORY_BYTES),
    ]

    memory = remembered(None, long, AgentSettings())

    question, answer = recalled(memory)
    assert question.text == "Read it all"
    assert answer.text.startswith("It says ")
    assert answer.text.endswith("[…]")
    assert len(memory) <= MAX_MEMORY_BYTES


def test_an_agent_may_remember_nothing() -> None:
    assert recalled(remembered(None, exchange(1), AgentSettings(memory_messages=0))) == []


@pytest.mark.parametrize("damaged", [b"", b"[]", b"{}", b'{"format":1,"messages":[7]}', b'{"format":"x"}'])
def test_what_is_no_memory_is_refused_in_words(damaged: bytes) -> None:
    with pytest.raises(InvalidInput, match="remembers"):
        recalled(damaged)


def test_the_memory_of_a_newer_version_is_left_to_it() -> None:
    with pytest.raises(InvalidInput, match="format 2"):
        recalled(b'{"format":2,"messages":[]}')


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3000)), max_size=8),
    st.integers(0, 30),
    st.none() | st.integers(1, 3000),
)
def test_no_bound_is_exceeded_and_no_call_loses_its_result(
    turns: list[tuple[int, int]], most: int, tokens: int | None
) -> None:
    settings = AgentSettings(memory_messages=most, memory_tokens=tokens)
    memory: bytes | None = None
    for number, (calls, size) in enumerate(turns):
        memory = remembered(memory, exchange(number, calls=calls, size=size), settings)
    kept = recalled(memory)

    assert len(kept) <= most
    assert len(memory or b"") <= MAX_MEMORY_BYTES
    assert tokens is None or TokenEstimator().estimate(kept) <= tokens
    assert [call.id for one in kept for call in one.tool_calls] == [
        one.tool_call_id for one in kept if one.role == "tool"
    ]
    assert not kept or kept[0].role == "user"
