"""A process that logs a model call, and forks children that log theirs. Usage: `python -m support.forked_logger FILE`."""

import asyncio
import os
import sys

from sqlalchemy import create_engine

from agent_runtime.observability import LLMCallLogger, LogStore
from llm_client import LLM, FunctionProvider

CHILDREN = 3


def main(path: str) -> None:
    """Log before, in and after forks."""
    engine = create_engine(f"sqlite:///{path}")
    asyncio.run(LogStore(engine).create_tables())
    llm = LLM(FunctionProvider(lambda _: "Yes."), llm_call_logger=LLMCallLogger(engine))
    llm.inference("before")
    for number in range(CHILDREN):
        child = os.fork()
        if child == 0:
            try:
                llm.inference(f"child {number}")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    llm.inference("after")
    prompts = asyncio.run(told(LogStore(engine)))
    print(sorted(prompts))


async def told(logs: LogStore) -> list[str | None]:
    """Return what was asked."""
    calls = [await logs.llm_call(call.id) for call in await logs.llm_calls(status="completed")]
    return [None if call is None else call.prompt for call in calls]


if __name__ == "__main__":
    main(*sys.argv[1:])
