"""Asking a storage that fails again: its failures are not the job's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final, TypeVar

from agent_runtime.errors import RunSuspended, StorageError
from agent_runtime.execution.lifecycle import Lifecycle
from agent_runtime.execution.options import KernelOptions
from agent_runtime.ports.clock import Clock
from llm_client.background import Backoff, begin, leave
from llm_client.logs import logger_of

logger = logger_of(__name__)
T = TypeVar("T")

_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 2.0


class StorageRetry:
    """Asks for one run, for as long as `storage_patience` says.

    Args:
        job_id: Whose run.
        lifecycle: One that has been lost meanwhile asks no more.
        clock: Measures patience.
        options: The kernel's.
    """

    def __init__(self, job_id: str, lifecycle: Lifecycle, clock: Clock, options: KernelOptions) -> None:
        self._job_id = job_id
        self._lifecycle = lifecycle
        self._clock = clock
        self._options = options

    async def __call__(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask for something a step depends on. When the storage stays broken the run ends here; another one goes on later.

        Raises:
            RunSuspended: It has ended.
        """
        try:
            return await self.until_answered(ask)
        except StorageError as error:
            self._lifecycle.abort(error)
            raise RunSuspended from error

    async def until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer.

        Raises:
            StorageError: The storage has failed for too long.
        """
        try:
            return await ask()
        except StorageError as error:
            return await self._again(ask, error)

    async def _again(self, ask: Callable[[], Awaitable[T]], failure: StorageError) -> T:
        give_up_at = self._clock.monotonic() + self._options.storage_patience
        backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
        while True:
            delay = backoff.next()
            if self._clock.monotonic() + delay > give_up_at:
                raise failure
            logger.warning("job %s: %s; trying again in %.2f s", self._job_id, failure, delay)
            await asyncio.sleep(delay)
            if self._lifecycle.lost is not None:
                raise failure
            try:
                return await ask()
            except StorageError as error:
                failure = error

    async def find_out(self, write: Callable[[], Awaitable[int]]) -> int:
        """Find out what became of a commit whose writer was cancelled: asking for it again tells, and adds nothing.

        Raises:
            StorageError: The storage does not tell in time.
        """
        loop = asyncio.get_running_loop()
        again = begin(self.until_answered(write), name="make sure", context=Context())
        give_up_at = loop.time() + self._options.cancel_timeout / 2
        try:
            while not again.done() and (left := give_up_at - loop.time()) > 0:
                # Cancelled once more, which changes nothing.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait((again,), timeout=left)
            if again.done():
                return again.result()
        finally:
            leave(again)
        raise StorageError("it is not known whether the last commit was written")
