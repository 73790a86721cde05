"""Numbers that 64 bits do not hold survive arguments, results, conversations, caches and recordings, digit for digit."""

import copy
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import (
    Agent,
    Conversation,
    ExecutionEngine,
    Message,
    RequestSpec,
    ScriptedProvider,
    SQLiteCache,
    ToolCall,
    tool,
)
from llm_client.json_text import LongFloat, dumps, loads
from llm_client.providers.tool_calls import make_tool_call

HUGE = 123_456_789_012_345_678_901_234_567_890
PRICE = "12345678901234567.89"
WRITTEN = f'{{"count": {HUGE}, "price": {PRICE}, "plain": 0.1}}'


@given(
    st.recursive(
        st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists, max_leaves=5
    )
)
def test_every_number_is_read_back_as_it_was_written(value: Any) -> None:
    assert loads(dumps(value)) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=20))
def test_every_decimal_keeps_its_digits(value: Decimal) -> None:
    number = loads(f"[{value:f}]")[0]

    assert Decimal(str(number)) == value
    assert Decimal(str(loads(dumps([number]))[0])) == value


@pytest.mark.parametrize("text", ["1e999", "9" * 5_000, "-1e400", "[1" + "0" * 400 + ".5]"])
def test_a_number_that_nobody_can_have_meant_is_no_json(text: str) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(text)


def test_a_number_below_all_others_is_nothing() -> None:
    assert loads("1e-999999999999999999999") == 0.0
    assert type(loads(f"0.{'0' * 500}1")) is float


def test_a_long_float_is_a_float() -> None:
    number = loads(PRICE)

    assert isinstance(number, LongFloat)
    assert (number, str(number), number * 2) == (float(PRICE), PRICE, float(PRICE) * 2)
    assert number == float(PRICE)
    assert number != loads("12345678901234567.91")
    assert len({number, float(PRICE)}) == 1
    for again in (copy.deepcopy(number), pickle.loads(pickle.dumps(number))):
        assert str(again) == PRICE


def test_a_large_answer_of_many_numbers_is_read_as_floats() -> None:
    """Reading all digits takes ten times as long, and nobody can have meant so many."""
    many = loads("[" + ",".join([PRICE] * 60_000) + "]")
    assert {type(number) for number in many} == {float}


def test_long_numbers_in_texts_are_texts() -> None:
    assert loads(f'["{PRICE}", "\\"{HUGE}", 1]') == [PRICE, f'"{HUGE}', 1]


@pytest.mark.parametrize("arguments", [WRITTEN, f"{{}}{WRITTEN}", loads(WRITTEN)])
def test_arguments_keep_their_digits(arguments: Any) -> None:
    made = make_tool_call("1", "pay", arguments)

    assert made.arguments["count"] == HUGE
    assert str(made.arguments["price"]) == PRICE
    assert loads(dumps(made.arguments)) == made.arguments


async def test_a_tool_gets_and_gives_all_digits() -> None:
    got: list[Any] = []

    @tool(effect="read")
    def pay(count: int, price: Decimal, plain: float) -> dict[str, Any]:
        """Pay."""
        got.append((count, price, plain))
        return {"count": count * 10, "price": price, "sum": 2**80}

    model = ScriptedProvider([[make_tool_call("1", "pay", WRITTEN)], "ok"])
    result = await Agent(provider=model, tools=[pay]).run("go")

    assert got == [(HUGE, Decimal(PRICE), 0.1)]
    assert result.messages[2].text == f'{{"count":{HUGE * 10},"price":"{PRICE}","sum":{2**80}}}'
    saved = Conversation.parse(Conversation(result.messages).dump())
    assert tuple(saved.messages) == result.messages
    assert str(saved.messages[1].tool_calls[0].arguments["price"]) == PRICE


async def test_a_cache_and_a_stream_keep_them(tmp_path: Path) -> None:
    call = make_tool_call("1", "pay", WRITTEN)
    spec = RequestSpec(messages=[Message.user("go")])
    engine = ExecutionEngine(ScriptedProvider([[call]]), cache=SQLiteCache(tmp_path / "cache.db"))
    await engine.complete(spec)
    again = await engine.complete(spec)
    events = [event async for event in engine.stream(spec)]
    await engine.aclose()

    assert again.cached
    assert again.tool_calls == (call,)
    assert str(again.tool_calls[0].arguments["price"]) == PRICE
    assert any(event.tool_call == call for event in events)


def test_a_call_with_long_numbers_can_be_made_by_hand() -> None:
    call = ToolCall("1", "pay", {"price": LongFloat(PRICE)})
    assert dumps(call.arguments) == f'{{"price":{PRICE}}}'.encode()
