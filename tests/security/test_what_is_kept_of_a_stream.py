"""However many events a vendor sends, and whatever stands wherever in them: of one answer a bounded number of values is kept."""

import gc
import json
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import pytest

from agent_runtime.execution.guards.heard import Heard
from llm_client import CompletionResult, ProviderError, StreamEvent, Usage
from llm_client.providers.anthropic.stream import MessagesStreamReader
from llm_client.providers.failures import Origin
from llm_client.providers.google.stream import GenerateContentReader
from llm_client.providers.kept import Kept
from llm_client.providers.openai.chat_stream import ChatStreamReader
from llm_client.providers.openai.responses_stream import ResponsesStreamReader
from llm_client.providers.response import MAX_BLOCKS
from llm_client.providers.wire import UNREADABLE, StreamReader
from support.json_places import Place, at, places, replaced
from support.wire import (
    anthropic,
    anthropic_answers,
    chat_answers,
    google,
    google_answers,
    openai_chat,
    openai_responses,
    responses_answers,
)

pytestmark = pytest.mark.timeout(400)

MOST = 1_000
"""Values that an answer of these tests may keep."""
EVENT = 600
"""Values that stand at one place of one event."""
TIMES = 20
"""Events with something at one place: of 12,000 values."""
BOUND = 2 * MOST + 8 * EVENT
"""Objects that are there at most: an answer's, and some events' that stand in the place of each other; a value of a kind of its own is two."""

ONE_HASH = 2**61 - 1
"""Python takes whole numbers modulo this for their hashes."""

ORIGIN = Origin(provider="v", model="m")
READERS: dict[str, Callable[[], StreamReader]] = {
    "anthropic": lambda: MessagesStreamReader(ORIGIN, None),
    "google": lambda: GenerateContentReader(ORIGIN, None),
    "chat": lambda: ChatStreamReader(ORIGIN, None, ("annotations",)),
    "responses": lambda: ResponsesStreamReader(ORIGIN, None),
}


def streams(vendor: str) -> list[list[dict[str, Any]]]:
    """Return streams in which everything stands that the vendor's reader knows."""
    if vendor == "anthropic":
        told = [shape for shape in anthropic_answers.SHAPES.values() if isinstance(shape, list)]
        shaped = [anthropic_answers.streamed(blocks, "end_turn") for blocks in told]
        return [anthropic.TEXT_STREAM, anthropic.TOOL_STREAM, *shaped]
    if vendor == "google":
        parts = [shape for shape in google_answers.SHAPES.values() if isinstance(shape, list)]
        grounded = {
            "candidates": [{"groundingMetadata": GROUNDED, "citationMetadata": {"citations": [{"uri": "u"}]}}]
        }
        return [google.TEXT_STREAM, google.TOOL_STREAM, [grounded], *map(google_answers.streamed, parts)]
    if vendor == "chat":
        said = [shape for shape in chat_answers.SHAPES.values() if isinstance(shape, dict)]
        return [openai_chat.TEXT_STREAM, openai_chat.TOOL_STREAM, *map(chat_answers.streamed, said)]
    items = [shape for shape in responses_answers.SHAPES.values() if isinstance(shape, list)]
    shaped = [responses_answers.streamed(output, {"output": []}) for output in items]
    return [openai_responses.TEXT_STREAM, openai_responses.TOOL_STREAM, *shaped]


GROUNDED: dict[str, Any] = {
    "webSearchQueries": ["Köln"],
    "groundingChunks": [{"web": {"uri": "https://e.example", "title": "E"}}],
    "groundingSupports": [{"segment": {"endIndex": 1, "text": "x"}, "groundingChunkIndices": [0]}],
}


def shape_of(value: Any) -> Any:
    """Return what an event is made of, whatever it says."""
    if isinstance(value, dict):
        return tuple(
            (name, value[name] if name == "type" else shape_of(inner)) for name, inner in value.items()
        )
    return tuple(shape_of(inner) for inner in value) if isinstance(value, list) else type(value)


