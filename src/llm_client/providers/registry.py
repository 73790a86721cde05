"""From a string such as `openrouter:meta-llama/llama-4` to a provider."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from llm_client.errors import ConfigurationError
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.http_provider import HttpProvider
from llm_client.providers.openai.provider import OpenAIProvider
from llm_client.providers.presets import PRESETS

_OWN: dict[str, Callable[..., HttpProvider]] = {
    "openai": OpenAIProvider,
    "anthropic": AnthropicProvider,
    "google": GoogleProvider,
    "gemini": GoogleProvider,
}


def known_prefixes() -> tuple[str, ...]:
    """Return the vendor prefixes that `create_provider` knows."""
    return tuple(sorted((*_OWN, *PRESETS)))


def create_provider(model: str, **options: Any) -> HttpProvider:
    """Build the provider that a model string names. Needs no key and no network.

    Args:
        model: `vendor:model`; everything behind the first colon is the vendor's own name of the model.
        options: What the provider's class takes: `api_key`, `base_url`, `timeouts`, `transport`, …

    Raises:
        ConfigurationError: The string has no vendor, the vendor is unknown, has no address, or does not take an option.
    """
    vendor, separator, name = model.partition(":")
    vendor = vendor.strip().lower()
    if not separator or vendor not in (*_OWN, *PRESETS):
        raise ConfigurationError(_unknown(model, vendor if separator else None))
    try:
        if vendor in _OWN:
            return _OWN[vendor](name, **options)
        return OpenAIProvider(name, **{"server": PRESETS[vendor], **options})
    except TypeError as error:
        raise ConfigurationError(f"{vendor} does not take these options: {error}") from error


def _unknown(model: str, vendor: str | None) -> str:
    known = known_prefixes()
    if vendor is None:
        return f"{model!r} names no vendor; write vendor:model with one of {', '.join(known)}"
    close = difflib.get_close_matches(vendor, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown vendor {vendor!r} in {model!r}{hint}; known are {', '.join(known)}"
