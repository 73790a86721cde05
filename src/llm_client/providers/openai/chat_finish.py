"""Why answers of Chat Completions end, in the words of OpenAI and of all who speak its language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm_client.messages import FinishReason
from llm_client.providers.response import ResponseDraft

_FINISH: Final[dict[str, FinishReason]] = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed"), "stop"),
    **dict.fromkeys(("length", "model_length", "max_tokens", "max_output_tokens", "continuation"), "length"),
    **dict.fromkeys(("model_context_window_exceeded", "context_length_exceeded"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "tool_call", "function_call"), "tool_calls"),
    **dict.fromkeys(("content_filter", "content_filtered", "safety", "recitation", "blocklist", "spii"), "content_filter"),
    **dict.fromkeys(("prohibited_content", "image_safety", "image_prohibited_content", "image_recitation"), "content_filter"),
    **dict.fromkeys(("model_armor", "escalation", "language", "refusal", "sensitive", "guardrail_intervened"), "content_filter"),
    **dict.fromkeys(("malformed_function_call", "unexpected_tool_call", "malformed_tool_use"), "malformed_call"),
    **dict.fromkeys(("function_call_filter", "malformed_tool_call"), "malformed_call"),
    **dict.fromkeys(("error", "abort", "repetition", "insufficient_system_resource", "network_error"), "error"),
    **dict.fromkeys(("malformed_response", "missing_thought_signature", "malformed_model_output"), "error"),
}  # fmt: skip
"""Mistral's (mistralai 3.7, `ChatCompletionChoiceFinishReason`), DeepSeek's (its reference of chat completions), Z.ai's (likewise), Bedrock's
(`StopReason`) and vLLM's besides OpenAI's, and the words of other vendors that gateways pass on, in small or capital letters."""
_NO_FINISH: Final = frozenset({"", "null", "none"})
_WORD: Final = re.compile(r"[a-z_]+")
_LOOKED_AT: Final = 200
"""Characters of a reason."""
_NATIVE: Final = frozenset({"malformed_function_call", "unexpected_tool_call"})
"""Gemini's words for a call that it could not read; to OpenRouter, both are an `error` like any."""


def read_finish(stated: object, native: object = None) -> FinishReason | None:
    """Return why the answer ended; unknown reasons are `other`.

    Google's chat interface says its own word behind a common one (`content_filter: PROHIBITED_CONTENT`, `function_call_filter:
    MALFORMED_FUNCTION_CALL`), OpenRouter beside it, as the `native` one.
    """
    reason = stated[:_LOOKED_AT].lower() if isinstance(stated, str) else ""
    if reason in _NO_FINISH:
        return None
    if isinstance(native, str) and native.lower() in _NATIVE:
        return "malformed_call"
    words = (reason, *_WORD.findall(reason))
    return next((_FINISH[word] for word in words if word in _FINISH), "other")


def take_finish(draft: ResponseDraft, choice: Mapping[str, Any]) -> bool:
    """Take why a choice ended, with the words for it where there are more than one. Return whether it says so at all."""
    stated = choice.get("finish_reason")
    finish = read_finish(stated, choice.get("native_finish_reason"))
    if finish is None:
        return False
    draft.end(finish)
    if finish == "content_filter" and isinstance(stated, str) and ":" in stated:
        draft.finish_message = stated[:_LOOKED_AT]
    return True
