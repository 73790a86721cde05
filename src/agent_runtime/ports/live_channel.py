"""How the processes of one database tell each other what passes: the text that a model writes now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

MAX_LIVE_BYTES: Final = 7_000
"""Of one message, in UTF-8: what every carrier takes."""

OnText = Callable[[str], None]
"""Called on the event loop with what another process says. Must be quick, and must not raise."""


class LiveChannel(Protocol):
    """Carries short texts at once and without a promise: what gets lost is not said again.

    Implementations: Postgres (LISTEN and NOTIFY) and Redis, the same as those of `ChangeNotifier`, whose contract judges both. Nobody
    hears what they said themselves.
    """

    def hear(self, on_text: OnText) -> None:
        """Hear what others say from now on, while changes are heard. One ear at a time."""
        ...

    async def say(self, text: str) -> None:
        """Say something of at most `MAX_LIVE_BYTES`. Raises `StorageError` when it cannot be said."""
        ...
