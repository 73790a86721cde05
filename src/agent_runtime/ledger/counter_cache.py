"""Where budgets' counters were when this process last saw or changed them: good for planning, never for deciding.

A reservation is decided in the commit that makes it, against the rows themselves. Planning with what was last seen saves
a read per call, and costs a second try when another process has spent meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from agent_runtime.ledger.reservations import Key
from agent_runtime.ports.storage import Storage
from agent_runtime.values.budget import Charge, Counters

MAX_KEYS: Final = 10_000
NONE: Final = Counters()


class CounterCache:
    """Counters by budget and window."""

    def __init__(self) -> None:
        self._seen: dict[Key, Counters] = {}

    def known(self, keys: Sequence[Key]) -> list[Counters] | None:
        """Return counters as last seen, or `None` when one was never read."""
        seen = [self._seen.get(key) for key in keys]
        return None if None in seen else [counters for counters in seen if counters is not None]

    async def read(self, storage: Storage, keys: Sequence[Key], *, fresh: bool = False) -> list[Counters]:
        """Return counters, as last seen or as they are."""
        missing = list(keys) if fresh else [key for key in keys if key not in self._seen]
        if missing:
            if len(self._seen) > MAX_KEYS:
                self._seen.clear()
                missing = list(keys)
            self._seen.update(zip(missing, await storage.counters(missing), strict=True))
        return [self._seen.get(key, NONE) for key in keys]

    def note(self, charges: Iterable[Charge]) -> None:
        """Learn of charges that have been committed."""
        for charge in charges:
            key = (charge.budget_id, charge.window)
            seen = self._seen.get(key)
            if seen is not None:
                self._seen[key] = Counters(seen.settled + charge.settle, seen.reserved + charge.reserve)

    def forget_all(self) -> None:
        """Read everything again before the next use."""
        self._seen.clear()

    def forget(self, keys: Iterable[Key]) -> None:
        """Read these again before the next use."""
        for key in keys:
            self._seen.pop(key, None)
