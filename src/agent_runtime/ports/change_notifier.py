"""How the processes of one database tell each other what they have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from agent_runtime.ports.journal import RemoteChange
from agent_runtime.ports.live_channel import LiveChannel

OnChange = Callable[[Sequence[RemoteChange] | None], None]
"""Called on the event loop with what other processes have changed; with `None` when anything may have happened."""


class ChangeNotifier(LiveChannel, Protocol):
    """Tells others, at once and without a promise: what gets lost is found later by those who look.

    Implementations: Postgres (LISTEN and NOTIFY) and Redis; both pass `agent_runtime.testing.change_notifier_contract`.
    Whoever listens again after a gap is told so, with `None`. Nobody hears what they said themselves.
    """

    listening: asyncio.Event
    """Set while changes of other processes are heard."""

    def start(self, on_change: OnChange) -> None:
        """Begin to listen, in the background; a server that is away is no error."""
        ...

    def publish(self, change: RemoteChange) -> None:
        """Announce a change, soon, also to who does not listen. Never waits, never fails, and keeps little when nothing
        can be sent.
        """  # noqa: D205 -- one thought
        ...

    async def stop(self) -> None:
        """Send what is left, if it can be sent soon, and hear nothing more, until started again. Idempotent."""
        ...
