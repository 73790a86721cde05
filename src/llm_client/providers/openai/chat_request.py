"""OpenAI's Chat Completions, as OpenAI and the compatible servers speak it: requests and whole answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Final, TypeGuard

from llm_client.errors import ConfigurationError
from llm_client.json_text import JsonValue, dumps
from llm_client.messages import (
    CompletionResult,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)
from llm_client.providers.call_ids import short_id
from llm_client.providers.failures import Origin
from llm_client.providers.media import audio_format, data_url, own_file, require_data, taken
from llm_client.providers.openai.chat_dialect import OPENAI, ChatDialect
from llm_client.providers.openai.chat_finish import take_finish
from llm_client.providers.openai.chat_media import SPOKEN, MadeMedia
from llm_client.providers.openai.chat_response import (
    CarriedFields,
    beside,
    check_choice,
    message_of,
    read_content,
    tool_calls,
)
from llm_client.providers.openai.chat_stream import ChatStreamReader
from llm_client.providers.openai.citations import StatedSources
from llm_client.providers.openai.logprobs import read_choice_logprobs
from llm_client.providers.openai.models import reasons
from llm_client.providers.openai.thinking import chunk_of
from llm_client.providers.openai.usage import read_usage
from llm_client.providers.response import ResponseDraft, merge_extra, object_in
from llm_client.providers.strict_schema import strict_or_free, told_in_prompt
from llm_client.providers.turn_order import Block, PlacedCall, blocks_of, tool_name, without_last
from llm_client.spec import OutputSchema, RequestSpec
from llm_client.tools.server import (
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

_CHOICES = ("auto", "none", "required")
_TAKEN: Final = "OK."
"""What a model says that has taken a tool's result, where it has to say something."""
_THOUGHTS: Final = frozenset({"thinking"})
_LABELS: Final = {"image": "[image]", "audio": "[audio]", "video": "[video]"}
"""What stands for a turn of nothing but media, which no chat server takes back."""
_OPENROUTERS: Final = {"blocked_domains": "excluded_domains"}
"""What settings of a web search are called in OpenRouter's `WebSearchServerToolConfig`."""


