"""The Messages API: https://docs.anthropic.com/en/api/messages and its streaming guide."""

from __future__ import annotations

from typing import Any

USAGE: dict[str, Any] = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 188,
    "cache_read_input_tokens": 1024,
    "cache_creation": {"ephemeral_5m_input_tokens": 188, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 393,
    "output_tokens_details": {"thinking_tokens": 311},
    "service_tier": "standard",
}
THINKING: dict[str, Any] = {
    "type": "thinking",
    "thinking": "The person is in Cologne, so I greet from there.",
    "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds",
}
REDACTED: dict[str, Any] = {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"}
TEXT_BLOCK: dict[str, Any] = {"type": "text", "text": "Grüße aus Köln 🎉"}
CALLS: list[dict[str, Any]] = [
    {"type": "tool_use", "id": "toolu_a", "name": "weather", "input": {"city": "Köln"}},
    {"type": "tool_use", "id": "toolu_b", "name": "clock", "input": {}},
]


def message(content: list[dict[str, Any]], stop_reason: str = "end_turn", **fields: Any) -> dict[str, Any]:
    """Return a whole answer around its content."""
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": USAGE,
        **fields,
    }


TEXT = message([THINKING, TEXT_BLOCK])
TOOL_CALLS = message([THINKING, REDACTED, {"type": "text", "text": "Let me look."}, *CALLS], "tool_use")
REFUSAL = message(
    [],
    "refusal",
    stop_details={"type": "refusal", "category": "cyber", "explanation": "This could enable cyber harm."},
)

_START = {
    "type": "message_start",
    "message": {
        **message([], usage={**USAGE, "output_tokens": 1, "output_tokens_details": None}),
        "stop_reason": None,
    },
}
_PING = {"type": "ping"}


def _block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _thinking(index: int) -> list[dict[str, Any]]:
    text = THINKING["thinking"]
    return _block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": text[:20]},
        {"type": "thinking_delta", "thinking": text[20:]},
        {"type": "signature_delta", "signature": THINKING["signature"]},
    )


def _end(stop_reason: str) -> list[dict[str, Any]]:
    usage = {"output_tokens": 393, "output_tokens_details": {"thinking_tokens": 311}}
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


TEXT_STREAM: list[dict[str, Any]] = [
    _START,
    _PING,
    *_thinking(0),
    *_block(
        1,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "Grüße "},
        {"type": "text_delta", "text": "aus Köln 🎉"},
    ),
    *_end("end_turn"),
]
TOOL_STREAM: list[dict[str, Any]] = [
    _START,
    *_thinking(0),
    *_block(1, REDACTED),
    *_block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Let me look."}),
    *_block(
        3,
        {"type": "tool_use", "id": "toolu_a", "name": "weather", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"ci'},
        {"type": "input_json_delta", "partial_json": 'ty": "Köln"}'},
    ),
    *_block(
        4,
        {"type": "tool_use", "id": "toolu_b", "name": "clock", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
    ),
    *_end("tool_use"),
]
OVERLOADED: dict[str, Any] = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": "Overloaded"},
    "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
}
