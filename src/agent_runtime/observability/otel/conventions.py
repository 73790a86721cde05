"""The names that spans and their attributes have outside.

Those under `gen_ai.` are of OpenTelemetry's conventions for generative AI (https://github.com/open-telemetry/semantic-conventions-genai), which have
no release yet: the state of October 2026 (commit 6fd0d76) and that of July, which the package `opentelemetry-semantic-conventions` 0.66b2 has. What
they have no name for is under `agent.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent_runtime.observability.otel.config import OTelConfig, Profile
from agent_runtime.observability.otel.content import fitted
from agent_runtime.observability.otel.job_trace import JobTrace
from agent_runtime.observability.otel.spans import Family, Span
from llm_client.codec import load_usage
from llm_client.public_text import printable
from llm_client.usage import Usage

Value = str | bool | int | float | list[str]
Attributes = dict[str, Value]

MAX_NAME_BYTES: Final = 256
"""Of names and ids: models and tools may be called anything."""
MAX_LISTED: Final = 20
PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "x-ai": "x_ai",
}
"""Providers that the conventions call otherwise than we do."""
CACHE_WRITES: Final[Mapping[Profile, tuple[str, ...]]] = {
    "2026-10": ("cache_write",),
    "2026-07": ("cache_creation",),
    "both": ("cache_write", "cache_creation"),
}


def name_of(span: Span, trace: JobTrace, config: OTelConfig) -> str:
    """Return what a span is called."""
    facts = span.facts
    if span.family == "model":
        return _joined(operation_of(span), facts.get("model"))
    if config.names == "genai" and span.family == "job":
        return _joined("invoke_agent", trace.operator)
    if config.names == "genai" and span.family == "tool":
        return _joined("execute_tool", facts.get("name"))
    return f"agent.{span.family}"


def operation_of(span: Span) -> str:
    """Return the conventions' name of what a model was asked to do."""
    return "embeddings" if span.facts.get("name") == "embedding" else "chat"


def provider_of(span: Span) -> str:
    """Return the conventions' name of who was asked."""
    provider = name_text(span.facts.get("provider"))
    return PROVIDERS.get(provider, provider)


def usage_of(span: Span) -> Usage | None:
    """Return what a model call, or a job, has used."""
    said = span.facts.get("usage")
    return load_usage(said) if isinstance(said, Mapping) else None


def name_text(value: object) -> str:
    """Return a name as everybody may read it."""
    return fitted(printable(str(value)), MAX_NAME_BYTES) if value else ""


def attributes_of(span: Span, trace: JobTrace, config: OTelConfig) -> Attributes:
    """Return what a span says of itself."""
    facts = span.facts
    said: Attributes = {"agent.job.id": span.job_id, **OPERATIONS.get(span.family, {})}
    _add(said, "agent.scope.id", trace.scope_id)
    _add(said, "agent.operation.id", span.operation_id)
    _add(said, "gen_ai.conversation.id", trace.session_id)
    _add(said, "error.type", span.error)
    if span.family in _OF_AGENTS:
        _add(said, "gen_ai.agent.name", trace.operator)
    for name, fact in SAID[span.family].items():
        _add(said, name, facts.get(fact), is_text=fact in _TEXTS)
    if span.family == "model":
        _add_call(said, span, config)
    elif span.family == "job":
        usage = usage_of(span)
        _add_usage(said, usage, "agent.usage", ("cache_write",))
        _add(said, "agent.usage.cost", _dollars(usage))
    if span.events_left_out:
        said["agent.events_left_out"] = span.events_left_out
    if facts.get("inferred"):
        said["agent.start"] = "inferred"
    return said


