"""What two requests under one idempotency key have in common: decided once, for kernels and for managers.

A request is the same when everything is the same that decides what is done, for whom and within which limits – whatever
an operator or a policy can see of it: operator and input, principal, session, identity and parent, policy, retries, budgets and
deadline, metadata and tags. What only says where and when it runs, or is counted with, is not compared: queue, priority, run,
versions. The order of keys, and how a number is written, are no difference.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any, Final

import orjson

from agent_runtime.values.content import decode
from agent_runtime.values.context import BudgetSpec
from llm_client.json_text import dumps

_COMPARED: Final = (
    "principal_id",
    "session_id",
    "identity",
    "parent_job_id",
    "policy_ref",
    "retry",
    "metadata",
    "tags",
)


def request_hash(asked: object, *, operator: str | None = None, job_input: bytes | None = None) -> str | None:
    """Return the hash of a request with an idempotency key; `None` without one, for nothing is compared then.

    Args:
        asked: A `JobSpec` or an `ExecutionRequest`.
        operator: The name of what is executed; a request that leaves the choice to the kernel gets it there.
        job_input: The input as journal content.
    """
    values: Any = asked
    if values.idempotency_key is None:
        return None
    told = {name: getattr(values, name, None) for name in _COMPARED}
    seconds = values.deadline_seconds
    told |= {
        "operator": operator,
        "input": None if job_input is None else decode(job_input),
        "budgets": None if values.budgets is None else _limits(values.budgets),
        "deadline_seconds": None if seconds is None else float(seconds),
    }
    text = dumps(told, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=repr)
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _limits(budgets: BudgetSpec) -> dict[str, Any]:
    """Return limits as they compare, however they were written."""
    limits = budgets.to_dict()
    for name in ("max_cost", "max_runtime_seconds"):
        if name in limits:
            limits[name] = str(Decimal(str(limits[name])).normalize())
    return limits
