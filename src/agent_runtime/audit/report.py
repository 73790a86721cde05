"""What a verification says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from agent_runtime.ports.audit import TrailHead
from llm_client.json_text import JsonObject

Problem = Literal["changed", "missing", "inserted", "reordered", "cut_off", "job_missing", "head"]
"""What is wrong: with an entry (`changed`, `inserted`, `reordered`), with entries that are not there (`missing`, at the end `cut_off`),
with a whole job, or with a head that was kept elsewhere."""

MOST_FINDINGS: Final = 1000
"""Findings that a report holds; it counts the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFinding:
    """The first thing that is wrong with a job, or with a scope's trail."""

    problem: Problem
    scope_id: str
    job_id: str | None = None
    """The job; `None` for the scope's trail."""
    place: int | None = None
    """The seq of the job's first broken entry, or the number of the trail's."""
    text: str
    """A sentence for people."""

    def to_dict(self) -> JsonObject:
        """Return it as JSON values."""
        return {
            "problem": self.problem,
            "scope_id": self.scope_id,
            "job_id": self.job_id,
            "place": self.place,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a verification has found."""

    jobs: int = 0
    """Jobs whose entries were read."""
    entries: int = 0
    """Entries that were compared with their links."""
    pruned: int = 0
    """Jobs among them whose content was pruned; its digests were compared."""
    erased: int = 0
    """Jobs among them that were erased; their digests were compared."""
    gone: int = 0
    """Jobs of a trail that were pruned as a whole since."""
    trail: int = 0
    """Entries of trails that were compared with their links."""
    problems: int = 0
    """How many jobs and trails do not verify."""
    findings: tuple[AuditFinding, ...] = ()
    """What is wrong with them, up to the first thousand."""
    heads: tuple[TrailHead, ...] = ()
    """Where the trails end now: kept elsewhere, they prove later that nothing up to them was changed."""

    @property
    def is_intact(self) -> bool:
        """Whether everything verifies."""
        return not self.problems

    def to_dict(self) -> JsonObject:
        """Return it as JSON values."""
        names = ("jobs", "entries", "pruned", "erased", "gone", "trail", "problems")
        return {
            "intact": self.is_intact,
            **{name: getattr(self, name) for name in names},
            "findings": [finding.to_dict() for finding in self.findings],
            "heads": [
                {"scope_id": head.scope_id, "number": head.number, "link": head.link.hex()}
                for head in self.heads
            ],
        }
