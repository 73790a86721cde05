"""A runner, whose every attempt becomes a file."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from alternating import Calls, main

from agent_runtime.observability import FileCallLogger
from agent_runtime.runner import AgentSpec, AsyncAgentRunner
from llm_client import OpenAIProvider


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Calls]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        pack = Path(folder) / "prompts" / "planner"
        pack.mkdir(parents=True)
        (pack / "system.j2").write_text("You plan.")
        (pack / "user.j2").write_text("{{ text }}")
        provider = OpenAIProvider("gpt-5.2", api_key="sk-test", base_url=url + "/json/v1")
        log = FileCallLogger(Path(folder) / "artifacts", "run")
        spec = AgentSpec(name="planner")
        without = AsyncAgentRunner(provider, pack.parent)
        with_log = AsyncAgentRunner(provider, pack.parent, log)

        async def plain(text: str) -> object:
            return (await without.run(spec, {"text": text})).raise_for_status()

        async def logged(text: str) -> object:
            return (await with_log.run(spec, {"text": text})).raise_for_status()

        yield Calls(plain=plain, logged=logged, settle=log.flush_async)
        await provider.aclose()


if __name__ == "__main__":
    main(connect)
