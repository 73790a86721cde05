"""How an agent runs: its bounds, and what it does when something goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm_client.errors import ConfigurationError
from llm_client.middleware import ToolMiddleware


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The bounds of a run. All of them hold per run, not per agent."""

    max_turns: int = 10
    """Model calls; a run that needs more ends with status `max_turns`."""
    max_tool_calls: int = 50
    """Tool calls; a run whose model wants more ends with status `max_tool_calls`, without asking it again."""
    max_tool_calls_per_turn: int = 10
    """Tool calls of one answer that are run; the others are answered with an error."""
    parallel_tool_execution: bool = True
    """Whether the tool calls of one answer run at the same time."""
    tool_timeout: float = 30.0
    """Seconds around all attempts of a tool call, for tools that set none themselves."""
    tool_retry_attempts: int = 2
    """Further attempts after a failure, for tools that may be repeated and set none themselves."""
    max_tool_output_chars: int | None = None
    """Longest tool result the model reads; `None` is the default middleware's 50,000."""
    max_tool_corrections: int = 3
    """Turns in a row that may go wrong by the model's mistake: unknown tools, bad arguments, `ModelRetry`."""
    max_output_repairs: int = 2
    """Further turns the model gets to produce the output type."""
    max_tokens: int | None = None
    """Tokens of context the conversation must fit; `None` sends all of it."""
    reserve_tokens: int = 2_000
    """Tokens of `max_tokens` kept free for the answer."""
    max_output_tokens: int | None = None
    """Tokens each answer may have."""
    timeout: float | None = None
    """Seconds a run may take, waits for people excepted; then it ends with status `timeout`."""
    stop_on_tool_error: bool = False
    """Whether a failed tool call ends the run instead of being shown to the model."""
    include_tool_errors_in_context: bool = True
    """Whether the model reads why a tool failed, or only that it did."""
    stream_tool_calls: bool = True
    """Whether a streamed run contains the `tool_call_*` events."""
    batch_concurrency: int = 20
    """Runs at the same time in `Agent.batch`."""
    use_default_middleware: bool = True
    """Whether tools run through the default middleware; the agent's `use_middleware` wins."""
    middleware_chain: Sequence[ToolMiddleware] | None = None
    """Middleware instead of the default one, outermost first."""

    def __post_init__(self) -> None:
        bounds = (
            self.max_turns,
            self.max_tool_calls,
            self.max_tool_calls_per_turn,
            self.batch_concurrency,
        )
        if min(bounds) < 1:
            raise ConfigurationError("an agent needs at least one turn, one tool call and one run at a time")
        if (
            min(
                self.max_tool_corrections,
                self.max_output_repairs,
                self.tool_retry_attempts,
                self.reserve_tokens,
            )
            < 0
        ):
            raise ConfigurationError("an agent's bounds are not negative")
        if self.max_tokens is not None and self.max_tokens <= self.reserve_tokens:
            raise ConfigurationError("max_tokens must be more than reserve_tokens")
