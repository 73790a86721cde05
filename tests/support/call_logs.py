"""Records of model calls as tests need them, and what was written of them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import yaml

from agent_runtime.observability import CallPrompts, CallRecord
from llm_client import CompletionResult, Message, RequestSpec, Usage

WHEN = datetime(2026, 1, 28, 12, 34, 56, tzinfo=UTC)


def call_record(agent_name: str = "planner", *, answer: str = '{"steps": []}', **changes: Any) -> CallRecord:
    """Return the record of a call that went well."""
    asked = (Message.system("You plan."), Message.user("Plan a trip.\nBy train."))
    usage = Usage(input_tokens=100, output_tokens=20, requests=1, cost=None, unpriced_requests=1)
    given: dict[str, Any] = {
        "call_id": "call-1",
        "agent_name": agent_name,
        "started_at": WHEN,
        "duration_seconds": 0.25,
        "status": "succeeded",
        "model": "gpt-5.2",
        "provider": "openai",
        "usage": usage,
        "prompts": CallPrompts(system="You plan.", user="Plan a trip.\nBy train."),
        "spec": RequestSpec(messages=asked, max_tokens=100),
        "result": CompletionResult(content=answer, usage=usage, model="gpt-5.2"),
        "context": {"goal": "a trip"},
    }
    return CallRecord(**given | changes)


def written_calls(folder: Path) -> list[dict[str, Any]]:
    """Return what the files of a run hold, by their numbers."""
    files = sorted(path for path in folder.iterdir() if path.name.startswith("call_"))
    return [orjson.loads(path.read_bytes()) if path.suffix == ".json" else read_yaml(path) for path in files]


def summary_of(folder: Path) -> dict[str, Any]:
    """Return a run's summary."""
    return read_yaml(folder / "summary.yaml")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what a file holds."""
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return found