def steps(vendor: str) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Yield each kind of event with what comes before it."""
    seen = set()
    for stream in streams(vendor):
        for number, event in enumerate(stream):
            if (shape := shape_of(event)) not in seen:
                seen.add(shape)
                yield stream[:number], event


def held_by(*held: Any) -> Iterator[Any]:
    """Yield every object that somebody holds, each once."""
    seen: set[int] = set()
    below: list[Any] = list(held)
    while below:
        item = below.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType | types.FunctionType):
            continue
        seen.add(id(item))
        yield item
        below += gc.get_referents(item)


def kept_by(*held: Any) -> int:
    """Return how many objects somebody holds."""
    return sum(1 for _ in held_by(*held))


def read_all(reader: StreamReader, events: Iterable[dict[str, Any]]) -> None:
    for event in events:
        reader.read(event)


def feed(reader: StreamReader, events: Iterable[dict[str, Any]]) -> list[StreamEvent]:
    """Let a reader read; return what it has told of it, as somebody may keep it who records the stream."""
    told: list[StreamEvent] = []
    with suppress(ProviderError, *UNREADABLE):
        for event in events:
            reader.draft.pieces = 0
            told += reader.read(event)
    return told


def lists() -> Any:
    return [[] for _ in range(EVENT)]


def arguments(number: int) -> Any:
    return json.dumps({f"n{number}": lists()})


def names(number: int) -> Any:
    return {f"n{number}-{each}": [] for each in range(EVENT // 2)}


def changes(event: dict[str, Any]) -> Iterator[tuple[Place, Callable[[int], Any]]]:
    """Yield what may be done to an event, each with its place."""
    for place in places(event):
        if "args" in place:
            continue  # arguments of all calls are counted together, as the text they are in most dialects
        inner = at(event, place)
        yield place, lambda _, place=place: replaced(event, place, lists())
        yield place, lambda number, place=place: replaced(event, place, names(number))
        if isinstance(inner, str):
            yield place, lambda number, place=place: replaced(event, place, arguments(number))
        if isinstance(inner, dict):
            yield (
                place,
                lambda number, place=place, inner=inner: replaced(event, place, {**inner, **names(number)}),
            )
        if isinstance(inner, list):
            yield place, lambda _, place=place, inner=inner: replaced(event, place, [*inner, *lists()])


@pytest.mark.parametrize("vendor", READERS)
def test_whatever_stands_anywhere_in_countless_events_little_is_kept(vendor: str) -> None:
    """Each event was counted by itself: 64 MiB of them became two gigabytes."""
    tried = 0
    for before, event in steps(vendor):
        for place, change in changes(event):
            reader = READERS[vendor]()
            reader.draft.kept = Kept(MOST)
            for each in before:
                reader.read(each)
            told = feed(reader, map(change, range(TIMES)))
            kept = kept_by(reader, told)
            assert kept < BOUND, (place, event, kept)
            tried += 1
    assert tried > 100


def alike_keys(held: Any) -> int:
    """Return how many keys of one dictionary or set of somebody's share a hash, at most."""
    alike = (Counter(map(hash, item)) for item in held_by(held) if isinstance(item, dict | set))
    return max((number for counts in alike for number in counts.values()), default=0)


@pytest.mark.parametrize("vendor", READERS)
def test_nothing_is_kept_by_numbers_of_one_hash(vendor: str) -> None:
    """Each was compared with all before it: 80,000 blocks, of 13 MB, took minutes and held the loop for three seconds at a stretch."""
    tried = 0
    for before, event in steps(vendor):
        for place in places(event):
            if type(at(event, place)) is not int:
                continue
            reader = READERS[vendor]()
            read_all(reader, before)
            for number in range(1, 6):
                with suppress(ProviderError, *UNREADABLE):
                    reader.read(replaced(event, place, number * ONE_HASH))
                with suppress(ProviderError, *UNREADABLE):
                    reader.read(replaced(event, place, -number * ONE_HASH))
            assert alike_keys(reader) <= 2, (place, event)
            tried += 1
    assert tried > 4


@pytest.mark.parametrize("vendor", ["anthropic", "responses"])
def test_blocks_that_are_no_text_are_counted_as_well(vendor: str) -> None:
    def block(number: int) -> dict[str, Any]:
        if vendor == "anthropic":
            return {"type": "content_block_start", "index": number, "content_block": {"type": "thinking"}}
        return {"type": "response.output_item.done", "output_index": number, "item": {"type": "message"}}

    with pytest.raises(ValueError, match=f"more than {MAX_BLOCKS} "):
        read_all(READERS[vendor](), map(block, range(MAX_BLOCKS + 1)))


def test_blocks_that_never_end_are_counted_too() -> None:
    reader = READERS["anthropic"]()
    reader.draft.kept = Kept(MOST)
    for number in range(MOST):
        piece = {"type": "input_json_delta", "partial_json": "{"}
        reader.read({"type": "content_block_delta", "index": number, "delta": piece})
    assert kept_by(reader) < BOUND
    begun = [
        {"type": "content_block_start", "index": number, "content_block": {"type": "x"}}
        for number in range(MOST)
    ]
    with pytest.raises(ValueError, match=f"more than {MOST} values"):
        read_all(reader, begun)


def test_so_are_pictures() -> None:
    reader = READERS["chat"]()
    picture = {"image_url": {"url": "https://p.example"}}
    delta = {"choices": [{"index": 0, "delta": {"images": [picture] * 100}}]}
    with pytest.raises(ValueError, match=f"more than {MAX_BLOCKS} pictures"):
        read_all(reader, [delta] * MAX_BLOCKS)


def test_an_answer_that_asks_for_each_of_its_pieces_back_may_be_long() -> None:
    """A server of the Chat format says each piece of a thought with its kind, its number and its format."""
    reader = READERS["chat"]()
    piece = {"type": "reasoning.text", "text": "x", "format": "f", "index": 0}
    loose = {**piece, "index": None}
    for detail in (piece, loose):
        for _ in range(100_000):
            reader.read({"choices": [{"index": 0, "delta": {"reasoning_details": [detail]}}]})
    details = reader.result(partial=True).reasoning[0].data["reasoning_details"]
    assert (len(details), details[0]["text"]) == (100_001, "x" * 100_000)


def test_of_countless_events_that_say_what_was_used_the_last_are_kept() -> None:
    """Each may tell of a hundred iterations, and was kept until the answer's end."""
    told: list[StreamEvent] = []
    heard = Heard(told.append, monotonic)
    for number in range(1_000):
        heard(StreamEvent(type="token", text="x"))
        heard(StreamEvent(type="usage", usage=Usage(output_tokens=number)))
    assert len(told) == 2_000
    kept = [event.usage for event in heard.events if event.usage is not None]
    assert 1 <= len(kept) <= 100
    assert heard.said_usage() == kept[-1] == Usage(output_tokens=999)
    written = heard.dump(CompletionResult(content="x" * 1_000))
    assert written.count(1) == 1_000
    assert len(written) == 1_000 + len(kept)