class ChatFormat:
    """Writes and reads Chat Completions.

    Args:
        provider: Vendor name, which marks the reasoning parts that are its own.
        dialect: How the server differs from the others.
    """

    def __init__(self, provider: str, dialect: ChatDialect = OPENAI) -> None:
        self._provider = provider
        self._dialect = dialect

    def path(self, model: str, *, stream: bool) -> str:
        """Return what follows the base URL."""
        return "/chat/completions"

    def encode(self, spec: RequestSpec, model: str, *, stream: bool) -> dict[str, JsonValue]:
        """Return the request's body."""
        dialect = self._dialect
        output = spec.output_schema
        is_enforced = dialect.output_schema and (dialect.tools_with_output_schema or not spec.tools)
        if output is not None and not is_enforced:
            spec = spec.evolve(messages=told_in_prompt(spec.messages, output))
        body: dict[str, Any] = {"model": model, "messages": self._messages(spec.messages)}
        if spec.tools:
            body["tools"] = [_tool(tool) for tool in spec.tools]
        for tool in spec.server_tools:
            self._put_server_tool(body, tool)
        if spec.tool_choice is not None:
            body["tool_choice"] = self._tool_choice(spec.tool_choice)
        optional = {
            "parallel_tool_calls": spec.parallel_tool_calls if spec.tools else None,
            "temperature": spec.temperature,
            "top_p": spec.top_p,
            self._max_tokens_field(model): spec.max_tokens,
            "stop": list(spec.stop) or None,
            dialect.seed_field: spec.seed,
            "logprobs": None if spec.logprobs is None else True,
            "top_logprobs": spec.logprobs or None,
        }
        body.update((name, value) for name, value in optional.items() if value is not None)
        self._put_reasoning(body, spec)
        if output is not None:
            _put_output_schema(body, output, dialect, is_enforced=is_enforced)
        if stream:
            body["stream"] = True
            if dialect.streams_usage:
                body["stream_options"] = {"include_usage": True}
        return merge_extra(body, spec.extra) if spec.extra else body

    def decode(self, payload: object, origin: Origin, request_id: str | None) -> CompletionResult:
        """Read a whole answer."""
        payload = object_in(payload)
        choice = check_choice(payload, origin, request_id)
        message = message_of(choice)
        draft = ResponseDraft(
            provider=origin.provider,
            model=payload.get("model") or origin.model,
            request_id=request_id or payload.get("id"),
            usage=read_usage({**payload, "model": payload.get("model") or origin.model}),
        )
        carried, media = CarriedFields(draft, self._dialect.carried_reasoning), MadeMedia(draft)
        sources = StatedSources(draft)
        carried.take(message)
        read_content(draft, carried, message.get("content"))
        carried.end()
        media.take(message)
        media.end()
        sources.take(payload, message)
        sources.end()
        read_choice_logprobs(draft, choice.get("logprobs"))
        if message.get("refusal"):
            draft.add_refusal(message["refusal"])
        for key, call in enumerate(tool_calls(message)):
            function = call["function"]
            draft.open_call(key, call.get("id") or "", function["name"])
            draft.keep_with_call(key, beside(call))
            draft.set_arguments(key, function.get("arguments"))
        take_finish(draft, choice)
        return draft.result()

    def usage(self, payload: object) -> Usage:
        """Read what a body says was used."""
        return read_usage(object_in(payload))

    def reader(self, origin: Origin, request_id: str | None) -> ChatStreamReader:
        """Return the reader of a new stream."""
        return ChatStreamReader(origin, request_id, self._dialect.carried_reasoning)

    def _put_server_tool(self, body: dict[str, Any], tool: ServerTool) -> None:
        """Write a tool that runs at the server, where the server has it."""
        if isinstance(tool, VendorTool):
            body.setdefault("tools", []).append(body_for(self._provider, tool))
            return
        how = self._dialect.web_search if isinstance(tool, WebSearch) else None
        if how is None:
            raise lacks_tool(f"the chat interface of {self._provider}", tool)
        if how == "options":
            lacks_setting(f"the chat interface of {self._provider}", tool, *settings_of(tool))
            body["web_search_options"] = {}
            return
        lacks_setting(self._provider, tool, "max_uses")
        told = {_OPENROUTERS.get(name, name): value for name, value in settings_of(tool).items()}
        entry = {"type": "openrouter:web_search"} | ({"parameters": told} if told else {})
        body.setdefault("tools", []).append(entry)

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        encoded: list[dict[str, Any]] = []
        held: list[
            dict[str, Any]
        ] = []  # media of tool results, which may only follow the last of the results
        for message in messages:
            if held and message.role != "tool":
                encoded.append({"role": "user", "content": held})
                held = []
            if message.role == "tool":
                encoded.append(
                    {
                        "role": "tool",
                        "tool_call_id": self._call_id(message.tool_call_id or ""),
                        "content": message.text,
                    }
                )
                held += _tool_media(message, self._provider) if self._dialect.takes_media else []
            elif message.role == "assistant":
                if turn := self._assistant(message):
                    encoded.append(turn)
            else:
                content = message.content
                encoded.append(
                    {
                        "role": message.role,
                        "content": content if isinstance(content, str) else _parts(content, self._provider),
                    }
                )
                if message.name:
                    encoded[-1]["name"] = message.name
        if held:
            encoded.append({"role": "user", "content": held})
        return _answered(encoded) if self._dialect.answers_tools_first else encoded

    def _assistant(self, message: Message) -> dict[str, Any]:
        """Return a model's turn; nothing, if there is nothing in it that the server takes back."""
        carried: dict[str, Any] = {}
        blocks = blocks_of(message, self._provider)
        sound = next((block.vendor_data["audio"] for block in blocks if _is_sound(block)), None)
        if sound is not None:
            carried["audio"] = {"id": sound["id"]}
            blocks = [block for block in blocks if not (isinstance(block, TextPart) and SPOKEN in block.data)]
        calls = [
            {**block.data, **_call(block.call, self._call_id(block.call.id))}
            for block in blocks
            if isinstance(block, PlacedCall)
        ]
        for block in blocks:
            if isinstance(block, ReasoningPart):
                # An empty thought is asked for with calls alone (DeepSeek, in its thinking mode).
                fields = {name: value for name, value in block.data.items() if value != "" or calls}
                carried.update((name, value) for name, value in fields.items() if self._carries(name))
        takes_refusals = self._dialect.takes_refusals
        refusal = [block.text for block in blocks if isinstance(block, RefusalPart) and takes_refusals]
        chunks = [chunk for block in blocks if (chunk := self._chunk(block)) is not None]
        said = _content(chunks if calls or refusal else without_last(chunks, _THOUGHTS))
        if not (said or refusal or calls or carried):
            said = next((_LABELS[kind] for kind in map(_kind, blocks) if kind in _LABELS), "")
        if not (said or refusal or calls or carried):
            return {}
        needless = calls or refusal or sound is not None
        encoded: dict[str, Any] = {"role": "assistant", "content": said or (None if needless else "")}
        if message.name:
            encoded["name"] = message.name
        if refusal:
            encoded["refusal"] = "".join(refusal)
        if calls:
            encoded["tool_calls"] = calls
        return carried | encoded

    def _chunk(self, block: Block) -> dict[str, Any] | None:
        """Return what a block is in the content of a turn; `None` for what stands elsewhere, or goes to nobody."""
        if isinstance(block, TextPart) or (
            isinstance(block, RefusalPart) and not self._dialect.takes_refusals
        ):
            return _text(block.text)
        return chunk_of(block) if self._dialect.thinking_chunks else None

    def _carries(self, name: str) -> bool:
        return name in self._dialect.carried_reasoning or name == "extra_content"

    def _call_id(self, call_id: str) -> str:
        if self._dialect.longest_call_id is not None:
            return short_id(call_id, self._dialect.longest_call_id)
        if not self._dialect.short_call_ids or (len(call_id) == 9 and call_id.isalnum()):
            return call_id
        return sha256(call_id.encode()).hexdigest()[:9]

    def _max_tokens_field(self, model: str) -> str:
        field = self._dialect.max_tokens_field
        if field != "by_model":
            return field
        return "max_completion_tokens" if reasons(model) else "max_tokens"

    def _tool_choice(self, choice: str) -> Any:
        if choice not in _CHOICES:
            return {"type": "function", "function": {"name": choice}}
        return self._dialect.required_choice if choice == "required" else choice

    def _put_reasoning(self, body: dict[str, Any], spec: RequestSpec) -> None:
        if self._dialect.reasoning == "effort":
            if spec.reasoning_effort is not None:
                body["reasoning_effort"] = spec.reasoning_effort
            return
        wanted = {"effort": spec.reasoning_effort, "max_tokens": spec.reasoning_tokens}
        if spec.reasoning_tokens is not None:
            del wanted["effort"]  # OpenRouter takes one of the two
        chosen = {name: value for name, value in wanted.items() if value is not None}
        if chosen:
            body["reasoning"] = chosen


