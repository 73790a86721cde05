"""Storage in this process's memory: the shipped double, true to the same contract as the databases."""

from agent_runtime.storage.memory.signals import InMemorySignalChannel
from agent_runtime.storage.memory.storage import MemoryStorage
from agent_runtime.storage.memory.stores import InMemoryActionStore, InMemoryJobStore, InMemoryLedgerWriter

__all__ = [
    "InMemoryActionStore",
    "InMemoryJobStore",
    "InMemoryLedgerWriter",
    "InMemorySignalChannel",
    "MemoryStorage",
]
