"""How much may run and wait at once: bounds that keep one tenant from taking what all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeCaps:
    """How many jobs of one scope may be executed at once, by all workers together. Without any, there is no bound."""

    default: int | None = None
    """For every scope that `scopes` does not name; `None` for no bound."""
    scopes: Mapping[str, int] = field(default_factory=dict)
    """For single scopes. Zero holds a scope's jobs back."""

    def __bool__(self) -> bool:
        return self.default is not None or bool(self.scopes)

    def of(self, scope_id: str) -> int | None:
        """Return a scope's bound."""
        return self.scopes.get(scope_id, self.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBounds:
    """How many jobs may wait for a worker before no more are accepted."""

    total: int | None = None
    per_scope: int | None = None

    def __bool__(self) -> bool:
        return self.total is not None or self.per_scope is not None


NO_CAPS: Final = ScopeCaps()
NO_BOUNDS: Final = QueueBounds()
