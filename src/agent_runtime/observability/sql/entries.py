"""What entries of a journal change in the logs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from agent_runtime.observability.sql.ids import call_row, run_row, step_row
from agent_runtime.observability.sql.tables import execution_logs, llm_call_logs
from agent_runtime.observability.sql.texts import stored_id, stored_json, stored_name, stored_text
from agent_runtime.observability.sql.writing import Change
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord
from agent_runtime.values.money import to_units
from llm_client.codec import load_result, load_usage
from llm_client.pricing.book import PriceBook
from llm_client.pricing.parts import CostParts, cost_parts
from llm_client.usage import Usage

STATUS: Final = {
    RuntimeEventType.JOB_SUCCEEDED: "completed",
    RuntimeEventType.JOB_FAILED: "failed",
    RuntimeEventType.JOB_TIMED_OUT: "failed",
    RuntimeEventType.JOB_CANCELLED: "cancelled",
    RuntimeEventType.TOOL_COMPLETED: "completed",
    RuntimeEventType.STEP_COMPLETED: "completed",
    RuntimeEventType.TOOL_FAILED: "failed",
    RuntimeEventType.STEP_FAILED: "failed",
    RuntimeEventType.TOOL_UNKNOWN: "failed",
    RuntimeEventType.STEP_UNKNOWN: "failed",
    RuntimeEventType.MODEL_COMPLETED: "completed",
    RuntimeEventType.MODEL_ATTEMPT_FAILED: "failed",
    RuntimeEventType.MODEL_LEFT: "cancelled",
}
_RUN: Final = frozenset({RuntimeEventType.JOB_CREATED, RuntimeEventType.JOB_STARTED})
_EFFECTS: Final = frozenset({RuntimeEventType.TOOL_STARTED, RuntimeEventType.STEP_STARTED})
LINKS: Final = (
    "report_id",
    "completion_id",
    "widget_id",
    "step_id",
    "external_platform",
    "external_user_id",
)
"""Names of a job's metadata that have columns of their own."""


class EntryReader:
    """Reads entries, and tells what becomes of which rows.

    Args:
        prices: What the parts of a call cost, and what was saved.
    """

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices

    def read(self, event: RuntimeEvent, job: JobRecord, *, content: bool) -> Change | None:
        """Return what an entry changes, if anything.

        Args:
            event: The entry.
            job: Whose it is.
            content: Whether texts are kept.
        """
        if event.type.startswith("model."):
            return self._model(event, job, content=content)
        if event.type in _RUN or event.is_terminal:
            return _run(event, job, content=content)
        if event.operation_id is not None and (event.type in _EFFECTS or event.type in STATUS):
            return _step(event, job, content=content)
        return None

    def _model(self, event: RuntimeEvent, job: JobRecord, *, content: bool) -> Change | None:
        if event.operation_id is None or event.type == RuntimeEventType.MODEL_FAILED:
            return None  # its attempts have told
        data, attempt = event.data, int(event.data.get("attempt", 0))
        values: dict[str, Any] = {
            "execution_log_id": run_row(job.job_id),
            **_whose(event, job),
            "agent": stored_name(job.operator) or "",
            "call_type": "embedding" if data.get("name") == "embedding" else "inference",
            "job_id": job.job_id,
            "operation_id": event.operation_id,
            "attempt": attempt,
            "last_seq": event.seq,
        }
        belongs = links(job.metadata)
        values |= {name: belongs[name] for name in ("report_id", "completion_id") if name in belongs}
        for name, column in (("provider", "provider"), ("model", "model_id")):
            if data.get(name):
                values[column] = stored_name(data[name])
        if event.type == RuntimeEventType.MODEL_STARTED:
            values |= {"start_time": event.timestamp}
            if content and event.content is not None:
                values["request"] = stored_json(event.body(), most=MAX_REQUEST)
        elif event.type in STATUS:
            values |= self._end(event, values, content=content)
        else:
            return None
        return Change(llm_call_logs, call_row(job.job_id, event.operation_id, attempt), values)

    def _end(self, event: RuntimeEvent, values: Mapping[str, Any], *, content: bool) -> dict[str, Any]:
        data = event.data
        ended: dict[str, Any] = {"status": STATUS[RuntimeEventType(event.type)], "end_time": event.timestamp}
        ended |= {name: data[name] for name in ("duration_ms", "first_token_ms") if name in data}
        ended["uncertain"] = bool(data.get("uncertain"))
        if "usage" in data:
            provider, model = values.get("provider"), values.get("model_id")
            ended |= costs(load_usage(data["usage"]), self._prices, provider, model, _parts(data))
        elif event.type == RuntimeEventType.MODEL_ATTEMPT_FAILED:  # it was not billed
            ended |= {"input_tokens": 0, "output_tokens": 0, "total_cost_units": 0}
        ended["metadata"] = stored_json(
            {
                name: data[name]
                for name in ("finish", "request_id", "error_type", "error_code", "tools")
                if data.get(name)
            }
        )
        if content and data.get("error"):
            ended["error_message"] = stored_text(str(data["error"]))
        if event.content is not None:
            body = event.body()
            if "events" in body:
                ended |= {"is_streaming": True, "call_type": "inference_stream"}
                ended["chunks_count"] = sum(
                    1 for piece in body["events"] if isinstance(piece, int) and piece > 0
                )
            if content:
                ended |= _answer(body)
        return ended


