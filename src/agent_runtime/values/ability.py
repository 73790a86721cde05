"""What a worker can run: the operators it knows, with code under which a job has not failed before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What one process can run."""

    operators: frozenset[str]
    """Names of the operators it knows."""
    versions: tuple[str, ...] = ()
    """Names under which a job may have failed here: that of the code, and that of the process itself."""

    def can_run(
        self, operator: str | None, failed_versions: Collection[str], *, is_stopping: bool = False
    ) -> bool:
        """Whether the process knows a job's operator and has not failed with the job, or the job is only to end."""
        if operator not in self.operators:
            return False
        return is_stopping or not any(one in failed_versions for one in self.versions)
