"""Chat Completions: https://platform.openai.com/docs/api-reference/chat."""

from __future__ import annotations

from typing import Any

USAGE: dict[str, Any] = {
    "prompt_tokens": 1117,
    "completion_tokens": 46,
    "total_tokens": 1163,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 32,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def completion(message: dict[str, Any], finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    """Return a whole answer around a message."""
    return {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion",
        "created": 1763700000,
        "model": "gpt-5.2-2025-12-11",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "refusal": None, "annotations": [], **message},
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
        "usage": USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_b376dfbbd5",
        **fields,
    }


TEXT = completion({"content": "Grüße aus Köln 🎉"})
TOOL_CALLS = completion(
    {
        "content": None,
        "tool_calls": [
            {
                "id": "call_a",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"Köln"}'},
            },
            {"id": "call_b", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
        ],
    },
    "tool_calls",
)
REFUSAL = completion({"content": None, "refusal": "I can't help with that."})


def chunk(delta: dict[str, Any] | None, finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return one chunk of a stream; without a delta, one without choices."""
    choices = (
        []
        if delta is None
        else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
    )
    return {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion.chunk",
        "created": 1763700000,
        "model": "gpt-5.2-2025-12-11",
        "service_tier": "default",
        "system_fingerprint": "fp_b376dfbbd5",
        "choices": choices,
        "usage": None,
        **fields,
    }


TEXT_STREAM = [
    chunk({"role": "assistant", "content": "", "refusal": None}),
    chunk({"content": "Grüße "}),
    chunk({"content": "aus Köln 🎉"}),
    chunk({}, "stop"),
    chunk(None, usage=USAGE),
]


def _call(
    index: int, *, call_id: str | None = None, name: str | None = None, arguments: str = ""
) -> dict[str, Any]:
    function: dict[str, Any] = (
        {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    )
    head = {"index": index} if call_id is None else {"index": index, "id": call_id, "type": "function"}
    return {"tool_calls": [{**head, "function": function}]}


TOOL_STREAM = [
    chunk({"role": "assistant", "content": None}),
    chunk(_call(0, call_id="call_a", name="weather")),
    chunk(_call(0, arguments='{"ci')),
    chunk(_call(0, arguments='ty":"Köln"}')),
    chunk(_call(1, call_id="call_b", name="clock")),
    chunk(_call(1, arguments="{}")),
    chunk({}, "tool_calls"),
    chunk(None, usage=USAGE),
]
