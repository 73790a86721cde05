"""Requests of Google's `generateContent`."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from llm_client.errors import ConfigurationError
from llm_client.json_text import JsonValue
from llm_client.messages import CompletionResult, MediaPart, Message, Part, ReasoningPart, TextPart, ToolCall
from llm_client.model_names import checked_model
from llm_client.providers.failures import Origin
from llm_client.providers.google.response import PROVIDER, is_own_id, read_response
from llm_client.providers.google.stream import GenerateContentReader
from llm_client.providers.google.usage import read_usage
from llm_client.providers.media import own_file, taken
from llm_client.providers.response import merge_extra, object_in
from llm_client.providers.strict_schema import told_in_prompt
from llm_client.providers.turn_order import PlacedCall, blocks_of, tool_name
from llm_client.spec import RequestSpec
from llm_client.tools.server import (
    CodeExecution,
    FileSearch,
    ServerTool,
    VendorTool,
    WebSearch,
    body_for,
    lacks_setting,
    lacks_tool,
    settings_of,
)
from llm_client.tools.tool import Tool
from llm_client.usage import Usage

_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
_LEVELS = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
}
_BUDGET_MODEL = re.compile(r"gemini-2\.5")
"""Gemini 2.5 thinks within a budget; Gemini 3 and later take a level."""
_BEFORE_GEMINI_3 = re.compile(r"gemini-[12]|gemma")
"""Models that take function calls without a thought signature, and refuse them together with an answer in JSON; with Gemini 3 both are the
other way round."""
_FOREIGN_SIGNATURE = b64encode(b"skip_thought_signature_validator").decode()
"""What Google's guide on thought signatures asks for on calls that another model has made."""
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


class GenerateContentFormat:
    """Writes and reads `generateContent`.

    Args:
        api_version: Version path.
    """

    def __init__(self, api_version: str) -> None:
        self._version = api_version

    def path(self, model: str, *, stream: bool) -> str:
        """Return what follows the base URL."""
        checked_model(model)  # `..` would lead elsewhere
        name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/{self._version}/{quote(name, safe='/')}:{method}"

    def encode(self, spec: RequestSpec, model: str, *, stream: bool) -> dict[str, JsonValue]:
        """Return the request's body."""
        tools = _tools(spec, model)
        if spec.output_schema is not None and tools and not takes_tools_with_schema(model):
            told = told_in_prompt(spec.messages, spec.output_schema)
            spec = spec.evolve(messages=told, output_schema=None)
        body: dict[str, Any] = {"contents": _contents(spec.messages, model)}
        system = [
            part for message in spec.messages if message.role == "system" for part in _parts(message.content)
        ]
        if system:
            body["systemInstruction"] = {"parts": system}
        if tools:
            body["tools"] = tools
        if spec.tools and spec.tool_choice is not None:
            body["toolConfig"] = {"functionCallingConfig": _tool_choice(spec.tool_choice)}
        if spec.tools and spec.server_tools:
            body.setdefault("toolConfig", {})["includeServerSideToolInvocations"] = True
        config = _generation_config(spec, model)
        if config:
            body["generationConfig"] = config
        return merge_extra(body, spec.extra) if spec.extra else body

    def decode(self, payload: object, origin: Origin, request_id: str | None) -> CompletionResult:
        """Read a whole answer."""
        return read_response(payload, origin, request_id)

    def usage(self, payload: object) -> Usage:
        """Read what a body says was used."""
        return read_usage(object_in(payload).get("usageMetadata"))

    def reader(self, origin: Origin, request_id: str | None) -> GenerateContentReader:
        """Return the reader of a new stream."""
        return GenerateContentReader(origin, request_id)


def takes_tools_with_schema(model: str) -> bool:
    """Whether a model may be given tools and an output schema in one request."""
    return _BEFORE_GEMINI_3.search(model) is None


def _contents(messages: Sequence[Message], model: str) -> list[dict[str, Any]]:
    """Return the turns; the answers to parallel calls share one user turn."""
    turns: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # of the last turn: an id may come again
    answering = False
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "tool":
            parts = _function_response(message, names)
            if answering:
                turns[-1]["parts"] += parts
            else:
                turns.append({"role": "user", "parts": parts})
            answering = True
            continue
        answering = False
        names = {call.id: call.name for call in message.tool_calls} or names
        parts = _model_parts(message, model) if message.role == "assistant" else _parts(message.content)
        role = "model" if message.role == "assistant" else "user"
        if parts and role == "model" and turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts  # "function call turn comes immediately after a user turn"
        elif parts:
            turns.append({"role": role, "parts": parts})
    return turns


