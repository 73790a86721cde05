"""Servers that speak OpenAI's API, and what is particular to each: address, key, dialect, name in price tables."""

from __future__ import annotations

from dataclasses import dataclass

from llm_client.providers.openai.chat_dialect import (
    COMPATIBLE,
    DEEPSEEK,
    GROQ,
    LOCAL,
    MISTRAL,
    OLLAMA,
    OPENAI,
    OPENROUTER,
    ChatDialect,
)
from llm_client.providers.openai.provider import DEFAULT_EMBEDDING_MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How to reach one compatible server."""

    name: str
    """Vendor name as price tables know it."""
    base_url: str | None
    """Its address; `None` where every customer has their own."""
    url_variables: tuple[str, ...]
    """Environment variables that replace the address."""
    key_variables: tuple[str, ...]
    key_required: bool = True
    key_header: tuple[str, str] = ("authorization", "Bearer ")
    url_suffix: str = ""
    """Path that belongs behind an address from the environment."""
    dialect: ChatDialect = COMPATIBLE
    embedding_model: str = DEFAULT_EMBEDDING_MODEL


PRESETS: dict[str, Preset] = {
    "openrouter": Preset(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        url_variables=("OPENROUTER_BASE_URL",),
        key_variables=("OPENROUTER_API_KEY",),
        dialect=OPENROUTER,
    ),
    "azure": Preset(
        name="azure",
        base_url=None,
        url_variables=("AZURE_OPENAI_ENDPOINT",),
        url_suffix="/openai/v1",
        key_variables=("AZURE_OPENAI_API_KEY",),
        key_header=("api-key", ""),
        dialect=OPENAI,
    ),
    "ollama": Preset(
        name="ollama",
        base_url="http://localhost:11434/v1",
        url_variables=("OLLAMA_BASE_URL",),
        key_variables=("OLLAMA_API_KEY",),
        key_required=False,
        dialect=OLLAMA,
        embedding_model="nomic-embed-text",
    ),
    "vllm": Preset(
        name="vllm",
        base_url="http://localhost:8000/v1",
        url_variables=("VLLM_BASE_URL",),
        key_variables=("VLLM_API_KEY",),
        key_required=False,
        dialect=LOCAL,
    ),
    "lmstudio": Preset(
        name="lmstudio",
        base_url="http://localhost:1234/v1",
        url_variables=("LMSTUDIO_BASE_URL",),
        key_variables=("LMSTUDIO_API_KEY",),
        key_required=False,
        dialect=LOCAL,
    ),
    "groq": Preset(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        url_variables=("GROQ_BASE_URL",),
        key_variables=("GROQ_API_KEY",),
        dialect=GROQ,
    ),
    "mistral": Preset(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        url_variables=("MISTRAL_BASE_URL",),
        key_variables=("MISTRAL_API_KEY",),
        dialect=MISTRAL,
        embedding_model="mistral-embed",
    ),
    "deepseek": Preset(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        url_variables=("DEEPSEEK_BASE_URL",),
        key_variables=("DEEPSEEK_API_KEY",),
        dialect=DEEPSEEK,
    ),
    "xai": Preset(
        name="x-ai",
        base_url="https://api.x.ai/v1",
        url_variables=("XAI_BASE_URL",),
        key_variables=("XAI_API_KEY",),
    ),
    "together": Preset(
        name="together",
        base_url="https://api.together.xyz/v1",
        url_variables=("TOGETHER_BASE_URL",),
        key_variables=("TOGETHER_API_KEY",),
    ),
    "fireworks": Preset(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        url_variables=("FIREWORKS_BASE_URL",),
        key_variables=("FIREWORKS_API_KEY",),
    ),
    "litellm": Preset(
        name="litellm",
        base_url="http://localhost:4000/v1",
        url_variables=("LITELLM_BASE_URL", "LITELLM_PROXY_URL"),
        key_variables=("LITELLM_API_KEY", "LITELLM_PROXY_API_KEY"),
        key_required=False,
    ),
}
