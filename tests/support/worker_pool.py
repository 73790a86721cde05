"""Real worker processes on one Postgres database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from support import mixed_job
from support.worker_child import ARMED

TESTS = Path(__file__).parent.parent
STOP_SECONDS = 20


class WorkerPool:
    """Keeps a number of workers running, whatever happens to them.

    Args:
        dsn: Their database.
        folder: Where they find what is armed, and the world their effects change.
        size: How many.
    """

    module = "support.worker_child"
    """What each of them runs."""

    def __init__(self, dsn: str, folder: Path, *, size: int) -> None:
        self.dsn = dsn
        self.armed = folder / "armed"
        self.world = folder / "world"
        self._log = folder / "workers.log"
        self._size = size
        self.workers: list[subprocess.Popen[str]] = []
        self.killed = 0
        """Workers that have died of SIGKILL."""

    def __enter__(self) -> Self:
        self.armed.mkdir()
        try:
            self.fill()
        except BaseException:
            self.__exit__()
            raise
        return self

    def fill(self) -> None:
        """Replace the workers that are gone, and wait until all are at work."""
        for worker in [worker for worker in self.workers if worker.poll() is not None]:
            self.killed += worker.returncode == -signal.SIGKILL
            self._forget(worker)
        new = [self._start() for _ in range(self._size - len(self.workers))]
        self.workers += new
        for worker in new:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n", self._log.read_text()[-4000:]

    def _start(self) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(TESTS),
            ARMED: str(self.armed),
            mixed_job.EFFECTS: str(self.world),
        }
        with self._log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.module, self.dsn],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def _forget(self, worker: subprocess.Popen[str]) -> None:
        self.workers.remove(worker)
        worker.wait()
        if worker.stdout is not None:
            worker.stdout.close()

    def arm(self, moment: str) -> None:
        """Have the next worker that reaches a moment die there."""
        (self.armed / moment).touch()

    def is_armed(self) -> bool:
        """Whether nobody has reached the moment yet."""
        return any(self.armed.iterdir())

    def find(self, pid: int) -> subprocess.Popen[str]:
        """Return the worker with a process id."""
        return next(worker for worker in self.workers if worker.pid == pid)

    def log(self) -> str:
        """Return what the workers had to say."""
        return self._log.read_text()

    def __exit__(self, *exc: object) -> None:
        for worker in list(self.workers):
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            self._forget(worker)