def _model_parts(message: Message, model: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    foreign = all(call.signature is None for call in message.tool_calls) and not _BEFORE_GEMINI_3.search(
        model
    )
    for block in blocks_of(message, PROVIDER):
        if isinstance(block, PlacedCall):
            parts.append(_function_call(block.call, foreign=foreign))
            foreign = False
        elif isinstance(block, ReasoningPart):
            if "part" in block.data:
                parts.append(block.data["part"])
        elif isinstance(block, MediaPart):
            parts.append(_media(block))
        elif block.text or block.data:
            parts.append({**block.data, "text": block.text})
    return parts


def _function_call(call: ToolCall, *, foreign: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool_name(call.name), "args": call.arguments}
    if call.id and not is_own_id(call.id):
        function["id"] = call.id
    part: dict[str, Any] = {"functionCall": function}
    if call.signature is not None:
        part["thoughtSignature"] = call.signature
    elif foreign:
        part["thoughtSignature"] = _FOREIGN_SIGNATURE
    return part


def _function_response(message: Message, names: dict[str, str]) -> list[dict[str, Any]]:
    call_id = message.tool_call_id or ""
    response: dict[str, Any] = {
        "name": tool_name(message.name or names.get(call_id, "")),
        "response": {"result": message.text},
    }
    if call_id and not is_own_id(call_id):
        response["id"] = call_id
    return [{"functionResponse": response}, *taken(message.content, _media)]


def _parts(content: str | Sequence[Part]) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}] if content else []
    parts: list[dict[str, Any]] = []
    for part in content:
        if isinstance(part, TextPart):
            if part.text:
                parts.append({"text": part.text})
        elif isinstance(part, MediaPart):
            parts.append(_media(part))
    return parts


def _media(part: MediaPart) -> dict[str, Any]:
    about = part.vendor_data if part.provider == PROVIDER else {}
    source, others = about.get("source", {}), about.get("part", {})
    if address := own_file(part, PROVIDER) or part.url:  # a file's id is the address that Google has given it
        return {**others, "fileData": {**source, "mimeType": part.media_type, "fileUri": address}}
    return {**others, "inlineData": {**source, "mimeType": part.media_type, "data": part.data or ""}}


def _tools(spec: RequestSpec, model: str) -> list[dict[str, Any]]:
    """Return the tools that run here and those that run at Google, which Gemini takes together from the third on.

    Their calls and results come with the answer then (Google's page on the combination of tools, November 2026).
    """
    if spec.tools and spec.server_tools and _BEFORE_GEMINI_3.search(model):
        raise ConfigurationError(
            f"{model} takes tools of Google's or tools of yours, not both; Gemini 3 takes both"
        )
    functions = [{"functionDeclarations": [_tool(tool) for tool in spec.tools]}] if spec.tools else []
    return [*functions, *map(_server_tool, spec.server_tools)]


def _server_tool(tool: ServerTool) -> dict[str, Any]:
    """Write a tool that runs at Google (python-genai 3.6, `types.Tool`)."""
    match tool:
        case WebSearch():
            lacks_setting("the Gemini API", tool, *settings_of(tool))
            return {"googleSearch": {}}
        case CodeExecution():
            return {"codeExecution": {}}
        case FileSearch():
            most = {} if tool.max_results is None else {"topK": tool.max_results}
            return {"fileSearch": {"fileSearchStoreNames": list(tool.stores), **most}}
        case VendorTool():
            return body_for(PROVIDER, tool)
    raise lacks_tool("the Gemini API", tool)


def _tool(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters}


def _tool_choice(choice: str) -> dict[str, Any]:
    mode = _MODES.get(choice)
    return {"mode": mode} if mode else {"mode": "ANY", "allowedFunctionNames": [choice]}


def _generation_config(spec: RequestSpec, model: str) -> dict[str, Any]:
    optional = {
        "temperature": spec.temperature,
        "topP": spec.top_p,
        "maxOutputTokens": spec.max_tokens,
        "stopSequences": list(spec.stop) or None,
        "seed": spec.seed,
        "thinkingConfig": _thinking_config(spec, model),
        "responseLogprobs": None if spec.logprobs is None else True,
        "logprobs": spec.logprobs or None,
    }
    config: dict[str, Any] = {name: value for name, value in optional.items() if value is not None}
    if spec.output_schema is not None:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = spec.output_schema.schema
    return config


def _thinking_config(spec: RequestSpec, model: str) -> dict[str, Any] | None:
    if spec.reasoning_tokens is not None:
        return {"thinkingBudget": spec.reasoning_tokens, "includeThoughts": spec.reasoning_tokens > 0}
    effort = spec.reasoning_effort
    if effort is None:
        return None
    if _BUDGET_MODEL.search(model):
        return {"thinkingBudget": _BUDGETS[effort], "includeThoughts": effort != "none"}
    return {"thinkingLevel": _LEVELS[effort], "includeThoughts": effort != "none"}
