"""Runs LLM agents as durable jobs: journaled, budgeted, approved, replayable.

Names are imported when they are first used, so that `import agent_runtime` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runtime.extras import import_optional
from llm_client.lazy_names import lazy_names

if TYPE_CHECKING:
    from agent_runtime.actions.manager import ActionManager
    from agent_runtime.actions.store import ActionStore
    from agent_runtime.adapters.procrastinate import PostgresDispatcher
    from agent_runtime.app import Runtime, RuntimeKernel, open_storage
    from agent_runtime.audit.erasure import ErasureReport, ErasureSubject
    from agent_runtime.audit.manager import AuditManager
    from agent_runtime.audit.report import AuditFinding, AuditReport
    from agent_runtime.errors import (
        ActionAlreadyResolved,
        ActionExpired,
        AgentRuntimeError,
        AlreadySettled,
        BudgetExceededError,
        CallExpired,
        CallRefused,
        ChildFailed,
        ConcurrentSteps,
        ContentPruned,
        ExecutorBusy,
        ExportFailed,
        FenceLost,
        IdempotencyConflict,
        InboxFull,
        InvalidArguments,
        InvalidInput,
        InvalidTransition,
        JobBlocked,
        JobCancelled,
        JobEnded,
        JobFailed,
        JobTimedOut,
        NondeterminismError,
        PolicyDenied,
        PolicyInvalid,
        QueueFull,
        ResultNotSerializable,
        RetryRefused,
        RunSuspended,
        ServiceError,
        ServiceUnreachable,
        StepFailed,
        StorageError,
        UnknownAction,
        UnknownAgent,
        UnknownExecution,
        UnknownJob,
        UnknownKey,
        UnknownMessage,
        UnknownOperator,
        UnknownPolicy,
        UnknownSchedule,
        UnrecordedCancellation,
    )
    from agent_runtime.events.bus import EventBus, InMemoryEventBus, Subscription
    from agent_runtime.execution.options import KernelOptions
    from agent_runtime.inbox.manager import InboxManager
    from agent_runtime.jobs.manager import JobManager
    from agent_runtime.jobs.store import JobStore
    from agent_runtime.kernel.handle import ExecutionHandle
    from agent_runtime.kernel.request import ExecutionRequest, ExecutionResult
    from agent_runtime.kernel.scheduled import ScheduledMessage, ScheduledTask
    from agent_runtime.kernel.schedules import Schedule, ScheduleManager
    from agent_runtime.keys.manager import ApiKeyManager
    from agent_runtime.ledger.held import Reservation
    from agent_runtime.ledger.ledger import Ledger
    from agent_runtime.ledger.totals import UsageTotal
    from agent_runtime.observability.otel.adapter import OpenTelemetryAdapter
    from agent_runtime.observability.otel.config import OTelConfig
    from agent_runtime.operators.child_handle import ChildHandle
    from agent_runtime.operators.context import OperatorContext, current_context
    from agent_runtime.operators.durable_wait import DurableWait, Won
    from agent_runtime.operators.operator import Operator
    from agent_runtime.operators.orchestration import OrchestrationConfig
    from agent_runtime.operators.result import OperatorResult
    from agent_runtime.policy.conditions import When
    from agent_runtime.policy.engine import PolicyEngine
    from agent_runtime.policy.policy import Policy
    from agent_runtime.policy.rule import PolicyRule
    from agent_runtime.policy.rules import (
        ConstraintPolicy,
        DataAccessPolicy,
        ModelPolicy,
        RedactionPolicy,
        ToolPolicy,
    )
    from agent_runtime.ports.agents import (
        AgentEvent,
        AgentMessage,
        AgentState,
        MailStatus,
        MessageKind,
        MessageStatus,
        Priority,
    )
    from agent_runtime.ports.audit import TrailHead
    from agent_runtime.ports.erasure import ErasedSubject, Eraser
    from agent_runtime.ports.feed import FeedEntry, Projection
    from agent_runtime.ports.schedules import Fire, FireOutcome
    from agent_runtime.residents.definitions import AgentDefinition, AgentRegistry
    from agent_runtime.residents.history import AgentHistory
    from agent_runtime.residents.mail import MailManager
    from agent_runtime.residents.manager import AgentManager
    from agent_runtime.residents.prompts import PromptSystem
    from agent_runtime.residents.resident import ResidentAgent
    from agent_runtime.residents.settings import AgentSettings
    from agent_runtime.residents.sleep import Sleep
    from agent_runtime.schedules.rules import DueTime, ScheduleRules
    from agent_runtime.schedules.timing import Timing
    from agent_runtime.settings import Settings
    from agent_runtime.storage.memory.signals import InMemorySignalChannel
    from agent_runtime.storage.memory.stores import (
        InMemoryActionStore,
        InMemoryJobStore,
        InMemoryLedgerWriter,
    )
    from agent_runtime.storage.postgres.storage import (
        PostgresActionStore,
        PostgresJobStore,
        PostgresLedgerWriter,
        PostgresStorage,
    )
    from agent_runtime.storage.redis.actions import RedisActionStore
    from agent_runtime.storage.redis.change_notifier import RedisChangeNotifier
    from agent_runtime.storage.redis.job_cache import RedisJobCache
    from agent_runtime.storage.redis.signals import RedisSignalChannel
    from agent_runtime.values.action import ActionRecord, ActionSpec, ActionStatus, ActionType
    from agent_runtime.values.api_key import ApiKey, Permission, Role
    from agent_runtime.values.budget import LedgerEntry, LedgerEvent
    from agent_runtime.values.context import BudgetSpec, ExecutionContext, PolicyRef, RunVersions
    from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
    from agent_runtime.values.job import JobFilter, JobRecord, JobSpec, JobStatus
    from agent_runtime.values.message import InboxMessage
    from agent_runtime.values.model_request import ModelRequest, model_requests
    from agent_runtime.values.policy import PolicyAction, PolicyContext, PolicyDecision, PolicyResult
    from agent_runtime.values.retry_policy import RetryPolicy
    from agent_runtime.values.standing_budget import Budget, BudgetDecision, BudgetLine, BudgetStatus

_HOMES = {
    "actions.manager": "ActionManager",
    "actions.store": "ActionStore",
    "adapters.procrastinate": "PostgresDispatcher",
    "app": "Runtime RuntimeKernel open_storage",
    "errors": (
        "ActionAlreadyResolved ActionExpired AgentRuntimeError AlreadySettled BudgetExceededError "
        "CallExpired CallRefused ChildFailed ConcurrentSteps ContentPruned ExecutorBusy ExportFailed FenceLost IdempotencyConflict InboxFull InvalidArguments InvalidInput "
        "InvalidTransition JobBlocked JobCancelled JobEnded JobFailed JobTimedOut NondeterminismError PolicyDenied RunSuspended UnrecordedCancellation "
        "PolicyInvalid QueueFull ResultNotSerializable RetryRefused ServiceError ServiceUnreachable StepFailed StorageError UnknownAction UnknownAgent UnknownExecution "
        "UnknownJob UnknownKey UnknownMessage UnknownOperator UnknownPolicy UnknownSchedule"
    ),
    "ports.agents": "AgentEvent AgentMessage AgentState MailStatus MessageKind MessageStatus Priority",
    "residents.definitions": "AgentDefinition AgentRegistry",
    "residents.history": "AgentHistory",
    "residents.mail": "MailManager",
    "residents.manager": "AgentManager",
    "residents.prompts": "PromptSystem",
    "residents.resident": "ResidentAgent",
    "residents.settings": "AgentSettings",
    "residents.sleep": "Sleep",
    "events.bus": "EventBus InMemoryEventBus Subscription",
    "inbox.manager": "InboxManager",
    "jobs.manager": "JobManager",
    "jobs.store": "JobStore",
    "kernel.handle": "ExecutionHandle",
    "observability.otel.adapter": "OpenTelemetryAdapter",
    "observability.otel.config": "OTelConfig",
    "operators.operator": "Operator",
    "operators.result": "OperatorResult",
    "operators.child_handle": "ChildHandle",
    "operators.durable_wait": "DurableWait Won",
    "operators.context": "OperatorContext current_context",
    "execution.options": "KernelOptions",
    "kernel.request": "ExecutionRequest ExecutionResult",
    "kernel.scheduled": "ScheduledMessage ScheduledTask",
    "kernel.schedules": "Schedule ScheduleManager",
    "keys.manager": "ApiKeyManager",
    "ports.schedules": "Fire FireOutcome",
    "schedules.rules": "DueTime ScheduleRules",
    "schedules.timing": "Timing",
    "ledger.held": "Reservation",
    "ledger.ledger": "Ledger",
    "ledger.totals": "UsageTotal",
    "policy.conditions": "When",
    "policy.engine": "PolicyEngine",
    "policy.policy": "Policy",
    "policy.rule": "PolicyRule",
    "policy.rules": "ConstraintPolicy DataAccessPolicy ModelPolicy RedactionPolicy ToolPolicy",
    "settings": "Settings",
    "storage.memory.signals": "InMemorySignalChannel",
    "storage.memory.stores": "InMemoryActionStore InMemoryJobStore InMemoryLedgerWriter",
    "storage.postgres.storage": "PostgresActionStore PostgresJobStore PostgresLedgerWriter PostgresStorage",
    "storage.redis.actions": "RedisActionStore",
    "storage.redis.change_notifier": "RedisChangeNotifier",
    "storage.redis.job_cache": "RedisJobCache",
    "storage.redis.signals": "RedisSignalChannel",
    "audit.erasure": "ErasureReport ErasureSubject",
    "audit.manager": "AuditManager",
    "audit.report": "AuditFinding AuditReport",
    "ports.audit": "TrailHead",
    "ports.erasure": "ErasedSubject Eraser",
    "ports.feed": "FeedEntry Projection",
    "values.action": "ActionRecord ActionSpec ActionStatus ActionType",
    "values.api_key": "ApiKey Permission Role",
    "values.budget": "LedgerEntry LedgerEvent",
    "values.context": "BudgetSpec ExecutionContext PolicyRef RunVersions",
    "values.event": "RuntimeEvent RuntimeEventType",
    "values.model_request": "ModelRequest model_requests",
    "values.job": "JobFilter JobRecord JobSpec JobStatus",
    "values.message": "InboxMessage",
    "operators.orchestration": "OrchestrationConfig",
    "values.policy": "PolicyAction PolicyContext PolicyDecision PolicyResult",
    "values.retry_policy": "RetryPolicy",
    "values.standing_budget": "Budget BudgetDecision BudgetLine BudgetStatus",
}
__all__ = [
    "ActionAlreadyResolved",
    "ActionExpired",
    "ActionManager",
    "ActionRecord",
    "ActionSpec",
    "ActionStatus",
    "ActionStore",
    "ActionType",
    "AgentDefinition",
    "AgentEvent",
    "AgentHistory",
    "AgentManager",
    "AgentMessage",
    "AgentRegistry",
    "AgentRuntimeError",
    "AgentSettings",
    "AgentState",
    "AlreadySettled",
    "ApiKey",
    "ApiKeyManager",
    "AuditFinding",
    "AuditManager",
    "AuditReport",
    "Budget",
    "BudgetDecision",
    "BudgetExceededError",
    "BudgetLine",
    "BudgetSpec",
    "BudgetStatus",
    "CallExpired",
    "CallRefused",
    "ChildFailed",
    "ChildHandle",
    "ConcurrentSteps",
    "ConstraintPolicy",
    "ContentPruned",
    "DataAccessPolicy",
    "DueTime",
    "DurableWait",
    "ErasedSubject",
    "Eraser",
    "ErasureReport",
    "ErasureSubject",
    "EventBus",
    "ExecutionContext",
    "ExecutionHandle",
    "ExecutionRequest",
    "ExecutionResult",
    "ExecutorBusy",
    "ExportFailed",
    "FeedEntry",
    "FenceLost",
    "Fire",
    "FireOutcome",
    "IdempotencyConflict",
    "InMemoryActionStore",
    "InMemoryEventBus",
    "InMemoryJobStore",
    "InMemoryLedgerWriter",
    "InMemorySignalChannel",
    "InboxFull",
    "InboxManager",
    "InboxMessage",
    "InvalidArguments",
    "InvalidInput",
    "InvalidTransition",
    "JobBlocked",
    "JobCancelled",
    "JobEnded",
    "JobFailed",
    "JobFilter",
    "JobManager",
    "JobRecord",
    "JobSpec",
    "JobStatus",
    "JobStore",
    "JobTimedOut",
    "KernelOptions",
    "Ledger",
    "LedgerEntry",
    "LedgerEvent",
    "MailManager",
    "MailStatus",
    "MessageKind",
    "MessageStatus",
    "ModelPolicy",
    "ModelRequest",
    "NondeterminismError",
    "OTelConfig",
    "OpenTelemetryAdapter",
    "Operator",
    "OperatorContext",
    "OperatorResult",
    "OrchestrationConfig",
    "Permission",
    "Policy",
    "PolicyAction",
    "PolicyContext",
    "PolicyDecision",
    "PolicyDenied",
    "PolicyEngine",
    "PolicyInvalid",
    "PolicyRef",
    "PolicyResult",
    "PolicyRule",
    "PostgresActionStore",
    "PostgresDispatcher",
    "PostgresJobStore",
    "PostgresLedgerWriter",
    "PostgresStorage",
    "Priority",
    "Projection",
    "PromptSystem",
    "QueueFull",
    "RedactionPolicy",
    "RedisActionStore",
    "RedisChangeNotifier",
    "RedisJobCache",
    "RedisSignalChannel",
    "Reservation",
    "ResidentAgent",
    "ResultNotSerializable",
    "RetryPolicy",
    "RetryRefused",
    "Role",
    "RunSuspended",
    "RunVersions",
    "Runtime",
    "RuntimeEvent",
    "RuntimeEventType",
    "RuntimeKernel",
    "Schedule",
    "ScheduleManager",
    "ScheduleRules",
    "ScheduledMessage",
    "ScheduledTask",
    "ServiceError",
    "ServiceUnreachable",
    "Settings",
    "Sleep",
    "StepFailed",
    "StorageError",
    "Subscription",
    "Timing",
    "ToolPolicy",
    "TrailHead",
    "UnknownAction",
    "UnknownAgent",
    "UnknownExecution",
    "UnknownJob",
    "UnknownKey",
    "UnknownMessage",
    "UnknownOperator",
    "UnknownPolicy",
    "UnknownSchedule",
    "UnrecordedCancellation",
    "UsageTotal",
    "When",
    "Won",
    "current_context",
    "model_requests",
    "open_storage",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES, import_optional)
