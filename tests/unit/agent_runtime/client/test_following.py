"""Streams of events that are lost: made again from where they were, each event once, and given up in the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import pytest

from agent_runtime import ServiceError, ServiceUnreachable, UnknownJob
from agent_runtime.client import AsyncClient


def frame(seq: int | None, type_: str = "custom.step", **data: Any) -> bytes:
    told = {
        "seq": seq,
        "type": type_,
        "job_id": "j",
        "scope_id": "acme",
        "timestamp": "2026-01-01T00:00:00Z",
        "operation_id": "o",
        "data": {"text": "a\u2028b", **data},
        "content": None,
    }
    id_ = "" if seq is None else f"id: {seq}\n"
    return f"event: {type_}\n{id_}data: {json.dumps(told, ensure_ascii=False)}\n\n".encode()


END = b"event: end\ndata: {}\n\n"
GAP = b"event: gap\ndata: {}\n\n"
BEGIN = b"retry: 1000\n\n"
SIGN = b": \n\n"


class Pieces(httpx2.AsyncByteStream):
    def __init__(self, pieces: Sequence[bytes | Exception]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class Streams(httpx2.AsyncBaseTransport):
    """Answers each request with the next stream, the last one for ever."""

    def __init__(self, *streams: Sequence[bytes | Exception] | httpx2.Response) -> None:
        self._streams = list(streams)
        self.last_ids: list[str | None] = []
        self.patience: list[float] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.last_ids.append(request.headers.get("last-event-id"))
        self.patience.append(request.extensions["timeout"]["read"])
        stream = self._streams.pop(0) if len(self._streams) > 1 else self._streams[0]
        if isinstance(stream, httpx2.Response):
            return stream
        return httpx2.Response(200, stream=Pieces(stream))

    def client(self, **options: Any) -> AsyncClient:
        return AsyncClient("http://service", transport=self, **options)


LOST = httpx2.ReadError("gone")


def unknown() -> httpx2.Response:
    said = {"type": "x", "title": "x", "status": 404, "detail": "no such job", "code": "UNKNOWN_JOB"}
    return httpx2.Response(404, json=said)


async def test_a_stream_goes_on_where_it_was_lost_and_tells_each_event_once() -> None:
    streams = Streams(
        [BEGIN, frame(1), frame(2)[:40], LOST],
        [BEGIN, frame(1), frame(2), frame(None, "model.token")],
        [BEGIN, frame(3), END],
    )
    async with streams.client() as client:
        seen = [event.seq async for event in client.jobs.events("j")]
    assert seen == [1, 2, None, 3]
    assert streams.last_ids == [None, "1", "2"]


async def test_a_stream_that_is_lost_with_nothing_told_is_given_up() -> None:
    streams = Streams([BEGIN, LOST])
    async with streams.client(patience=0.7) as client:
        with pytest.raises(ServiceUnreachable, match="gone"):
            [event async for event in client.jobs.events("j")]
    assert 3 <= len(streams.last_ids) <= 8  # at once, after waits that grow, and when patience ends


async def test_a_job_that_is_quiet_for_long_is_followed_through_many_lost_connections() -> None:
    quiet: list[list[bytes | Exception]] = [[BEGIN, SIGN, LOST] for _ in range(4)]
    streams = Streams(*quiet, [BEGIN, frame(1), END])
    async with streams.client(patience=0.5) as client:
        assert [event.seq async for event in client.jobs.events("j")] == [1]


async def test_what_is_refused_is_raised_at_once_and_later() -> None:
    async with Streams(unknown()).client() as client:
        with pytest.raises(UnknownJob):
            [event async for event in client.jobs.events("j")]
    streams = Streams([BEGIN, frame(1)], unknown())
    async with streams.client() as client:
        with pytest.raises(UnknownJob):
            [event async for event in client.jobs.events("j")]
    assert streams.last_ids == [None, "1"]


async def test_a_gap_in_the_events_of_many_jobs_is_told() -> None:
    async with Streams([BEGIN, frame(7), GAP, frame(90), END]).client() as client:
        seen = [None if event is None else event.seq async for event in client.events()]
    assert seen == [7, None, 90]


async def test_what_is_no_event_is_said_to_be_none() -> None:
    async with Streams([BEGIN, b"id: 1\ndata: {}\n\n"]).client() as client:
        with pytest.raises(ServiceError, match="no event"):
            [event async for event in client.jobs.events("j")]


async def test_a_stream_that_is_quiet_is_waited_for_as_long_as_its_signs_of_life_take() -> None:
    streams = Streams([BEGIN, END])
    async with streams.client(timeout=2) as client:
        assert [event async for event in client.jobs.events("j")] == []
    assert streams.patience == [60.0]
