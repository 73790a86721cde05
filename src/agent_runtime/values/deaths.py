"""How often a job was claimed and never heard of again, and what follows: a job that kills whoever runs it is found out.

A claim says good-bye when the job is suspended, released, blocked or ended. One that does not has died with its process,
and every job of that process with it, the guilty one and the innocent. After two such deaths a job is a suspect. A
process runs one suspect at a time, and only the deaths of a job that was the only suspect are held against it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal, NamedTuple

SUSPECT_AFTER: Final = 2
"""Deaths after which a job is a suspect."""

CRASH_LOOP: Final = "CRASH_LOOP"
"""Why a job is blocked that has killed its processes."""

Absolution = Literal["slot", "deaths"]
"""`deaths`: those of earlier claims are forgotten. `slot`: the job is the only suspect of its process no more."""


class OpenClaim(IntEnum):
    """What is known of a claim that has not said good-bye."""

    NONE = 0
    """There is no such claim."""
    PLAIN = 1
    LONE_SUSPECT = 2
    """The job is the only suspect of its process: if that dies now, it was the job."""


class Deaths(NamedTuple):
    """What counts against a job."""

    deaths: int = 0
    lone_deaths: int = 0
    open_claim: int = OpenClaim.NONE

    @property
    def is_suspect(self) -> bool:
        """Whether the job may be what kills its processes."""
        return self.deaths >= SUSPECT_AFTER

    def claimed(self, *, pardoned: bool) -> Deaths:
        """Return how the job stands when it is claimed: an open claim has died. `pardoned` forgets all of them."""
        if pardoned:
            return Deaths(open_claim=OpenClaim.PLAIN)
        deaths = self.deaths + (self.open_claim != OpenClaim.NONE)
        lone = self.lone_deaths + (self.open_claim == OpenClaim.LONE_SUSPECT)
        is_suspect = deaths >= SUSPECT_AFTER
        return Deaths(deaths, lone, OpenClaim.LONE_SUSPECT if is_suspect else OpenClaim.PLAIN)

    def after(self, absolution: Absolution | None, *, good_bye: bool) -> Deaths:
        """Return how the job stands after a commit of its owner."""
        stands = self
        if absolution == "deaths":
            stands = Deaths(open_claim=OpenClaim.PLAIN)
        elif absolution == "slot":
            stands = self._replace(open_claim=OpenClaim.PLAIN)
        return stands._replace(open_claim=OpenClaim.NONE) if good_bye else stands
