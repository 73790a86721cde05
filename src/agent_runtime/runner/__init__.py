"""Agents as data: a spec, prompts in a folder, an answer of a type."""

from agent_runtime.errors import RunError
from agent_runtime.runner.operator import SpecOperator
from agent_runtime.runner.runner import AgentRunner, AsyncAgentRunner
from agent_runtime.runner.spec import AgentMode, AgentResult, AgentSpec, AgentState

__all__ = [
    "AgentMode",
    "AgentResult",
    "AgentRunner",
    "AgentSpec",
    "AgentState",
    "AsyncAgentRunner",
    "RunError",
    "SpecOperator",
]
