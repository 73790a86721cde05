"""The thread that writes what others have handed over: one for the whole process.

Whoever hands something over pays for a place in a queue. What is in it when the process ends is written then, within a bound; what a
forked process finds in it belongs to its parent.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from agent_runtime.values.call_record import CallRecord
from llm_client.logs import logger_of

logger = logger_of(__name__)

MAX_PENDING_BYTES: Final = 64 * 1024 * 1024
"""What may wait to be written, with its texts."""
MAX_PENDING_RECORDS: Final = 200_000
"""Records that may wait, most of them without their texts."""
EXIT_SECONDS: Final = 10.0
"""How long the end of a process waits for what is not written yet."""
_BATCH: Final = 64


class Target(Protocol):
    """Whom the records of a batch belong to."""

    def write(self, records: Sequence[CallRecord]) -> None:
        """Write records. What it raises is logged."""
        ...


Item = tuple[Target, CallRecord, int] | Future[None]
"""A record with its weight, or somebody who waits for all that came before him."""


class BackgroundWriter:
    """Takes records from any thread, and has them written by its own."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._changing = threading.Lock()
        self._queue: SimpleQueue[Item] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._given = 0
        self._given_bytes = 0
        self._done = 0
        self._done_bytes = 0

    def forked(self) -> None:
        """Begin anew in a process that was forked: it has no thread, and what waits is its parent's to write."""
        self._begin()

    @property
    def pending_bytes(self) -> int:
        """What waits to be written."""
        return self._given_bytes - self._done_bytes

    @property
    def is_calm(self) -> bool:
        """Whether so little waits that whoever can wait himself need not."""
        return (
            2 * self.pending_bytes <= MAX_PENDING_BYTES
            and 2 * (self._given - self._done) <= MAX_PENDING_RECORDS
        )

    def has_room(self, weight: int) -> bool:
        """Whether a record of this weight may wait as a whole."""
        return self.pending_bytes + weight <= MAX_PENDING_BYTES

    def put(self, target: Target, record: CallRecord, weight: int) -> bool:
        """Take a record; false when too many wait already, or nobody can write them any more."""
        if self._given - self._done >= MAX_PENDING_RECORDS:
            return False
        with self._changing:
            if self._thread is None and not self._start():
                return False
            self._given += 1
            self._given_bytes += weight
            self._queue.put((target, record, weight))
        return True

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="call-log-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process is ending, or has no thread to spare: the next record tries again
            return False
        self._thread = thread
        return True

    def reached(self) -> Future[None]:
        """Return what is done when everything that was taken before is written."""
        future: Future[None] = Future()
        if self._thread is None:
            future.set_result(None)
        else:
            self._queue.put(future)
        return future

    def finish(self) -> None:
        """Let the end of the process wait for what is not written yet, for a while."""
        try:
            self.reached().result(EXIT_SECONDS)
        except TimeoutError:
            logger.warning(
                "%d records of model calls were not written when the process ended", self._given - self._done
            )

    def _run(self) -> None:
        queue = self._queue
        while True:
            batch = [queue.get()]
            while len(batch) < _BATCH and not isinstance(batch[-1], Future):
                try:
                    batch.append(queue.get_nowait())
                except Empty:
                    break
            self._write(batch)

    def _write(self, batch: list[Item]) -> None:
        targets: dict[int, tuple[Target, list[CallRecord]]] = {}
        for item in batch:
            if not isinstance(item, Future):
                targets.setdefault(id(item[0]), (item[0], []))[1].append(item[1])
        for target, records in targets.values():
            try:
                target.write(records)
            except Exception:
                logger.exception("%d records of model calls were lost", len(records))
        for item in batch:
            if isinstance(item, Future):
                if item.set_running_or_notify_cancel():
                    item.set_result(None)
            else:
                self._done += 1
                self._done_bytes += item[2]


WRITER: Final = BackgroundWriter()
atexit.register(WRITER.finish)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WRITER.forked)


async def awaited(future: Future[None], seconds: float | None = None) -> bool:
    """Wait for a future of another thread without holding the loop; false when it took longer."""
    waiting = asyncio.wrap_future(future)
    done, _ = await asyncio.wait((waiting,), timeout=seconds)
    if not done:
        waiting.cancel()
    return bool(done)
