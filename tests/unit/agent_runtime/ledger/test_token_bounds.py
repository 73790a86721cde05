"""An upper bound of input tokens holds for every text, and what has none is named."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.ledger.token_bounds import Unbounded, bound_input, text_bytes
from llm_client import Message, RequestSpec, tool
from llm_client.json_text import LongFloat
from llm_client.messages import CallPart, MediaPart, Part, ReasoningPart, RefusalPart, TextPart, ToolCall
from llm_client.spec import OutputSchema
from llm_client.tokens import TokenEstimator
from llm_client.tools.server import CodeExecution


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
    most = text_bytes(text)

    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert most >= len(unicodedata.normalize(form, text).encode("utf-8", "surrogatepass"))
    assert bound(Message.user(text)) >= len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.timeout(
    20
)  # a text was put into four forms for each request, which took a minute of eight megabytes
@pytest.mark.parametrize(
    "piece", ["e\u0301", "Größe\n", "\ufdfa한", "a\u0323\u0307\u0344", "각\u1161", "\U0001d15e漢"]
)
def test_so_has_a_long_one_in_no_time(piece: str) -> None:
    long = piece * 10_000
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert text_bytes(long) >= len(unicodedata.normalize(form, long).encode())
    assert text_bytes(long) <= 1.2 * text_bytes(piece) * 10_000
    assert text_bytes(piece * 1_500_000) >= 1_500_000 * len(piece.encode())


@given(
    st.recursive(
        st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
        | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_arguments_are_counted_as_long_as_anybody_writes_them(value: object) -> None:
    arguments = {"a": value}
    bounded = bound(Message.assistant("", [ToolCall("c", "f", arguments)]))
    for ascii_alone in (True, False):
        written = json.dumps(arguments, indent=2, ensure_ascii=ascii_alone)
        assert bounded >= len(written.encode("utf-8", "surrogatepass"))


@pytest.mark.timeout(20)  # each was written by Python, twice for each request: three seconds of each
def test_arguments_of_many_values_are_counted_in_no_time() -> None:
    many = Message.assistant("", [ToolCall("c", "f", {"a": [{"é": 1}] * 1_000_000})])
    assert bound(many) > 1_000_000 * len('{\n"\\u00e9":1\n}')


def test_no_character_becomes_longer_when_it_is_put_together_than_its_parts_are() -> None:
    """So the longest forms of its characters, one by one, are a bound of a text's."""
    for code in range(0x300, 0x30000):
        if not 0xD800 <= code < 0xE000:
            whole = chr(code).encode()
            parts = unicodedata.normalize("NFD", chr(code))
            assert len(unicodedata.normalize("NFC", parts).encode()) <= max(len(parts.encode()), len(whole))


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
    digits = Message.assistant(tool_calls=[ToolCall("1", "f", {"a": LongFloat("0." + "1" * 600)})])
    assert bound(plain, digits) > bound(plain) + 600  # as they are sent
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


def test_what_a_vendor_reads_by_itself_has_no_bound() -> None:
    named = MediaPart(media_type="image/png", file_id="file_1", width=1, height=1)

    assert "named by its id" in why(Message.user([named]))
    assert TokenEstimator().estimate([Message.user([named])]) >= 1000
    assert "code_execution" in why(Message.user("x"), server_tools=[CodeExecution()])


def test_arguments_and_schemas_are_counted_in_their_longest_form_too() -> None:
    long = "\ufdfa" * 100  # three bytes each, six escaped, 33 in NFKC
    called = Message.assistant("", [ToolCall("1", "look", {"where": long})])

    assert bound(called) > text_bytes(long)
    assert bound(output_schema=OutputSchema(name="s", schema={"title": long})) > text_bytes(long)


def test_ids_and_signatures_are_counted() -> None:
    called = Message.assistant("", [ToolCall("i" * 1000, "look", signature="s" * 1000)])
    answered = Message(role="tool", content="ok", tool_call_id="i" * 1000)

    assert bound(called) > 2000
    assert bound(answered) > 1000


