"""A resume token opens one action once, and is nowhere to be read: every storage holds and compares its hash alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from agent_runtime import (
    ActionAlreadyResolved,
    ActionManager,
    ActionSpec,
    ExecutionRequest,
    Operator,
    OperatorContext,
    OperatorResult,
    UnknownAction,
)
from agent_runtime.ports.journal import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import BOUND, kernel

TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"


class Opened(NamedTuple):
    """A storage, and a way to read everything it holds."""

    storage: Storage
    everything: Callable[[], Awaitable[str]]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    """What kind of storage, or the address of a database."""
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def opened(place: str, tmp_path: Path) -> AsyncIterator[Opened]:
    storage: Storage
    match place:
        case "memory":
            storage = MemoryStorage()

            async def everything() -> str:
                return repr(storage.__dict__) + repr(storage.__dict__["_state"])

        case "sqlite":
            storage = SQLiteStorage(tmp_path / "runs.db")

            async def everything() -> str:
                def read() -> str:
                    return "".join(file.read_bytes().decode("latin-1") for file in tmp_path.glob("runs.db*"))

                return await asyncio.to_thread(read)

        case _:
            storage = PostgresStorage(place)

            async def everything() -> str:
                connection = await asyncpg.connect(place)
                rows = [
                    str(row)
                    for (table,) in await connection.fetch(TABLES)
                    for (row,) in await connection.fetch(f'SELECT t::text FROM "{table}" t')
                ]
                await connection.close()
                return "\n".join(rows)

    await storage.open()
    yield Opened(storage, everything)
    await storage.aclose()


class Asking(Operator):
    """Asks a question of its own, and keeps the token it was given."""

    actions: ActionManager

    def __init__(self) -> None:
        super().__init__()
        self.tokens: asyncio.Queue[str] = asyncio.Queue()

    @property
    def name(self) -> str:
        return "ask"

    async def execute(self, input_data: Any, context: OperatorContext) -> OperatorResult:
        action = await self.actions.require_action(ActionSpec(job_id=context.job_id, type="input"))
        if action.resume_token is not None:
            self.tokens.put_nowait(action.resume_token)
        answered = await self.actions.wait_for_resolution(action.action_id)
        return OperatorResult(output_data=answered.resolution)


async def test_a_token_is_stored_and_compared_as_its_hash(opened: Opened) -> None:
    asking = Asking()
    async with kernel(opened.storage, operators=[asking]) as k:
        asking.actions = k.actions
        handle = await k.execute(ExecutionRequest(operator="ask"))
        token = await asyncio.wait_for(asking.tokens.get(), BOUND)
        digest = sha256(token.encode()).hexdigest()

        (asked,) = await opened.storage.list_actions(job_id=handle.job_id)
        assert asked.token_hash == digest
        assert await opened.storage.find_action(token) is None
        found = await opened.storage.find_action(digest)
        assert found is not None
        assert found.action_id == asked.action_id
        assert found.resume_token is asked.resume_token is None
        for guess in (
            digest,
            digest.upper(),
            token[:-1],
            f"{token} ",
            "",
        ):  # whoever reads the rows holds no token
            with pytest.raises(UnknownAction):
                await k.actions.resolve(guess, {"value": 1})

        await k.actions.resolve(token, {"value": "yes"}, "ann")
        assert (await handle.result()).output == {"value": "yes"}
        with pytest.raises(ActionAlreadyResolved):
            await k.actions.resolve(token, {"value": "no"})

    held = await opened.everything()
    assert digest in held
    assert token not in held
