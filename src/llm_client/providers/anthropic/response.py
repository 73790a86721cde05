"""What a message of Anthropic's Messages API says."""

from __future__ import annotations

from collections.abc import Mapping

from llm_client.messages import CompletionResult, FinishReason, ReasoningPart
from llm_client.providers.anthropic.citations import read_citation
from llm_client.providers.anthropic.usage import read_usage
from llm_client.providers.failures import Origin, failure_of_event
from llm_client.providers.response import ResponseDraft, object_in

PROVIDER = "anthropic"
_STOP: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
    "compaction": "pause",
}


def read_message(payload: object, origin: Origin, request_id: str | None) -> CompletionResult:
    """Read a whole answer."""
    payload = object_in(payload)
    if payload.get("type") == "error":
        raise failure_of_event(payload, origin, request_id=request_id)
    draft = ResponseDraft(
        provider=origin.provider,
        model=payload.get("model") or origin.model,
        request_id=request_id or payload.get("id"),
    )
    stop = read_stop(payload.get("stop_reason"))
    content = payload["content"]
    for index, block in enumerate([] if content is None and stop is not None else content):
        read_block(draft, index, block)
    draft.usage = read_usage(payload.get("usage") or {})
    draft.finish_reason = stop
    if refusal := read_refusal(payload, draft):
        draft.refusal[:] = [refusal]
    return draft.result()


def read_block(draft: ResponseDraft, index: int, block: object) -> None:
    """Take one whole block of an answer."""
    block = object_in(block)
    kind = block.get("type")
    if kind == "text":
        draft.begin("text", index, **others(block, "type", "text"))
        draft.add_text(block["text"], index)
        cite(draft, index, block.get("citations"))
    elif kind == "tool_use":
        draft.open_call(index, block.get("id") or "", block["name"])
        draft.keep_with_call(index, others(block, "type", "id", "name", "input"))
        draft.set_arguments(index, block.get("input"))
        draft.close_call(index)
    else:
        draft.add_part(read_other_block(block))


def cite(draft: ResponseDraft, index: int, stated: object) -> None:
    """Keep what a text rests on, as its list of citations says."""
    if isinstance(stated, list) and stated:
        draft.cite(map(read_citation, stated), index)


def others(block: Mapping[str, object], *known: str) -> dict[str, object]:
    """Return the fields of a block that say something beside those that are known."""
    return {name: value for name, value in block.items() if name not in known and value not in (None, [])}


def read_stop(stated: object) -> FinishReason | None:
    """Return why the answer ended; unknown reasons are `other`."""
    return _STOP.get(stated, "other") if isinstance(stated, str) else None


def read_refusal(source: object, draft: ResponseDraft) -> str | None:
    """Return the words of a refusal: the explanation where there is one, else what was said."""
    source = object_in(source)
    if source.get("stop_reason") != "refusal":
        return None
    details = source.get("stop_details") or {}
    return details.get("explanation") or "".join(draft.refusal) or draft.text or "the model refused"


def read_other_block(block: object) -> ReasoningPart:
    """Carry a block that is neither text nor a tool call: thinking, or the work of a server tool."""
    block = object_in(block)
    text = block.get("thinking") if block.get("type") == "thinking" else ""
    return ReasoningPart(provider=PROVIDER, text=text or "", data={"block": dict(block)})
