"""What answers hold beside text and calls: sources, pictures, sounds and likelihoods, as values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.codec import dump_result, load_result
from llm_client.errors import ConfigurationError, InvalidRequest, InvalidResponse
from llm_client.json_text import dumps, loads
from llm_client.messages import Citation, CompletionResult, MediaPart, Message, TextPart, TokenLogprob
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.providers.failures import Origin
from llm_client.providers.google.request import GenerateContentFormat
from llm_client.providers.openai.chat_dialect import COMPATIBLE, OPENAI, OPENROUTER
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from llm_client.providers.response import MAX_CITATIONS
from llm_client.providers.wire import readable
from llm_client.spec import RequestSpec
from support.wire import anthropic_answers, chat_answers, google_answers, responses_answers

FORMATS: dict[str, Any] = {
    "anthropic": MessagesFormat(),
    "google": GenerateContentFormat("v1beta"),
    "responses": ResponsesFormat("openai"),
    "chat": ChatFormat("openai", OPENAI),
    "openrouter": ChatFormat("openrouter", OPENROUTER),
    "somebody": ChatFormat("somebody", COMPATIBLE),
}
HELLO = Message.user("Hello!")


def body(vendor: str, model: str = "gemini-3-pro", **values: Any) -> dict[str, Any]:
    spec = RequestSpec(**{"messages": [HELLO], **values})
    encoded: dict[str, Any] = FORMATS[vendor].encode(spec, model, stream=False)
    return encoded


def read(vendor: str, answer: Any, *, stream: bool, beside: Any = None) -> CompletionResult:
    """Read an answer of a vendor, whole or streamed, as it is after it was saved.

    Args:
        vendor: Whose.
        answer: Its blocks, parts, items or message.
        stream: Whether it is streamed.
        beside: What stands beside it: in Google's candidate, in the choice of a chat, beside the choices (`payload`).
    """
    origin = Origin(provider={"responses": "openai", "chat": "openai"}.get(vendor, vendor), model="m")
    extra = dict(beside or {})
    outside = extra.pop("payload", {})
    if not stream:
        whole = {
            "anthropic": {"content": answer, "stop_reason": "end_turn", "usage": {}},
            "google": {"candidates": [{"content": {"parts": answer}, "finishReason": "STOP", **extra}]},
            "responses": {"object": "response", "status": "completed", "output": answer},
        }.get(vendor, {"choices": [{"message": answer, "finish_reason": "stop", **extra}], **outside})
        with readable(origin):
            result = FORMATS[vendor].decode(loads(json.dumps(whole)), origin, None)
    else:
        if vendor == "anthropic":
            events = anthropic_answers.streamed(answer, "end_turn")
        elif vendor == "responses":
            events = responses_answers.streamed(answer, {"output": answer, "status": "completed"})
        elif vendor == "google":
            events = google_answers.streamed(answer)
            events[-1]["candidates"][0].update(extra)
        else:
            events = [{**chunk, **outside} for chunk in chat_answers.streamed(answer)]
            events[-2]["choices"][0].update(extra)
        reader = FORMATS[vendor].reader(origin, None)
        with readable(origin):
            for event in events:
                reader.read(loads(json.dumps(event), whole=False))
            reader.read_done_mark()
            result = reader.result()
    again = load_result(loads(dumps(dump_result(result))))
    assert again == result
    return again


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])

RIVER = "Köln lies on the Rhine."
WEB = {"web": {"uri": "https://k.example", "title": "K"}}
FILE = {"retrievedContext": {"title": "a.pdf", "text": "Rhine", "pageNumber": 7, "fileSearchStore": "s"}}

CITED: dict[str, tuple[str, Any, Any, list[Citation]]] = {
    "anthropic: a page behind other text": (
        "anthropic",
        [anthropic_answers.text("Well: "), anthropic_answers.CITED],
        None,
        [Citation(start=6, end=29, url="https://k.example", quote="Rhine")],
    ),
    "anthropic: pages and passages of documents": (
        "anthropic",
        [anthropic_answers.PAGES],
        None,
        [
            Citation(start=0, end=9, title="W", quote="Rain.", document=0, pages=(2, 3)),
            Citation(start=0, end=9, quote="Wet.", document=1),
        ],
    ),
    "anthropic: a result that a tool gave": (
        "anthropic",
        [
            anthropic_answers.text(
                "x",
                citations=[
                    {
                        "type": "search_result_location", "cited_text": "q", "source": "https://a.example", "title": "A",
                        "search_result_index": 3, "start_block_index": 0, "end_block_index": 1,
                    }
                ],
            )
        ],
        None,
        [Citation(start=0, end=1, url="https://a.example", title="A", quote="q", document=3)],
    ),
    "responses: a page in the second message": (
        "responses",
        [
            responses_answers.message(1, responses_answers.part("Ü: ")),
            responses_answers.message(
                2, responses_answers.part("see K", annotations=[{**responses_answers.CITATION, "start_index": 4, "end_index": 5}])
            ),
        ],
        None,
        [Citation(start=7, end=8, url="https://k.example", title="K")],
    ),
    "responses: a file": (
        "responses",
        [responses_answers.message(1, responses_answers.part("Kö", annotations=[responses_answers.FILE_CITATION]))],
        None,
        [Citation(start=1, end=1, title="a.pdf", file_id="file_1")],
    ),
    "responses: a file of a container": (
        "responses",
        [
            responses_answers.message(
                1,
                responses_answers.part(
                    "plot",
                    annotations=[
                        {
                            "type": "container_file_citation", "container_id": "c", "file_id": "cf_1", "filename": "p.png",
                            "start_index": 0, "end_index": 4,
                        }
                    ],
                ),
            )
        ],
        None,
        [Citation(start=0, end=4, title="p.png", file_id="cf_1")],
    ),
    "google: bytes are characters": (
        "google",
        [google_answers.text(RIVER)],
        {
            "groundingMetadata": {
                "groundingChunks": [WEB, FILE],
                "groundingSupports": [
                    {"segment": {"endIndex": 24, "text": RIVER}, "groundingChunkIndices": [0, 1]},
                    {"segment": {"startIndex": 18, "endIndex": 23, "text": "Rhine"}, "groundingChunkIndices": [1]},
                ],
            }
        },
        [
            Citation(start=0, end=23, url="https://k.example", title="K"),
            Citation(start=0, end=23, title="a.pdf", quote="Rhine", pages=(7, 7)),
            Citation(start=17, end=22, title="a.pdf", quote="Rhine", pages=(7, 7)),
        ],
    ),
    "google: a source without a passage, and one whose passage is another text": (
        "google",
        [google_answers.text(RIVER)],
        {
            "groundingMetadata": {
                "groundingChunks": [WEB, {"web": {"uri": "https://l.example"}}],
                "groundingSupports": [
                    {"segment": {"startIndex": 3, "endIndex": 8, "text": "Rhine"}, "groundingChunkIndices": [0, 9]}
                ],
            }
        },
        [Citation(url="https://k.example", title="K"), Citation(url="https://l.example")],
    ),
    "google: what was recited": (
        "google",
        [google_answers.text("To be")],
        {"citationMetadata": {"citationSources": [{"startIndex": 3, "endIndex": 5, "uri": "https://h.example", "license": ""}]}},
        [Citation(start=3, end=5, url="https://h.example")],
    ),
    "chat: a page": (
        "openrouter",
        chat_answers.said("Yes.", annotations=[chat_answers.PAGE]),
        None,
        [Citation(start=0, end=4, url="https://k.example", title="K")],
    ),
    "chat: a page with its words": (
        "openrouter",
        chat_answers.said(
            "Yes.", annotations=[{"type": "url_citation", "url_citation": {"url": "https://k.example", "content": "Rhine"}}]
        ),
        None,
        [Citation(url="https://k.example", quote="Rhine")],
    ),
    "chat: sources beside the answer, in each piece": (
        "somebody",
        chat_answers.said("Yes[1]."),
        {
            "payload": {
                "citations": ["https://k.example"],
                "search_results": [{"title": "K", "url": "https://k.example", "snippet": "Rhine", "date": "2026-11-01"}],
            }
        },
        [Citation(url="https://k.example", title="K", quote="Rhine")],
    ),
    "chat: numbers of a tool's sources": (
        "somebody",
        chat_answers.said(
            [
                {"type": "text", "text": "Köln"},
                {"type": "reference", "reference_ids": [0, 2, "x"]},
                {"type": "text", "text": "."},
            ]
        ),
        None,
        [Citation(start=4, end=4, document=0), Citation(start=4, end=4, document=2)],
    ),
    "chat: addresses beside the answer": (
        "somebody",
        chat_answers.said("Yes."),
        {"payload": {"citations": ["https://k.example", "https://l.example"]}},
        [Citation(url="https://k.example"), Citation(url="https://l.example")],
    ),
}  # fmt: skip


@both
@pytest.mark.parametrize(("vendor", "answer", "beside", "right"), CITED.values(), ids=CITED)
def test_what_an_answer_rests_on_is_a_value(
    vendor: str, answer: Any, beside: Any, right: list[Citation], stream: bool
) -> None:
    assert list(read(vendor, answer, beside=beside, stream=stream).citations) == right


def test_a_passage_of_a_later_part_of_googles_is_found_in_the_whole_text() -> None:
    parts = [
        google_answers.text("Grüße. "),
        google_answers.signed(google_answers.CODE),
        google_answers.text("Köln."),
    ]
    segment = {"partIndex": 2, "startIndex": 0, "endIndex": 6, "text": "Köln."}
    grounding = {
        "groundingChunks": [WEB],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
    }
    result = read("google", parts, beside={"groundingMetadata": grounding}, stream=False)
    (citation,) = result.citations
    assert result.content[citation.start : citation.end] == "Köln."


@both
def test_what_google_says_again_in_each_piece_is_one_source(stream: bool) -> None:
    grounding = {"groundingChunks": [WEB], "webSearchQueries": ["Köln"]}
    reader = FORMATS["google"].reader(Origin(provider="google", model="m"), None)
    for words in ("Kö", "ln"):
        reader.read(
            {"candidates": [{"content": {"parts": [{"text": words}]}, "groundingMetadata": grounding}]}
        )
    assert reader.result(partial=stream).citations == (Citation(url="https://k.example", title="K"),)
    assert reader.result().usage.web_searches == 1


@pytest.mark.parametrize("vendor", ["anthropic", "responses", "google", "openrouter"])
def test_sources_beyond_any_number_are_left_out_quickly(vendor: str) -> None:
    many = MAX_CITATIONS + 3
    answer: Any = {
        "anthropic": [anthropic_answers.text("x", citations=[{"type": "char_location"}] * many)],
        "responses": [
            responses_answers.message(
                1, responses_answers.part("x", annotations=[responses_answers.CITATION] * many)
            )
        ],
        "google": [google_answers.text("x")],
        "openrouter": chat_answers.said("x", annotations=[chat_answers.PAGE] * many),
    }[vendor]
    chunks = [{"web": {"uri": f"https://{number}.example"}} for number in range(many)]
    beside = {"groundingMetadata": {"groundingChunks": chunks}} if vendor == "google" else None
    assert len(read(vendor, answer, beside=beside, stream=False).citations) == MAX_CITATIONS


FIELDS = (
    *("type", "url", "url_citation", "file_id", "title", "index", "start_index", "end_index", "web", "uri", "segment", "text"),
    *("startIndex", "endIndex", "partIndex", "cited_text", "groundingChunkIndices", "start_page_number", "end_page_number"),
    *("document_index", "token", "logprob", "top_logprobs"),
)  # fmt: skip
_ODD: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text("aü", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(FIELDS),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@given(odd=_ODD, stream=st.booleans())
def test_a_source_that_is_none_harms_no_answer(odd: Any, stream: bool) -> None:
    listed = odd if isinstance(odd, list) else [odd]
    for vendor, answer, beside in (
        ("anthropic", [anthropic_answers.text("Yes.", citations=listed)], None),
        ("responses", [responses_answers.message(1, responses_answers.part("Yes.", annotations=listed, logprobs=listed))], None),
        ("google", [google_answers.text("Yes.")], {"groundingMetadata": {"groundingChunks": [*listed, WEB], "groundingSupports": listed}}),
        ("google", [google_answers.text("Yes.")], {"citationMetadata": {"citations": listed}, "logprobsResult": odd}),
        ("somebody", chat_answers.said("Yes.", annotations=listed), {"payload": {"citations": listed}, "logprobs": {"content": listed}}),
        ("somebody", chat_answers.said("Yes."), {"logprobs": {"tokens": listed, "token_logprobs": listed, "top_logprobs": listed}}),
        ("somebody", chat_answers.said("Yes."), {"logprobs": odd}),
    ):  # fmt: skip
        result = read(vendor, answer, beside=beside, stream=stream)
        assert result.content == "Yes."
        references = [{"type": "text", "text": "Yes."}, {"type": "reference", "reference_ids": odd}]
        assert read("somebody", {"content": references}, stream=False).content == "Yes."
        for citation in result.citations:
            assert citation.start is None or 0 <= citation.start <= (citation.end or 0)


# -- likelihoods -------------------------------------------------------------------------------------------------

TOKENS = [{"token": "Ja", "logprob": -0.25, "bytes": [74], "top_logprobs": [{"token": "Ja", "logprob": -0.25}, {"token": "No", "logprob": -2}]}]  # fmt: skip
LIKELY = (TokenLogprob("Ja", -0.25, (("Ja", -0.25), ("No", -2.0))),)


@both
def test_how_likely_the_tokens_were_is_a_value(stream: bool) -> None:
    chat = read("somebody", chat_answers.said("Ja"), beside={"logprobs": {"content": TOKENS}}, stream=stream)
    said = responses_answers.message(1, responses_answers.part("Ja", logprobs=TOKENS))
    google = {
        "logprobsResult": {
            "chosenCandidates": [{"token": "Ja", "tokenId": 1, "logProbability": -0.25}],
            "topCandidates": [
                {
                    "candidates": [
                        {"token": "Ja", "logProbability": -0.25},
                        {"token": "No", "logProbability": -2},
                    ]
                }
            ],
        }
    }
    old = {"tokens": ["Ja"], "token_logprobs": [-0.25], "top_logprobs": [{"Ja": -0.25, "No": -2}]}
    assert (
        read("somebody", chat_answers.said("Ja"), beside={"logprobs": old}, stream=stream).logprobs == LIKELY
    )
    assert chat.logprobs == LIKELY
    assert read("responses", [said], stream=stream).logprobs == LIKELY
    assert read("google", [google_answers.text("Ja")], beside=google, stream=stream).logprobs == LIKELY


def test_likelihoods_are_asked_for_in_each_vendors_way() -> None:
    assert {name: value for name, value in body("chat", logprobs=2).items() if "logprobs" in name} == {
        "logprobs": True,
        "top_logprobs": 2,
    }
    assert "top_logprobs" not in body("chat", logprobs=0)
    responses = body("responses", "gpt-5.2", logprobs=2)
    assert responses["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]
    assert responses["top_logprobs"] == 2
    assert body("google", logprobs=2)["generationConfig"] == {"responseLogprobs": True, "logprobs": 2}
    assert body("google", logprobs=0)["generationConfig"] == {"responseLogprobs": True}
    with pytest.raises(ConfigurationError, match="does not say how likely"):
        body("anthropic", logprobs=0)


@pytest.mark.parametrize("wanted", [-1, 21, True, 1.5, "2"])
def test_a_number_of_alternatives_that_nobody_gives_is_refused(wanted: Any) -> None:
    with pytest.raises(InvalidRequest, match="logprobs"):
        RequestSpec(messages=(), logprobs=wanted)


# -- pictures and sounds -----------------------------------------------------------------------------------------


@both
def test_pictures_and_sounds_are_parts_of_the_answer(stream: bool) -> None:
    (drawn,) = read("responses", [responses_answers.DRAWN], stream=stream).media
    assert (drawn.media_type, drawn.data, drawn.size) == ("image/webp", "iVBO", (1024, 1536))
    (made,) = read("google", [google_answers.signed(google_answers.IMAGE)], stream=stream).media
    assert (made.media_type, made.data) == ("image/png", "iVBORw0KGgo=")
    (given,) = read("openrouter", chat_answers.said(None, images=[chat_answers.PICTURE]), stream=stream).media
    assert (given.media_type, given.data) == ("image/webp", "UklGRg==")
    spoken = read("chat", chat_answers.said(None, audio=chat_answers.SOUND), stream=stream)
    assert spoken.content == "Yes, indeed."
    assert [(sound.media_type, sound.data) for sound in spoken.media] == [
        ("audio/wav", chat_answers.SOUND["data"])
    ]
    assert not spoken.is_empty


def test_an_answer_of_one_picture_is_no_empty_one() -> None:
    assert not read("responses", [responses_answers.DRAWN], stream=False).is_empty
    assert not read(
        "openrouter", chat_answers.said(None, images=[chat_answers.PICTURE]), stream=False
    ).is_empty


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (["UklG", "RiQA", "AABXQVZF"], "UklGRiQAAABXQVZF"),
        (["Ukl", "GRiQAA", "ABXQVZF"], "UklGRiQAAABXQVZF"),
        (["Ug==", "SUZG", "JAAAAA=="], "UklGRiQAAAA="),
    ],
)
def test_a_sound_in_pieces_is_one_however_it_was_cut(pieces: list[str], whole: str) -> None:
    reader = FORMATS["chat"].reader(Origin(provider="openai", model="m"), None)
    deltas: list[dict[str, Any]] = [{"id": "audio_1", "transcript": "Ja,"}]
    deltas += [{"data": piece} for piece in pieces]
    deltas += [{"transcript": " gut."}, {"expires_at": 1}]
    events = [
        event
        for delta in deltas
        for event in reader.read({"choices": [{"delta": {"role": "assistant", "audio": delta}}]})
    ]
    assert [event.text for event in events] == ["Ja,", " gut."]
    result = reader.result()
    assert (result.content, result.media[0].media_type, result.media[0].data) == (
        "Ja, gut.",
        "audio/wav",
        whole,
    )


def test_a_sound_in_pieces_that_are_none_is_an_answer_that_cannot_be_read() -> None:
    origin = Origin(provider="openai", model="m")
    reader = FORMATS["chat"].reader(origin, None)
    for piece in ("U=", "x"):
        reader.read({"choices": [{"delta": {"audio": {"data": piece}}}]})
    with pytest.raises(InvalidResponse), readable(origin):
        reader.result()


def test_another_vendor_reads_what_was_spoken() -> None:
    message = read("chat", chat_answers.said(None, audio=chat_answers.SOUND), stream=False).message()
    (turn,) = [
        turn
        for turn in body("anthropic", messages=[HELLO, message, HELLO])["messages"]
        if turn["role"] == "assistant"
    ]
    assert turn["content"] == [{"type": "text", "text": "Yes, indeed."}]


@pytest.mark.parametrize("about", [{"audio": 5}, {"audio": {}}, {"item": "x"}])
def test_a_saved_medium_that_was_damaged_harms_no_request(about: dict[str, Any]) -> None:
    part = MediaPart(media_type="audio/wav", data="UklGRg==", provider="openai", vendor_data=about)
    message = Message.assistant([TextPart(text="Yes."), part])
    assert body("chat", messages=[HELLO, message])["messages"][1] == chat_answers.said("Yes.")
    assert body("responses", messages=[HELLO, message])["input"][1] == responses_answers.said("Yes.")
