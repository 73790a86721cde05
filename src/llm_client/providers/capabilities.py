"""What a provider's wire format can express, for callers that have a second way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do by itself."""

    supports_output_schema: bool = True
    """The vendor enforces `RequestSpec.output_schema`; without it the schema is only part of the prompt."""
    supports_tools_with_output_schema: bool = True
    """Tools and an output schema go together in one request; without it, an agent asks for the schema when the tools have been called."""
    supports_embeddings: bool = True
    supports_forced_tool: bool = True
    """`tool_choice` may be `required` or the name of a tool."""
