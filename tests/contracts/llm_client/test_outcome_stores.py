"""The contract of outcome stores, over the one in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llm_client import MemoryOutcomeStore, OutcomeStore
from llm_client.testing.cache_contract import FakeTime
from llm_client.testing.outcome_store_contract import OutcomeStoreContract


class TestMemoryOutcomeStore(OutcomeStoreContract):
    @asynccontextmanager
    async def make(self, *, max_results: int, time: FakeTime) -> AsyncIterator[OutcomeStore]:
        yield MemoryOutcomeStore(max_results, clock=time)
