"""What resident agents are made of: definitions in Python, and the registry in which a process finds them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from agent_runtime.errors import ConfigurationError, InvalidInput
from agent_runtime.residents.ai_config import AIConfig, vendor_of, with_params
from agent_runtime.residents.prompts import PromptSystem
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.values.message import check_identity
from llm_client.agent.agent import Agent
from llm_client.agent.config import AgentConfig
from llm_client.spec import RequestSpec
from llm_client.tools.decorator import tool as made_tool
from llm_client.tools.tool import Tool

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine

MAX_DESCRIPTION: Final = 10_000
"""Characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDefinition:
    """What an agent is made of. A stored agent names its definition; processes that run its turns have one of that name.

    Raises:
        InvalidInput: A value is not what is allowed for it.
    """

    name: str
    description: str = ""
    """What it is for, for people who choose one."""
    prompt: str | None = None
    """Its system prompt; without it the registry's `PromptSystem` is asked for one of the definition's name."""
    components: Sequence[str] = ()
    """Components of the `PromptSystem` that follow the prompt."""
    tools: Sequence[Tool | Callable[..., object] | str] = ()
    """Tools, functions to make tools of, or names of the registry's tools; besides those that every resident agent may have."""
    ai_config: AIConfig | Mapping[str, object] | str | None = field(default=None, repr=False)
    """Its model, in one of the documented forms or as `vendor:model`; without it the registry's engine is asked."""
    settings: AgentSettings | Mapping[str, object] = field(default_factory=AgentSettings)
    """How its agents are looked after, unless their creator says otherwise."""
    config: AgentConfig | None = None
    """The bounds of each run."""
    agent: Agent | None = field(default=None, repr=False)
    """A ready agent instead of prompt, tools and model; prompt and tools that are given are used in the place of its prompt, and besides its tools."""

    def __post_init__(self) -> None:
        check_identity("the name of an agent's definition", self.name)
        description: object = self.description
        if not isinstance(description, str) or len(description) > MAX_DESCRIPTION:
            raise InvalidInput(f"description is a text of at most {MAX_DESCRIPTION:,} characters")
        if self.ai_config is not None:
            object.__setattr__(self, "ai_config", AIConfig.of(self.ai_config))
        if not isinstance(self.settings, AgentSettings):
            object.__setattr__(self, "settings", AgentSettings.from_json(self.settings))
        if self.agent is not None and (self.ai_config is not None or self.config is not None):
            raise InvalidInput("a definition has a ready agent, or the model and bounds of one, not both")

    @property
    def defaults(self) -> AgentSettings:
        """Its settings."""
        return cast("AgentSettings", self.settings)  # made so above


