"""Resident agents as sessions: the documented names over a kernel's `agents`, `mail` and `agent_events`."""

from agent_runtime.ports.agents import AgentState
from agent_runtime.residents.definitions import AgentDefinition, AgentRegistry
from agent_runtime.residents.prompts import PromptSystem
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.sessions.event_manager import EventManager
from agent_runtime.sessions.mailbox import Mail, Mailbox
from agent_runtime.sessions.manager import AsyncAgentSessionManager
from agent_runtime.sessions.monitor import AgentMetrics, AgentMonitor, AgentStatus
from agent_runtime.sessions.session import AsyncAgentSession, TaskResult
from agent_runtime.sessions.sleep_scheduler import SleepScheduler
from agent_runtime.sessions.state_store import AsyncAgentStateStore

__all__ = [
    "AgentDefinition",
    "AgentMetrics",
    "AgentMonitor",
    "AgentRegistry",
    "AgentSettings",
    "AgentState",
    "AgentStatus",
    "AsyncAgentSession",
    "AsyncAgentSessionManager",
    "AsyncAgentStateStore",
    "EventManager",
    "Mail",
    "Mailbox",
    "PromptSystem",
    "SleepScheduler",
    "TaskResult",
]
