"""A process that sends messages and receives them in a chain of jobs on a SQLite file, and kills itself with SIGKILL at a chosen commit.

Usage: `python -m support.mail_child DB`, with the variables of `support.mixed_child`. Prints what was received as JSON.
"""

import asyncio
import json
import sys
from typing import Any

from agent_runtime import ExecutionRequest, OperatorContext
from support.kernels import kernel
from support.mixed_child import KillingStorage
from support.mixed_job import effect

SENT = [("desk", 1), ("door", 2), ("desk", 3), ("door", 4)]
"""To whom, and what."""


async def clerk(context: OperatorContext, given: list[Any]) -> list[Any]:
    """Receive a message at the desk, or at the door, act upon it, and go on as a new job until all have been received."""
    if len(given) % 2 == 0:
        message = await context.receive("desk")
    else:
        won = await context.wait_any(context.receive("door"), context.receive("nobody"))
        message = won.value
    await context.step(effect, "act", str(message.body), effect="idempotent")
    received = [*given, message.body]
    if len(received) < len(SENT):
        context.continue_as_new(received)
    return received


async def main(path: str) -> None:
    """Send what is not sent yet, and run the chain, or go on with it."""
    async with kernel(KillingStorage(path, durability="process"), operators=[clerk]) as k:
        handle = await k.execute(ExecutionRequest(operator="clerk", input=[], idempotency_key="the one"))
        for to, body in SENT:
            await k.send(to, body, dedupe_key=f"message-{body}")
        result = await handle.result(timeout=20)
        waiting = [await k.inbox.count(name) for name in ("desk", "door", "nobody")]
        print(json.dumps({"output": result.output, "waiting": waiting}))
        await k.storage.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
