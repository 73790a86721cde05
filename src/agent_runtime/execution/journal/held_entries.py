"""Entries that wait for the next commit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agent_runtime.ports.commit import NewEvent
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.values.budget import Charge, LedgerEntry

HOLD_SECONDS: Final = 0.002
"""How long an outcome waits for the intent that follows it, before it is written alone."""
MAX_HELD: Final = 256
"""Entries that are held back at once; the next outcome is written with them."""
MAX_HELD_BYTES: Final = 1_000_000
"""Bytes of their contents."""


@dataclass(slots=True)
class HeldEntries:
    """Recorded values that go out with the next commit: nothing that depends on them can be written earlier."""

    events: list[NewEvent] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    clear_timers: list[tuple[str, str]] = field(default_factory=list)
    message_changes: list[MessageChange] = field(default_factory=list)
    has_outcome: bool = False
    """An outcome of an effect is among them, and must not wait long."""
    size: int = 0
    """Bytes of their contents."""

    def add(self, event: NewEvent) -> None:
        """Take one more, to be written after what is here."""
        self.events.append(event)
        self.size += len(event.content or b"")

    def has_room_for(self, outcome: NewEvent) -> bool:
        """Whether one more outcome is within bounds."""
        return len(self.events) < MAX_HELD and self.size + len(outcome.content or b"") <= MAX_HELD_BYTES

    def put_before(self, earlier: HeldEntries) -> None:
        """Take what was held earlier, to be written before what is here."""
        self.events = [*earlier.events, *self.events]
        self.charges = [*earlier.charges, *self.charges]
        self.ledger = [*earlier.ledger, *self.ledger]
        self.clear_timers = [*earlier.clear_timers, *self.clear_timers]
        self.message_changes = [*earlier.message_changes, *self.message_changes]
        self.has_outcome |= earlier.has_outcome
        self.size += earlier.size