MAX_REQUEST: Final = 2_000_000
"""Characters of the new messages of one request."""


def costs(
    usage: Usage,
    prices: PriceBook,
    provider: str | None,
    model: str | None,
    parts: CostParts | None = None,
) -> dict[str, object]:
    """Return the columns that tell what a call has used, and what it cost.

    Where nobody has told the parts of the cost, they are those of the price book, of today; what the vendor has billed has no parts.
    """
    columns: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_cost_units": None if usage.cost is None else to_units(usage.cost),
        "price_source": stored_name(usage.price_source),
    }
    if parts is None and provider is not None and model is not None:
        parts = cost_parts(prices, provider, model, usage)
    total = columns["total_cost_units"]
    if parts is not None and total is not None and to_units(parts.read) <= total:
        columns["input_cost_units"] = to_units(parts.read)
        columns["output_cost_units"] = total - columns["input_cost_units"]
        columns["saved_cost_units"] = None if parts.saved is None else to_units(parts.saved)
    return columns


def _parts(data: Mapping[str, Any]) -> CostParts | None:
    """Return the parts of a cost as an entry tells them: whoever reads it need not know the prices that held."""
    said = data.get("cost_parts")
    if not isinstance(said, Mapping):
        return None
    saved = said.get("saved")
    return CostParts(Decimal(said["read"]), None if saved is None else Decimal(saved))


def _answer(body: Mapping[str, Any]) -> dict[str, Any]:
    result = load_result(body)
    columns: dict[str, Any] = {"response": stored_text(result.content)}
    if body.get("tool_calls"):
        columns["tool_calls"] = stored_json(body["tool_calls"])
    return columns


def _whose(event: RuntimeEvent, job: JobRecord) -> dict[str, Any]:
    return {
        "scope_id": event.scope_id,
        "principal_id": stored_id(job.principal_id),
        "session_id": stored_id(job.session_id),
    }


def _run(event: RuntimeEvent, job: JobRecord, *, content: bool) -> Change:
    values: dict[str, Any] = {
        "execution_id": job.job_id,
        "parent_id": None if job.parent_job_id is None else run_row(job.parent_job_id),
        **_whose(event, job),
        "agent_type": stored_name(job.operator) or "",
        "execution_step": "run",
        "last_seq": event.seq,
    }
    if event.type == RuntimeEventType.JOB_STARTED:
        values["start_time"] = event.timestamp
    elif event.type == RuntimeEventType.JOB_CREATED:
        values |= {"start_time": event.timestamp, **links(job.metadata)}
        if content:
            values["input_data"] = stored_json(event.body())
            values["metadata"] = stored_json({"chain_id": job.chain_id, "tags": dict(job.tags)})
    else:
        values |= _ended(event, content=content)
    return Change(execution_logs, run_row(job.job_id), values)


def links(metadata: Mapping[str, object]) -> dict[str, object]:
    """Return the columns that say what an execution belongs to, from what a caller has said of it."""
    return {name: stored_name(metadata[name]) for name in LINKS if metadata.get(name) is not None}


def _step(event: RuntimeEvent, job: JobRecord, *, content: bool) -> Change:
    assert event.operation_id is not None  # noqa: S101 -- looked at before
    values: dict[str, Any] = {
        "execution_id": job.job_id,
        "parent_id": run_row(job.job_id),
        **_whose(event, job),
        "agent_type": stored_name(job.operator) or "",
        "execution_step": event.type.partition(".")[0],
        "operation_id": event.operation_id,
        "last_seq": event.seq,
    }
    if event.data.get("name"):
        values["action_type"] = stored_name(event.data["name"])
    if event.type in _EFFECTS:
        values["start_time"] = event.timestamp
        if content:
            values["input_data"] = stored_json(event.body())
    else:
        values |= _ended(event, content=content)
    return Change(execution_logs, step_row(job.job_id, event.operation_id), values)


def _ended(event: RuntimeEvent, *, content: bool) -> dict[str, Any]:
    values: dict[str, Any] = {"status": STATUS[RuntimeEventType(event.type)], "end_time": event.timestamp}
    if content:
        values["output_data"] = stored_json(event.body())
        if event.data.get("error"):
            values["error_message"] = stored_text(str(event.data["error"]))
    return values
