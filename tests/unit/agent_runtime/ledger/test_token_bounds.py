"""An upper bound of input tokens holds for every text, and what has none is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.ledger.token_bounds import Unbounded, bound_input, text_bytes
from llm_client import Message, RequestSpec, tool
from llm_client.messages import MediaPart, ReasoningPart, TextPart, ToolCall
from llm_client.spec import OutputSchema


def bound(*messages: Message, model: str = "m", **values: object) -> int:
    found = bound_input(RequestSpec(messages=messages, **values), model)  # type: ignore[arg-type]  # as tests give them
    assert isinstance(found, int)
    return found


def why(*messages: Message, **values: object) -> str:
    found = bound_input(RequestSpec(messages=messages, **values), "m")  # type: ignore[arg-type]  # as tests give them
    assert isinstance(found, Unbounded)
    return found.reason


@given(st.text(max_size=200))
def test_a_text_has_at_least_as_many_bytes_as_any_tokenizer_sees(text: str) -> None:
    import unicodedata

    most = text_bytes(text)

    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert most >= len(unicodedata.normalize(form, text).encode("utf-8", "surrogatepass"))
    assert bound(Message.user(text)) >= len(text.encode("utf-8", "surrogatepass"))


def test_a_character_that_normalisation_lengthens_is_counted_long() -> None:
    assert text_bytes("\ufdfa") == 33  # one character of three bytes, eighteen characters in NFKC
    assert text_bytes("\ud800") == 3  # a lone surrogate, as JSON lets it through


@given(st.lists(st.text(max_size=50), max_size=5), st.text(max_size=50))
def test_the_bound_grows_with_every_message(texts: list[str], more: str) -> None:
    messages = [Message.user(text) for text in texts]

    assert bound(*messages, Message.assistant(more)) > bound(*messages)


def test_tools_calls_schemas_and_thoughts_are_counted() -> None:
    @tool
    def look(where: str) -> str:
        """Look somewhere."""
        return where

    plain = Message.user("hi")
    called = Message.assistant("", [ToolCall("1", "look", {"where": "ü" * 100})])
    thought = Message.assistant([ReasoningPart(provider="p", text="hm" * 50, data={"blob": "x" * 500})])

    assert bound(plain, tools=[look]) > bound(plain) + 1024 + len("Look somewhere.")
    assert bound(plain, called) > bound(plain) + 600  # every ü may be written as \\u00fc
    assert bound(plain, thought) > bound(plain) + 600
    schema = OutputSchema(name="s", schema={"type": "object", "title": "t" * 300})
    assert bound(plain, output_schema=schema) > bound(plain) + 300


@pytest.mark.parametrize(
    ("width", "height", "model", "at_least"),
    [
        (1024, 1024, "claude-x", 1398),  # width × height / 750
        (1024, 1024, "gpt-4o", 765),  # 85 + 170 for each tile of 512 pixels
        (1024, 1024, "gpt-4o-mini", 25501),  # 2833 + 5667 for each tile
        (960, 540, "gemini-x", 1548),  # 258 for each of six crops
        (4000, 1, "gemini-x", 16 * 258),
        (1024, 1024, "gpt-4.1-nano", 2520),  # 2.46 for each patch of 32 pixels
    ],
)
def test_an_image_of_declared_size_is_bounded_by_the_dearest_published_formula(
    width: int, height: int, model: str, at_least: int
) -> None:
    image = MediaPart(media_type="image/png", url="https://x/y.png", width=width, height=height)

    assert bound(Message.user([image]), model=model) >= at_least


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (MediaPart(media_type="image/png", url="https://x/y.png"), "without a declared width"),
        (MediaPart(media_type="image/png", data="AAAA", width=5), "without a declared width"),
        (MediaPart(media_type="application/pdf", data="AAAA", width=5, height=5), "application/pdf"),
        (MediaPart(media_type="audio/wav", data="AAAA"), "audio/wav"),
    ],
)
def test_media_without_a_bound_are_named(part: MediaPart, reason: str) -> None:
    assert reason in why(Message.user([TextPart(text="see"), part]))


def test_a_field_that_may_bring_more_input_has_no_bound() -> None:
    assert "previous_response_id" in why(Message.user("x"), extra={"previous_response_id": "r"})
    assert bound(Message.user("x"), extra={"service_tier": "flex"}) > 0