OPERATIONS: Final[Mapping[Family, Attributes]] = {
    "job": {"gen_ai.operation.name": "invoke_agent"},
    "tool": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.type": "function"},
}
_OF_AGENTS: Final[frozenset[Family]] = frozenset({"job", "run", "model", "tool"})
_TEXTS: Final = frozenset({"given", "gave", "asked", "answered", "arguments"})
"""Facts that are texts of users and models, cut already."""
SAID: Final[Mapping[Family, Mapping[str, str]]] = {
    "job": {
        "agent.job.status": "outcome",
        "agent.turns": "turns",
        "agent.input": "given",
        "agent.output": "gave",
        "gen_ai.input.messages": "asked",
        "gen_ai.output.messages": "answered",
    },
    "run": {
        "agent.run.segment": "segment",
        "agent.run.outcome": "outcome",
        "agent.run.waits": "waits",
        "agent.run.code": "code",
    },
    "model": {
        "gen_ai.request.model": "model",
        "agent.model.attempts": "attempt",
        "agent.model.cached": "cached",
        "agent.model.outcome": "outcome",
        "agent.model.request_id": "request_id",
        "agent.model.shared_messages": "shared",
        "gen_ai.input.messages": "asked",
        "gen_ai.output.messages": "answered",
    },
    "tool": {
        "gen_ai.tool.name": "name",
        "agent.tool.effect": "effect",
        "agent.tool.outcome": "outcome",
        "gen_ai.tool.call.arguments": "arguments",
        "gen_ai.tool.call.result": "gave",
    },
    "step": {
        "agent.step.name": "name",
        "agent.step.effect": "effect",
        "agent.step.outcome": "outcome",
        "agent.step.arguments": "arguments",
        "agent.step.result": "gave",
    },
    "action": {
        "agent.action.id": "action_id",
        "agent.action.type": "type",
        "agent.action.status": "outcome",
    },
    "child": {
        "agent.child.name": "name",
        "agent.child.job.id": "child_job_id",
        "agent.child.status": "outcome",
    },
    "timer": {"agent.timer.name": "name", "agent.timer.outcome": "outcome"},
    "message": {"agent.message.outcome": "outcome"},  # an identity may be a person's
}
"""By what a span tells of: attributes, and the facts that they are."""


def _add_call(said: Attributes, span: Span, config: OTelConfig) -> None:
    """Tell what only calls of models have."""
    facts = span.facts
    said["gen_ai.operation.name"] = operation_of(span)
    said["gen_ai.provider.name"] = provider_of(span)
    _add(said, "gen_ai.response.model", facts.get("answered_model"))
    if facts.get("finish"):
        said["gen_ai.response.finish_reasons"] = [name_text(facts["finish"])]
    first = facts.get("first_token_ms")
    if isinstance(first, int | float):
        said["gen_ai.request.stream"] = True
        said["gen_ai.response.time_to_first_chunk"] = first / 1000
    usage = usage_of(span)
    _add_usage(said, usage, "gen_ai.usage", CACHE_WRITES[config.profile])
    _add(said, "agent.model.cost", _dollars(usage))


def _add(said: Attributes, name: str, value: object, *, is_text: bool = False) -> None:
    """Say something, if there is anything to say."""
    if isinstance(value, bool | int | float):
        said[name] = value
    elif isinstance(value, list | tuple):
        said[name] = [name_text(one) for one in value[:MAX_LISTED]]
    elif isinstance(value, str) and value:
        said[name] = value if is_text else name_text(value)


def _dollars(usage: Usage | None) -> float | None:
    return None if usage is None or usage.cost is None else float(usage.cost)


def _add_usage(said: Attributes, usage: Usage | None, prefix: str, cache_writes: tuple[str, ...]) -> None:
    """Tell a usage. Sums of a job have another name than a call's: who adds up calls would count them twice."""
    if usage is None:
        return
    said[f"{prefix}.input_tokens"] = usage.input_tokens
    said[f"{prefix}.output_tokens"] = usage.output_tokens
    if usage.cache_read_tokens:
        said[f"{prefix}.cache_read.input_tokens"] = usage.cache_read_tokens
    if usage.cache_write_tokens:
        said |= {f"{prefix}.{name}.input_tokens": usage.cache_write_tokens for name in cache_writes}
    if usage.reasoning_tokens:
        said[f"{prefix}.reasoning.output_tokens"] = usage.reasoning_tokens


def _joined(operation: str, what: object) -> str:
    named = name_text(what)
    return f"{operation} {named}" if named else operation
