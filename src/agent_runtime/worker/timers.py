"""Timers: rows that fall due and become signals. Whoever executes jobs also looks after them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime

from agent_runtime.actions.records import expiry
from agent_runtime.errors import ActionAlreadyResolved, AlreadySettled, StorageError, UnknownAction
from agent_runtime.ledger.held import RESERVATION_EXPIRED
from agent_runtime.ledger.ledger import Ledger
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.commit import Commit, Signal, Timer
from agent_runtime.ports.storage import Storage
from agent_runtime.values.event import RuntimeEventType
from llm_client.background import BackgroundLoop, Backoff
from llm_client.logs import logger_of

logger = logger_of(__name__)

_NOT_FOR_JOBS = (RuntimeEventType.ACTION_EXPIRED, RESERVATION_EXPIRED)
"""Timers that change more than a job's journal."""
RETRY_SECONDS = 1.0


class TimerService:
    """Fires timers.

    Args:
        storage: Where they are.
        clock: What time it is.
        ledger: Settles reservations that nobody has settled.
        sweep_interval: Seconds after which it looks in any case; the clock may have been set.
    """

    def __init__(self, storage: Storage, clock: Clock, *, sweep_interval: float, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger
        self._clock = clock
        self._sweep_interval = sweep_interval
        self._loop = BackgroundLoop(
            self._fire_and_poll,
            name="firing timers",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS),
        )
        self._next: datetime | None = None

    def start(self) -> None:
        """Begin."""
        self._loop.start(after=0)

    def were_set(self, timers: Sequence[Timer]) -> None:
        """Learn of timers that were set, in case one is due before all others."""
        if any(self._next is None or timer.due_at < self._next for timer in timers):
            self._loop.wake()

    def poll(self) -> None:
        """Look at the table now."""
        self._loop.wake()

    async def stop(self) -> None:
        """Fire nothing more."""
        await self._loop.stop()

    async def _fire_and_poll(self) -> float:
        """Fire what is due; return after how many seconds the next timer is."""
        self._next = None  # until the table has been read, any timer that is set may be the next
        looked_at = self._clock.now()
        while await self.fire_due():
            looked_at = self._clock.now()
        self._next = await self._storage.next_timer()
        if self._next is None:
            return self._sweep_interval
        if self._next <= looked_at:  # it cannot be fired
            return RETRY_SECONDS
        return min(self._sweep_interval, max(0.0, (self._next - self._clock.now()).total_seconds()))

    async def fire_due(self) -> int:
        """Turn every timer that has fallen due into a signal; return how many have been dealt with."""
        due = await self._storage.due_timers(self._clock.now())
        plain = [timer for timer in due if timer.type not in _NOT_FOR_JOBS]
        if plain:
            try:
                await self._storage.commit(
                    Commit(
                        at=self._clock.now(),
                        signals=[_signal(timer) for timer in plain],
                        take_timers=[(timer.job_id, timer.key) for timer in plain],
                    )
                )
            except AlreadySettled:  # another worker has fired some of them: look again
                return len(due)
        fired = len(plain)
        for timer in due:
            if timer.type in _NOT_FOR_JOBS:
                fired += await self._fire_alone(timer)
        return fired

    async def _fire_alone(self, timer: Timer) -> bool:
        """Fire a timer that changes more than a journal; one that cannot be fired must not keep the others from it."""
        try:
            if timer.type == RuntimeEventType.ACTION_EXPIRED:
                await self._expire(timer)
            else:
                await self._ledger.expire(timer)
        except StorageError:
            raise
        except Exception:
            logger.exception("timer %r of job %r cannot be fired; it is tried again", timer.key, timer.job_id)
            return False
        return True

    async def _expire(self, timer: Timer) -> None:
        """Let an action expire, with its default answer if it has one; too late if somebody was faster.

        Somebody may only have cast one vote of several: then the timer is left for the next look.
        """
        action = await self._storage.get_action(timer.data["action_id"])
        if action is None or not action.is_pending:
            await self._storage.commit(self._clearing(timer))
            return
        _, parts = expiry(action)
        with contextlib.suppress(ActionAlreadyResolved, UnknownAction):
            await self._storage.commit(Commit(at=self._clock.now(), **parts))

    def _clearing(self, timer: Timer) -> Commit:
        return Commit(at=self._clock.now(), clear_timers=[(timer.job_id, timer.key)])


def _signal(timer: Timer) -> Signal:
    signal_id = f"timer:{timer.key}:{timer.due_at.isoformat()}"
    return Signal(signal_id, timer.job_id, timer.type, timer.operation_id, timer.data)
