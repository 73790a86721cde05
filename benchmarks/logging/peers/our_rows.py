"""An `LLM` whose calls become rows of a database: a file of SQLite, or the Postgres that `DATABASE_URL` names."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alternating import Calls, main

from agent_runtime import open_storage
from agent_runtime.observability import LLMCallLogger
from llm_client import LLM, OpenAIProvider


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Calls]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        storage = open_storage(os.environ.get("DATABASE_URL") or f"sqlite:///{folder}/runs.db")
        await storage.open()
        provider, log = (
            OpenAIProvider("gpt-5.2", api_key="sk-test", base_url=url + "/v1"),
            LLMCallLogger(storage),
        )
        without, with_log = LLM(provider), LLM(provider, llm_call_logger=log)
        yield Calls(
            plain=without.inference_async, logged=with_log.inference_async, settle=log.flush_async, in_turn=30
        )
        await provider.aclose()
        await log.aclose()
        await storage.aclose()


if __name__ == "__main__":
    main(connect)
