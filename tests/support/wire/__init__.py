"""Answers of the vendors' APIs, written out after their references, for the scripted server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def data_events(payloads: Iterable[Any], *, done: bool = False) -> list[str]:
    """Return payloads as unnamed events, with OpenAI's `[DONE]` behind them if asked."""
    events = [f"data: {json.dumps(payload)}\n\n" for payload in payloads]
    return [*events, "data: [DONE]\n\n"] if done else events


def named_events(payloads: Iterable[Any]) -> list[str]:
    """Return payloads as events named by their `type`."""
    return [f"event: {payload['type']}\ndata: {json.dumps(payload)}\n\n" for payload in payloads]
