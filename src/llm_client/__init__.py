"""One request at a time to any language model: providers, tools, agents, and honest money.

Names are imported when they are first used, so `import llm_client` costs a few milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_client.lazy_names import lazy_names

if TYPE_CHECKING:
    from llm_client.agent.agent import Agent
    from llm_client.agent.calls import Approve
    from llm_client.agent.config import AgentConfig
    from llm_client.agent.conversation import Conversation
    from llm_client.agent.middleware.budget import BudgetMiddleware
    from llm_client.agent.middleware.circuit_breaker import CircuitBreakerMiddleware
    from llm_client.agent.middleware.concurrency import ConcurrencyMiddleware
    from llm_client.agent.middleware.defaults import default_middleware, minimal_middleware
    from llm_client.agent.middleware.logs import LoggingMiddleware
    from llm_client.agent.middleware.policy import PolicyMiddleware
    from llm_client.agent.middleware.redaction import RedactionMiddleware
    from llm_client.agent.middleware.result_size import ResultSizeMiddleware
    from llm_client.agent.middleware.retry import RetryMiddleware
    from llm_client.agent.middleware.telemetry import TelemetryMiddleware
    from llm_client.agent.middleware.timeout import TimeoutMiddleware
    from llm_client.agent.result import AgentResult
    from llm_client.agent.window import ContextWindow, DropOldest, Summarise
    from llm_client.engine.breaker import CircuitBreakerConfig
    from llm_client.engine.cache.base import Cache
    from llm_client.engine.cache.memory import MemoryCache
    from llm_client.engine.cache.sqlite import SQLiteCache
    from llm_client.engine.engine import ExecutionEngine
    from llm_client.engine.event_stream import EventStream
    from llm_client.engine.hooks import HookEvent
    from llm_client.engine.idempotency import IdempotencyTracker
    from llm_client.engine.limits import RateLimits
    from llm_client.engine.outcomes import MemoryOutcomeStore, OutcomeStore
    from llm_client.engine.retry import RetryConfig
    from llm_client.engine.router import Router, StaticRouter
    from llm_client.errors import (
        AuthenticationError,
        CircuitOpen,
        ConfigurationError,
        ConnectionFailed,
        ContentFiltered,
        ContextLengthExceeded,
        IdempotencyConflict,
        InvalidRequest,
        InvalidResponse,
        LLMClientError,
        MalformedToolCall,
        MissingDependency,
        ModelNotFound,
        ModelRetry,
        NetworkBlocked,
        OutputInvalid,
        ProviderError,
        ProviderTimeout,
        ProviderUnavailable,
        QuotaExceeded,
        RateLimited,
        RunAborted,
        ScriptExhausted,
        StreamInterrupted,
        ToolError,
        UngovernedCall,
    )
    from llm_client.governed import ungoverned
    from llm_client.llm import LLM
    from llm_client.messages import (
        CallPart,
        Citation,
        CompletionResult,
        Embeddings,
        MediaPart,
        Message,
        ReasoningPart,
        RefusalPart,
        StreamEvent,
        TextPart,
        TokenLogprob,
        ToolCall,
    )
    from llm_client.middleware import (
        HOST,
        Host,
        ModelAttempt,
        ModelCall,
        ModelMiddleware,
        ToolInvocation,
        ToolMiddleware,
    )
    from llm_client.network import block_network
    from llm_client.pausing import paused
    from llm_client.pricing.book import PriceBook
    from llm_client.pricing.model_prices import ModelPrices
    from llm_client.providers.anthropic.provider import AnthropicProvider
    from llm_client.providers.base import Provider
    from llm_client.providers.google.provider import GoogleProvider
    from llm_client.providers.openai.provider import OpenAIProvider
    from llm_client.providers.registry import create_provider
    from llm_client.providers.scripted import Chunks, Delay, FunctionProvider, ScriptedProvider
    from llm_client.redaction import RedactionRule, Redactor, redact
    from llm_client.spec import OutputSchema, RequestContext, RequestSpec
    from llm_client.testing.recorded import RecordedProvider
    from llm_client.tools.decorator import tool
    from llm_client.tools.mcp import McpServer
    from llm_client.tools.registry import ToolRegistry
    from llm_client.tools.server import (
        CodeExecution,
        FileSearch,
        ImageGeneration,
        ServerTool,
        VendorTool,
        WebSearch,
    )
    from llm_client.tools.tool import Reconciliation, Tool, ToolContext, ToolResult
    from llm_client.usage import Usage

__all__ = [
    "HOST",
    "LLM",
    "Agent",
    "AgentConfig",
    "AgentResult",
    "AnthropicProvider",
    "Approve",
    "AuthenticationError",
    "BudgetMiddleware",
    "Cache",
    "CallPart",
    "Chunks",
    "CircuitBreakerConfig",
    "CircuitBreakerMiddleware",
    "CircuitOpen",
    "Citation",
    "CodeExecution",
    "CompletionResult",
    "ConcurrencyMiddleware",
    "ConfigurationError",
    "ConnectionFailed",
    "ContentFiltered",
    "ContextLengthExceeded",
    "ContextWindow",
    "Conversation",
    "Delay",
    "DropOldest",
    "Embeddings",
    "EventStream",
    "ExecutionEngine",
    "FileSearch",
    "FunctionProvider",
    "GoogleProvider",
    "HookEvent",
    "Host",
    "IdempotencyConflict",
    "IdempotencyTracker",
    "ImageGeneration",
    "InvalidRequest",
    "InvalidResponse",
    "LLMClientError",
    "LoggingMiddleware",
    "MalformedToolCall",
    "McpServer",
    "MediaPart",
    "MemoryCache",
    "MemoryOutcomeStore",
    "Message",
    "MissingDependency",
    "ModelAttempt",
    "ModelCall",
    "ModelMiddleware",
    "ModelNotFound",
    "ModelPrices",
    "ModelRetry",
    "NetworkBlocked",
    "OpenAIProvider",
    "OutcomeStore",
    "OutputInvalid",
    "OutputSchema",
    "PolicyMiddleware",
    "PriceBook",
    "Provider",
    "ProviderError",
    "ProviderTimeout",
    "ProviderUnavailable",
    "QuotaExceeded",
    "RateLimited",
    "RateLimits",
    "ReasoningPart",
    "Reconciliation",
    "RecordedProvider",
    "RedactionMiddleware",
    "RedactionRule",
    "Redactor",
    "RefusalPart",
    "RequestContext",
    "RequestSpec",
    "ResultSizeMiddleware",
    "RetryConfig",
    "RetryMiddleware",
    "Router",
    "RunAborted",
    "SQLiteCache",
    "ScriptExhausted",
    "ScriptedProvider",
    "ServerTool",
    "StaticRouter",
    "StreamEvent",
    "StreamInterrupted",
    "Summarise",
    "TelemetryMiddleware",
    "TextPart",
    "TimeoutMiddleware",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolError",
    "ToolInvocation",
    "ToolMiddleware",
    "ToolRegistry",
    "ToolResult",
    "UngovernedCall",
    "Usage",
    "VendorTool",
    "WebSearch",
    "block_network",
    "create_provider",
    "default_middleware",
    "minimal_middleware",
    "paused",
    "redact",
    "tool",
    "ungoverned",
]

_HOMES = {
    "agent.agent": "Agent",
    "agent.calls": "Approve",
    "agent.config": "AgentConfig",
    "agent.conversation": "Conversation",
    "agent.middleware.budget": "BudgetMiddleware",
    "agent.middleware.circuit_breaker": "CircuitBreakerMiddleware",
    "agent.middleware.concurrency": "ConcurrencyMiddleware",
    "agent.middleware.defaults": "default_middleware minimal_middleware",
    "agent.middleware.logs": "LoggingMiddleware",
    "agent.middleware.policy": "PolicyMiddleware",
    "agent.middleware.redaction": "RedactionMiddleware",
    "agent.middleware.result_size": "ResultSizeMiddleware",
    "agent.middleware.retry": "RetryMiddleware",
    "agent.middleware.telemetry": "TelemetryMiddleware",
    "agent.middleware.timeout": "TimeoutMiddleware",
    "agent.result": "AgentResult",
    "agent.window": "ContextWindow DropOldest Summarise",
    "engine.breaker": "CircuitBreakerConfig",
    "engine.cache.base": "Cache",
    "engine.cache.memory": "MemoryCache",
    "engine.cache.sqlite": "SQLiteCache",
    "engine.engine": "ExecutionEngine",
    "engine.event_stream": "EventStream",
    "engine.hooks": "HookEvent",
    "engine.idempotency": "IdempotencyTracker",
    "engine.limits": "RateLimits",
    "engine.outcomes": "MemoryOutcomeStore OutcomeStore",
    "engine.retry": "RetryConfig",
    "engine.router": "Router StaticRouter",
    "errors": (
        "AuthenticationError CircuitOpen ConfigurationError ConnectionFailed ContentFiltered "
        "ContextLengthExceeded IdempotencyConflict InvalidRequest InvalidResponse LLMClientError "
        "MalformedToolCall MissingDependency ModelNotFound ModelRetry NetworkBlocked OutputInvalid ProviderError "
        "ProviderTimeout ProviderUnavailable QuotaExceeded RateLimited RunAborted ScriptExhausted "
        "StreamInterrupted ToolError UngovernedCall"
    ),
    "governed": "ungoverned",
    "llm": "LLM",
    "messages": (
        "CallPart Citation CompletionResult Embeddings MediaPart Message ReasoningPart RefusalPart StreamEvent TextPart "
        "TokenLogprob ToolCall"
    ),
    "middleware": "HOST Host ModelAttempt ModelCall ModelMiddleware ToolInvocation ToolMiddleware",
    "network": "block_network",
    "pausing": "paused",
    "pricing.book": "PriceBook",
    "pricing.model_prices": "ModelPrices",
    "providers.anthropic.provider": "AnthropicProvider",
    "providers.base": "Provider",
    "providers.google.provider": "GoogleProvider",
    "providers.openai.provider": "OpenAIProvider",
    "providers.registry": "create_provider",
    "providers.scripted": "Chunks Delay FunctionProvider ScriptedProvider",
    "redaction": "RedactionRule Redactor redact",
    "spec": "OutputSchema RequestContext RequestSpec",
    "testing.recorded": "RecordedProvider",
    "tools.decorator": "tool",
    "tools.mcp": "McpServer",
    "tools.registry": "ToolRegistry",
    "tools.server": "CodeExecution FileSearch ImageGeneration ServerTool VendorTool WebSearch",
    "tools.tool": "Reconciliation Tool ToolContext ToolResult",
    "usage": "Usage",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
