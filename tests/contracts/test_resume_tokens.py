"""A resume token opens one action once, and is nowhere to be read: every storage holds and compares its hash alone."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
    InvalidInput,
    Operator,
    OperatorContext,
    OperatorResult,
    UnknownAction,
)
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from llm_client import tool
from support.kernels import BOUND, QUICK, journal, kernel, status_becomes, types, until

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


class Mailing(Operator):
    """Asks two people for a yes, hands the links on, and lets itself be stopped before it waits for them."""

    actions: ActionManager

    def __init__(self) -> None:
        super().__init__()
        self.links: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    @property
    def name(self) -> str:
        return "mail"

    async def execute(self, input_data: Any, context: OperatorContext) -> OperatorResult:
        spec = ActionSpec(job_id=context.job_id, type="approval", approvers=["ann", "bob"], quorum=2)
        asked = await self.actions.require_action(spec)
        self.links.put_nowait(dict(asked.resume_tokens))
        await context.action(ActionSpec(type="input"))
        answered = await self.actions.wait_for_resolution(asked.action_id)
        return OperatorResult(output_data={"by": [vote["by"] for vote in answered.votes]})


async def test_an_operator_that_comes_by_again_has_further_links_and_all_stay_valid_until_the_answer(
    opened: Opened,
) -> None:
    mailing = Mailing()
    async with kernel(opened.storage, operators=[mailing]) as k:
        mailing.actions = k.actions
        handle = await k.execute(ExecutionRequest(operator="mail"))
        first = await asyncio.wait_for(mailing.links.get(), BOUND)
        await status_becomes(handle, "waiting_action")
        stop, _ = await handle.get_pending_actions()
        await handle.resolve_action(stop.action_id, {"value": "go on"})
        second = await asyncio.wait_for(mailing.links.get(), BOUND)
        assert first.keys() == second.keys() == {"ann", "bob"}
        assert not set(first.values()) & set(second.values())

        assert (await k.actions.resolve(second["ann"], {"approved": True})).is_pending
        with pytest.raises(InvalidInput, match="ann has answered already"):
            await k.actions.resolve(first["ann"], {"approved": True})
        await k.actions.resolve(first["bob"], {"approved": True})
        assert (await handle.result(timeout=BOUND)).output == {"by": ["ann", "bob"]}
        for token in (*first.values(), *second.values()):
            with pytest.raises(ActionAlreadyResolved):
                await k.actions.resolve(token, {"approved": False})

    held = await opened.everything()
    for token in (*first.values(), *second.values()):
        assert sha256(token.encode()).hexdigest() in held
        assert token not in held


async def test_a_link_that_is_mailed_is_recorded_without_its_token_and_mailed_once(opened: Opened) -> None:
    """The job is run again while the question is open, with other tokens: the step that has mailed is recalled all the same."""
    mailed: list[str] = []

    async def mail(to: str, links: list[str]) -> None:
        mailed.extend(links)

    class Linking(Operator):
        actions: ActionManager

        @property
        def name(self) -> str:
            return "link"

        async def execute(self, input_data: Any, context: OperatorContext) -> OperatorResult:
            spec = ActionSpec(job_id=context.job_id, type="approval", approvers=["ann", "bob"], quorum=2)
            asked = await self.actions.require_action(spec)
            links = [f"https://example.com/?token={token}" for token in asked.resume_tokens.values()]
            await context.step(mail, "both", links)
            await context.action(ActionSpec(type="input"))
            answered = await self.actions.wait_for_resolution(asked.action_id)
            return OperatorResult(output_data=answered.resolution)

    linking = Linking()
    async with kernel(opened.storage, operators=[linking], options=replace(QUICK, strict=True)) as k:
        linking.actions = k.actions
        handle = await k.execute(ExecutionRequest(operator="link"))
        await status_becomes(handle, "waiting_action")
        (stop,) = [one for one in await handle.get_pending_actions() if one.type == "input"]
        await handle.resolve_action(stop.action_id, {"value": "go on"})
        tokens = [link.partition("=")[2] for link in mailed]
        assert len(tokens) == 2
        for token in tokens:
            await k.actions.resolve(token, {"approved": True})
        assert (await handle.result(timeout=BOUND)).output == {"approved": True}
        (intent,) = [event for event in await journal(handle) if event.type == "step.started"]
        assert "<resume token of act-" in str(intent.body())
        assert "job.warning" not in await types(handle)
        assert len(mailed) == 2
    held = await opened.everything()
    assert not [token for token in tokens if token in held]


async def test_tokens_are_deleted_with_the_job_that_drew_them(
    opened: Opened, place: str, tmp_path: Path
) -> None:
    asking = Asking()
    async with kernel(opened.storage, operators=[asking]) as k:
        asking.actions = k.actions
        handle = await k.execute(ExecutionRequest(operator="ask"))
        token = await asyncio.wait_for(asking.tokens.get(), BOUND)
        await k.actions.resolve(token, {"value": 1})
        await handle.result(timeout=BOUND)
        stored = await stored_tokens(opened.storage, place, tmp_path)
        assert sha256(token.encode()).hexdigest() in stored
        later = datetime.now(UTC) + timedelta(days=1)
        assert await opened.storage.prune(before=later) == 1
        assert await stored_tokens(opened.storage, place, tmp_path) == []
        with pytest.raises(UnknownAction):
            await k.actions.resolve(token, {"value": 1})


async def stored_tokens(storage: Storage, place: str, folder: Path) -> list[str]:
    """Return the hashes that are stored of tokens."""
    hashes = "SELECT token_hash FROM runtime_action_tokens"
    if place == "memory":
        return list(storage.__dict__["_state"].tokens)
    if place == "sqlite":

        def read() -> list[str]:
            with contextlib.closing(sqlite3.connect(folder / "runs.db")) as db:
                return [row[0] for row in db.execute(hashes)]

        return await asyncio.to_thread(read)
    connection = await asyncpg.connect(place)
    found = [row[0] for row in await connection.fetch(hashes)]
    await connection.close()
    return found


class ToolMailing(Operator):
    """Asks the boss, and has a tool send the link with which the boss may answer, or another link."""

    def __init__(self, link: str | None = None) -> None:
        super().__init__()
        self._link = link
        self.drawn: list[str] = []

    @property
    def name(self) -> str:
        return "mailing"

    async def execute(self, input_data: Any, context: OperatorContext) -> OperatorResult:
        question = await context.open_action(ActionSpec(type="approval", approvers=["boss"]))
        self.drawn += question.resume_tokens.values()
        await context.tool("mail", to="boss", link=self._link or f"https://x.example/?{self.drawn[-1]}")
        return OperatorResult(output_data=(await context.await_action(question)).resolution)


class Mail:
    """A tool that sends links, once somebody has agreed."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.tool = tool(requires_approval=True)(self.mail)

    async def mail(self, to: str, link: str) -> None:
        """Send a link."""
        self.sent.append((to, link))

    async def is_sent(self) -> bool:
        return bool(self.sent)


