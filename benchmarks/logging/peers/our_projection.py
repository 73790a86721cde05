"""Jobs of one model call each on SQLite, whose rows are made from their journals while they run: by a kernel that follows them, and by one that does not."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from alternating import Ask, Calls, main

from agent_runtime import ExecutionRequest, RuntimeKernel, open_storage
from agent_runtime.observability import JournalLogs, update_logs
from llm_client import Agent, OpenAIProvider


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Calls]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp"))
        storages, asks = [], []
        for name, is_followed in (("without", False), ("with", True)):
            storage = open_storage(f"sqlite:///{folder}/{name}.db")
            provider = OpenAIProvider("gpt-5.2", api_key="sk-test", base_url=url + "/v1")
            agent = Agent(provider=provider, system_message="You plan.")
            kernel = RuntimeKernel(
                storage=storage, agent=agent, projections=[JournalLogs(storage)] if is_followed else []
            )
            asks.append(asking(await stack.enter_async_context(kernel)))
            storages.append(storage)

        async def settle() -> None:
            await update_logs(storages[1])

        yield Calls(plain=asks[0], logged=asks[1], settle=settle, in_turn=10)


def asking(kernel: RuntimeKernel) -> Ask:
    async def ask(text: str) -> object:
        handle = await kernel.execute(ExecutionRequest(prompt=text))
        return await handle.result()

    return ask


if __name__ == "__main__":
    main(connect)
