"""What a response object of OpenAI's Responses API says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm_client.errors import InvalidResponse
from llm_client.messages import CompletionResult, FinishReason
from llm_client.providers.failures import Origin, failure_of_event
from llm_client.providers.openai.responses_turn import read_items
from llm_client.providers.openai.usage import read_response_usage
from llm_client.providers.response import ResponseDraft, object_in, part_of
from llm_client.usage import Usage

_CUT: Final[FinishReason] = "length"
"""What an incomplete response is for any reason but these: a limit of its messages, or one that nobody knows."""
_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": _CUT, "content_filter": "content_filter"}


def read_answer(
    response: object, origin: Origin, request_id: str | None, ids: Mapping[int, str] | None = None
) -> CompletionResult:
    """Read a whole response; `ids` are those of calls that have none in it. Raises `ProviderError` when it says that it failed."""
    response = object_in(response)
    usage = read_response_usage(response)
    check_status(response, origin, request_id, usage)
    finish = read_finish(response)
    draft = ResponseDraft(
        provider=origin.provider,
        model=response.get("model") or origin.model,
        request_id=request_id or response.get("id"),
        usage=usage,
    )
    output = response["output"]
    output = [] if output is None and finish is not None else output
    read_items(draft, output, ids or {})
    draft.finish_reason = _CUT if finish in (None, "stop") and any(map(_is_cut, output)) else finish
    return draft.result()


def check_status(response: object, origin: Origin, request_id: str | None, usage: Usage) -> None:
    """Raise what a failed, cancelled or unfinished response means."""
    response = object_in(response)
    if response.get("status") in ("failed", "cancelled"):
        payload = {
            "error": response.get("error")
            or {"code": "server_error", "message": f"the response was {response['status']}"}
        }
        error = failure_of_event(payload, origin, request_id=request_id)
        error.usage = None if usage.is_nothing else usage
        raise error
    if response.get("status") in ("queued", "in_progress"):
        unfinished = InvalidResponse(
            f"{origin.provider} answered with a response that is still {response['status']}; background mode is not followed here",
            status=200,
            provider=origin.provider,
            model=origin.model,
            request_id=request_id or response.get("id"),
            usage=None if usage.is_nothing else usage,
        )
        unfinished.retryable = False  # each further attempt would be one more response in the background
        raise unfinished


def read_finish(response: object) -> FinishReason | None:
    """Return why a response ended; `None` where it does not say that it is whole."""
    response = object_in(response)
    reason = part_of(response, "incomplete_details").get("reason")
    if response.get("status") != "incomplete" and not reason:
        return "stop" if response.get("status") == "completed" else None
    return _INCOMPLETE.get(reason, _CUT) if isinstance(reason, str) else _CUT


def _is_cut(item: Mapping[str, Any]) -> bool:
    """Whether a text or a call is not whole, whatever its response says. Some servers leave whole ones `in_progress`."""
    kind, status = item.get("type"), item.get("status")
    if status == "incomplete":
        return kind in ("message", "function_call")
    return kind == "function_call" and status == "in_progress" and not item.get("arguments")
