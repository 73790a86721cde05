"""The event stream parser gives the same events however the network cuts the bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.errors import InvalidResponse
from llm_client.providers.transport.sse import ServerSentEvent, SSEParser


def parse(*chunks: bytes) -> list[ServerSentEvent]:
    parser = SSEParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.close()


def data(*values: str) -> list[ServerSentEvent]:
    return [ServerSentEvent("message", value.encode()) for value in values]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", data("a", "b")),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", data("a", "b")),
        (b"data: a\r\rdata: b\r\r", data("a", "b")),
        (b"data:a\n\n", data("a")),
        (b"data:  a\n\n", data(" a")),
        (b"data: a\ndata: b\n\n", data("a\nb")),
        (b"data\ndata\n\n", data("\n")),
        (b"data:\n\n", data("")),
        (b": keep-alive\n\n: again\ndata: a\n\n", data("a")),
        (b"\xef\xbb\xbfdata: a\n\n", data("a")),
        (b"data: a\n\nretry: 10\nid: 7\nunknown: x\n\n", data("a")),
        (b"event: ping\n\ndata: a\n\n", data("a")),
        (b"event: delta\ndata: a\n\ndata: b\n\n", [ServerSentEvent("delta", b"a"), *data("b")]),
        (b"data: a", data("a")),
        (b"data: a\n", data("a")),
        (b"", []),
    ],
)
def test_stream_is_read_as_the_standard_says(stream: bytes, expected: list[ServerSentEvent]) -> None:
    assert parse(stream) == expected
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == expected


def test_character_split_over_two_chunks_stays_whole() -> None:
    encoded = "data: Köln 🎉\n\n".encode()
    for cut in range(len(encoded)):
        assert parse(encoded[:cut], encoded[cut:]) == data("Köln 🎉")


def test_carriage_return_ends_the_line_before_its_line_feed_comes() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: a\r\n\r") == data("a")
    assert parser.feed(b"\ndata: b\r\n\r\n") == data("b")


def test_one_megabyte_event_in_small_pieces_is_one_event() -> None:
    text = b"x" * 1024 * 1024
    parser = SSEParser()
    events = []
    for start in range(0, len(text), 100):
        events += parser.feed((b"data: " if start == 0 else b"") + text[start : start + 100])
    assert events == []
    assert parser.feed(b"\n\n") == [ServerSentEvent("message", text)]


def test_event_above_the_bound_is_refused_before_it_is_complete() -> None:
    with pytest.raises(InvalidResponse, match="larger than 1000 bytes"):
        SSEParser(max_event_bytes=1000).feed(b"data: " + b"x" * 1001)
    parser = SSEParser(max_event_bytes=1000)
    with pytest.raises(InvalidResponse, match="larger than 1000 bytes"):
        parser.feed((b"data: " + b"x" * 100 + b"\n") * 11)


@given(
    pieces=st.lists(
        st.sampled_from(
            [
                "data: ",
                "data:",
                "data",
                "event: e",
                ": c",
                "ü🎉",
                "x",
                " ",
                ":",
                "\n",
                "\r\n",
                "\r",
                "\n\n",
                "\ufeff",
            ]
        ),
        max_size=40,
    ),
    cuts=st.lists(st.integers(min_value=0, max_value=200), max_size=12),
)
def test_any_chunking_gives_the_same_events(pieces: list[str], cuts: list[int]) -> None:
    stream = "".join(pieces).encode()
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[start:end] for start, end in pairwise(bounds)]
    assert parse(*chunks) == parse(stream)
