"""Tool calls are put together from pieces in any server's dialect, however the pieces of several calls are mixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.messages import ToolCall
from llm_client.providers.failures import Origin
from llm_client.providers.openai.chat_stream import ChatStreamReader
from llm_client.providers.tool_calls import make_tool_call

Piece = dict[str, Any]
Dialect = Callable[[int, str, list[str]], list[Piece]]
ORIGIN = Origin(provider="p", model="m")


def read(pieces: list[Piece]) -> list[tuple[str, dict[str, Any]]]:
    reader = ChatStreamReader(ORIGIN, None)
    events = [
        event for piece in pieces for event in reader.read({"choices": [{"delta": {"tool_calls": [piece]}}]})
    ]
    events += reader.read({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    calls = reader.result().tool_calls
    ended = [event.tool_call for event in events if event.type == "tool_call_end"]
    assert ended == list(calls)
    assert len({call.id for call in calls}) == len(calls)
    assert sum(event.type == "tool_call_start" for event in events) == len(calls)
    assert all(call.malformed is None for call in calls), calls
    return [(call.name, call.arguments) for call in calls]


def head(name: str | None, arguments: Any = "", **fields: Any) -> Piece:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"type": "function", "function": function, **fields}


def ordinary(number: int, name: str, texts: list[str]) -> list[Piece]:
    tails = [{"index": number, "function": {"arguments": text}} for text in texts]
    return [head(name, index=number, id=f"id{number}"), *tails]


def ids_without_index(number: int, name: str, texts: list[str]) -> list[Piece]:
    return [head(name, id=f"id{number}"), *(head(None, text, id=f"id{number}") for text in texts)]


def ids_while_index_stays_0(number: int, name: str, texts: list[str]) -> list[Piece]:
    return [{**piece, "index": 0} for piece in ids_without_index(number, name, texts)]


def no_ids(number: int, name: str, texts: list[str]) -> list[Piece]:
    return [
        {key: value for key, value in piece.items() if key != "id"} for piece in ordinary(number, name, texts)
    ]


def name_after_id(number: int, name: str, texts: list[str]) -> list[Piece]:
    first, *tails = ordinary(number, name, texts)
    return [head(None, None, index=number, id=first["id"]), head(name, index=number), *tails]


def name_in_each_piece(number: int, name: str, texts: list[str]) -> list[Piece]:
    return [head(name, text, index=number, id=f"id{number}") for text in texts]


def new_id_in_each_piece(number: int, name: str, texts: list[str]) -> list[Piece]:
    return [
        head(name, text, index=number, id=f"id{number}-{place}") for place, text in enumerate(("", *texts))
    ]


def an_object(number: int, name: str, texts: list[str]) -> list[Piece]:
    return [head(name, orjson.loads("".join(texts)), index=number, id=f"id{number}")]


def neither_id_nor_index(number: int, name: str, texts: list[str]) -> list[Piece]:
    return [head(name), *(head(None, text) for text in texts)]


def index_0_twice(number: int, name: str, texts: list[str]) -> list[Piece]:
    return [{**piece, "index": 0} for piece in no_ids(number, name, texts)]


def head_at_0_tail_behind(number: int, name: str, texts: list[str]) -> list[Piece]:
    first, *tails = ordinary(number, name, texts)
    return [{**first, "index": 0}, *tails]


MIXED: list[Dialect] = [
    ordinary,
    ids_without_index,
    ids_while_index_stays_0,
    no_ids,
    name_after_id,
    name_in_each_piece,
    new_id_in_each_piece,
    an_object,
]
IN_TURN: list[Dialect] = [neither_id_nor_index, index_0_twice, head_at_0_tail_behind]
"""Their pieces say too little to be mixed."""


@st.composite
def cut(draw: st.DrawFn) -> tuple[dict[str, Any], list[str]]:
    """Return arguments, and their JSON text in pieces."""
    arguments = draw(
        st.dictionaries(
            st.sampled_from("abc"), st.one_of(st.integers(0, 9), st.text('x{}"ü', max_size=3), st.none())
        )
    )
    text = orjson.dumps(arguments).decode()
    places = sorted(draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=4)))
    return arguments, [
        text[one:other]
        for one, other in zip([0, *places], [*places, len(text)], strict=True)
        if text[one:other]
    ]


@pytest.mark.parametrize("dialect", MIXED, ids=lambda dialect: dialect.__name__)
@given(data=st.data())
def test_any_mixture_of_two_calls_gives_the_two_calls(dialect: Dialect, data: st.DataObject) -> None:
    names = data.draw(st.sampled_from([("f", "g"), ("f", "f")]))
    cuts = [data.draw(cut()), data.draw(cut())]
    waiting = [
        dialect(number, name, texts)
        for number, (name, (_, texts)) in enumerate(zip(names, cuts, strict=True))
    ]
    mixed: list[Piece] = []
    while any(waiting):
        which = data.draw(st.sampled_from([number for number, pieces in enumerate(waiting) if pieces]))
        mixed.append(waiting[which].pop(0))
    right = [(name, arguments) for name, (arguments, _) in zip(names, cuts, strict=True)]
    assert sorted(read(mixed), key=repr) == sorted(right, key=repr)


@pytest.mark.parametrize("dialect", IN_TURN, ids=lambda dialect: dialect.__name__)
@given(data=st.data())
def test_calls_that_come_in_turn_are_told_apart(dialect: Dialect, data: st.DataObject) -> None:
    cuts = [data.draw(cut()) for _ in range(3)]
    pieces = [
        piece for number, (_, texts) in enumerate(cuts) for piece in dialect(number, "fgh"[number], texts)
    ]
    assert read(pieces) == [("fgh"[number], arguments) for number, (arguments, _) in enumerate(cuts)]


def test_second_whole_call_at_the_same_index_is_one_of_its_own() -> None:
    pieces = [head("f", '{"x":1}', index=0, id="a"), head("f", '{"x":2}', index=0, id="b")]
    assert read(pieces) == [("f", {"x": 1}), ("f", {"x": 2})]


@pytest.mark.parametrize("arguments", ['{"x":1}', "{}"])
def test_call_that_a_server_says_again_as_a_whole_is_one_call(arguments: str) -> None:
    """Some repeat it in the piece that ends the answer: the tool would run twice."""
    whole = head("f", arguments, index=0, id="a")
    assert read([whole, whole]) == [("f", orjson.loads(arguments))]
    assert read([*ordinary(0, "f", [arguments]), {**whole, "id": "id0"}]) == [("f", orjson.loads(arguments))]
    assert len(read([whole, {**whole, "index": 1}])) == 2
    assert len(read([whole, head("f", '{"x":2}', index=0, id="a")])) == 2


def test_id_that_a_server_gives_twice_is_made_unique() -> None:
    reader = ChatStreamReader(ORIGIN, None)
    for index, name in enumerate("fg"):
        reader.read({"choices": [{"delta": {"tool_calls": [head(name, "{}", index=index, id="a")]}}]})
    assert [call.id for call in reader.result().tool_calls] == ["a", "a-2"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", {}),
        (None, {}),
        ("null", {}),
        ('{}{"x":1}', {"x": 1}),
        ('{}{}{"x":1}', {"x": 1}),
        ('{"x":1}{"x":1}', {"x": 1}),
        ('"{\\"x\\":1}"', {"x": 1}),
        ('"null"', {}),
        ('""', {}),
        ({"x": 1}, {"x": 1}),
        (' {"x":1}\n', {"x": 1}),
        ('{"x":"\\ud83c\\udf89\\ud83c"}', {"x": "🎉\ufffd"}),
    ],
)
def test_arguments_are_read_as_they_are_meant(written: Any, meant: dict[str, Any]) -> None:
    assert make_tool_call("a", "f", written) == ToolCall("a", "f", meant)


@pytest.mark.parametrize("written", ["[1]", "1", '"x"', '{"x":', '{"x":1}{"x":2}', "{}[]", "{'x': 1}"])
def test_what_means_no_object_is_kept_as_it_came(written: str) -> None:
    assert make_tool_call("a", "f", written) == ToolCall("a", "f", {}, malformed=written)
