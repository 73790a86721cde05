"""Stories with real workers on a real Postgres server: killed, paused, drained; cut off, and the server crashed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from agent_runtime.ports.clock import SystemClock
from agent_runtime.storage.postgres import PostgresStorage
from support.private_postgres import PrivatePostgres
from support.soak.mirrors import read_copies
from support.soak.stories import Story
from support.soak.world import FileWorld

TESTS = Path(__file__).parents[2]
_ENDS = (0, -signal.SIGKILL, -signal.SIGTERM)
"""How workers end: drained, killed, or told to stop before they had begun."""
PAUSE_SECONDS = 2.0
"""Longer than a worker that has no heartbeat keeps its jobs."""
SKEWS = (0.0, 0.0, 3 * 3600.0, 62 * 60.0, -3 * 86400.0)
"""Seconds that machines' clocks are off."""


class CrowdStory(Story):
    """Plays one seed with three workers.

    Args:
        seed: Decides what is drawn; the operating system decides the rest.
        server: The server, which may be crashed.
        dsn: An empty, migrated database on it.
        folder: Where the world and the workers' log are.
    """

    def __init__(self, seed: int, server: PrivatePostgres, dsn: str, folder: Path) -> None:
        super().__init__(seed, PostgresStorage(dsn), SystemClock(), world=FileWorld(folder / "world"))
        self._server = server
        self._dsn = dsn
        self._folder = folder
        self._tight = False  # standing budgets are set in code, which is the same in all workers
        self._away = False
        """The server was away: a worker that is started then says so and ends."""
        self._workers: list[subprocess.Popen[bytes]] = []

    @property
    def log(self) -> str:
        """What the workers had to say."""
        return (self._folder / "log").read_text()

    def copies(self) -> list[tuple[str, int]]:
        """Return what the workers' projection was handed."""
        return read_copies(self._folder / "world-copies")

    async def aclose(self) -> None:
        """Close the desk's storage."""
        await self._storage.aclose()

    def _begin_lives(self) -> None:
        for _ in range(3):
            self._begin(self._lives())
        self._begin(self._misfortunes())

    async def _lives(self) -> None:
        while not self._over.is_set():
            version = self._version()
            worker = self._start(version, mortal=self.deaths < self._most_deaths)
            while worker.poll() is None and not self._over.is_set() and not self._is_outdated(version):
                await self._wait(0.1)
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.terminate()
                await asyncio.to_thread(worker.wait)
            elif worker.returncode not in _ENDS and not self._away:
                self.findings.said.append(f"a worker ended with {worker.returncode}")
                return
            self._workers.remove(worker)
            self.deaths += 1

    def _start(self, version: int, *, mortal: bool) -> subprocess.Popen[bytes]:
        arguments = [
            self._dsn,
            str(self._folder / "world"),
            str(self._rng.getrandbits(32)),
            str(version),
            str(self._rng.choice(SKEWS)),
            "mortal" if mortal else "-",
        ]
        with (self._folder / "log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "support.soak.worker", *arguments],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
                },
                stdout=log,
                stderr=log,
            )
        self._workers.append(worker)
        return worker

    async def _misfortunes(self) -> None:
        """Do what cannot be left to the workers themselves."""
        for _ in range(self._most_deaths):
            if not await self._wait(4.0):
                return
            match self._rng.choice(("kill", "pause", "drain", "cut", "crash")):
                case "kill":
                    self._signal(signal.SIGKILL)
                case "drain":
                    self._signal(signal.SIGTERM)
                case "pause":
                    self.paused = True
                    worker = self._signal(signal.SIGSTOP)
                    await asyncio.sleep(PAUSE_SECONDS)
                    worker.send_signal(signal.SIGCONT)
                case "cut":
                    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
                    database = self._dsn.rpartition("/")[2]
                    await asyncio.to_thread(
                        self._server.postgres.execute, f"{cut} AND pid <> pg_backend_pid()", database
                    )
                case _:
                    self._away = True
                    await self._server.restart()

    def _signal(self, number: signal.Signals) -> subprocess.Popen[bytes]:
        worker = self._rng.choice(self._workers)
        worker.send_signal(number)
        return worker
