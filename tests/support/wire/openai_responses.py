"""The Responses API: https://platform.openai.com/docs/api-reference/responses."""

from __future__ import annotations

from typing import Any

USAGE: dict[str, Any] = {
    "input_tokens": 1117,
    "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 0},
    "output_tokens": 46,
    "output_tokens_details": {"reasoning_tokens": 32},
    "total_tokens": 1163,
}
REASONING: dict[str, Any] = {
    "id": "rs_6876cf02e0bc8192b74af0fb64b715ff",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "**Greeting**\n\nThe person is in Cologne."}],
    "encrypted_content": "gAAAAABodc8Cq0r2",
}
MESSAGE: dict[str, Any] = {
    "id": "msg_6876cf054f58819284ad1239424b7ac8",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "phase": "final_answer",
    "content": [{"type": "output_text", "text": "Grüße aus Köln 🎉", "annotations": [], "logprobs": []}],
}
CALLS: list[dict[str, Any]] = [
    {
        "id": "fc_12345xyz",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_a",
        "name": "weather",
        "arguments": '{"city":"Köln"}',
    },
    {
        "id": "fc_67890abc",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_b",
        "name": "clock",
        "arguments": "{}",
    },
]


def response(output: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """Return a response object around its output."""
    return {
        "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "object": "response",
        "created_at": 1763700000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "gpt-5.2-2025-12-11",
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium", "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": USAGE,
        "user": None,
        "metadata": {},
        **fields,
    }


TEXT = response([REASONING, MESSAGE])
TOOL_CALLS = response([REASONING, *CALLS])
REFUSAL = response(
    [{**MESSAGE, "phase": None, "content": [{"type": "refusal", "refusal": "I can't help with that."}]}]
)
INCOMPLETE = response([MESSAGE], status="incomplete", incomplete_details={"reason": "max_output_tokens"})
FAILED = response(
    [], status="failed", error={"code": "rate_limit_exceeded", "message": "Rate limit reached."}, usage=None
)


def numbered(*events: dict[str, Any]) -> list[dict[str, Any]]:
    """Number events as the API does."""
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _text_events(index: int, *deltas: str) -> list[dict[str, Any]]:
    place = {"item_id": MESSAGE["id"], "output_index": index, "content_index": 0}
    return [
        {"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []} for delta in deltas
    ]


def _call_events(index: int, call: dict[str, Any], *deltas: str) -> list[dict[str, Any]]:
    place = {"item_id": call["id"], "output_index": index}
    started = {**call, "status": "in_progress", "arguments": ""}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": started},
        *({"type": "response.function_call_arguments.delta", **place, "delta": delta} for delta in deltas),
        {
            "type": "response.function_call_arguments.done",
            **place,
            "name": call["name"],
            "arguments": call["arguments"],
        },
        {"type": "response.output_item.done", "output_index": index, "item": call},
    ]


_STARTED = {"type": "response.created", "response": response([], status="in_progress", usage=None)}
_REASONING_EVENTS: list[dict[str, Any]] = [
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {**REASONING, "summary": [], "encrypted_content": "gAAAAA-unfinished"},
    },
    {
        "type": "response.reasoning_summary_part.added",
        "item_id": REASONING["id"],
        "output_index": 0,
        "summary_index": 0,
        "part": {"type": "summary_text", "text": ""},
    },
    {
        "type": "response.reasoning_summary_text.delta",
        "item_id": REASONING["id"],
        "output_index": 0,
        "summary_index": 0,
        "delta": "**Greeting**\n\nThe person is in Cologne.",
    },
    {"type": "response.output_item.done", "output_index": 0, "item": REASONING},
]
TEXT_STREAM = numbered(
    _STARTED,
    *_REASONING_EVENTS,
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {**MESSAGE, "status": "in_progress", "content": []},
    },
    {
        "type": "response.content_part.added",
        "item_id": MESSAGE["id"],
        "output_index": 1,
        "content_index": 0,
        "part": {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    },
    *_text_events(1, "Grüße ", "aus Köln 🎉"),
    {"type": "response.output_item.done", "output_index": 1, "item": MESSAGE},
    {"type": "response.completed", "response": TEXT},
)
TOOL_STREAM = numbered(
    _STARTED,
    *_REASONING_EVENTS,
    *_call_events(1, CALLS[0], '{"ci', 'ty":"Köln"}'),
    *_call_events(2, CALLS[1], "{}"),
    {"type": "response.completed", "response": TOOL_CALLS},
)
