"""Ctrl-C: the process stops, the job does not get lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from agent_runtime.cli.exit_codes import INTERRUPTED
from agent_runtime.cli.terminal import program


@contextmanager
def resumable(job_id: str, flags: str, say: Callable[[str], None]) -> Iterator[None]:
    """Say how to go on with a job when Ctrl-C ends what is done inside.

    Args:
        job_id: The job.
        flags: What `jobs resume` needs besides the id.
        say: Prints a line.
    """
    try:
        yield
    except asyncio.CancelledError:
        signal.signal(signal.SIGINT, _exit)
        say("")
        say("stopping: what is in flight is finished first (Ctrl-C again stops at once)")
        say(f"end it with: {program()} jobs cancel {job_id}{flags}")
        say(f"go on with: {program()} jobs resume {job_id}{flags}")
        raise


def _exit(number: int, frame: FrameType | None) -> None:
    """Leave without another step: whatever this process was doing, the journal knows how far it had come."""
    del number, frame
    os._exit(INTERRUPTED)
