"""`generateContent`: https://ai.google.dev/api/generate-content."""

from __future__ import annotations

from typing import Any

USAGE: dict[str, Any] = {
    "promptTokenCount": 1117,
    "candidatesTokenCount": 14,
    "totalTokenCount": 1163,
    "cachedContentTokenCount": 1024,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1117}],
    "thoughtsTokenCount": 32,
}


def answer(parts: list[dict[str, Any]], finish_reason: str | None = "STOP", **fields: Any) -> dict[str, Any]:
    """Return an answer, or a chunk of one, around its parts."""
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish_reason is not None:
        candidate["finishReason"] = finish_reason
    return {
        "candidates": [candidate],
        "usageMetadata": USAGE,
        "modelVersion": "gemini-3-pro",
        "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
        **fields,
    }


THOUGHT: dict[str, Any] = {"text": "The person is in Cologne.", "thought": True}
CALLS: list[dict[str, Any]] = [
    {
        "functionCall": {"name": "weather", "args": {"city": "Köln"}, "id": "fc-1"},
        "thoughtSignature": "c2lnbmF0dXJl",
    },
    {"functionCall": {"name": "clock", "args": {}}},
]
TEXT = answer([THOUGHT, {"text": "Grüße aus Köln 🎉", "thoughtSignature": "dGV4dA=="}])
TOOL_CALLS = answer([THOUGHT, *CALLS])
BLOCKED: dict[str, Any] = {
    "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
    "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
    "modelVersion": "gemini-3-pro",
}
SAFETY = answer([], "SAFETY")

TEXT_STREAM = [
    answer([THOUGHT], None),
    answer([{"text": "Grüße "}], None),
    answer([{"text": "aus Köln 🎉"}], None),
    answer([{"text": "", "thoughtSignature": "dGV4dA=="}]),
]
TOOL_STREAM = [answer([THOUGHT], None), answer([CALLS[0]], None), answer([CALLS[1]])]
