"""One turn of a resident agent: a message becomes a prompt, the agent answers, and the message is acknowledged.

All of it is one durable job. What was read is recorded before anything is asked, so a turn that goes on elsewhere asks the same; the message is
acknowledged in a step under its own key, so a death before or after it neither loses the message nor has it handled twice.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import orjson

from agent_runtime.errors import InvalidInput, StorageError
from agent_runtime.operators.context import OperatorContext
from agent_runtime.operators.operator import Operator
from agent_runtime.operators.result import OperatorResult
from agent_runtime.ports.agents import AgentMessage
from agent_runtime.ports.current_job import journal_written
from agent_runtime.residents.channels import Channel, ChannelText, channels_of, final_text
from agent_runtime.residents.definitions import AgentRegistry
from agent_runtime.residents.memory import recalled
from agent_runtime.residents.rendering import house_rules, prompt_of
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.residents.tools import (
    CONTINUE_TURN,
    TURN,
    Doings,
    TurnPlace,
    resident_tools,
)
from agent_runtime.values.content import content_aside, encode
from llm_client.agent.result import AgentResult
from llm_client.background import Backoff
from llm_client.codec import dump_message
from llm_client.json_text import JsonObject
from llm_client.logs import logger_of
from llm_client.messages import Message
from llm_client.turns import aside
from llm_client.usage import Usage

if TYPE_CHECKING:
    from llm_client.agent.agent import Agent
    from llm_client.engine.engine import ExecutionEngine
    from llm_client.tools.tool import Tool

logger = logger_of(__name__)
T = TypeVar("T")

OPERATOR_PREFIX: Final = "resident."
STORAGE_ATTEMPTS: Final = 8
"""How often a turn's record is asked for or written that a storage has refused; some twenty seconds."""
MAX_REASON: Final = 1_000
"""Characters of why a turn goes on."""
MAX_JSON_ANSWER: Final = 256 * 1024
"""Characters of an answer that is looked into for its own wish to go on."""
_FENCE: Final = re.compile(r"\A\s*```(?:json)?\s*\n(?P<inside>.*)\n```\s*\Z", re.DOTALL)


def operator_of(definition: str) -> str:
    """Return the name of the operator that runs the turns of a definition's agents."""
    return f"{OPERATOR_PREFIX}{definition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a turn begins with."""

    message: AgentMessage
    """With its content."""
    config: JsonObject
    """Of the agent, as it is stored."""
    memory: bytes | None = field(default=None, repr=False)


class TurnRecords(Protocol):
    """Where turns are read and written."""

    async def begin(self, scope_id: str, agent_id: str, message_id: str) -> Turn:
        """Return what a turn begins with; changes nothing.

        Raises:
            UnknownMessage: There is no such message.
        """
        ...

    async def continued(
        self, scope_id: str, agent_id: str, message_id: str, job_id: str, *, number: int, reason: str
    ) -> None:
        """Tell the history that a turn goes on after an answer. After a crash it may be told again, with the same number."""
        ...

    async def complete(
        self,
        scope_id: str,
        agent_id: str,
        message_id: str,
        job_id: str,
        *,
        result: bytes,
        added: Sequence[JsonObject],
    ) -> bool:
        """Acknowledge a message: with its result, and with the messages that the agent is to remember, as `load_message` reads them.

        Returns:
            Whether that was new; a message that was acknowledged before stays as it is.
        """
        ...


