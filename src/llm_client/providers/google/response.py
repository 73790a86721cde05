"""What an answer of Google's `generateContent` says; the chunks of a stream have the same form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm_client.errors import ContentFiltered, InvalidResponse
from llm_client.messages import CompletionResult, FinishReason, MediaPart, ReasoningPart, StreamEvent
from llm_client.providers.failures import Origin
from llm_client.providers.google.grounding import Grounding
from llm_client.providers.google.usage import read_answer_usage
from llm_client.providers.response import ResponseDraft, object_in
from llm_client.providers.server_calls import call_began, call_ended
from llm_client.spec import new_id
from llm_client.usage import Usage

PROVIDER = "google"
_OWN_ID = "google-call"
_MAX_WORDS: Final = 4_000
"""Of what Google says about the end of an answer; it repeats a call that it could not read."""
_FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "MALFORMED_FUNCTION_CALL": "malformed_call",
    "MALFORMED_RESPONSE": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "UNEXPECTED_TOOL_CALL": "malformed_call",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "LANGUAGE": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
}


def read_response(payload: object, origin: Origin, request_id: str | None) -> CompletionResult:
    """Read a whole answer. Raises `ContentFiltered` when the prompt was blocked."""
    payload = object_in(payload)
    model = payload.get("modelVersion") or origin.model
    usage = read_answer_usage(payload, origin.model)
    check_prompt(payload, origin, request_id, usage)
    if not payload.get("candidates"):
        raise InvalidResponse(
            f"{origin.provider} answered without any candidate",
            status=200,
            provider=origin.provider,
            model=origin.model,
            request_id=request_id or payload.get("responseId"),
            usage=None if usage.is_nothing else usage,
        )
    candidate = payload["candidates"][0]
    draft = ResponseDraft(
        provider=origin.provider,
        model=model,
        request_id=request_id or payload.get("responseId"),
        usage=usage,
    )
    starts, length = [], 0
    for part in (candidate.get("content") or {}).get("parts") or ():
        starts.append(length)
        read_part(draft, part)
        length += len(part.get("text") or "") if _is_said(part) else 0
        draft.end_block()
    grounding = Grounding()
    grounding.take(draft, candidate)
    grounding.end(draft, starts)
    read_finish(draft, candidate)
    return draft.result()


def read_part(draft: ResponseDraft, part: object) -> list[StreamEvent]:
    """Take one part of an answer; what is signed stays a block of its own, as Google wants it back."""
    part = object_in(part)
    signature = part.get("thoughtSignature")
    text = part.get("text")
    if "functionCall" in part:
        return _read_call(draft, part)
    if text is None or signature:
        draft.kept.take(part)
    if text is None:
        return [*draft.add_part(_media(part) or _opaque(part)), *_server_tool(part)]
    if part.get("thought"):
        if not signature:
            return draft.add_thought(text)
        draft.add_part(_opaque(part))
        return [StreamEvent(type="reasoning", text=text)] if text else []
    if not signature:
        return draft.add_text(text) if text else []
    if text:  # a signature alone, as streams end with it, belongs to the text before it
        draft.end_block()
    draft.note({"thoughtSignature": signature})
    events = draft.add_text(text)
    draft.end_block()
    return events


def _server_tool(part: Mapping[str, Any]) -> list[StreamEvent]:
    """Tell what a part says of a tool that runs at Google."""
    for field, tell in (("executableCode", call_began), ("codeExecutionResult", call_ended)):
        if isinstance(code := part.get(field), Mapping):
            told = {name: code[name] for name in ("language", "code") if name in code}
            return tell(code.get("id"), "code_execution", told)
    for field, tell in (("toolCall", call_began), ("toolResponse", call_ended)):
        if isinstance(call := part.get(field), Mapping):
            return tell(call.get("id"), call.get("toolType"), call.get("args"))
    return []


def _is_said(part: Mapping[str, Any]) -> bool:
    """Whether a part is text of the answer."""
    return "functionCall" not in part and not part.get("thought")


def _opaque(part: Mapping[str, Any]) -> ReasoningPart:
    """Carry a part as it is: signed thoughts, code that Google has run, calls of its own tools."""
    text = part.get("text") if part.get("thought") else ""
    return ReasoningPart(provider=PROVIDER, text=text or "", data={"part": dict(part)})


def _media(part: Mapping[str, Any]) -> MediaPart | None:
    """Return an image, a sound or a file of the answer; those of its thoughts are opaque."""
    inline, file = part.get("inlineData"), part.get("fileData")
    source = inline or file
    if not isinstance(source, Mapping) or part.get("thought") or not isinstance(source.get("mimeType"), str):
        return None
    return MediaPart(
        media_type=source["mimeType"],
        data=inline.get("data") if inline else None,
        url=None if inline else source.get("fileUri"),
        provider=PROVIDER,
        vendor_data={
            "part": _without(part, "inlineData", "fileData"),
            "source": _without(source, "mimeType", "data", "fileUri"),
        },
    )


def check_prompt(payload: object, origin: Origin, request_id: str | None, usage: Usage) -> None:
    """Raise `ContentFiltered` when Google's safety system has blocked the prompt."""
    payload = object_in(payload)
    feedback = payload.get("promptFeedback") or {}
    reason = feedback.get("blockReason")
    if reason and not payload.get("candidates"):
        raise ContentFiltered(
            f"{origin.provider} blocked the prompt: {feedback.get('blockReasonMessage') or reason}",
            provider=origin.provider,
            model=origin.model,
            request_id=request_id or payload.get("responseId"),
            usage=None if usage.is_nothing else usage,
            vendor_code=str(reason).lower(),
        )


def read_finish(draft: ResponseDraft, candidate: Mapping[str, Any]) -> None:
    """Take why an answer ended, and what Google says about it; unknown reasons are `other`."""
    stated, words = candidate.get("finishReason"), candidate.get("finishMessage")
    if isinstance(stated, str) and stated:
        draft.end(_FINISH.get(stated, "other"))
    if isinstance(words, str) and words:
        draft.finish_message = words[:_MAX_WORDS]


def _without(part: Mapping[str, Any], *known: str) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in known}


def _read_call(draft: ResponseDraft, part: Mapping[str, Any]) -> list[StreamEvent]:
    """Take a tool call with its thought signature; Google often gives no id, so it gets one of ours."""
    call, key = part["functionCall"], len(draft.calls.calls)
    call_id = call.get("id") or new_id(_OWN_ID)
    signature = draft.kept.take(part.get("thoughtSignature"))
    begun, arguments = draft.open_call(key, call_id, call["name"], signature), call.get("args")
    given = [] if arguments is None else draft.add_arguments(key, arguments)
    return [begun, *given, *draft.close_call(key)]


def is_own_id(call_id: str) -> bool:
    """Whether an id was made here, and means nothing to Google."""
    return call_id.startswith(_OWN_ID)
