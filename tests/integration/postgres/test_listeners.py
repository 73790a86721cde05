"""Who stops listening to a storage and begins again hears on: the same storage goes from one kernel to the next."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from agent_runtime.ports.commit import NewEvent
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.redis import RedisChangeNotifier
from agent_runtime.testing.storage_contract import commit, job
from support.kernels import BOUND
from support.redis_clients import unique


class Ear:
    """Remembers which jobs others have created."""

    def __init__(self) -> None:
        self.created: set[str] = set()
        self.heard = asyncio.Event()

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        self.created.update(change.job_id for change in changes or () if change.kind == "created")
        self.heard.set()

    def __getattr__(self, name: str) -> Any:
        return lambda *given: None


@pytest.mark.parametrize("carrier", ["postgres", "redis"])
@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_a_listener_that_comes_as_the_last_one_goes_hears_on(
    carrier: str, turns: int, database: str, redis_url: str
) -> None:
    def notifier() -> Any:
        return None if carrier == "postgres" else RedisChangeNotifier(redis_url, channel=channel)

    channel = unique("changes")
    here = PostgresStorage(database, notifier=notifier())
    elsewhere = PostgresStorage(database, notifier=notifier())
    ear = Ear()
    await here.open()
    await elsewhere.open()
    try:
        async with asyncio.timeout(BOUND):
            here.listen(ear)  # type: ignore[arg-type]
            await ear.heard.wait()
            here.unlisten(ear)  # type: ignore[arg-type]
            for _ in range(turns):
                await asyncio.sleep(0)
            ear.heard.clear()
            here.listen(ear)  # type: ignore[arg-type]
            await here._rested()
            while not ear.created:
                record = job(operator="o")
                await elsewhere.commit(commit(create=[(record, [NewEvent("job.created")])]))
                await asyncio.sleep(0.05)
    finally:
        here.unlisten(ear)  # type: ignore[arg-type]
        await here.aclose()
        await elsewhere.aclose()
