"""What `agent-runtime run` executes: an agent that the job's own input describes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.app import import_object, make_provider
from agent_runtime.errors import ConfigurationError
from agent_runtime.kernel.operator import AgentOperator, Operator, OperatorResult

if TYPE_CHECKING:
    from agent_runtime.kernel.operator_context import OperatorContext
    from llm_client.agent.agent import Agent
    from llm_client.tools.tool import Tool

OPERATOR: Final = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptedInput:
    """A prompt and the agent that is to answer it. Being the job's input, it lets any process go on with the job."""

    prompt: str
    model: str
    base_url: str | None = None
    system: str | None = None
    tools: tuple[str, ...] = ()
    """As `module:function`."""
    max_turns: int = 50

    def to_json(self) -> dict[str, Any]:
        """Return it as the job's input."""
        return {**asdict(self), "tools": list(self.tools)}


class PromptedRun(Operator):
    """Answers a prompt."""

    @property
    def name(self) -> str:
        """Registered name."""
        return OPERATOR

    async def execute(self, input_data: Mapping[str, Any], context: OperatorContext) -> OperatorResult:
        """Build the agent and let it answer."""
        given = PromptedInput(**{**input_data, "tools": tuple(input_data.get("tools") or ())})
        agent = await asyncio.to_thread(build_agent, given)
        try:
            return await AgentOperator(agent, OPERATOR).execute({"prompt": given.prompt}, context)
        finally:
            await agent.aclose()
            await agent.engine.aclose()


def build_agent(given: PromptedInput) -> Agent:
    """Build the agent; needs no key and no network.

    Raises:
        ConfigurationError: The model or a tool is not what it should be.
    """
    from llm_client.agent.agent import Agent
    from llm_client.agent.config import AgentConfig

    return Agent(
        provider=make_provider(given.model, given.base_url),
        tools=[load_tool(path) for path in given.tools],
        system_message=given.system,
        config=AgentConfig(max_turns=given.max_turns),
        name=OPERATOR,
    )


def load_tool(path: str) -> Tool:
    """Return the tool that `module:function` names.

    Raises:
        ConfigurationError: There is none, or it is not a function a model can call.
    """
    from llm_client.tools.decorator import tool
    from llm_client.tools.tool import Tool

    found = import_object(path)
    if isinstance(found, Tool):
        return found
    if not callable(found):
        raise ConfigurationError(f"{path!r} is a {type(found).__name__}, not a function")
    return tool(found)
