"""Telling what a job does while it does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from agent_runtime.cli.output.amounts import money, seconds, tokens
from agent_runtime.cli.output.printable import printable
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from llm_client.codec import load_usage

Say = Callable[[str], None]


class Narrator:
    """Says in a line what each event of a job means.

    Args:
        say: Prints a line.
        speak: Writes a model's words as they come; without it they are not shown.
    """

    def __init__(self, say: Say, *, speak: Say | None = None) -> None:
        self._say = say
        self._speak = speak
        self._mid_line = False
        self._newest: str | None = None
        self.heard = ""
        """The words of the newest answer."""
        self.spoken = ""
        """Those of them that have been shown."""

    def line(self, text: str) -> None:
        """Say something on a line of its own."""
        self.end_line()
        self._say(printable(text))

    def end_line(self) -> None:
        """End the line that the model's words stand on."""
        if self._mid_line and self._speak is not None:
            self._speak("\n")
            self._mid_line = False

    def tell(self, event: RuntimeEvent) -> None:
        """Say what an event means, if it means something to a person."""
        if event.type == RuntimeEventType.MODEL_TOKEN:
            self._token(event)
            return
        if event.type == RuntimeEventType.MODEL_STARTED:
            self.heard = self.spoken = ""
        text = self._text(event)
        if text is not None:
            self.line(text)
        if event.seq is not None:
            self._newest = event.type

    def _token(self, event: RuntimeEvent) -> None:
        if event.data.get("reasoning"):
            return
        text = str(event.data["text"])
        self.heard += text
        if self._speak is None:
            return
        self._speak(text)
        self.spoken += text
        self._mid_line = not text.endswith("\n")

    def _text(self, event: RuntimeEvent) -> str | None:
        data, family, state = event.data, *event.type.split(".", 1)
        match family, state:
            case "model", "completed":
                return f"  model     {_asked(data)}{_spent(data)}"
            case "model", "attempt_failed":
                bill = f"; billed at most {_cost(data)}, uncertain" if data.get("uncertain") else ""
                return f"  model     attempt {data.get('attempt')} failed: {data.get('error')}{bill}"
            case (("tool" | "step"), "completed"):
                return f"  {family:<8}  {data.get('name')}"
            case (("tool" | "step"), "failed"):
                return f"  {family:<8}  {data.get('name')} failed: {data.get('error')}"
            case (("tool" | "step"), "unknown"):
                return f"  {family:<8}  {data.get('name')}: its outcome was lost; a person has to say what became of it"
            case "action", ("resolved" | "expired" | "cancelled"):
                by = data.get("resolved_by")
                return f"  person    {state}{f' by {by}' if by else ''}"
            case "job", "resumed":
                return (
                    None
                    if self._newest in _QUIET_STOPS
                    else "  process   a new one goes on where the last one died"
                )
            case "job", "retried" if "due_at" in data:
                return f"  job       waits: {data.get('error')}; it is tried again at {data['due_at'][11:19]} UTC"
            case "job", ("blocked" | "warning"):
                return f"  job       {state}: {data.get('reason') or data.get('message')}"
            case _:
                return None


_QUIET_STOPS = frozenset({RuntimeEventType.JOB_SUSPENDED, RuntimeEventType.JOB_BLOCKED, None})


def _asked(data: Mapping[str, Any]) -> str:
    asked = Counter(data.get("tools") or ())
    if not asked:
        return "answers"
    return "asks for " + ", ".join(f"{name} ×{n}" if n > 1 else name for name, n in asked.items())


def _spent(data: Mapping[str, Any]) -> str:
    if data.get("cached"):
        return " · from the cache"
    if "usage" not in data:
        return ""
    usage = load_usage(data["usage"])
    took = data.get("duration_ms")
    time = "" if took is None else f" · {seconds(took / 1000)}"
    return f"{time} · {tokens(usage.total_tokens)} tokens · {money(usage.cost)}"


def _cost(data: Mapping[str, Any]) -> str:
    return money(load_usage(data["usage"]).cost) if "usage" in data else "nothing"
