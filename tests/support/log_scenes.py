"""Scenes for the snippets of the fourth document: executions and model calls as rows. See `tests/docs/test_documents.py`."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import create_engine, inspect

from agent_runtime import RuntimeKernel
from agent_runtime.observability import ExecutionLogger, LLMCallLogger, LogStore, metadata
from agent_runtime.storage.memory import MemoryStorage
from llm_client import Chunks, ScriptedProvider
from support.log_rows import documented_month, documented_plan
from support.service import service_of

Stage = dict[str, Any]
Scene = Callable[[], AsyncGenerator[Stage, None]]
LOG_SCENES: dict[str, Scene] = {}


def scene(key: str) -> Callable[[Scene], Scene]:
    """Register how a snippet is prepared, up to the `yield`, and what is true after it has run."""

    def register(function: Scene) -> Scene:
        LOG_SCENES[key] = function
        return function

    return register


def columns_of(sql: str) -> tuple[str, set[str]]:
    """Return the name of a table of the document, and those of its columns."""
    name = re.search(r"CREATE TABLE (\w+)", sql)
    assert name is not None
    return name[1], set(re.findall(r"^    (\w+) [A-Z]", sql, re.MULTILINE))


async def table() -> AsyncGenerator[Stage, None]:
    stage: Stage = {}
    yield stage
    name, columns = columns_of(stage["text"])
    assert len(columns) > 15
    assert columns <= set(metadata.tables[name].columns.keys())


LOG_SCENES["004 ExecutionLog Table"] = table
LOG_SCENES["004 LLMCallLog Table"] = table


@scene("004 1. Basic Setup")
async def basic_setup() -> AsyncGenerator[Stage, None]:
    storage = MemoryStorage()
    await storage.open()
    stage: Stage = {"db_session": storage, "model": None, "provider": ScriptedProvider(["Yes."])}
    yield stage
    agent = stage["agent"]
    assert isinstance(agent.execution_logger, ExecutionLogger)
    assert isinstance(agent.llm_call_logger, LLMCallLogger)
    assert (await agent.run("Well?")).content == "Yes."
    logs = LogStore(storage)
    (run,) = await logs.executions(include_llm_calls=True)
    assert [call.status for call in run.llm_calls] == ["completed"]
    await agent.aclose()
    await storage.aclose()


@scene("004 2. Manual Logger Usage")
async def manual() -> AsyncGenerator[Stage, None]:
    storage = MemoryStorage()
    await storage.open()

    async def perform_task() -> str:
        return "done"

    stage: Stage = {"db_session": storage, "perform_task": perform_task}
    yield stage
    logs = LogStore(storage)
    (listed,) = await logs.executions(agent_type="custom_agent", status="completed")
    (row,) = await logs.execution(listed.execution_id)
    assert (row.input_data, row.output_data) == ({"param": "value"}, {"result": "done"})
    assert row.metadata == {"additional": "info"}
    await logs.aclose()
    await storage.aclose()


@scene("004 3. LLM Call Logging")
async def calls() -> AsyncGenerator[Stage, None]:
    storage = MemoryStorage()
    await storage.open()
    provider = ScriptedProvider(["Much.", Chunks(["A", " lot."])])
    said: list[str] = []
    stage: Stage = {"model": provider, "llm_call_logger": LLMCallLogger(storage), "print": said.append}
    yield stage
    assert (stage["response"], said) == ("Much.", ["A", " lot."])
    logs = LogStore(storage)
    streamed, asked = await logs.llm_calls(execution_log_id="exec_123")
    assert (asked.call_type, asked.report_id) == ("inference", "report_456")
    assert (streamed.call_type, streamed.chunks_count) == ("inference_stream", 2)
    await logs.aclose()
    await storage.aclose()


@scene("004 4. Custom Execution Logging")
async def custom() -> AsyncGenerator[Stage, None]:
    storage = MemoryStorage()
    await storage.open()

    async def generate_plan() -> list[str]:
        return ["pack"]

    stage: Stage = {"execution_logger": ExecutionLogger(storage), "generate_plan": generate_plan}
    stage |= {"schemas": ["s"], "prompt": "Plan.", "report_id": "r", "completion_id": "c"}
    yield stage
    logs = LogStore(storage)
    (listed,) = await logs.executions(report_id="r", action_type="generate_plan")
    (row,) = await logs.execution(listed.execution_id)
    assert (row.status, row.output_data, row.completion_id) == ("completed", {"plan": ["pack"]}, "c")
    await logs.aclose()
    await storage.aclose()


@scene("004 Token Pricing")
async def prices() -> AsyncGenerator[Stage, None]:
    storage = MemoryStorage()
    await storage.open()
    logger = LLMCallLogger(storage)
    yield {"self": logger}
    async with logger.log_llm_call("openai", "gpt-4") as call:
        call.input_tokens, call.output_tokens = 1000, 1000
    logs = LogStore(storage)
    (row,) = await logs.llm_calls()
    assert str(row.total_cost) == "0.09"
    await logs.aclose()
    await storage.aclose()


async def migration() -> AsyncGenerator[Stage, None]:
    """An application's own Alembic takes the tables up as they are, and finds nothing to change afterwards."""
    stage: Stage = {}
    yield stage
    assert stage["text"].startswith("alembic ")
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "alembic.ini").write_text(
            f"[alembic]\nscript_location = {folder}/scripts\nsqlalchemy.url = sqlite:///{folder}/mine.db\n"
        )
        (folder / "scripts/versions").mkdir(parents=True)
        (folder / "scripts/env.py").write_text(_ENV)
        (folder / "scripts/script.py.mako").write_text(_MAKO)
        for command in ('revision --autogenerate -m "logs"', "upgrade head", "check"):
            _alembic(folder, command)
        engine = create_engine(f"sqlite:///{folder}/mine.db")
        assert set(metadata.tables) <= set(inspect(engine).get_table_names())
        async with ExecutionLogger(engine).log_execution("planner", "plan"):
            pass
        logs = LogStore(engine)
        assert await logs.count_executions(status="completed") == 1
        await logs.aclose()
        engine.dispose()