class ResidentTurn(Operator):
    """Runs the turns of a definition's agents. Its input is `{"agent_id": …, "message_id": …}`; the scope is that of the job.

    Args:
        definition: The name of the definition.
        registry: Where it is.
        records: Where turns are read and written.
        doings: What its agents can do besides answering.
        engine: Asked where neither the definition nor the registry names a model.

    Raises:
        ConfigurationError: Nobody names a model.
    """

    input_schema = {  # noqa: RUF012 -- as the base class declares it
        "type": "object",
        "properties": {"agent_id": {"type": "string"}, "message_id": {"type": "string"}},
        "required": ["agent_id", "message_id"],
    }

    def __init__(
        self,
        definition: str,
        registry: AgentRegistry,
        *,
        records: TurnRecords,
        doings: Doings,
        engine: ExecutionEngine | None = None,
    ) -> None:
        super().__init__(registry.agent(definition, tools=resident_tools(doings), engine=engine))
        self._definition = registry.get(definition)
        self._registry = registry
        self._records = records

    @property
    def name(self) -> str:
        """`resident.` and the definition's name."""
        return operator_of(self._definition.name)

    async def execute(self, input_data: Any, context: OperatorContext) -> OperatorResult:
        """Run one turn to its end and acknowledge its message.

        Raises:
            InvalidInput: The input names no agent and no message.
            StepFailed: The message is not there, or cannot be read.
            LLMClientError: The model failed, or the run did not come to an answer.
            TimeoutError: The turn took longer than it may.
        """
        place, job_id = _place(input_data, context), context.job_id or ""
        begun = await context.step(
            self._begun, place.scope_id, place.agent_id, place.message_id, name="begin", effect="read"
        )
        settings = AgentSettings.from_json(begun["config"])
        agent = self._agent_for(settings, begun["system"])
        said = _Said(remembered=await aside(recalled, _bytes(begun["memory"])))
        token = TURN.set(place)
        try:
            async with _in_time(context, settings.task_timeout):
                await self._run(agent, begun["prompt"], said, place, context, settings.max_continuations)
        finally:
            TURN.reset(token)
        result = said.result(agent)
        await self._acknowledge(result, said, place, context, job_id)
        return result

    async def _begun(self, scope_id: str, agent_id: str, message_id: str) -> dict[str, Any]:
        """Read the message, and say what the agent is told and asked."""
        turn = await _patiently(partial(self._records.begin, scope_id, agent_id, message_id))
        definition = self._definition
        settings = AgentSettings.from_json(turn.config)
        text = definition.prompt
        if text is None and definition.agent is not None:
            text = definition.agent.system_message
        own = await self._registry.prompts.prompt(
            definition.name,
            text=text,
            components=definition.components,
            variables={"agent_id": agent_id, "name": definition.name, "description": definition.description},
        )
        rules = house_rules(agent_id, [tool.name for tool in _chosen(self.agent.tools, settings)])
        return {
            "prompt": await content_aside(turn.message.content, lambda: prompt_of(turn.message)),
            "system": rules if own is None else f"{own}\n\n{rules}",
            "memory": None if turn.memory is None else turn.memory.decode(),
            "config": dict(turn.config),
        }

    def _agent_for(self, settings: AgentSettings, system: str) -> Agent:
        """Return the agent as its settings have it."""
        request, engine = self._registry.request_for(self.agent, settings)
        tools = _chosen(self.agent.tools, settings)
        return self.agent.variant(system_message=system, tools=tools, request=request, engine=engine)

    async def _run(
        self, agent: Agent, prompt: str, said: _Said, place: TurnPlace, context: OperatorContext, most: int
    ) -> None:
        """Have the agent answer, and go on as often as it wants to and may."""
        while True:
            earlier = [*said.remembered, *said.added]
            result = await agent.run(
                prompt, messages=earlier, context=context.execution_ctx.to_request_context()
            )
            result.raise_for_status()
            added = result.messages[1 + len(earlier) :]  # behind what the agent is told that it is
            said.take(result, added)
            reason = await _wish_to_go_on(added, result.content)
            if reason is None or said.continuations >= most:
                said.is_cut = reason is not None
                return
            said.continuations += 1
            await self._tell_of(reason, said.continuations, place, context)
            prompt = _go_on(reason, most - said.continuations)

    async def _tell_of(self, reason: str, number: int, place: TurnPlace, context: OperatorContext) -> None:
        async def continued() -> None:
            await journal_written()
            await _patiently(
                lambda: self._records.continued(
                    place.scope_id,
                    place.agent_id,
                    place.message_id,
                    context.job_id or "",
                    number=number,
                    reason=reason,
                )
            )

        await context.step(continued, effect="idempotent", key=f"continue {number}")

    async def _acknowledge(
        self, result: OperatorResult, said: _Said, place: TurnPlace, context: OperatorContext, job_id: str
    ) -> None:
        """Settle the message. The step takes no arguments: what it writes stands in the journal already."""

        async def acknowledge() -> bool:
            await journal_written()  # nobody learns of an answer that a death could take back
            told = {"content": result.content, **result.output_data}
            written = await aside(encode, told)
            added = [dump_message(message) for message in said.added]
            return await _patiently(
                lambda: self._records.complete(
                    place.scope_id, place.agent_id, place.message_id, job_id, result=written, added=added
                )
            )

        await context.step(acknowledge, effect="idempotent", key=f"acknowledge {place.message_id}")


