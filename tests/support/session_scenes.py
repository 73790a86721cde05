"""Scenes for the snippets of the plan of resident agents. See `tests/docs/test_documents.py`."""

import inspect
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Optional

from agent_runtime import RuntimeKernel, sessions
from llm_client import Agent, ExecutionEngine, FunctionProvider

Stage = dict[str, Any]
Scene = Callable[[], AsyncGenerator[Stage, None]]
SESSION_SCENES: dict[str, Scene] = {}
WITHOUT_BODIES = {
    "002 Phase 3: Enhanced Sleep/Wake System (1-2 days)": [
        ("wake_time: datetime)", "wake_time: datetime): ..."),
        ("cancel_wake(agent_id: str)", "cancel_wake(agent_id: str): ..."),
        ("-> Optional[datetime]", "-> Optional[datetime]: ..."),
    ],
    "002 Phase 4: State Persistence (1-2 days)": [
        ("state: AgentState)", "state: AgentState): ..."),
        ("-> Optional[AgentState]", "-> Optional[AgentState]: ..."),
        ("-> List[str]", "-> List[str]: ..."),
    ],
    "002 2. Async-First Patterns": [("result = agent.process_task(task)", "pass")],
}
"""What the plan writes that is no Python – methods without a body –, and the call that it calls bad."""
_NAMES: Stage = {"Optional": Optional, "List": list, "datetime": datetime, "AgentState": sessions.AgentState}


def scene(key: str) -> Callable[[Scene], Scene]:
    """Register how a snippet is prepared, up to the `yield`, and what is true after it has run."""

    def register(function: Scene) -> Scene:
        SESSION_SCENES[key] = function
        return function

    return register


@scene("002 Phase 1: Align Agent Creation (2-3 days) 2")
async def session() -> AsyncGenerator[Stage, None]:
    import asyncio

    stage: Stage = {
        **_NAMES,
        "asyncio": asyncio,
        "dataclass": dataclass,
        "Set": set,
        "StatelessAgent": Agent,
        "StatelessAILoop": ExecutionEngine,
    }
    yield stage
    planned = {field.name for field in fields(stage["AsyncAgentSession"])}
    async with RuntimeKernel(engine=ExecutionEngine(FunctionProvider(lambda _: "Done."))) as kernel:
        manager = sessions.AsyncAgentSessionManager(kernel)
        ours = await manager.create_agent_session("duty", definition="agent")
        assert {name for name in planned if not hasattr(ours, name)} == set()


def _as_planned(planned: type, ours: type) -> None:
    """The class has the methods that the plan names, with their parameters."""
    for name, method in inspect.getmembers(planned, inspect.isfunction):
        wanted = list(inspect.signature(method).parameters)
        assert list(inspect.signature(getattr(ours, name)).parameters) == ["self", *wanted], name


@scene("002 Phase 3: Enhanced Sleep/Wake System (1-2 days)")
async def scheduler() -> AsyncGenerator[Stage, None]:
    stage: Stage = dict(_NAMES)
    yield stage
    _as_planned(stage["SleepScheduler"], sessions.SleepScheduler)


@scene("002 Phase 4: State Persistence (1-2 days)")
async def store() -> AsyncGenerator[Stage, None]:
    stage: Stage = dict(_NAMES)
    yield stage
    _as_planned(stage["AsyncAgentStateStore"], sessions.AsyncAgentStateStore)


@scene("002 2. Async-First Patterns")
async def patterns() -> AsyncGenerator[Stage, None]:
    async with RuntimeKernel(engine=ExecutionEngine(FunctionProvider(lambda _: "Done."))) as kernel:
        manager = sessions.AsyncAgentSessionManager(kernel)
        stage: Stage = {
            "agent": await manager.create_agent_session("duty", definition="agent"),
            "task": "Look around.",
        }
        yield stage
        assert stage["result"].content == "Done."