def _answered(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages with one of the model's between each tool's result and what a person says behind it."""
    answered: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "user" and answered and answered[-1]["role"] == "tool":
            answered.append({"role": "assistant", "content": _TAKEN})
        answered.append(message)
    return answered


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def _content(chunks: Sequence[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return what a turn says: a text, unless there are thoughts among its texts."""
    if any(chunk["type"] in _THOUGHTS for chunk in chunks):
        return [chunk for chunk in chunks if chunk.get("text", True)]
    return "".join(chunk["text"] for chunk in chunks)


def _put_output_schema(
    body: dict[str, Any], output: OutputSchema, dialect: ChatDialect, *, is_enforced: bool
) -> None:
    if is_enforced:
        schema, strict = strict_or_free(output.schema, strict=output.strict)
        described = {"name": output.name, "schema": schema, "strict": strict}
        body["response_format"] = {"type": "json_schema", "json_schema": described}
    elif not dialect.output_schema:
        body["response_format"] = {"type": "json_object"}


def _call(call: ToolCall, call_id: str) -> dict[str, Any]:
    function = {"name": tool_name(call.name), "arguments": dumps(call.arguments).decode()}
    return {"id": call_id, "type": "function", "function": function}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    if tool.strict:
        function["parameters"], function["strict"] = strict_or_free(tool.parameters, strict=True)
    return {"type": "function", "function": function}


def _is_sound(block: Block) -> TypeGuard[MediaPart]:
    """Whether a block is a sound that the server knows by an id."""
    sound = block.vendor_data.get("audio") if isinstance(block, MediaPart) else None
    return isinstance(sound, Mapping) and "id" in sound


def _kind(block: Block) -> str:
    return block.media_type.partition("/")[0] if isinstance(block, MediaPart) else ""


def _parts(parts: Sequence[Part], provider: str) -> list[dict[str, Any]]:
    encoded: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, TextPart):
            encoded.append(_text(part.text))
        elif isinstance(part, MediaPart):
            encoded.append(_media(part, provider))
    return encoded


def _media(part: MediaPart, provider: str) -> dict[str, Any]:
    if file_id := own_file(part, provider):
        if part.media_type.startswith(("image/", "audio/", "video/")):
            raise ConfigurationError(f"Chat Completions takes no {part.media_type} by its id; send its data")
        return {"type": "file", "file": {"file_id": file_id}}
    if part.media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": data_url(part)}}
    if part.media_type.startswith("audio/"):
        return {
            "type": "input_audio",
            "input_audio": {"data": require_data(part), "format": audio_format(part)},
        }
    require_data(part)
    return {"type": "file", "file": {"filename": part.name or "file", "file_data": data_url(part)}}


def _tool_media(message: Message, provider: str) -> list[dict[str, Any]]:
    media = taken(message.content, partial(_media, provider=provider))
    label = {"type": "text", "text": f"Attached to the result of tool call {message.tool_call_id}:"}
    return [label, *media] if media else []