@dataclass(slots=True)
class _Said:
    """What a turn has brought so far."""

    remembered: Sequence[Message]
    added: list[Message] = field(default_factory=list)
    channels: list[ChannelText] = field(default_factory=list)
    continuations: int = 0
    is_cut: bool = False
    """Whether it wanted to go on more often than it may."""
    usage: Usage = field(default_factory=Usage)
    turns: int = 0
    last: AgentResult | None = None

    def take(self, result: AgentResult, added: Sequence[Message]) -> None:
        """Add what a run has brought; answers after which the turn goes on are comments on its way."""
        self.channels = [_as_comment(one) for one in self.channels] + channels_of(added)
        self.added += added
        self.usage += result.total_usage
        self.turns += result.turns
        self.last = result

    def result(self, agent: Agent) -> OperatorResult:
        """Return what the turn has brought, as its job's result."""
        told: dict[str, Any] = {
            "channels": [one.to_json() for one in self.channels],
            "continuations": self.continuations,
        }
        if self.is_cut:
            told["cut"] = True
        output = None if self.last is None else self.last.output
        if agent.output_type is not None and output is not None:
            told["output"] = agent.output_type.dump(output)
        return OperatorResult(
            content=final_text(self.channels), output_data=told, usage=self.usage, turns=self.turns
        )


def _as_comment(said: ChannelText) -> ChannelText:
    return ChannelText(Channel.COMMENTARY, said.text) if said.channel is Channel.FINAL else said


def _place(given: Any, context: OperatorContext) -> TurnPlace:
    names = [given.get(name) if isinstance(given, Mapping) else None for name in ("agent_id", "message_id")]
    agent_id, message_id = names
    if not isinstance(agent_id, str) or not isinstance(message_id, str):
        raise InvalidInput('a turn is asked for with {"agent_id": "…", "message_id": "…"}')
    return TurnPlace(scope_id=context.execution_ctx.scope_id, agent_id=agent_id, message_id=message_id)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _chosen(tools: Iterable[Tool], settings: AgentSettings) -> list[Tool]:
    """Return the tools that settings leave an agent."""
    return [tool for tool in tools if settings.tools is None or tool.name in settings.tools]


@contextlib.asynccontextmanager
async def _in_time(context: OperatorContext, seconds: float | None) -> AsyncIterator[None]:
    if seconds is None:
        yield
        return
    async with context.timeout(seconds):
        yield


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask a storage that fails a few times more: the work of the turn is done, and would be done anew."""
    backoff = Backoff(0.1, 8.0)
    while True:
        try:
            return await ask()
        except StorageError as error:
            if backoff.failures + 1 >= STORAGE_ATTEMPTS:
                raise
            logger.warning("a turn's record: %s; trying again", error)
            await backoff.pause()


def _go_on(reason: str, left: int) -> str:
    said = "Go on." if left else "Go on, and finish: the turn ends with your next answer."
    return f"{said} You wanted to, because: {reason}"


async def _wish_to_go_on(added: Sequence[Message], content: str) -> str | None:
    """Return why a model wants to go on after its answer: by a call of the tool, or by an answer that says so; `None` if it does not."""
    refused = {one.tool_call_id for one in added if one.role == "tool" and one.text.startswith("Error")}
    for message in reversed(added):
        for call in reversed(message.tool_calls):
            if call.name == CONTINUE_TURN and call.id not in refused:
                return _reason(call.arguments.get("reason"))
    if "continuation" not in content or len(content) > MAX_JSON_ANSWER:
        return None
    return await aside(_wish_of_json, content)


def _wish_of_json(content: str) -> str | None:
    fenced = _FENCE.match(content)
    try:
        answer = orjson.loads(fenced["inside"] if fenced else content)
    except ValueError:
        return None
    wish = answer.get("continuation") if isinstance(answer, dict) else None
    if not isinstance(wish, dict) or str(wish.get("status")).upper() != "CONTINUE":
        return None
    return _reason(wish.get("reason"))


def _reason(given: object) -> str:
    said = given.strip()[:MAX_REASON] if isinstance(given, str) else ""
    return said or "it did not say why"


def turns_of(
    registry: AgentRegistry, *, records: TurnRecords, doings: Doings, engine: ExecutionEngine | None = None
) -> list[ResidentTurn]:
    """Return the operators that run the turns of all definitions of a registry.

    Raises:
        ConfigurationError: Nobody names the model of one of them.
    """
    return [
        ResidentTurn(one.name, registry, records=records, doings=doings, engine=engine) for one in registry
    ]
