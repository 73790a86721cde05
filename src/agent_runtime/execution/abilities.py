"""Setting jobs aside that cannot go on here, until a person or a deploy mends what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agent_runtime.errors import NondeterminismError, UnknownOperator
from agent_runtime.ports.commit import JobChange
from agent_runtime.values.ability import Ability
from agent_runtime.values.deaths import CRASH_LOOP
from agent_runtime.values.job import JobRecord, JobStatus
from llm_client.background import doubled

_FAULTS_OF_CODE: Final = frozenset({NondeterminismError.code, CRASH_LOOP, "INTERNAL_ERROR", "JOURNAL_FORMAT"})
"""Reasons that another version of the code may take away. Others – a key, a package, a policy that is missing – may be
mended under the same one."""
_KEPT_VERSIONS: Final = 100
_FIRST_BACKOFF: Final = 5.0
_LONGEST_BACKOFF: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What this process can run, as far as that changes while it lives.

    Args:
        operators: Names of the operators it knows.
        code_version: The version of its code; without one, each process is a version of its own.
        process: This process.
    """

    operators: Callable[[], tuple[str, ...]]
    code_version: str | None
    process: str

    def now(self) -> Ability:
        """Return what it can run now."""
        own = () if self.code_version is None else (self.code_version,)
        return Ability(operators=frozenset(self.operators()), versions=(*own, self.process))

    def blocking(self, job: JobRecord, reason: str, code: str, at: datetime) -> JobChange:
        """Return the change that blocks a job, so that nobody like this process tries it again."""
        failed, retry_at = job.failed_versions, None
        if code != UnknownOperator.code:  # that says nothing of the code that knows it
            is_about_code = code in _FAULTS_OF_CODE and self.code_version is not None
            version = self.code_version if is_about_code and self.code_version else self.process
            failed = (*(one for one in failed if one != version), version)[-_KEPT_VERSIONS:]
            if version == self.process:
                retry_at = at + timedelta(seconds=_backoff(len(failed)))
        return JobChange(
            status=JobStatus.BLOCKED,
            error=reason,
            error_code=code,
            release=True,
            failed_versions=failed,
            retry_at=retry_at,
        )


def _backoff(tries: int) -> float:
    """Return how long the next process waits: the first restart tries at once, the following ones less and less often."""
    if tries < 2:
        return 0.0
    return doubled(_FIRST_BACKOFF, tries - 1, _LONGEST_BACKOFF)
