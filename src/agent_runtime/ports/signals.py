"""Telling whoever waits for an action, in whatever process, that it has been answered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

MAX_SIGNAL: Final = 64 * 1024
"""Bytes of JSON that one signal may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalMessage:
    """What is said of an action. An `ActionManager` says only its status: the answer is read from its store."""

    action_id: str
    status: str
    """As in `ActionStatus`."""
    timestamp: datetime
    resolution: Mapping[str, Any] | None = None
    """For those who use a channel without a store; JSON values, which everybody on the channel can read."""
    error: str | None = None


class SignalChannel(Protocol):
    """Carries signals between processes: fast, and never the truth.

    A signal is for all who wait for its action now, and for those who come within a time that the channel sets. What
    gets lost is made up for by looking into the store. Implementations: memory and Redis; both pass
    `agent_runtime.testing.signals_contract`.
    """

    async def start(self) -> None:
        """Return once signals are heard. Idempotent. Waiting starts the channel too.

        Raises:
            StorageError: The server cannot be reached.
        """
        ...

    async def stop(self) -> None:
        """Hear nothing more; whoever waits gets `StorageClosed`. Idempotent."""
        ...

    async def signal(self, action_id: str, message: SignalMessage, job_id: str | None = None) -> None:
        """Tell all who wait for an action. Of several signals for one action, late comers get the last.

        Args:
            action_id: The action.
            message: What to say.
            job_id: Its job, for those who follow a whole job.

        Raises:
            StorageError: It could not be sent.
            ContentTooLarge: The message is too long.
        """
        ...

    async def wait(self, action_id: str, timeout: float | None = None) -> SignalMessage:
        """Wait for the signal of an action, or return the one that was sent already.

        Raises:
            TimeoutError: `timeout` seconds have passed.
            StorageClosed: The channel was stopped.
        """
        ...

    async def wait_any(self, action_ids: Collection[str], timeout: float | None = None) -> SignalMessage:
        """As `wait`, for the first signal of any of these actions."""
        ...
