"""Recording and replaying."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from llm_client import (
    Chunks,
    ConfigurationError,
    FunctionProvider,
    Message,
    ProviderUnavailable,
    RateLimited,
    RecordedProvider,
    RequestContext,
    RequestSpec,
    ScriptedProvider,
    ScriptExhausted,
    StreamEvent,
    Usage,
)
from llm_client.blocking import run_blocking
from support.redaction_corpus import SECRETS

SPEC = RequestSpec(messages=[Message.user("hi")])
CONTEXT = RequestContext()


def complete(provider: RecordedProvider, spec: RequestSpec = SPEC) -> Any:
    return run_blocking(provider.complete(spec, CONTEXT), "")


def stream(provider: RecordedProvider) -> list[StreamEvent]:
    async def collect() -> list[StreamEvent]:
        return [event async for event in provider.stream(SPEC, CONTEXT)]

    return run_blocking(collect(), "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recording.jsonl"


def test_what_was_recorded_is_given_again_without_the_provider(path: Path) -> None:
    recorder = RecordedProvider(
        path, ScriptedProvider(["a", Chunks(["x", "y"])], name="openai", model="gpt"), mode="record"
    )
    recorded = complete(recorder), stream(recorder)
    player = RecordedProvider(path, mode="replay")

    assert (complete(player), stream(player)) == recorded
    assert (player.name, player.model) == ("openai", "gpt")


def test_equal_requests_get_their_answers_in_order_and_the_last_again(path: Path) -> None:
    recorder = RecordedProvider(path, ScriptedProvider(["a", "b"]), mode="record")
    for _ in range(2):
        complete(recorder)
    player = RecordedProvider(path, mode="replay")

    assert [complete(player).content for _ in range(4)] == ["a", "b", "b", "b"]


def test_failures_are_recorded_with_what_they_say(path: Path) -> None:
    failure = RateLimited("slow down", status=429, retry_after=3, request_id="r", usage=Usage(input_tokens=5))
    recorder = RecordedProvider(path, ScriptedProvider([failure]), mode="record")
    with pytest.raises(RateLimited):
        complete(recorder)

    with pytest.raises(RateLimited, match="slow down") as caught:
        complete(RecordedProvider(path, mode="replay"))
    assert (caught.value.retry_after, caught.value.request_id, caught.value.usage) == (
        3,
        "r",
        Usage(input_tokens=5),
    )


def test_a_stream_that_broke_breaks_again_at_the_same_place(path: Path) -> None:
    recorder = RecordedProvider(
        path, ScriptedProvider([Chunks(["half", ProviderUnavailable()])]), mode="record"
    )
    with pytest.raises(ProviderUnavailable):
        stream(recorder)
    seen: list[str] = []
    player = RecordedProvider(path, mode="replay")

    async def follow() -> None:
        async for event in player.stream(SPEC, CONTEXT):
            seen.append(event.text)

    with pytest.raises(ProviderUnavailable):
        run_blocking(follow(), "")
    assert seen == ["half"]


def test_auto_asks_only_for_what_is_missing(path: Path) -> None:
    inner = FunctionProvider(lambda spec: spec.messages[0].text)
    other = SPEC.evolve(messages=[Message.user("other")])
    complete(RecordedProvider(path, inner))
    again = RecordedProvider(path, inner)
    contents = [complete(again).content, complete(again, other).content]

    assert contents == ["hi", "other"]
    assert len(inner.requests) == 2
    assert complete(RecordedProvider(path, mode="replay"), other).content == "other"


def test_recording_anew_forgets_the_old(path: Path) -> None:
    complete(RecordedProvider(path, ScriptedProvider(["old"]), mode="record"))
    complete(RecordedProvider(path, ScriptedProvider(["new"]), mode="record"))

    assert complete(RecordedProvider(path, mode="replay")).content == "new"


def test_keys_never_reach_the_file(path: Path) -> None:
    key = "sk-proj-" + "a1B2c3D4" * 6
    spec = SPEC.evolve(messages=[Message.user(f"my key is {key}")], extra={"api_key": "hunter2hunter2"})
    recorder = RecordedProvider(path, FunctionProvider(lambda _: f"never share {key}"), mode="record")
    complete(recorder, spec)
    written = path.read_text()

    assert key not in written
    assert "hunter2" not in written
    assert "REDACTED" in complete(RecordedProvider(path, mode="replay"), spec).content


def test_a_request_that_was_not_recorded_is_refused(path: Path) -> None:
    complete(RecordedProvider(path, ScriptedProvider(["a"]), mode="record"))

    with pytest.raises(ScriptExhausted, match="recording"):
        complete(RecordedProvider(path, mode="replay"), SPEC.evolve(seed=1))


def test_embeddings_are_recorded(path: Path) -> None:
    recorder = RecordedProvider(path, ScriptedProvider([]), mode="record")
    vectors = run_blocking(recorder.embed(["a"]), "")

    assert run_blocking(RecordedProvider(path, mode="replay").embed(["a"]), "") == vectors


@pytest.mark.parametrize("text", ["", "nonsense", '{"format": 99, "provider": "x", "model": "y"}', "[]"])
def test_a_file_that_is_no_recording_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        RecordedProvider(path, mode="replay")


def test_there_must_be_something_to_replay_or_somebody_to_record(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no recording"):
        RecordedProvider(path, mode="replay")
    with pytest.raises(ConfigurationError, match="needs a provider"):
        RecordedProvider(path)


def test_a_recording_is_one_json_object_a_line(path: Path) -> None:
    complete(RecordedProvider(path, ScriptedProvider(["a"]), mode="record"))
    head, entry = map(orjson.loads, path.read_bytes().splitlines())

    assert head == {"format": 1, "provider": "scripted", "model": "scripted"}
    assert entry["request"] == {"messages": [{"role": "user", "content": "hi"}]}
    assert entry["answer"]["content"] == "a"


def test_a_key_that_comes_in_pieces_is_not_written_either(path: Path) -> None:
    key = SECRETS["anthropic"]
    pieces = [key[at : at + 7] for at in range(0, len(key), 7)]
    recorder = RecordedProvider(path, ScriptedProvider([Chunks(["it is ", *pieces, "."])]), mode="record")

    assert "".join(event.text for event in stream(recorder) if event.type == "token") == f"it is {key}."

    written = path.read_text()
    assert not [piece for piece in pieces if len(piece) == 7 and piece in written]
    replayed = stream(RecordedProvider(path, mode="replay"))
    assert (
        "".join(event.text for event in replayed if event.type == "token")
        == "it is <REDACTED:anthropic_key>."
    )
