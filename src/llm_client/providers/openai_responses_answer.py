"""What a response object of OpenAI's Responses API says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_client.messages import CompletionResult, FinishReason, ReasoningPart, ToolCall
from llm_client.providers.answer import finish_reason, make_tool_call, whole_number
from llm_client.providers.failures import Origin, failure_of_event
from llm_client.providers.turn_order import carried
from llm_client.usage import Usage

_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


def read_answer(response: Mapping[str, Any], origin: Origin, request_id: str | None) -> CompletionResult:
    """Read a whole response. Raises `ProviderError` when it says that it failed."""
    usage = read_usage(response.get("usage"))
    check_status(response, origin, request_id, usage)
    text: list[str] = []
    refusal: list[str] = []
    calls: list[ToolCall] = []
    reasoning: list[ReasoningPart] = []
    for position, item in enumerate(response["output"]):
        kind = item.get("type")
        if kind == "message":
            _read_message(item, text, refusal)
            if item.get("phase"):
                reasoning.append(phase_part(origin.provider, item["phase"]))
        elif kind == "function_call":
            calls.append(make_tool_call(item.get("call_id") or "", item["name"], item.get("arguments") or ""))
        else:
            reasoning.append(read_other_item(item, position, origin.provider))
    return CompletionResult(
        content="".join(text),
        tool_calls=tuple(calls),
        usage=usage,
        reasoning=tuple(reasoning),
        finish_reason=finish_reason(read_finish(response), tuple(calls)),
        model=response.get("model") or origin.model,
        provider=origin.provider,
        request_id=request_id or response.get("id"),
        refusal="".join(refusal) or None,
    )


def check_status(response: Mapping[str, Any], origin: Origin, request_id: str | None, usage: Usage) -> None:
    """Raise what a failed or cancelled response means."""
    if response.get("status") in ("failed", "cancelled"):
        payload = {
            "error": response.get("error")
            or {"code": "server_error", "message": f"the response was {response['status']}"}
        }
        error = failure_of_event(payload, origin, request_id=request_id)
        error.usage = usage if usage.total_tokens else None
        raise error


def read_finish(response: Mapping[str, Any]) -> FinishReason | None:
    """Return why a response ended."""
    if response.get("status") != "incomplete":
        return None
    reason = (response.get("incomplete_details") or {}).get("reason")
    return _INCOMPLETE.get(reason or "", "other")


def read_other_item(item: Mapping[str, Any], position: int, provider: str) -> ReasoningPart:
    """Carry an item that is neither text nor a function call: reasoning, or the work of a built-in tool."""
    pieces = item.get("summary") or item.get("content") if item.get("type") == "reasoning" else ()
    text = "\n\n".join(piece.get("text", "") for piece in pieces or () if isinstance(piece, Mapping))
    # The API gives `status` and empty fields, and refuses to take some of them back.
    block = {name: value for name, value in item.items() if value is not None and name != "status"}
    return carried(provider, text, "item", block, position)


def phase_part(provider: str, phase: str) -> ReasoningPart:
    """Carry what newer models say about a message: commentary, or the final answer."""
    return ReasoningPart(provider=provider, data={"phase": phase})


def read_usage(usage: Any) -> Usage:
    """Return one response's usage; OpenAI's buckets are inclusive already."""
    if not isinstance(usage, Mapping):
        return Usage(requests=1)
    read = usage.get("input_tokens_details") or {}
    written = usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=whole_number(usage.get("input_tokens")),
        output_tokens=whole_number(usage.get("output_tokens")),
        cache_read_tokens=whole_number(read.get("cached_tokens")),
        cache_write_tokens=whole_number(read.get("cache_write_tokens")),
        reasoning_tokens=whole_number(written.get("reasoning_tokens")),
        requests=1,
    )


def _read_message(item: Mapping[str, Any], text: list[str], refusal: list[str]) -> None:
    for part in item.get("content") or ():
        if part.get("type") == "output_text":
            text.append(part.get("text") or "")
        elif part.get("type") == "refusal":
            refusal.append(part.get("refusal") or "")
