"""Servers that speak OpenAI's API, and what is particular to each: address, key, dialect, name in price tables."""

from __future__ import annotations

from llm_client.providers.openai.chat_dialect import (
    DEEPSEEK,
    GROQ,
    LOCAL,
    MISTRAL,
    OLLAMA,
    OPENAI,
    OPENROUTER,
)
from llm_client.providers.openai.provider import CompatibleServer

PRESETS: dict[str, CompatibleServer] = {
    "openrouter": CompatibleServer(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        url_variables=("OPENROUTER_BASE_URL",),
        key_variables=("OPENROUTER_API_KEY",),
        dialect=OPENROUTER,
    ),
    "azure": CompatibleServer(
        name="azure",
        base_url=None,
        url_variables=("AZURE_OPENAI_ENDPOINT",),
        url_suffix="/openai/v1",
        key_variables=("AZURE_OPENAI_API_KEY",),
        key_header=("api-key", ""),
        dialect=OPENAI,
    ),
    "ollama": CompatibleServer(
        name="ollama",
        base_url="http://localhost:11434/v1",
        url_variables=("OLLAMA_BASE_URL",),
        key_variables=("OLLAMA_API_KEY",),
        key_required=False,
        dialect=OLLAMA,
        embedding_model="nomic-embed-text",
    ),
    "vllm": CompatibleServer(
        name="vllm",
        base_url="http://localhost:8000/v1",
        url_variables=("VLLM_BASE_URL",),
        key_variables=("VLLM_API_KEY",),
        key_required=False,
        dialect=LOCAL,
    ),
    "lmstudio": CompatibleServer(
        name="lmstudio",
        base_url="http://localhost:1234/v1",
        url_variables=("LMSTUDIO_BASE_URL",),
        key_variables=("LMSTUDIO_API_KEY",),
        key_required=False,
        dialect=LOCAL,
    ),
    "groq": CompatibleServer(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        url_variables=("GROQ_BASE_URL",),
        key_variables=("GROQ_API_KEY",),
        dialect=GROQ,
    ),
    "mistral": CompatibleServer(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        url_variables=("MISTRAL_BASE_URL",),
        key_variables=("MISTRAL_API_KEY",),
        dialect=MISTRAL,
        embedding_model="mistral-embed",
    ),
    "deepseek": CompatibleServer(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        url_variables=("DEEPSEEK_BASE_URL",),
        key_variables=("DEEPSEEK_API_KEY",),
        dialect=DEEPSEEK,
    ),
    "xai": CompatibleServer(
        name="x-ai",
        base_url="https://api.x.ai/v1",
        url_variables=("XAI_BASE_URL",),
        key_variables=("XAI_API_KEY",),
    ),
    "together": CompatibleServer(
        name="together",
        base_url="https://api.together.xyz/v1",
        url_variables=("TOGETHER_BASE_URL",),
        key_variables=("TOGETHER_API_KEY",),
    ),
    "fireworks": CompatibleServer(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        url_variables=("FIREWORKS_BASE_URL",),
        key_variables=("FIREWORKS_API_KEY",),
    ),
    "litellm": CompatibleServer(
        name="litellm",
        base_url="http://localhost:4000/v1",
        url_variables=("LITELLM_BASE_URL", "LITELLM_PROXY_URL"),
        key_variables=("LITELLM_API_KEY", "LITELLM_PROXY_API_KEY"),
        key_required=False,
    ),
}
