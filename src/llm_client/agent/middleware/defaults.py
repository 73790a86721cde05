"""The default chain of tool middleware. It is built once per agent, so that limits and breakers remember."""

from __future__ import annotations

from llm_client.agent.config import AgentConfig
from llm_client.agent.middleware.budget import BudgetMiddleware
from llm_client.agent.middleware.circuit_breaker import CircuitBreakerMiddleware
from llm_client.agent.middleware.concurrency import ConcurrencyMiddleware
from llm_client.agent.middleware.logs import LoggingMiddleware
from llm_client.agent.middleware.policy import PolicyMiddleware
from llm_client.agent.middleware.redaction import RedactionMiddleware
from llm_client.agent.middleware.result_size import ResultSizeMiddleware
from llm_client.agent.middleware.retry import RetryMiddleware
from llm_client.agent.middleware.telemetry import TelemetryMiddleware
from llm_client.agent.middleware.timeout import TimeoutMiddleware
from llm_client.middleware import ToolMiddleware

DEFAULT_RESULT_CHARACTERS = 50_000
SPARE_CHARACTERS = 10_000
"""Redacted beyond what the model reads, so that a secret at the cut is seen whole."""


def default_middleware(config: AgentConfig | None = None) -> list[ToolMiddleware]:
    """Return the default chain, outermost first."""
    config = config or AgentConfig()
    characters = config.max_tool_output_chars or DEFAULT_RESULT_CHARACTERS
    return [
        TelemetryMiddleware(),
        LoggingMiddleware(),
        PolicyMiddleware(),
        BudgetMiddleware(),
        ConcurrencyMiddleware(),
        TimeoutMiddleware(config.tool_timeout),
        RetryMiddleware(config.tool_retry_attempts),
        CircuitBreakerMiddleware(),
        ResultSizeMiddleware(characters),
        RedactionMiddleware(max_characters=2 * characters + SPARE_CHARACTERS),
    ]


def minimal_middleware(config: AgentConfig | None = None) -> list[ToolMiddleware]:
    """Return a chain without limits of its own, for agents whose runtime enforces policy and budget."""
    config = config or AgentConfig()
    characters = config.max_tool_output_chars or DEFAULT_RESULT_CHARACTERS
    return [
        LoggingMiddleware(),
        TimeoutMiddleware(config.tool_timeout),
        RetryMiddleware(config.tool_retry_attempts),
        ResultSizeMiddleware(characters),
        RedactionMiddleware(max_characters=2 * characters + SPARE_CHARACTERS),
    ]