async def test_a_token_that_a_tool_is_given_is_shown_to_nobody_who_approves_the_call(opened: Opened) -> None:
    """Every run draws other tokens: the question is the same all the same, and its answer holds."""
    mailing, mail = ToolMailing(), Mail()
    async with kernel(opened.storage, operators=[mailing], tools=[mail.tool]) as k:
        handle = await k.execute(ExecutionRequest(operator="mailing"))
        await status_becomes(handle, "waiting_action")
        (asked,) = [one for one in await handle.get_pending_actions() if "tool" in one.payload]
        edited = {**asked.payload["arguments"], "to": "chief"}
        assert edited["link"].startswith("https://x.example/?<resume token of act-")
        await handle.resolve_action(asked.action_id, {"approved": True, "arguments": edited})

        await until(mail.is_sent)
        assert mail.sent == [("chief", f"https://x.example/?{mailing.drawn[-1]}")]
        await k.actions.resolve(mailing.drawn[-1], {"approved": True})
        assert (await handle.result(timeout=BOUND)).output == {"approved": True}
    held = await opened.everything()
    assert not [token for token in mailing.drawn if token in held]


async def test_who_edits_a_call_gets_no_token_that_was_not_in_it(opened: Opened) -> None:
    mailing, mail = ToolMailing("https://x.example"), Mail()
    async with kernel(opened.storage, operators=[mailing], tools=[mail.tool]) as k:
        handle = await k.execute(ExecutionRequest(operator="mailing"))
        await status_becomes(handle, "waiting_action")
        other, asked = sorted(await handle.get_pending_actions(), key=lambda one: "tool" in one.payload)
        named = f"<resume token of {other.action_id} for boss>"
        answer = {"approved": True, "arguments": {"to": "eve", "link": named}}
        await handle.resolve_action(asked.action_id, answer)
        await until(mail.is_sent)
    assert mail.sent == [("eve", named)]
