"""What has run, written down for people: each call of a model as a file, executions and calls as rows of a database.

What needs SQLAlchemy is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runtime.observability.erased_files import ErasedCallLogs
from agent_runtime.observability.file_log import FileCallLogger
from agent_runtime.observability.logging_config import LLMLoggingConfig, create_llm_logger
from agent_runtime.observability.null_log import NullLLMCallLogger
from agent_runtime.ports.call_log import CallLogSink
from agent_runtime.values.call_record import CallPrompts, CallRecord
from llm_client.lazy_names import lazy_names

if TYPE_CHECKING:
    from agent_runtime.observability.sql.analytics import CallSums
    from agent_runtime.observability.sql.calls import LLMCallLogger
    from agent_runtime.observability.sql.catching_up import update_logs
    from agent_runtime.observability.sql.erasing import LogEraser
    from agent_runtime.observability.sql.executions import ExecutionLogger
    from agent_runtime.observability.sql.logged_agent import LoggedAgent
    from agent_runtime.observability.sql.pages import LogPage
    from agent_runtime.observability.sql.projection import JournalLogs
    from agent_runtime.observability.sql.records import ExecutionLog, LLMCallLog
    from agent_runtime.observability.sql.retention import Forgotten
    from agent_runtime.observability.sql.store import LogStore
    from agent_runtime.observability.sql.tables import metadata

__all__ = [
    "CallLogSink",
    "CallPrompts",
    "CallRecord",
    "CallSums",
    "ErasedCallLogs",
    "ExecutionLog",
    "ExecutionLogger",
    "FileCallLogger",
    "Forgotten",
    "JournalLogs",
    "LLMCallLog",
    "LLMCallLogger",
    "LLMLoggingConfig",
    "LogEraser",
    "LogPage",
    "LogStore",
    "LoggedAgent",
    "NullLLMCallLogger",
    "create_llm_logger",
    "metadata",
    "update_logs",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "sql.analytics": "CallSums",
        "sql.calls": "LLMCallLogger",
        "sql.catching_up": "update_logs",
        "sql.erasing": "LogEraser",
        "sql.executions": "ExecutionLogger",
        "sql.logged_agent": "LoggedAgent",
        "sql.pages": "LogPage",
        "sql.projection": "JournalLogs",
        "sql.records": "ExecutionLog LLMCallLog",
        "sql.retention": "Forgotten",
        "sql.store": "LogStore",
        "sql.tables": "metadata",
    },
)
