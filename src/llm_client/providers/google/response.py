"""What an answer of Google's `generateContent` says; the chunks of a stream have the same form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_client.errors import ContentFiltered
from llm_client.messages import CompletionResult, FinishReason, ReasoningPart, ToolCall
from llm_client.providers.failures import Origin
from llm_client.providers.response import finish_reason, whole_number
from llm_client.spec import new_id
from llm_client.usage import Usage

PROVIDER = "google"
_OWN_ID = "google-call"
_FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}


def read_response(payload: Mapping[str, Any], origin: Origin, request_id: str | None) -> CompletionResult:
    """Read a whole answer. Raises `ContentFiltered` when the prompt was blocked."""
    usage = read_usage(payload.get("usageMetadata"))
    check_prompt(payload, origin, request_id, usage)
    candidate = payload["candidates"][0]
    text: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    signatures: list[str] = []
    for part in (candidate.get("content") or {}).get("parts") or ():
        if "functionCall" in part:
            calls.append(read_call(part))
        elif part.get("text") is not None:
            (thoughts if part.get("thought") else text).append(part["text"])
            if part.get("thoughtSignature") and not part.get("thought"):
                signatures.append(part["thoughtSignature"])
    return CompletionResult(
        content="".join(text),
        tool_calls=tuple(calls),
        usage=usage,
        reasoning=make_reasoning("".join(thoughts), signatures),
        finish_reason=finish_reason(read_finish(candidate.get("finishReason")), tuple(calls)),
        model=payload.get("modelVersion") or origin.model,
        provider=origin.provider,
        request_id=request_id or payload.get("responseId"),
    )


def check_prompt(payload: Mapping[str, Any], origin: Origin, request_id: str | None, usage: Usage) -> None:
    """Raise `ContentFiltered` when Google's safety system has blocked the prompt."""
    feedback = payload.get("promptFeedback") or {}
    reason = feedback.get("blockReason")
    if reason and not payload.get("candidates"):
        raise ContentFiltered(
            f"{origin.provider} blocked the prompt: {feedback.get('blockReasonMessage') or reason}",
            provider=origin.provider,
            model=origin.model,
            request_id=request_id or payload.get("responseId"),
            usage=usage if usage.total_tokens else None,
            vendor_code=str(reason).lower(),
        )


def read_finish(stated: Any) -> FinishReason | None:
    """Return why the answer ended; unknown reasons are `other`."""
    return _FINISH.get(stated, "other") if isinstance(stated, str) and stated else None


def read_call(part: Mapping[str, Any]) -> ToolCall:
    """Return a tool call with its thought signature; Google often gives no id, so it gets one of ours."""
    call = part["functionCall"]
    arguments = call.get("args")
    call_id = call.get("id") or new_id(_OWN_ID)
    signature = part.get("thoughtSignature")
    if arguments is None or isinstance(arguments, dict):
        return ToolCall(call_id, call["name"], arguments or {}, signature=signature)
    return ToolCall(call_id, call["name"], {}, malformed=str(arguments), signature=signature)


def is_own_id(call_id: str) -> bool:
    """Whether an id was made here, and means nothing to Google."""
    return call_id.startswith(_OWN_ID)


def make_reasoning(thoughts: str, signatures: list[str]) -> tuple[ReasoningPart, ...]:
    """Return the thoughts of an answer, with the signature that its text must carry back."""
    if not thoughts and not signatures:
        return ()
    data = {"text_signature": signatures[-1]} if signatures else {}
    return (ReasoningPart(provider=PROVIDER, text=thoughts, data=data),)


def read_usage(usage: Any) -> Usage:
    """Return usage in inclusive buckets; Google counts thoughts beside the answer, and tool prompts beside the prompt."""
    if not isinstance(usage, Mapping):
        return Usage(requests=1)
    thoughts = whole_number(usage.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=whole_number(usage.get("promptTokenCount"))
        + whole_number(usage.get("toolUsePromptTokenCount")),
        output_tokens=whole_number(usage.get("candidatesTokenCount")) + thoughts,
        cache_read_tokens=whole_number(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        requests=1,
    )
