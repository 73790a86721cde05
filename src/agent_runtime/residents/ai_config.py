"""Which model an agent asks, and how: in both documented forms of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import InvalidInput
from agent_runtime.values.checks import check_json, check_text
from llm_client.json_text import JsonObject
from llm_client.spec import RequestSpec

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine

MAX_PARAMS_BYTES: Final = 16 * 1024
"""JSON of `generation_params`."""
_FIELDS: Final = ("model", "provider", "generation_params", "params", "api_key", "base_url")
_OF_REQUESTS: Final = frozenset(
    {
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "seed",
        "parallel_tool_calls",
        "reasoning_effort",
        "reasoning_tokens",
        "timeout",
    }
)
"""Parameters that every vendor's wire format has a place for; others go into the request's body as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AIConfig:
    """The model of an agent. A key in it serves this process alone: it is neither shown nor stored.

    Raises:
        InvalidInput: A value is not what is allowed for it.
    """

    model: str
    """The vendor's name of the model; `vendor:model` where `provider` is not given."""
    provider: str | None = None
    """The vendor, such as `openrouter`."""
    generation_params: JsonObject = field(default_factory=dict)
    """Temperature, bound of an answer and so on."""
    api_key: str | None = field(default=None, repr=False)
    """The vendor's key; by default what its environment variable holds."""
    base_url: str | None = None
    """Where the vendor's API begins; by default the vendor's own address."""

    def __post_init__(self) -> None:
        check_text("model", self.model)
        for name in ("provider", "base_url"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name))
        if self.api_key is not None and not isinstance(self.api_key, str):
            raise InvalidInput("api_key is a text")
        check_json("generation_params", self.generation_params, limit=MAX_PARAMS_BYTES)

    @classmethod
    def of(cls, given: object) -> AIConfig:
        """Read a configuration: `{model, provider, generation_params}`, `{openrouter: {model, params}}` with any vendor's name as the key, or an object with such attributes.

        Raises:
            InvalidInput: It is none of these.
        """
        if isinstance(given, AIConfig):
            return given
        if isinstance(given, str):
            return cls(model=given)
        said = _said(given)
        if said.get("model") is None:
            vendor, inner = _of_vendor(given)
            said = {"provider": vendor, **_said(inner)}
        params = said.pop("params", None)
        if said.get("generation_params") is None:
            said["generation_params"] = params or {}
        if said.get("model") is None:
            raise InvalidInput("the configuration of a model names no `model`")
        return cls(**said)

    @property
    def full_name(self) -> str:
        """The model with its vendor, as an engine takes it."""
        if self.provider is None or self.model.startswith(f"{self.provider}:"):
            return self.model
        return f"{self.provider}:{self.model}"

    def engine(self) -> ExecutionEngine:
        """Make an engine that asks the model; it is closed by who asks for it. Needs no key until it is used.

        Raises:
            ConfigurationError: The vendor is not known.
        """
        from llm_client.engine.engine import ExecutionEngine
        from llm_client.providers.registry import create_provider

        options = {"api_key": self.api_key, "base_url": self.base_url}
        given = {name: value for name, value in options.items() if value is not None}
        return ExecutionEngine(create_provider(self.full_name, **given))


def with_params(template: RequestSpec, params: JsonObject) -> RequestSpec:
    """Return a template of requests with parameters of generation in it.

    Raises:
        InvalidRequest: One has a value it cannot have.
    """
    known: dict[str, Any] = {name: value for name, value in params.items() if name in _OF_REQUESTS}
    stop = known.get("stop")
    if stop is not None:
        known["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    others = {name: value for name, value in params.items() if name not in _OF_REQUESTS}
    if others:
        known["extra"] = {**template.extra, **others}
    return template.evolve(**known) if known else template


def vendor_of(model: str) -> tuple[str | None, str]:
    """Return the vendor that a model's name begins with, if it does, and the vendor's own name of the model."""
    from llm_client.providers.registry import known_prefixes

    vendor, separator, name = model.partition(":")
    return (vendor, name) if separator and vendor in known_prefixes() else (None, model)


def _said(given: object) -> dict[str, Any]:
    """Return the fields that a configuration has, be it a mapping or an object."""
    if isinstance(given, Mapping):
        return {name: given[name] for name in _FIELDS if given.get(name) is not None}
    found = {name: getattr(given, name, None) for name in _FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def _of_vendor(given: object) -> tuple[str, object]:
    """Return the vendor whose name is the key of a configuration, and what stands there."""
    from llm_client.providers.registry import known_prefixes

    values = given if isinstance(given, Mapping) else getattr(given, "__dict__", {})
    vendors = [name for name in known_prefixes() if values.get(name) is not None]
    if len(vendors) != 1:
        raise InvalidInput(
            "the configuration of a model is {model, provider, generation_params}, or one vendor's name with {model, params}; "
            f"vendors are {', '.join(known_prefixes())}"
        )
    return vendors[0], values[vendors[0]]
