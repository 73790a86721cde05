"""How traces are told: what of texts, how much of it, and under which names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from agent_runtime.errors import ConfigurationError

Profile = Literal["2026-10", "2026-07", "both"]
Names = Literal["agent", "genai"]
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "profile": get_args(Profile),
    "names": get_args(Names),
    "begin": ("now", "first"),
}
_WHOLE: Final = {"max_attribute_bytes": "whole number"}
_BOUNDS: Final = {
    "sampling_rate": (0, 1),
    "max_attribute_bytes": (256, 1024 * 1024),  # receivers refuse requests of more than some megabytes
    "interval": (0.001, 3600),
    "export_timeout": (0.001, 3600),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OTelConfig:
    """How jobs are told to OpenTelemetry.

    Raises:
        ConfigurationError: A value cannot be used; it names the field.
    """

    tracer_name: str = "agent_runtime"
    """The instrumentation scope of spans and metrics."""
    service_name: str | None = None
    """`service.name` of the resource; `None` is as the environment or the tracer provider says."""
    capture_input: bool = False
    """Whether spans hold what jobs were given and what models were asked. Like all texts, redacted and cut."""
    capture_output: bool = False
    """Whether they hold what jobs, models, steps and tools gave."""
    capture_tool_args: bool = False
    """Whether they hold what tools and steps were called with."""
    record_exceptions: bool = True
    """Whether a span that failed has an event with the error's type and its text, which journals hold redacted."""
    sampling_rate: float = 1.0
    """The part of the traces that is told, 0 to 1. A trace that its caller keeps is told in any case."""
    profile: Profile = "2026-10"
    """The GenAI conventions whose attributes and metrics are written: those of this month, or of both."""
    names: Names = "agent"
    """`agent`: spans are called `agent.job`, `agent.tool` …; `genai`: `invoke_agent reporter`, `execute_tool search` …"""
    begin: Literal["now", "first"] = "now"
    """Where the first process that tells begins: with what is written from then on, or with the oldest entry that is there."""
    max_attribute_bytes: int = 8192
    """What one attribute may hold; of a longer text the beginning."""
    interval: float = 1.0
    """Seconds between two looks at journals that have nothing new, of an adapter that was started; a kernel has its own."""
    export_timeout: float = 30.0
    """Seconds after which an export has failed."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigurationError(f"{name} is one of {', '.join(choices)}")
        for name, (least, most) in _BOUNDS.items():
            value: object = getattr(self, name)
            kinds = int if name in _WHOLE else int | float
            if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
                raise ConfigurationError(
                    f"{name} is a {_WHOLE.get(name, 'number')} from {least:g} to {most:g}"
                )