LOG_SCENES["004 Migration"] = migration
LOG_SCENES["004 Migration 2"] = migration


def _alembic(folder: Path, command: str) -> None:
    code = f"from alembic.config import main; main(argv={['-c', str(folder / 'alembic.ini'), *_words(command)]!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr


def _words(command: str) -> list[str]:
    return [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command)]


_ENV = """
from alembic import context
from sqlalchemy import create_engine, pool
from agent_runtime.observability import metadata

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
"""
_MAKO = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


@scene("004 GET `/execution-logs/executions`")
async def get_executions() -> AsyncGenerator[Stage, None]:
    async with service_of(RuntimeKernel()) as service:
        await documented_plan(service.kernel.storage)
        stage: Stage = {}
        yield stage
        method, address = stage["text"].split()
        async with service.client(await service.key()) as client:
            response = await client.request(method, address)
        told = response.json()
        assert (response.status_code, told["total"], told["limit"], told["offset"]) == (200, 1, 20, 0)
        assert [one["execution_id"] for one in told["executions"]] == ["exec_abc123_1704067200"]


@scene("004 Execution Log")
async def execution_log() -> AsyncGenerator[Stage, None]:
    async with service_of(RuntimeKernel()) as service:
        await documented_plan(service.kernel.storage)
        stage: Stage = {}
        yield stage
        documented = json.loads(stage["text"].replace("{...}", "{}"))
        async with service.client(await service.key()) as client:
            response = await client.get(f"/execution-logs/executions/{documented['execution_id']}")
        (told,) = response.json()["executions"]
        (call,), (documented_call,) = told.pop("llm_calls"), documented.pop("llm_calls")
        assert {name: told[name] for name in documented} == documented
        assert documented_call.pop("id") == "..."
        assert {name: call[name] for name in documented_call} == documented_call


@scene("004 Analytics Summary")
async def analytics_summary() -> AsyncGenerator[Stage, None]:
    async with service_of(RuntimeKernel()) as service:
        await documented_month(service.kernel.storage)
        stage: Stage = {}
        yield stage
        documented = json.loads(stage["text"])
        async with service.client(await service.key()) as client:
            response = await client.get("/execution-logs/analytics/summary", params=documented["date_range"])
        _says(response.json(), documented)


def _says(told: Any, documented: Any) -> None:
    """See that an answer says what is documented; it may say more."""
    if not isinstance(documented, dict):
        assert told == documented
        return
    for name, value in documented.items():
        _says(told[name], value)
