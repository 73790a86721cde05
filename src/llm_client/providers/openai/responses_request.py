"""OpenAI's Responses API: requests. Nothing is stored at OpenAI; reasoning travels encrypted with the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from llm_client.errors import ConfigurationError
from llm_client.json_text import JsonValue
from llm_client.messages import CompletionResult, MediaPart, Message, Part, TextPart
from llm_client.providers.call_ids import short_id, with_ids
from llm_client.providers.failures import Origin
from llm_client.providers.media import data_url, own_file, refuse, taken
from llm_client.providers.openai.models import reasons
from llm_client.providers.openai.responses_response import read_answer
from llm_client.providers.openai.responses_stream import ResponsesStreamReader
from llm_client.providers.openai.responses_turn import turn_items
from llm_client.providers.openai.usage import read_response_usage
from llm_client.providers.response import merge_extra, object_in
from llm_client.providers.strict_schema import strict_or_free
from llm_client.spec import RequestSpec
from llm_client.tools.server import (
    CodeExecution,
    FileSearch,
    ImageGeneration,
    ServerTool,
    VendorTool,
    WebSearch,
    body_for,
    lacks_setting,
    settings_of,
)
from llm_client.tools.tool import Tool
from llm_client.usage import Usage

_CHOICES = ("auto", "none", "required")
_LONGEST_CALL_ID = 64
"""Characters ("string too long. Expected a string with maximum length 64"); those of Chat Completions are fewer."""


class ResponsesFormat:
    """Writes and reads the Responses API.

    Args:
        provider: Vendor name, which marks the reasoning parts that are its own.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def path(self, model: str, *, stream: bool) -> str:
        """Return what follows the base URL."""
        return "/responses"

    def encode(self, spec: RequestSpec, model: str, *, stream: bool) -> dict[str, JsonValue]:
        """Return the request's body."""
        if spec.stop:
            raise ConfigurationError("OpenAI's Responses API has no stop sequences; use api='chat'")
        body: dict[str, Any] = {"model": model, "input": self._input(spec.messages), "store": False}
        include = ["reasoning.encrypted_content"] if reasons(model) else []
        if spec.logprobs is not None:
            include.append("message.output_text.logprobs")
            body["top_logprobs"] = spec.logprobs
        if include:
            body["include"] = include
        if spec.tools or spec.server_tools:
            body["tools"] = [
                *map(_tool, spec.tools),
                *(_server_tool(tool, self._provider) for tool in spec.server_tools),
            ]
        if spec.tool_choice is not None:
            body["tool_choice"] = _tool_choice(spec, self._provider)
        optional = {
            "parallel_tool_calls": spec.parallel_tool_calls if spec.tools else None,
            "temperature": spec.temperature,
            "top_p": spec.top_p,
            "max_output_tokens": spec.max_tokens,
            "reasoning": {"effort": spec.reasoning_effort} if spec.reasoning_effort is not None else None,
        }
        body.update((name, value) for name, value in optional.items() if value is not None)
        if spec.output_schema is not None:
            schema, strict = strict_or_free(spec.output_schema.schema, strict=spec.output_schema.strict)
            output = {
                "type": "json_schema",
                "name": spec.output_schema.name,
                "schema": schema,
                "strict": strict,
            }
            body["text"] = {"format": output}
        if stream:
            body["stream"] = True
        return merge_extra(body, spec.extra) if spec.extra else body

    def decode(self, payload: object, origin: Origin, request_id: str | None) -> CompletionResult:
        """Read a whole answer."""
        return read_answer(payload, origin, request_id)

    def usage(self, payload: object) -> Usage:
        """Read what a body says was used."""
        return read_response_usage(object_in(payload))

    def reader(self, origin: Origin, request_id: str | None) -> ResponsesStreamReader:
        """Return the reader of a new stream."""
        return ResponsesStreamReader(origin, request_id)

    def _input(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for message in with_ids(messages, _call_id):
            content = message.content
            if message.role == "tool":
                output = content if isinstance(content, str) else _output(content, self._provider)
                items.append(
                    {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}
                )
            elif message.role == "assistant":
                items += turn_items(message, self._provider)
            else:
                parts = content if isinstance(content, str) else _parts(content, self._provider)
                items.append({"role": message.role, "content": parts})
        return items


def _call_id(call_id: str) -> str:
    return short_id(call_id, _LONGEST_CALL_ID)


def _parts(parts: Sequence[Part], provider: str) -> list[dict[str, Any]]:
    return [
        {"type": "input_text", "text": part.text} if isinstance(part, TextPart) else _media(part, provider)
        for part in parts
        if isinstance(part, TextPart | MediaPart)
    ]


def _media(part: MediaPart, provider: str) -> dict[str, Any]:
    file_id = own_file(part, provider)
    if part.media_type.startswith("image/"):
        source = {"file_id": file_id} if file_id else {"image_url": data_url(part)}
        return {"type": "input_image", "detail": "auto", **source}
    if part.media_type.startswith(("audio/", "video/")):
        refuse(part, "OpenAI's Responses API")
    if file_id:
        return {"type": "input_file", "file_id": file_id}
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "filename": part.name or "file", "file_data": data_url(part)}


def _output(parts: Sequence[Part], provider: str) -> str | list[dict[str, Any]]:
    if media := taken(parts, partial(_media, provider=provider)):
        return [*_parts([part for part in parts if isinstance(part, TextPart)], provider), *media]
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def _tool(tool: Tool) -> dict[str, Any]:
    # The Responses API makes functions strict unless told otherwise.
    parameters, strict = strict_or_free(tool.parameters, strict=tool.strict)
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters,
        "strict": strict,
    }


def _server_tool(tool: ServerTool, provider: str) -> dict[str, Any]:
    """Write a tool that runs at OpenAI (openai-python 3.57, `responses.ToolParam`)."""
    match tool:
        case WebSearch():
            lacks_setting("OpenAI's Responses API", tool, "max_uses", "blocked_domains")
            filters = (
                {"filters": {"allowed_domains": list(tool.allowed_domains)}} if tool.allowed_domains else {}
            )
            return {"type": "web_search", **filters}
        case CodeExecution():
            return {"type": "code_interpreter", "container": {"type": "auto"}}
        case FileSearch():
            most = {} if tool.max_results is None else {"max_num_results": tool.max_results}
            return {"type": "file_search", "vector_store_ids": list(tool.stores), **most}
        case ImageGeneration():
            return {"type": "image_generation", **settings_of(tool)}
        case VendorTool():
            return body_for(provider, tool)


def _tool_choice(spec: RequestSpec, provider: str) -> str | dict[str, Any]:
    """Return which tool must be called; one that runs at OpenAI is named by what it is."""
    choice = spec.tool_choice or "auto"
    if choice in _CHOICES:
        return choice
    at_openai = next((tool for tool in spec.server_tools if tool.name == choice), None)
    return (
        {"type": "function", "name": choice}
        if at_openai is None
        else {"type": _server_tool(at_openai, provider).get("type", choice)}
    )
