"""How a job's end is told as the result of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mcp_types import CallToolResult, TextContent

from agent_runtime.errors import (
    AgentRuntimeError,
    BudgetExceededError,
    ContentPruned,
    JobBlocked,
    JobCancelled,
    JobEnded,
    PolicyDenied,
)
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.kernel.request import ExecutionResult
from llm_client.json_text import dumps, holds_more
from llm_client.public_text import public_text
from llm_client.turns import read_aside

JOB_ID: Final = "agent-runtime/job-id"
"""Name under which a job's id stands in the `_meta` of a result."""

MAX_TEXT: Final = 1024 * 1024
"""Characters of a result. Clients put it before a model, and what is made of more holds the event loop, which the SDK writes answers on."""
MAX_STRUCTURED: Final = 256 * 1024
"""Characters of JSON that a result has as structured content, too, beside the same as text."""
MAX_VALUES: Final = 5_000
"""And its values."""


async def result_of(handle: ExecutionHandle, seconds: float | None = None) -> CallToolResult | None:
    """Wait for a job's end and return it as a result, whatever it was; `None` when it cannot go on by itself, or the time is up."""
    try:
        ended = await handle.result(seconds)
    except (JobBlocked, TimeoutError):
        return None
    except (JobEnded, JobCancelled, BudgetExceededError, PolicyDenied, ContentPruned) as error:
        return failed(error, handle.job_id)
    return await read_aside((ended.content, ended.output), lambda: _succeeded(ended))


def failed(error: AgentRuntimeError, job_id: str | None = None) -> CallToolResult:
    """Return the result of a call that has brought nothing, with the reason that models and people may read."""
    return refused(public_text(str(error)), str(error.code), job_id)


def refused(text: str, code: str, job_id: str | None = None) -> CallToolResult:
    """Return the result of a call that has brought nothing."""
    meta = {"agent-runtime/code": code, **_meta(job_id)}
    return CallToolResult(content=[TextContent(text=text, type="text")], is_error=True, _meta=meta)


def _succeeded(ended: ExecutionResult) -> CallToolResult:
    output = ended.output
    written = "" if output is None else _text_of(output)
    text = ended.content or written
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}\n… and {len(text) - MAX_TEXT:,} characters more: job {ended.job_id} has all of it"
    is_short = len(written) <= MAX_STRUCTURED and not holds_more(output, MAX_VALUES)
    return CallToolResult(
        content=[TextContent(text=text, type="text")],
        structured_content=dict(output) if isinstance(output, Mapping) and is_short else None,
        _meta=_meta(ended.job_id),
    )


def _text_of(output: object) -> str:
    return output if isinstance(output, str) else dumps(output).decode()


def _meta(job_id: str | None) -> dict[str, str]:
    return {} if job_id is None else {JOB_ID: job_id}
