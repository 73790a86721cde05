"""How far an operator may spread: children, depth, parallelism."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationConfig:
    """Limits of an operator's children."""

    max_child_jobs: int = 10
    """Children of one job."""
    max_depth: int = 5
    """Ancestors a job may have."""
    timeout_seconds: float = 300.0
    """Deadline of a child."""
    inherit_budgets: bool = True
    """Children spend from their parent's budgets as well."""
    propagate_cancellation: bool = True
    """Children are cancelled when their parent ends."""
    parallel_execution: bool = True
    max_parallel: int = 5
    """Children at the same time."""
