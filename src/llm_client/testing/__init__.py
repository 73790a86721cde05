"""Doubles for tests, and contract suites for people who write providers, caches and stores (those need pytest)."""

from llm_client.network import block_network
from llm_client.providers.scripted import Chunks, Delay, FunctionProvider, ScriptedProvider
from llm_client.testing.recorded import RecordedProvider

__all__ = ["Chunks", "Delay", "FunctionProvider", "RecordedProvider", "ScriptedProvider", "block_network"]
