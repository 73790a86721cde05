"""Texts on spans: redacted, and no longer than a receiver takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent_runtime.observability.otel.config import OTelConfig
from agent_runtime.observability.shortened import Shortened
from agent_runtime.values.event import RuntimeEvent
from llm_client.json_text import dumps
from llm_client.logs import logger_of
from llm_client.public_text import CUT_MARGIN, printable, text_of
from llm_client.redaction import redact

_SHORTER: Final = 4
_SHORTEST: Final = 16
logger = logger_of(__name__)


class Texts:
    """Reads from entries the texts that spans are to hold.

    Args:
        config: Which those are, and how long.
    """

    def __init__(self, config: OTelConfig) -> None:
        self._config = config

    def given(self, event: RuntimeEvent) -> dict[str, str | None]:
        """Return what a job was given, as a conversation where it is one."""
        if not self._config.capture_input:
            return {}
        asked = self._text(event, _prompted)
        return {"asked": asked, "given": self._text(event, _beside if asked else None)}

    def result(self, event: RuntimeEvent) -> dict[str, str | None]:
        """Return what a job gave: an answer, values, or both."""
        if not self._config.capture_output:
            return {}
        answered = self._text(event, _replied)
        return {"answered": answered, "gave": self._text(event, _values if answered else None)}

    def gave(self, event: RuntimeEvent) -> str | None:
        """Return what a step or a tool gave."""
        return self._text(event) if self._config.capture_output else None

    def arguments(self, event: RuntimeEvent) -> str | None:
        """Return what a tool or a step was called with."""
        return self._text(event) if self._config.capture_tool_args else None

    def asked(self, event: RuntimeEvent) -> str | None:
        """Return the messages of a request that the journal did not have before."""
        return self._text(event, _messages) if self._config.capture_input else None

    def answered(self, event: RuntimeEvent) -> str | None:
        """Return a model's answer."""
        return self._text(event, _answer) if self._config.capture_output else None

    def _text(self, event: RuntimeEvent, form: Any = None) -> str | None:
        if event.content is None:
            return None
        limit = self._config.max_attribute_bytes
        try:
            return _told(event.body() if form is None else form(event.body()), limit)
        except Exception as error:  # noqa: BLE001 -- what cannot be read is left out; the span is told all the same
            logger.warning(
                "the content of entry %s of job %s is not told: %s", event.seq, event.job_id, text_of(error)
            )
            return None


def _told(value: object, limit: int) -> str | None:
    if value in (None, []):
        return None
    return bounded_json(redact(Shortened(limit + CUT_MARGIN).value(value)), limit)


def bounded_json(value: object, limit: int) -> str:
    """Return JSON of no more than so many bytes: long texts in it are cut, and where that is not enough, the whole."""
    longest = limit
    text = _json(value)
    while len(text) > limit and longest > _SHORTEST:
        longest //= _SHORTER
        text = _json(_cut(value, longest))
    return fitted(text.decode(), limit)


def fitted(text: str, limit: int) -> str:
    """Return as much of a text as fits into so many bytes."""
    if len(text) * 4 <= limit:
        return text
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")


def _json(value: object) -> bytes:
    return printable(dumps(value, default=str).decode()).encode()


def _cut(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= longest else value[:longest] + "…"
    if isinstance(value, Mapping):
        return {key: _cut(one, longest) for key, one in value.items()}
    return [_cut(one, longest) for one in value] if isinstance(value, list | tuple) else value


def _prompted(body: object) -> list[dict[str, Any]]:
    """Return the messages of a request that has a prompt, or messages; of another, none."""
    if not isinstance(body, Mapping) or not {"prompt", "messages"} & body.keys():
        return []
    messages = [_message(one) for one in body.get("messages", ())]
    prompt = body.get("prompt")
    return [*messages, _message({"role": "user", "content": prompt})] if prompt else messages


def _beside(body: Mapping[str, Any]) -> object:
    """Return what a job was given beside a prompt and messages."""
    return {name: value for name, value in body.items() if name not in ("prompt", "messages")} or None


def _replied(body: object) -> list[dict[str, Any]]:
    """Return the answer of a job that has one."""
    content = body.get("content") if isinstance(body, Mapping) else None
    return _answer({"content": content}) if isinstance(content, str) and content else []


def _values(body: Mapping[str, Any]) -> object:
    """Return what a job gave beside its answer."""
    return body.get("output_data") or None


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_message(one) for one in body.get("messages", ())]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as the conventions have it."""
    parts = _parts(message.get("content", ""))
    parts += [
        {"type": "tool_call", "id": one.get("id"), "name": one.get("name"), "arguments": one.get("arguments")}
        for one in message.get("tool_calls", ())
    ]
    if message.get("role") == "tool":
        response = parts[0]["content"] if len(parts) == 1 and "content" in parts[0] else parts
        parts = [
            {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": response},
        ]
    return {"role": message.get("role"), "parts": parts}


def _parts(content: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of a message; of media no more than their kind."""
    if isinstance(content, str):
        return [{"type": "text", "content": content}] if content else []
    return [
        {"type": "text", "content": one.get("text", "")} if "text" in one else {"type": str(one.get("type"))}
        for one in content
    ]


def _answer(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = _message(
        {
            "role": "assistant",
            "content": body.get("content", ""),
            "tool_calls": body.get("tool_calls", ()),
        }
    )
    return [{**answer, "finish_reason": body.get("finish_reason", "stop")}]
