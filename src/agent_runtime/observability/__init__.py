"""What has run, written down for people: each call of a model as a file."""

from agent_runtime.observability.erased_files import ErasedCallLogs
from agent_runtime.observability.file_log import FileCallLogger
from agent_runtime.observability.logging_config import LLMLoggingConfig, create_llm_logger
from agent_runtime.observability.null_log import NullLLMCallLogger
from agent_runtime.ports.call_log import CallLogSink
from agent_runtime.values.call_record import CallPrompts, CallRecord

__all__ = [
    "CallLogSink",
    "CallPrompts",
    "CallRecord",
    "ErasedCallLogs",
    "FileCallLogger",
    "LLMLoggingConfig",
    "NullLLMCallLogger",
    "create_llm_logger",
]
