"""Storage in this process's memory: the shipped double, true to the same contract as the databases."""

from agent_runtime.storage.memory.storage import MemoryStorage

__all__ = ["MemoryStorage"]