class AgentRegistry:
    """The agents that a process knows, by name.

    Args:
        engine: Sends the requests of agents that name no model.
        tools: Tools that definitions can name.
        prompts: System prompts by name.
    """

    def __init__(
        self,
        *,
        engine: ExecutionEngine | None = None,
        tools: Iterable[Tool | Callable[..., object]] = (),
        prompts: PromptSystem | None = None,
    ) -> None:
        self.engine = engine
        self.prompts = prompts or PromptSystem()
        self._tools = {one.name: one for one in map(_as_tool, tools)}
        self._definitions: dict[str, AgentDefinition] = {}
        self._engines: dict[str, ExecutionEngine] = {}
        """Those that were made here, by whom they ask."""

    def add(self, definition: AgentDefinition | str, agent: Agent | None = None) -> AgentDefinition:
        """Add a definition, or a ready agent under a name.

        Raises:
            InvalidInput: The name is taken, or the definition names a tool that nobody knows.
        """
        if isinstance(definition, str):
            if agent is None:
                raise InvalidInput("an agent is added as a definition, or as a name and an `Agent`")
            definition = AgentDefinition(name=definition, agent=agent)
        elif agent is not None:
            definition = replace(definition, agent=agent)
        if definition.name in self._definitions:
            raise InvalidInput(f"there are two definitions of agents named {definition.name!r}")
        self._tools_of(definition)
        self._definitions[definition.name] = definition
        return definition

    def load(self, path: str | Path) -> list[AgentDefinition]:
        """Add the agents of a YAML file, or of all YAML files of a folder in the order of their names, all of them or none.

        Such a file says which model is asked, where that is and what it is told, so it is code: load those alone that you would run.

        Raises:
            FileInvalid: Something in a file is wrong; the message names each line.
            InvalidInput: Two agents have one name.
        """
        from agent_runtime.residents.declared import read_files

        declared = read_files(Path(path))
        names = [one.name for one in declared.definitions]
        for name in names:
            if name in self._definitions or names.count(name) > 1:
                raise InvalidInput(f"there are two definitions of agents named {name!r}")
        for one in declared.definitions:
            self._tools_of(one)
        for name, text in declared.components.items():
            self.prompts.add_component(name, text)
        return [self.add(one) for one in declared.definitions]

    def get(self, name: str) -> AgentDefinition:
        """Return a definition.

        Raises:
            InvalidInput: There is none of this name.
        """
        try:
            return self._definitions[name]
        except KeyError:
            known = ", ".join(self.names()) or "none"
            raise InvalidInput(f"no definition of an agent has this name; there are: {known}") from None

    def names(self) -> tuple[str, ...]:
        """Return the names, sorted."""
        return tuple(sorted(self._definitions))

    def __contains__(self, name: object) -> bool:
        return name in self._definitions

    def __iter__(self) -> Iterator[AgentDefinition]:
        return iter(list(self._definitions.values()))

    def __len__(self) -> int:
        return len(self._definitions)

    def agent(self, name: str, *, tools: Sequence[Tool] = (), engine: ExecutionEngine | None = None) -> Agent:
        """Make the agent of a definition.

        Args:
            name: The definition's.
            tools: Further tools; one of the definition's of the same name is used in the place of such a one.
            engine: Asked where neither the definition nor the registry names a model.

        Raises:
            ConfigurationError: Nobody names a model, or a vendor is unknown.
        """
        definition = self.get(name)
        ready = definition.agent
        own = [*(ready.tools if ready is not None else ()), *self._tools_of(definition)]
        taken = {one.name for one in own}
        together = [*own, *(one for one in tools if one.name not in taken)]
        if ready is not None:
            return ready.variant(system_message=ready.system_message, tools=together, request=ready.request)
        ai = definition.ai_config
        if isinstance(ai, AIConfig):
            request = with_params(RequestSpec(messages=()), ai.generation_params)
            chosen: ExecutionEngine | None = self._engine_for(f"agent {name}", ai)
        else:
            request, chosen = RequestSpec(messages=()), self.engine or engine
        if chosen is None:
            raise ConfigurationError(
                f"the agent {name!r} has no model: give its definition an ai_config such as 'openai:gpt-5.2', or the registry or the kernel an engine"
            )
        return Agent(engine=chosen, tools=together, config=definition.config, request=request, name=name)

    def request_for(
        self, agent: Agent, settings: AgentSettings
    ) -> tuple[RequestSpec, ExecutionEngine | None]:
        """Return the template of requests that settings make of an agent's, and the engine to ask instead of its own.

        Raises:
            ConfigurationError: The vendor that the settings name is unknown.
        """
        request = with_params(agent.request, settings.generation_params)
        vendor, model = settings.provider, settings.model
        if vendor is None and model is not None:
            vendor, model = vendor_of(model)
        if vendor is None:
            return (request if model is None else request.evolve(model=model)), None
        if model is None:
            raise ConfigurationError("the settings of an agent name a provider and no model")
        ai = AIConfig(model=model, provider=vendor)
        return request.evolve(model=model.removeprefix(f"{vendor}:")), self._engine_for(vendor, ai)

    def _engine_for(self, whom: str, ai: AIConfig) -> ExecutionEngine:
        """Return the engine that was made for somebody, or make it: an engine remembers limits and breakers, and is made once."""
        if whom not in self._engines:
            self._engines[whom] = ai.engine()
        return self._engines[whom]

    def _tools_of(self, definition: AgentDefinition) -> list[Tool]:
        found = []
        for given in definition.tools:
            if isinstance(given, str):
                if given not in self._tools:
                    known = ", ".join(sorted(self._tools)) or "none"
                    raise InvalidInput(
                        f"no tool is named {given!r}, which the agent {definition.name!r} has; known: {known}"
                    )
                found.append(self._tools[given])
            else:
                found.append(_as_tool(given))
        return found

    async def aclose(self) -> None:
        """Close the engines that were made here; the one that was given stays open. Idempotent."""
        engines = list(self._engines.values())
        self._engines.clear()
        for engine in engines:
            await engine.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()


def _as_tool(given: Tool | Callable[..., object]) -> Tool:
    return given if isinstance(given, Tool) else made_tool(given)
