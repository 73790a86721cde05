"""What `agent-runtime run` executes: a prompt, and an agent that the person at this machine has chosen.

A job's row holds the prompt and a name. What the name stands for (a model, an address, tools that are imported) comes from options and settings, or
from what this user has run here before: whoever can write rows decides neither which code runs nor where a key goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.app import import_object, make_provider
from agent_runtime.errors import ConfigurationError
from agent_runtime.operators.operator import AgentOperator, Operator
from agent_runtime.operators.result import OperatorResult
from agent_runtime.trust import TrustStore, agent_name
from llm_client.errors import AuthenticationError
from llm_client.json_text import JsonObject, JsonValue

if TYPE_CHECKING:
    from agent_runtime.operators.context import OperatorContext
    from agent_runtime.settings import Settings
    from llm_client.agent.agent import Agent
    from llm_client.tools.tool import Tool

OPERATOR: Final = "run"
MAX_TURNS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenAgent:
    """An agent as options and settings describe it."""

    model: str
    base_url: str | None = None
    system: str | None = None
    tools: tuple[str, ...] = ()
    """As `module:function`."""
    folder: str | None = None
    """Where the tools are looked for: the folder that was current when they were named, `None` without tools."""

    @classmethod
    def of(cls, settings: Settings, tools: tuple[str, ...] = (), system: str | None = None) -> ChosenAgent:
        """Return the agent of some settings.

        Raises:
            ConfigurationError: No model is chosen.
        """
        if settings.model is None:
            raise ConfigurationError(
                "no model is chosen: give --model vendor:model, such as openai:gpt-5.2, or set AGENT_RUNTIME_MODEL"
            )
        folder = str(Path.cwd()) if tools else None
        return cls(
            model=settings.model, base_url=settings.base_url, tools=tools, system=system, folder=folder
        )

    @property
    def parts(self) -> dict[str, JsonValue]:
        """What it is made of, as JSON values."""
        return {**asdict(self), "tools": list(self.tools)}

    def input(self, prompt: str) -> dict[str, JsonValue]:
        """Return the input of a job that lets this agent answer: names only."""
        return {"prompt": prompt, "model": self.model, "agent": agent_name(self.parts)}

    def build(self) -> Agent:
        """Build the agent; needs no key and no network.

        Raises:
            ConfigurationError: The model or a tool is not what it should be, or the tools were named in another folder.
        """
        self.check_folder()
        from llm_client.agent.agent import Agent
        from llm_client.agent.config import AgentConfig

        return Agent(
            provider=make_provider(self.model, self.base_url),
            tools=[load_tool(path) for path in self.tools],
            system_message=self.system,
            config=AgentConfig(max_turns=MAX_TURNS),
            name=OPERATOR,
        )

    async def check(self) -> None:
        """See that the agent can be built, and that there is a key for its model; asks nobody.

        Raises:
            ConfigurationError: It cannot, or there is none.
        """
        from llm_client.providers.http_provider import HttpProvider

        provider = self.build().engine.provider
        if isinstance(provider, HttpProvider):
            try:
                await provider.check_key()
            except AuthenticationError as error:
                raise ConfigurationError(str(error)) from error

    def check_folder(self) -> None:
        """Refuse to look for tools in another folder than the one they were named in: what has their names there is not them.

        Raises:
            ConfigurationError: This is another folder.
        """
        if self.tools and self.folder != str(Path.cwd()):
            raise ConfigurationError(
                f"the tools of this job's agent, {', '.join(self.tools)}, were named in the folder {self.folder!r}; go on with it there, "
                "or name the agent again: agent-runtime jobs resume JOB --model … [--base-url …] [--tool …] [--system …]"
            )


def agent_for(job_input: JsonObject, *, settings: Settings | None = None) -> ChosenAgent:
    """Return the agent that a job names, if this user has run it here or the settings describe just it.

    Raises:
        ConfigurationError: It is not known here, or its tools were named in another folder.
    """
    name = job_input.get("agent")
    if settings is not None and settings.model is not None:
        described = ChosenAgent.of(settings)
        if agent_name(described.parts) == name:
            return described
    parts = TrustStore().agent(name)
    if parts is None:
        raise ConfigurationError(
            "this job was begun by an agent that you have not run on this machine; say again which model, address and tools it may use: "
            "agent-runtime jobs resume JOB --model … [--base-url …] [--tool …] [--system …]"
        )
    fields: dict[str, Any] = parts
    known = ChosenAgent(**{**fields, "tools": tuple(fields["tools"])})
    known.check_folder()
    return known


class PromptedRun(Operator):
    """Answers a prompt.

    Args:
        chosen: The agent, whatever a job names; by default the one that it names and this user has run here.
    """

    def __init__(self, chosen: ChosenAgent | None = None) -> None:
        self._chosen = chosen

    @property
    def name(self) -> str:
        """Registered name."""
        return OPERATOR

    async def execute(self, input_data: JsonObject, context: OperatorContext) -> OperatorResult:
        """Build the agent and let it answer."""
        agent = await asyncio.to_thread(self._build, input_data)
        try:
            return await AgentOperator(agent, OPERATOR).execute({"prompt": input_data["prompt"]}, context)
        finally:
            await agent.aclose()
            await agent.engine.aclose()

    def _build(self, input_data: Mapping[str, Any]) -> Agent:
        return (self._chosen or agent_for(input_data)).build()


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
