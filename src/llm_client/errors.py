"""Everything `llm_client` raises, as one tree.

LLMClientError
├── ProviderError                    a provider call failed; `.retryable` says whether trying again can help
│   ├── RateLimited                  429: slow down, `.retry_after` seconds
│   ├── ProviderTimeout              408, or this client's own time-outs
│   ├── ProviderUnavailable          5xx, 529, or an error event of an overloaded vendor
│   ├── ConnectionFailed             refused, reset, DNS, TLS
│   ├── InvalidResponse              a 200 that is not what the vendor's format promises
│   ├── MalformedToolCall            the vendor could not read the tool call that the model wrote; agents ask again
│   ├── StreamInterrupted            the stream ended early; `.partial` holds what had arrived
│   ├── InvalidRequest               the vendor refused the request as it is
│   │   ├── ModelNotFound
│   │   └── ContextLengthExceeded
│   ├── AuthenticationError          no key, a wrong key, or no permission
│   ├── QuotaExceeded                the vendor account is out of money
│   └── ContentFiltered              the vendor's safety system refused
├── CircuitOpen                      the breaker lets nothing through; `.retry_after` seconds
├── IdempotencyConflict              the key was used for another request
├── ToolError                        a tool's own failure, as the model will read it; never retried
│   └── ModelRetry                   the tool asks the model to call it again, better
├── OutputInvalid                    the model did not produce the asked-for output type
├── ConfigurationError               wrong arguments, unknown model prefix, missing extra
│   ├── MissingDependency
│   └── UngovernedCall               a call from outside of jobs, of what belongs to a runtime that executes them
├── NetworkBlocked                   `block_network()` is active
├── ScriptExhausted                  a `ScriptedProvider` was asked once more than it has replies
└── RunAborted                       a host or middleware ends the whole run; never shown to the model, never retried
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from llm_client.messages import CompletionResult
    from llm_client.usage import Usage


class LLMClientError(Exception):
    """Something in llm_client went wrong."""

    code: ClassVar[str] = "llm_client_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n")[0])


class ProviderError(LLMClientError):
    """The model provider failed to answer.

    Attributes:
        status: HTTP status, if the vendor answered with one.
        provider: Name of the provider, such as `openai`.
        model: Model that was asked.
        request_id: The vendor's id of the request, for its support desk.
        usage: What the vendor billed before the failure, if it said so.
        usage_is_final: Whether nothing of an answer had come after that; else `usage` is the least that was billed, and without one nobody knows
            what was.
        has_left: Whether the request may have left before. Then it may have been answered, and may be billed; where nobody could be
            reached it cannot.
        retry_after: Seconds the vendor asked us to wait.
        vendor_code: The vendor's own error code or type.
    """

    code = "provider_error"
    retryable: bool = False
    usage_is_final: bool = True
    has_left: bool = True

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int | None = None,
        provider: str | None = None,
        model: str | None = None,
        request_id: str | None = None,
        usage: Usage | None = None,
        retry_after: float | None = None,
        vendor_code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.provider = provider
        self.model = model
        self.request_id = request_id
        self.usage = usage
        self.retry_after = retry_after
        self.vendor_code = vendor_code


class RateLimited(ProviderError):
    """The provider's rate limit was hit."""

    code = "rate_limited"
    retryable = True


class ProviderTimeout(ProviderError):
    """The provider did not answer in time."""

    code = "provider_timeout"
    retryable = True


class ProviderUnavailable(ProviderError):
    """The provider is down or overloaded."""

    code = "provider_unavailable"
    retryable = True


class ConnectionFailed(ProviderError):
    """The connection to the provider failed."""

    code = "connection_failed"
    retryable = True


class InvalidResponse(ProviderError):
    """The provider's answer could not be understood."""

    code = "invalid_response"
    retryable = True


class MalformedToolCall(ProviderError):
    """The vendor could not read the tool call that the model wrote."""

    code = "malformed_tool_call"
    failed_generation: str | None = None
    """What the model wrote, where the vendor says it."""


class StreamInterrupted(ProviderError):
    """The provider's stream ended before its end marker.

    Attributes:
        partial: The text, tool calls and usage that had arrived.
    """

    code = "stream_interrupted"
    retryable = True

    partial: CompletionResult | None = None


class InvalidRequest(ProviderError):
    """The provider refused the request."""

    code = "invalid_request"


class ModelNotFound(InvalidRequest):
    """The provider does not know this model."""

    code = "model_not_found"


class ContextLengthExceeded(InvalidRequest):
    """The conversation does not fit the model's context window."""

    code = "context_length_exceeded"


class AuthenticationError(ProviderError):
    """The provider did not accept the credentials."""

    code = "authentication_error"


class QuotaExceeded(ProviderError):
    """The account at the provider has no credit left."""

    code = "quota_exceeded"


class ContentFiltered(ProviderError):
    """The provider's safety system refused the content."""

    code = "content_filtered"


class CircuitOpen(LLMClientError):
    """The circuit breaker of this provider is open."""

    code = "circuit_open"
    retryable = False

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class IdempotencyConflict(LLMClientError):
    """This idempotency key was used for a different request."""

    code = "idempotency_conflict"


class ToolError(LLMClientError):
    """A tool failed; the message is what the model reads."""

    code = "tool_error"


class ModelRetry(ToolError):
    """The tool asks the model to try again; the message says what to do better."""

    code = "model_retry"


class OutputInvalid(LLMClientError):
    """The model's answer does not match the output type."""

    code = "output_invalid"


class ConfigurationError(LLMClientError):
    """The configuration is wrong."""

    code = "configuration_error"


DISTRIBUTION: Final = "durable-agent-runtime"
"""What `pip` calls the distribution that holds `llm_client` and `agent_runtime`."""


class MissingDependency(ConfigurationError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: The package that is missing.
        extra: The extra of the distribution that brings it.
    """

    code = "missing_dependency"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package!r} is not installed; run: pip install '{DISTRIBUTION}[{extra}]'")


class UngovernedCall(ConfigurationError):
    """An engine or a tool that jobs use was called where no runtime sees it."""

    code = "ungoverned_call"


class NetworkBlocked(LLMClientError):
    """A real provider was called while `block_network()` is active."""

    code = "network_blocked"


class ScriptExhausted(LLMClientError):
    """The scripted provider has no reply left."""

    code = "script_exhausted"


class RunAborted(LLMClientError):
    """A host or a middleware ended the run.

    Raise a subclass from a middleware to end an agent's run: it is never retried, never counted by a
    breaker and never turned into a tool result for the model.
    """

    code = "run_aborted"


class HostSignal(BaseException):
    """What a durable runtime raises through the code it runs, to steer the run. No failure of that code: let it pass."""
