"""What is asked of vendors beside text and calls: files that they hold, and tools that run on their machines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_client.codec import dump_spec
from llm_client.errors import ConfigurationError, InvalidRequest
from llm_client.messages import MediaPart, Message, TextPart
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.providers.google.request import GenerateContentFormat
from llm_client.providers.openai.chat_dialect import COMPATIBLE, OPENAI, OPENROUTER
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from llm_client.spec import OutputSchema, RequestSpec
from llm_client.tools.decorator import tool
from llm_client.tools.server import (
    CodeExecution,
    FileSearch,
    ImageGeneration,
    ServerTool,
    VendorTool,
    WebSearch,
    declarations_of,
    declared_in,
)

FORMATS: dict[str, Any] = {
    "anthropic": MessagesFormat(),
    "google": GenerateContentFormat("v1beta"),
    "responses": ResponsesFormat("openai"),
    "chat": ChatFormat("openai", OPENAI),
    "openrouter": ChatFormat("openrouter", OPENROUTER),
    "somebody": ChatFormat("somebody", COMPATIBLE),
}
WIRES = ["anthropic", "google", "responses", "chat"]
HELLO = Message.user("Hello!")


def body(vendor: str, model: str = "gemini-3-pro", **values: Any) -> dict[str, Any]:
    spec = RequestSpec(**{"messages": [HELLO], **values})
    encoded: dict[str, Any] = FORMATS[vendor].encode(spec, model, stream=False)
    return encoded


# -- files by id -------------------------------------------------------------------------------------------------


def by_id(kind: str, **values: Any) -> MediaPart:
    return MediaPart(media_type=kind, file_id="file_1", **values)


@pytest.mark.parametrize(
    ("vendor", "part", "right"),
    [
        ("anthropic", by_id("image/png"), {"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
        (
            "anthropic",
            by_id("application/pdf", name="a.pdf", cite=True),
            {
                "type": "document",
                "source": {"type": "file", "file_id": "file_1"},
                "title": "a.pdf",
                "citations": {"enabled": True},
            },
        ),
        ("anthropic", by_id("application/zip"), {"type": "container_upload", "file_id": "file_1"}),
        ("responses", by_id("image/png"), {"type": "input_image", "detail": "auto", "file_id": "file_1"}),
        ("responses", by_id("application/pdf"), {"type": "input_file", "file_id": "file_1"}),
        ("chat", by_id("application/pdf"), {"type": "file", "file": {"file_id": "file_1"}}),
        ("google", by_id("video/mp4"), {"fileData": {"mimeType": "video/mp4", "fileUri": "file_1"}}),
    ],
)
def test_a_file_is_named_by_its_id(vendor: str, part: MediaPart, right: dict[str, Any]) -> None:
    sent = body(vendor, messages=[Message.user([part])])
    turn = (sent.get("messages") or sent.get("input") or sent.get("contents"))[0]
    assert turn.get("content", turn.get("parts")) == [right]


@pytest.mark.parametrize("vendor", WIRES)
def test_a_file_of_another_vendor_is_refused_by_name(vendor: str) -> None:
    part = by_id("application/pdf", provider="elsewhere")
    with pytest.raises(ConfigurationError, match="'file_1' is at elsewhere"):
        body(vendor, messages=[Message.user([part])])
    answered = [Message.user("x"), Message.tool([TextPart(text="ok"), part], "call_1")]
    assert "file_1" not in json.dumps(body(vendor, messages=answered))


def test_chat_servers_take_no_picture_by_its_id() -> None:
    with pytest.raises(ConfigurationError, match="takes no image/png by its id"):
        body("chat", messages=[Message.user([by_id("image/png")])])


def test_a_document_is_cited_where_the_vendor_has_such_a_control() -> None:
    part = MediaPart(media_type="text/plain", data="aGFsbG8=", cite=True)
    (block,) = body("anthropic", messages=[Message.user([part])])["messages"][0]["content"]
    assert block["citations"] == {"enabled": True}
    picture = MediaPart(media_type="image/png", url="https://k.example/a.png", cite=True)
    (block,) = body("anthropic", messages=[Message.user([picture])])["messages"][0]["content"]
    assert "citations" not in block


# -- tools that run at the vendor --------------------------------------------------------------------------------


@tool
async def look(where: str) -> str:
    """Look somewhere."""
    return where


SERVER_TOOLS: list[tuple[str, ServerTool, dict[str, Any]]] = [
    ("anthropic", WebSearch(), {"type": "web_search_20250305", "name": "web_search"}),
    (
        "anthropic",
        WebSearch(max_uses=3, allowed_domains=("a.example",)),
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "max_uses": 3,
            "allowed_domains": ["a.example"],
        },
    ),
    (
        "anthropic",
        WebSearch(blocked_domains=["a.example"]),
        {"type": "web_search_20250305", "name": "web_search", "blocked_domains": ["a.example"]},
    ),
    ("anthropic", CodeExecution(), {"type": "code_execution_20250825", "name": "code_execution"}),
    ("responses", WebSearch(), {"type": "web_search"}),
    (
        "responses",
        WebSearch(allowed_domains=["a.example"]),
        {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}},
    ),
    ("responses", CodeExecution(), {"type": "code_interpreter", "container": {"type": "auto"}}),
    (
        "responses",
        FileSearch(stores=["vs_1"], max_results=4),
        {"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 4},
    ),
    (
        "responses",
        ImageGeneration(model="gpt-image-2", size="1024x1024", quality="low"),
        {"type": "image_generation", "model": "gpt-image-2", "size": "1024x1024", "quality": "low"},
    ),
    ("google", WebSearch(), {"googleSearch": {}}),
    ("google", CodeExecution(), {"codeExecution": {}}),
    (
        "google",
        FileSearch(stores=["fileSearchStores/s"], max_results=4),
        {"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/s"], "topK": 4}},
    ),
    ("openrouter", WebSearch(), {"type": "openrouter:web_search"}),
    (
        "openrouter",
        WebSearch(blocked_domains=["a.example"]),
        {"type": "openrouter:web_search", "parameters": {"excluded_domains": ["a.example"]}},
    ),
]


VENDOR_TOOLS: list[tuple[str, VendorTool, list[str]]] = [
    (
        "anthropic",
        VendorTool(
            provider="anthropic", body={"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 2}
        ),
        ["web_fetch"],
    ),
    (
        "responses",
        VendorTool(
            provider="openai", body={"type": "mcp", "server_label": "s", "server_url": "https://s.example"}
        ),
        ["mcp"],
    ),
    (
        "google",
        VendorTool(provider="google", body={"urlContext": {}, "googleMaps": {}}),
        ["urlContext", "googleMaps"],
    ),
    (
        "openrouter",
        VendorTool(provider="openrouter", body={"type": "openrouter:datetime"}),
        ["openrouter:datetime"],
    ),
    (
        "anthropic",
        VendorTool(provider="anthropic", body={"type": "web_search_20260318", "name": "web_search"}),
        ["web_search"],
    ),
]


@pytest.mark.parametrize(("vendor", "declared", "names"), VENDOR_TOOLS)
def test_a_tool_in_the_vendors_words_stands_beside_ours(
    vendor: str, declared: VendorTool, names: list[str]
) -> None:
    tools = body(vendor, server_tools=[declared], tools=[look])["tools"]
    assert len(tools) == 2
    assert tools[1] == declared.body
    assert [name for name, _ in declarations_of(declared)] == names
    assert declared.name == names[0]


@pytest.mark.parametrize("vendor", [*WIRES, "openrouter", "somebody"])
def test_a_tool_in_another_vendors_words_is_refused(vendor: str) -> None:
    with pytest.raises(ConfigurationError, match="the tool 'web_fetch' is elsewhere's"):
        body(vendor, server_tools=[VendorTool(provider="elsewhere", body={"type": "web_fetch"})])


@pytest.mark.parametrize("told", [{}, {"type": ""}, {"functionDeclarations": []}])
def test_a_tool_that_does_not_say_which_it_is_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="says which it is"):
        VendorTool(provider="google", body=told)


@pytest.mark.parametrize(("vendor", "declared", "right"), SERVER_TOOLS)
def test_a_tool_of_the_vendors_stands_beside_ours(vendor: str, declared: ServerTool, right: Any) -> None:
    alone = body(vendor, server_tools=[declared])
    assert alone["tools"] == [right]
    tools = body(vendor, server_tools=[declared], tools=[look])["tools"]
    assert len(tools) == 2
    assert "look" in json.dumps(tools[0])
    assert tools[1] == right
    assert next(declared_in({"tools": [right]}))[0] == declared.name


def test_a_chat_model_that_searches_is_told_so_by_an_option() -> None:
    sent = body("chat", "gpt-5-search-api", server_tools=[WebSearch()], tools=[look])
    assert sent["web_search_options"] == {}
    assert [entry["type"] for entry in sent["tools"]] == ["function"]


REFUSED: list[tuple[str, ServerTool, str]] = [
    ("anthropic", FileSearch(stores=["s"]), "Anthropic's API has no file search of its own; leave FileSearch out"),
    ("anthropic", ImageGeneration(), "no image generation"),
    ("google", ImageGeneration(), "no image generation"),
    ("google", WebSearch(max_uses=1), "the web search of the Gemini API has no max_uses"),
    ("google", WebSearch(allowed_domains=["a"]), "no allowed_domains"),
    ("responses", WebSearch(blocked_domains=["a"]), "no blocked_domains"),
    ("responses", WebSearch(max_uses=1), "no max_uses"),
    ("chat", WebSearch(max_uses=1), "no max_uses"),
    ("chat", CodeExecution(), "no code execution"),
    ("openrouter", WebSearch(max_uses=1), "no max_uses"),
    ("openrouter", CodeExecution(), "the chat interface of openrouter has no code execution"),
    ("somebody", WebSearch(), "the chat interface of somebody has no web search"),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "declared", "why"), REFUSED)
def test_what_a_vendor_does_not_have_is_refused_in_a_sentence(
    vendor: str, declared: ServerTool, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        body(vendor, server_tools=[declared])


def test_gemini_takes_its_tools_and_ours_together_from_the_third_on() -> None:
    sent = body("google", "gemini-3-pro", server_tools=[WebSearch()], tools=[look], tool_choice="auto")
    assert sent["toolConfig"] == {
        "functionCallingConfig": {"mode": "AUTO"},
        "includeServerSideToolInvocations": True,
    }
    assert "toolConfig" not in body("google", "gemini-2.5-pro", server_tools=[WebSearch()])
    with pytest.raises(
        ConfigurationError, match=r"gemini-2\.5-pro takes tools of Google's or tools of yours, not both"
    ):
        body("google", "gemini-2.5-pro", server_tools=[WebSearch()], tools=[look])
    schema = OutputSchema(name="s", schema={"type": "object"})
    told = body("google", "gemini-2.5-pro", server_tools=[WebSearch()], output_schema=schema)
    assert "generationConfig" not in told
    assert "JSON Schema" in json.dumps(told["systemInstruction"])


def test_a_vendors_tool_can_be_the_one_to_call() -> None:
    drawn = body("responses", server_tools=[ImageGeneration()], tool_choice="image_generation")
    assert drawn["tool_choice"] == {"type": "image_generation"}
    found = body("anthropic", server_tools=[WebSearch()], tool_choice="web_search")
    assert found["tool_choice"] == {"type": "tool", "name": "web_search"}


def test_two_tools_of_one_name_are_refused() -> None:
    @tool
    async def web_search(query: str) -> str:
        """Search."""
        return query

    with pytest.raises(InvalidRequest, match="two tools named 'web_search'"):
        RequestSpec(messages=(), tools=[web_search], server_tools=[WebSearch()])
    with pytest.raises(InvalidRequest, match="two tools named 'code_execution'"):
        RequestSpec(messages=(), server_tools=[CodeExecution(), CodeExecution()])
    with pytest.raises(InvalidRequest, match="not both"):
        WebSearch(allowed_domains=["a"], blocked_domains=["b"])
    with pytest.raises(InvalidRequest, match="stores is a list of texts"):
        FileSearch(stores="vs_1")
    with pytest.raises(InvalidRequest, match="allowed_domains is a list of texts"):
        WebSearch(allowed_domains="a.example")
    with pytest.raises(InvalidRequest, match="needs the name of a store"):
        FileSearch(stores=())


def test_declared_tools_are_part_of_what_is_asked() -> None:
    plain = RequestSpec(messages=[HELLO])
    declared = plain.evolve(server_tools=[WebSearch(allowed_domains=("a.example",))], logprobs=0)
    assert dump_spec(declared) == {
        **dump_spec(plain),
        "server_tools": [{"name": "web_search", "allowed_domains": ["a.example"]}],
        "logprobs": 0,
    }


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ({"tools": [{"type": "web_search_20260318", "name": "harmless"}]}, ["web_search"]),
        ({"tools": [{"type": "web_search_preview_2025_03_11"}]}, ["web_search"]),
        ({"tools": [{"google_search": {}}, {"urlContext": {}}]}, ["web_search", "urlContext"]),
        ({"tools": [{"googleSearch": {}, "codeExecution": {}}]}, ["web_search", "code_execution"]),
        ({"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]}, ["f", "g"]),
        ({"tools": [{"type": "function", "function": {"name": "f_2024"}}]}, ["f_2024"]),
        ({"tools": [{"name": "f", "input_schema": {}}]}, ["f"]),
        ({"tools": [{"type": "mcp", "name": "harmless", "server_url": "https://x.example"}]}, ["mcp"]),
        ({"tools": [{"type": "shell", "name": "harmless"}]}, ["shell"]),
        ({"tools": ["web_search"], "plugins": [{"id": "web"}]}, ["web_search", "web_search"]),
        ({"web_search_options": {}, "mcp_servers": [{"url": "u"}]}, ["web_search", "mcp"]),
        ({"prompt": {"id": "pmpt_1"}}, ["stored_prompt"]),
        ({"cachedContent": "cachedContents/1"}, ["cached_content"]),
        ({"preset": "mine"}, ["stored_prompt"]),
        ({"extra_body": {"prompt_id": "mine"}}, ["stored_prompt"]),
        ({"enable_search": True}, ["web_search"]),
        ({"enable_search": False, "preset": None}, []),
        ({"vector_store_ids": ["vs_1"]}, ["file_search"]),
        (
            {"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]},
            ["web_search"],
        ),
        ({"tools": 5, "plugins": None, "metadata": {"tools": [{"type": "shell"}]}}, []),
    ],
)
def test_tools_that_extra_declares_have_names(extra: dict[str, Any], names: list[str]) -> None:
    assert [name for name, _ in declared_in(extra)] == names