THOUGHTS: list[Part] = [
    ReasoningPart(
        provider="anthropic", data={"block": {"type": "thinking", "thinking": "hm", "signature": "s"}}
    ),
    ReasoningPart(provider="google", data={"part": {"text": "hm", "thought": True, "thoughtSignature": "s"}}),
    ReasoningPart(
        provider="openai", data={"item": {"type": "reasoning", "id": "r", "encrypted_content": "x"}}
    ),
    ReasoningPart(provider="any", data={"extra_content": {"google": {"thought_signature": "s"}}}),
    TextPart(
        text="hi", provider="openai", data={"item": {"id": "m"}, "number": 0, "annotations": [{"url": "u"}]}
    ),
    CallPart(call_id="1", provider="openai", data={"item": {"id": "f"}}),
    TextPart(text="hi", provider="google", data={"thoughtSignature": "s"}),
    TextPart(
        text="hi", provider="anthropic", data={"citations": [{"type": "char_location", "cited_text": "h"}]}
    ),
    TextPart(text="hi", provider="any", data={"spoken": True}),
    RefusalPart(
        text="no", provider="openai", data={"item": {"id": "m", "phase": "final_answer"}, "number": 1}
    ),
    CallPart(call_id="1", provider="any", data={"extra_content": {"google": {"thought_signature": "s"}}}),
    CallPart(call_id="1", provider="anthropic", data={"caller": {"type": "direct"}}),
    ReasoningPart(provider="mistral", text="hm", data={"thinking_chunk": {"signature": "s", "closed": True}}),
    ReasoningPart(
        provider="mistral",
        data={
            "thinking_chunk": {
                "thinking": [{"type": "text", "text": "hm"}, {"type": "reference", "reference_ids": [1]}]
            }
        },
    ),
    ReasoningPart(
        provider="openrouter", data={"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}
    ),
    ReasoningPart(provider="deepseek", text="hm", data={"reasoning_content": "hm"}),
]
VIDEO = {"fileData": {"mimeType": "video/mp4", "fileUri": "u"}}
ELSEWHERE: list[Part] = [
    ReasoningPart(
        provider="openrouter",
        data={"annotations": [{"type": "file", "file": {"content": [{"type": "image_url", "image_url": {"url": "u"}}]}}]},
    ),
    ReasoningPart(provider="anthropic", data={"block": {"type": "document", "source": {"type": "url", "url": "u"}}}),
    ReasoningPart(provider="google", data={"part": {"fileData": {"mimeType": "video/mp4", "fileUri": "u"}}}),
    ReasoningPart(provider="openai", data={"item": {"type": "item_reference", "id": "m"}}),
    TextPart(text="hi", provider="anthropic", data={"type": "document", "source": {"type": "url", "url": "u"}}),
    TextPart(text="hi", provider="openai", data={"number": 0, "item": {"id": "m", "type": "item_reference"}}),
    CallPart(call_id="1", provider="openai", data={"item": {"type": "item_reference", "id": "m"}}),
    TextPart(text="hi", provider="google", data={"text": None, **VIDEO}),
    TextPart(text="hi", data=VIDEO),
    TextPart(text="hi", provider="anthropic", data={"text": "a longer one"}),
    TextPart(text="hi", provider="google", data={"thoughtSignature": VIDEO}),
    TextPart(text="hi", provider="openai", data={"number": 0, "item": {"id": "m", "content": [{"type": "input_file", "file_url": "u"}]}}),
    RefusalPart(text="no", provider="google", data={"text": None, **VIDEO}),
    CallPart(call_id="1", provider="any", data={"function": None, "file_url": "u"}),
    CallPart(call_id="1", provider="any", data={"extra_content": {"google": {"cached_content": "c"}}}),
    ReasoningPart(provider="google", data={"part": {"type": "thinking", **VIDEO}}),
    ReasoningPart(provider="mistral", data={"thinking_chunk": {"type": "document_url", "document_url": "u"}}),
    ReasoningPart(
        provider="mistral", data={"thinking_chunk": {"thinking": [{"type": "document_url", "document_url": "u"}]}}
    ),
    ReasoningPart(provider="openrouter", data={"reasoning_details": [{"type": "file", "file": {"file_data": "u"}}]}),
    ReasoningPart(provider="any", data={"content": [{"type": "image_url", "image_url": {"url": "u"}}]}),
    MediaPart(
        media_type="image/png", url="u", width=1, height=1, provider="google",
        vendor_data={"source": {"mimeType": "video/mp4", "fileUri": "v"}},
    ),
]  # fmt: skip


@pytest.mark.parametrize("part", THOUGHTS)
def test_what_a_vendor_wants_back_with_its_thoughts_is_counted(part: Part) -> None:
    assert bound(Message.assistant([part])) > bound(Message.assistant(""))


@pytest.mark.parametrize("part", ELSEWHERE)
def test_what_is_said_to_be_a_vendors_and_may_name_other_input_has_no_bound(part: Part) -> None:
    assert "wants back" in why(Message.assistant([part]))


LONG = "x" * 40_000


@pytest.mark.parametrize(
    "part",
    [
        TextPart(text="hi", provider="anthropic", data={"text": LONG}),
        RefusalPart(text="no", provider="google", data={"text": LONG}),
        CallPart(call_id="1", provider="any", data={"function": {"arguments": LONG}}),
        ReasoningPart(provider="anthropic", data={"block": {"type": "text", "text": LONG}}),
        ReasoningPart(provider="anthropic", data={"block": {"type": "thinking", "thinking": LONG}}),
        ReasoningPart(provider="google", text="hm", data={"part": {"text": LONG, "thought": True}}),
        ReasoningPart(provider="openai", data={"item": {"type": "reasoning", "summary": [{"text": LONG}]}}),
        ReasoningPart(provider="any", data={"reasoning_content": LONG}),
    ],
)
def test_an_estimate_sees_what_is_said_to_be_a_vendors(part: Part) -> None:
    assert TokenEstimator().estimate([Message.assistant([part])]) > 5_000


@pytest.mark.parametrize("part", THOUGHTS)
def test_an_estimate_counts_no_signature_as_text(part: Part) -> None:
    assert TokenEstimator().estimate([Message.assistant([part])]) < 10


@pytest.mark.parametrize(
    "size", [(-(10**9), 1), (-5, -5), (0, 5), (0.5, 0.5), (10**15, 10**15), (True, 5), ("9", 9)]
)
def test_a_size_that_no_image_has_is_none(size: tuple[int, int]) -> None:
    image = MediaPart(media_type="image/png", url="u", width=size[0], height=size[1])

    assert "without a declared width" in why(Message.user([image]))
    assert TokenEstimator().estimate([Message.user([image])]) >= 1000
