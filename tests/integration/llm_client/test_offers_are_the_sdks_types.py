"""What is asked for beside text and calls, and what comes, are values of the vendors' own types: nothing is missing, and nothing is left over."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from llm_client.messages import MediaPart, Message
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.providers.google.request import GenerateContentFormat
from llm_client.providers.openai.chat_dialect import OPENAI
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from llm_client.spec import RequestSpec
from llm_client.tools.server import CodeExecution, FileSearch, ImageGeneration, ServerTool, WebSearch
from support.wire import anthropic_answers, chat_answers, google_answers, responses_answers

openai_types = pytest.importorskip("openai.types")
anthropic_types = pytest.importorskip("anthropic.types")
google_types = pytest.importorskip("google.genai.types")

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

SEARCH, FILES = WebSearch(allowed_domains=["a.example"]), FileSearch(stores=["s"], max_results=3)
FILE = MediaPart(media_type="application/pdf", file_id="file_1", cite=True)
PICTURE = MediaPart(media_type="image/png", file_id="file_1")


def body(wire: Any, *parts: MediaPart, **values: Any) -> dict[str, Any]:
    messages = [Message.user(list(parts) or "Hello!")]
    encoded: dict[str, Any] = wire.encode(RequestSpec(messages=messages, **values), "gemini-3", stream=False)
    return encoded


def as_theirs(kind: Any, value: Any) -> Any:
    """Return a value as a type of an SDK has it; fields that the type does not know would be left out."""
    return TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize("declared", [WebSearch(), SEARCH, WebSearch(max_uses=2), CodeExecution()])
def test_tools_of_anthropics(declared: ServerTool) -> None:
    (sent,) = body(MessagesFormat(), server_tools=[declared])["tools"]
    assert as_theirs(anthropic_types.ToolUnionParam, sent) == sent


@pytest.mark.parametrize("part", [FILE, PICTURE, MediaPart(media_type="application/zip", file_id="file_1")])
def test_files_of_anthropics(part: MediaPart) -> None:
    (sent,) = body(MessagesFormat(), part)["messages"][0]["content"]
    kinds = {
        "document": anthropic_types.DocumentBlockParam,
        "image": anthropic_types.ImageBlockParam,
        "container_upload": anthropic_types.ContainerUploadBlockParam,
    }
    assert as_theirs(kinds[sent["type"]], sent) == sent


@pytest.mark.parametrize("citation", anthropic_answers.PAGES["citations"])
def test_citations_of_anthropics(citation: dict[str, Any]) -> None:
    theirs = as_theirs(anthropic_types.TextCitation, citation)
    assert (theirs.cited_text, theirs.type) == (citation["cited_text"], citation["type"])
    assert theirs.model_dump(exclude_unset=True) == citation


@pytest.mark.parametrize("declared", [WebSearch(), SEARCH, CodeExecution(), FILES, ImageGeneration(model="m", size="1024x1024", quality="low")])  # fmt: skip
def test_tools_of_openais(declared: ServerTool) -> None:
    (sent,) = body(ResponsesFormat("openai"), server_tools=[declared])["tools"]
    assert as_theirs(openai_types.responses.ToolParam, sent) == sent


def test_files_of_openais() -> None:
    sent = body(ResponsesFormat("openai"), FILE, PICTURE)["input"][0]["content"]
    kinds = (openai_types.responses.ResponseInputFileParam, openai_types.responses.ResponseInputImageParam)
    for kind, part in zip(kinds, sent, strict=True):
        assert as_theirs(kind, part) == part
    (part,) = body(ChatFormat("openai", OPENAI), FILE)["messages"][0]["content"]
    assert as_theirs(openai_types.chat.ChatCompletionContentPartParam, part) == part


@pytest.mark.parametrize("item", [responses_answers.DRAWN, responses_answers.SEARCH, responses_answers.FILES])
def test_items_of_openais(item: dict[str, Any]) -> None:
    theirs = as_theirs(openai_types.responses.ResponseOutputItem, item)
    assert theirs.model_dump(exclude_unset=True, warnings=False) == item


def test_sources_sounds_and_likelihoods_of_openais() -> None:
    part = responses_answers.part(
        "K",
        annotations=[responses_answers.CITATION, responses_answers.FILE_CITATION],
        logprobs=[{**responses_answers.LIKELY, "top_logprobs": []}],
    )
    assert as_theirs(openai_types.responses.ResponseOutputText, part).model_dump(exclude_unset=True) == part
    message = chat_answers.said(None, audio=chat_answers.SOUND, annotations=[chat_answers.PAGE])
    assert (
        as_theirs(openai_types.chat.ChatCompletionMessage, message).model_dump(exclude_unset=True) == message
    )
    again = chat_answers.said(None, audio={"id": "audio_1"})
    assert as_theirs(openai_types.chat.ChatCompletionAssistantMessageParam, again) == again


@pytest.mark.parametrize("declared", [WebSearch(), CodeExecution(), FILES])
def test_tools_of_googles(declared: ServerTool) -> None:
    (sent,) = body(GenerateContentFormat("v1"), server_tools=[declared])["tools"]
    assert google_types.Tool.model_validate(sent).to_json_dict() == as_snake(sent)


def as_snake(value: Any) -> Any:
    """Return JSON of Google's with the names that its SDK uses in Python."""
    if isinstance(value, list):
        return [as_snake(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in name): as_snake(each)
        for name, each in value.items()
    }


def test_files_sources_and_likelihoods_of_googles() -> None:
    (sent,) = body(GenerateContentFormat("v1"), FILE)["contents"][0]["parts"]
    assert google_types.Part.model_validate(sent).file_data.file_uri == "file_1"
    config = body(GenerateContentFormat("v1"), logprobs=3)["generationConfig"]
    assert google_types.GenerationConfig.model_validate(config).logprobs == 3
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://k.example", "title": "K"}}, {"retrievedContext": {"title": "a.pdf", "pageNumber": 7}}],
        "groundingSupports": [{"segment": {"partIndex": 0, "startIndex": 1, "endIndex": 2, "text": "K"}, "groundingChunkIndices": [0]}],
        "webSearchQueries": ["K"],
    }  # fmt: skip
    assert google_types.GroundingMetadata.model_validate(grounding).to_json_dict() == as_snake(grounding)
    assert google_types.Part.model_validate(google_answers.IMAGE).inline_data.mime_type == "image/png"
