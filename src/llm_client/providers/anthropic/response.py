"""What a message of Anthropic's Messages API says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_client.messages import CompletionResult, FinishReason, ReasoningPart, ToolCall
from llm_client.providers.failures import Origin, failure_of_event
from llm_client.providers.response import finish_reason, whole_number
from llm_client.providers.turn_order import carried
from llm_client.usage import Usage

PROVIDER = "anthropic"
_STOP: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def read_message(payload: Mapping[str, Any], origin: Origin, request_id: str | None) -> CompletionResult:
    """Read a whole answer."""
    if payload.get("type") == "error":
        raise failure_of_event(payload, origin, request_id=request_id)
    text: list[str] = []
    calls: list[ToolCall] = []
    reasoning: list[ReasoningPart] = []
    for position, block in enumerate(payload["content"]):
        kind = block.get("type")
        if kind == "text":
            text.append(block["text"])
        elif kind == "tool_use":
            calls.append(read_call(block))
        else:
            reasoning.append(read_other_block(block, position))
    content = "".join(text)
    return CompletionResult(
        content=content,
        tool_calls=tuple(calls),
        usage=read_usage(payload.get("usage") or {}),
        reasoning=tuple(reasoning),
        finish_reason=finish_reason(read_stop(payload.get("stop_reason")), tuple(calls)),
        model=payload.get("model") or origin.model,
        provider=origin.provider,
        request_id=request_id or payload.get("id"),
        refusal=read_refusal(payload, content),
    )


def read_stop(stated: Any) -> FinishReason | None:
    """Return why the answer ended; `pause_turn` and unknown reasons are `other`."""
    return _STOP.get(stated, "other") if isinstance(stated, str) else None


def read_refusal(source: Mapping[str, Any], content: str) -> str | None:
    """Return the words of a refusal: the explanation where there is one, else what was said."""
    if source.get("stop_reason") != "refusal":
        return None
    details = source.get("stop_details") or {}
    return details.get("explanation") or content or "the model refused"


def read_call(block: Mapping[str, Any]) -> ToolCall:
    """Return a tool call; its input comes as an object."""
    arguments = block.get("input")
    if isinstance(arguments, dict):
        return ToolCall(block["id"], block["name"], arguments)
    return ToolCall(block["id"], block["name"], {}, malformed=str(arguments))


def read_other_block(block: Mapping[str, Any], position: int) -> ReasoningPart:
    """Carry a block that is neither text nor a tool call: thinking, or the work of a server tool."""
    text = block.get("thinking") if block.get("type") == "thinking" else ""
    return carried(PROVIDER, text or "", "block", dict(block), position)


def read_usage(usage: Mapping[str, Any]) -> Usage:
    """Return usage in inclusive buckets; Anthropic counts cached tokens beside the other input."""
    read = whole_number(usage.get("cache_read_input_tokens"))
    written = whole_number(usage.get("cache_creation_input_tokens"))
    details = usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=whole_number(usage.get("input_tokens")) + read + written,
        output_tokens=whole_number(usage.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=whole_number(details.get("thinking_tokens")),
        requests=1,
    )
