"""A record of a call as what is written of it, at each level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final, Literal

from agent_runtime.values.call_record import CallPrompts, CallRecord
from llm_client.codec import dump_message, dump_result, dump_spec, dump_tool_call
from llm_client.json_text import dumps, loads
from llm_client.messages import Message
from llm_client.providers.exchanges import Exchange
from llm_client.redaction import redact

LogLevel = Literal["minimal", "standard", "full"]
"""`minimal`: numbers and names; `standard`: prompts and answers as well; `full`: whole requests and answers, and the context."""
Document = dict[str, Any]
_HASHED: Final = 16
"""Digits of a prompt's SHA-256: enough to see that two are the same."""


def document_of(record: CallRecord, run_id: str, level: LogLevel, *, sanitize: bool) -> Document:
    """Return what is written of a record, as JSON values."""
    document = _facts(record, run_id)
    if record.has_content and level != "minimal":
        _add_texts(document, record)
        if level == "full":
            _add_payloads(document, record)
    document = {name: value for name, value in document.items() if value is not None}
    return redact(document) if sanitize else document


def _facts(record: CallRecord, run_id: str) -> Document:
    usage = record.usage
    document: Document = {
        "call_id": record.call_id,
        "run_id": run_id,
        "timestamp": record.started_at.isoformat(timespec="milliseconds"),
        "agent_name": record.agent_name,
        "agent_mode": record.agent_mode,
        "iteration": record.iteration,
        "attempt": record.attempt,
        "repair_attempts": record.repair_attempts,
        "provider": record.provider,
        "model": record.model,
        "temperature": record.temperature,
        "status": record.status,
        "success": record.status == "succeeded",
        "error_type": record.error_type,
        "duration_seconds": round(record.duration_seconds, 3),
        "finish_reason": record.finish_reason,
        "request_id": record.request_id,
        "conversation_id": record.conversation_id,
        "job_id": record.job_id,
        "trace_id": record.trace_id,
    }
    if usage is not None:
        document |= {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "tokens_used": usage.total_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "cost": None if usage.cost is None else str(usage.cost),
            "price_source": usage.price_source,
        }
    return document


def _add_texts(document: Document, record: CallRecord) -> None:
    document["error"] = record.error
    if record.prompts is not None:
        _add_prompts(document, record.prompts)
    if messages := _beside_prompts(record):
        document["messages"] = [_read(dump_message, message) for message in messages]
    if record.result is not None:
        document["raw_response"] = record.result.content
        document["refusal"] = record.result.refusal
        if record.result.tool_calls:
            document["tool_calls"] = [_read(dump_tool_call, call) for call in record.result.tool_calls]
    document["validated_response"] = None if record.validated is None else _jsonable(record.validated)
    document["validation_errors"] = record.validation_errors


def _beside_prompts(record: CallRecord) -> Sequence[Message]:
    """Return the messages that the prompts do not tell: of a conversation, of a repair, or all where there are no prompts."""
    if record.spec is None:
        return ()
    messages, prompts = record.spec.messages, record.prompts
    if prompts is None:
        return messages
    has_system = bool(messages) and messages[0].role == "system"
    rest = messages[has_system + len(prompts.examples) :]
    return rest if len(rest) > 1 else ()


def _add_prompts(document: Document, prompts: CallPrompts) -> None:
    texts = {"system": prompts.system, "developer": prompts.developer, "user": prompts.user}
    hashes = {}
    for name, text in texts.items():
        if text:
            document[f"{name}_prompt"] = text
            hashes[name] = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASHED]
    if prompts.examples:
        document["examples"] = [{"role": one.role, "content": one.text} for one in prompts.examples]
    document["prompt_hashes"] = hashes


def _add_payloads(document: Document, record: CallRecord) -> None:
    if record.context:
        document["context_full"] = _jsonable(record.context)
    if record.spec is not None:
        document["request"] = _read(dump_spec, record.spec)
    if record.result is not None:
        document["response"] = _read(dump_result, record.result)
    if record.exchange is not None:
        document["request_payload"] = _read(Exchange.request, record.exchange)
        document["response_payload"] = _read(Exchange.answer, record.exchange)
        document["response_status"] = record.exchange.status


def _read(dump: Callable[[Any], object], value: object) -> Any:
    """Return a value as JSON values; what somebody has put into it that is none becomes its text."""
    return _jsonable(dump(value))


def _jsonable(value: object) -> Any:
    try:
        return loads(dumps(value, default=str))
    except Exception:  # noqa: BLE001 -- a value that cannot be read costs its place in the record, not the record
        return "<cannot be written>"
