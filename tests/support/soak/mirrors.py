"""A projection of the soak: it copies what it is handed, for as long as its process lives."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from agent_runtime import FeedEntry
from support.soak.world import Life

Copy = Callable[[str, int], None]


class Mirror:
    """Fails now and then, takes its time, and dies with its process.

    Args:
        life: Its process.
        rng: When it fails, and how long it takes.
        copy: Is called with the job and the seq of each entry.
    """

    name = "mirror"
    begin: Literal["first"] = "first"

    def __init__(self, life: Life, rng: random.Random, copy: Copy) -> None:
        self._life = life
        self._rng = rng
        self._copy = copy

    async def project(self, entries: Sequence[FeedEntry]) -> None:
        """Copy entries one after the other, so that it may be cut off between two."""
        if self._rng.random() < 0.05:
            raise ValueError("the mirror is clouded")
        for _, event in entries:
            if self._life.dead:
                await asyncio.get_running_loop().create_future()
            self._copy(event.job_id or "", event.seq or 0)
            if self._rng.random() < 0.05:
                await asyncio.sleep(self._rng.choice((0.0, 0.01)))


class FileCopies:
    """Copies of several processes: one line for each entry, written at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, job_id: str, seq: int) -> None:
        """Copy an entry."""
        os.write(self._file, f"{job_id} {seq}\n".encode())


def read_copies(path: Path) -> list[tuple[str, int]]:
    """Return what processes have copied into a file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(job_id, int(seq)) for job_id, _, seq in (line.partition(" ") for line in lines)]


def in_order(copies: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    """Return the entries that were copied of each job, in the order in which they came first."""
    found: dict[str, dict[int, None]] = {}
    for job_id, seq in copies:
        found.setdefault(job_id, {}).setdefault(seq)
    return {job_id: list(seqs) for job_id, seqs in found.items()}
