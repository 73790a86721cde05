"""Scenes for the snippets of the first document: a runner, and the log of its calls. See `tests/docs/test_documents.py`."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel

from agent_runtime.observability import LLMLoggingConfig, create_llm_logger
from agent_runtime.runner import AgentRunner, AgentSpec, AgentState, AsyncAgentRunner
from llm_client import ScriptedProvider

Stage = dict[str, Any]
Scene = Callable[[], AsyncGenerator[Stage, None]]
RUNNER_SCENES: dict[str, Scene] = {}


def scene(key: str) -> Callable[[Scene], Scene]:
    """Register how a snippet is prepared, up to the `yield`, and what is true after it has run."""

    def register(function: Scene) -> Scene:
        RUNNER_SCENES[key] = function
        return function

    return register


class Plan(BaseModel):
    steps: list[str]


def answering(*answers: str) -> ScriptedProvider:
    return ScriptedProvider([json.dumps({"steps": [answer]}) for answer in answers])


def in_prompts(folder: Path, *names: str) -> Path:
    """Write a prompt pack for each name."""
    for name in names:
        pack = folder / name
        pack.mkdir(parents=True)
        (pack / "system.j2").write_text("You plan.\n")
        (pack / "user.j2").write_text("Plan {{ goal }}.\n")
    return folder


@contextmanager
def in_a_folder() -> Iterator[Path]:
    with TemporaryDirectory() as name, chdir(name):
        yield Path(name)


PLANNER = AgentSpec(name="planner", prompt_pack="planner", response_model=Plan)


@scene("000 1. Async Agent Execution")
async def async_runner() -> AsyncGenerator[Stage, None]:
    with in_a_folder() as folder:
        in_prompts(folder / "prompts", "planner")
        logger = create_llm_logger(output_dir=folder, run_id="r")
        stage: Stage = {"provider": answering("pack"), "logger": logger, "spec": PLANNER}
        stage |= {"variables": {"goal": "a trip"}, "state": AgentState(name="planner")}
        yield stage
        assert stage["result"].data == Plan(steps=["pack"])
        assert stage["state"].attempt_count == 1
        await logger.flush_async()
        assert (folder / "r" / "llm_calls" / "call_001_planner.yaml").exists()


@scene("000 2. LLM Call Logging")
async def call_logging() -> AsyncGenerator[Stage, None]:
    with in_a_folder() as folder:
        in_prompts(folder / "prompts", "planner")
        stage: Stage = {"provider": answering("pack"), "AgentRunner": AgentRunner}
        stage["AsyncAgentRunner"] = AsyncAgentRunner
        yield stage
        result = await asyncio.to_thread(stage["runner"].run, spec=PLANNER, variables={"goal": "a trip"})
        assert result.data == Plan(steps=["pack"])
        await stage["logger"].flush_async()
        written = folder / "artifacts" / "llm_logs" / "run_20260128_123456" / "llm_calls"
        assert sorted(path.name for path in written.glob("*.yaml")) == [
            "call_001_planner.yaml",
            "summary.yaml",
        ]


@scene("000 3. Configuration")
async def configuration() -> AsyncGenerator[Stage, None]:
    with in_a_folder() as folder:
        stage: Stage = {}
        yield stage
        (folder / "job_config.json").write_text(stage["text"])
        config = await asyncio.to_thread(LLMLoggingConfig.from_job_config, folder / "job_config.json")
        assert config == LLMLoggingConfig(enabled=True, log_level="standard", format="yaml", sanitize=True)


async def ordinary_runner() -> AsyncGenerator[Stage, None]:
    with in_a_folder() as folder:
        stage: Stage = {"provider": answering("pack"), "path": in_prompts(folder / "p", "planner")}
        logger = create_llm_logger(output_dir=folder, run_id="r")
        stage |= {
            "spec": PLANNER,
            "variables": {"goal": "a trip"},
            "logger": logger,
            "AgentRunner": AgentRunner,
        }
        yield stage
        run_it = partial(stage["runner"].run, spec=PLANNER, variables={"goal": "a trip"})
        result = stage["result"] if "result" in stage else await asyncio.to_thread(run_it)
        assert result.data == Plan(steps=["pack"])
        assert stage["runner"].llm_logger is (None if "result" in stage else logger)
        await logger.flush_async()


RUNNER_SCENES["000 For Existing Code (No Changes Required)"] = ordinary_runner
RUNNER_SCENES["000 To Add LLM Logging 2"] = ordinary_runner


@scene("000 To Add LLM Logging")
async def a_logger() -> AsyncGenerator[Stage, None]:
    with in_a_folder() as folder:
        stage: Stage = {}
        yield stage
        assert stage["logger"].path == Path("artifacts", "my_run", "llm_calls")
        await stage["logger"].flush_async()
        assert list(folder.iterdir()) == []  # nothing is made before there is something to write


@scene("000 To Use Async Execution")
async def several_runs() -> AsyncGenerator[Stage, None]:
    with in_a_folder() as folder:
        names = ("one", "two", "three")
        stage: Stage = {"path": in_prompts(folder / "p", *names), "provider": answering("a", "b", "c")}
        for number, name in enumerate(names, 1):
            stage[f"spec{number}"] = AgentSpec(name=name, response_model=Plan)
            stage[f"vars{number}"] = {"goal": name}
        yield stage
        results = await stage["run_agents"]()
        assert sorted(result.data.steps[0] for result in results) == ["a", "b", "c"]


@scene('000 "Event loop is already running"')
async def running_loop() -> AsyncGenerator[Stage, None]:
    with in_a_folder() as folder:
        in_prompts(folder / "prompts", "planner")
        stage: Stage = {"provider": answering("pack"), "spec": PLANNER, "variables": {"goal": "a trip"}}
        stage |= {"AgentRunner": AgentRunner, "AsyncAgentRunner": AsyncAgentRunner}
        yield stage
        assert stage["result"].data == Plan(steps=["pack"])


IN_ORDINARY_CODE = {"000 For Existing Code (No Changes Required)"}
REFUSED = {'000 "Event loop is already running"': "  # Error in async context\n"}
"""What is refused as the snippet says, up to the end of its line; what follows is run by itself."""
