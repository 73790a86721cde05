"""The audit as a job: an agent with a model, the auditor's tools and its instruction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import ConfigurationError
from agent_runtime.operators.operator import AgentOperator, Operator
from agent_runtime.operators.result import OperatorResult
from agent_runtime.trust import TrustStore, agent_name
from llm_client.json_text import JsonObject, JsonValue

if TYPE_CHECKING:
    from agent_runtime.operators.context import OperatorContext
    from llm_client.engine.engine import ExecutionEngine

OPERATOR: Final = "licence-audit"
INSTRUCTION: Final = """\
You audit the licences of the Python packages that are installed on this machine, with the tools you have.
1. list_packages, then read_licences for every package, at most 25 packages in one call, several calls at once.
2. classify_licences, once, with every distinct statement.
3. Packages whose category is neither "permissive" nor "public domain" are doubtful. If there are any, ask_person once
   about all of them.
4. write_report, once. Every package belongs to exactly one finding: verdict "fine" if it is not doubtful, "accepted" or
   "rejected" as the person said, "open" if nobody did.
5. Answer with two or three sentences that name the report's path.
Never invent a licence. Never leave a package out."""
PROMPT: Final = "Audit the licences of the installed packages."


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditInput:
    """What an audit needs to know; the job's input, so that any process can go on with it."""

    folder: str
    """Where the report goes."""
    model: str | None = None
    """`vendor:model`; without it the model that needs no network."""
    base_url: str | None = None
    think_seconds: float = 0.3
    """How long the built-in model takes for each answer."""

    def to_json(self) -> dict[str, JsonValue]:
        """Return it as the job's input."""
        return asdict(self)


class LicenceAudit(Operator):
    """Runs the audit that a job's input describes.

    Args:
        begun_here: Remembers the audits that this user has begun; one that it does not know is refused, since whoever writes rows
            would choose the model's address and the report's folder. `None` is trusted code.
    """

    def __init__(self, begun_here: TrustStore | None = None) -> None:
        self._begun_here = begun_here

    @property
    def name(self) -> str:
        """Registered name."""
        return OPERATOR

    async def execute(self, input_data: JsonObject, context: OperatorContext) -> OperatorResult:
        """Audit, and return the agent's answer."""
        engine, agent = await asyncio.to_thread(self._build, input_data)
        try:
            return await AgentOperator(agent, OPERATOR).execute({"prompt": PROMPT}, context)
        finally:
            await engine.aclose()

    def _build(self, input_data: Mapping[str, Any]) -> tuple[ExecutionEngine, Any]:
        if self._begun_here is not None and self._begun_here.agent(agent_name(input_data)) is None:
            raise ConfigurationError(
                "this audit was not begun on this machine by you; begin one of your own: agent-runtime demo"
            )
        return _build(AuditInput(**input_data))


def _build(given: AuditInput) -> tuple[ExecutionEngine, Any]:
    from agent_runtime.app import make_provider
    from agent_runtime.demo.auditor import auditor, prices
    from agent_runtime.demo.tools import audit_tools
    from llm_client.agent.agent import Agent
    from llm_client.agent.config import AgentConfig
    from llm_client.engine.engine import ExecutionEngine

    if given.model is None:
        engine = ExecutionEngine(auditor(given.think_seconds), prices=prices())
    else:
        engine = ExecutionEngine(make_provider(given.model, given.base_url))
    agent = Agent(
        engine=engine,
        tools=audit_tools(Path(given.folder)),
        system_message=INSTRUCTION,
        config=AgentConfig(max_turns=100),
        name=OPERATOR,
    )
    return engine, agent
