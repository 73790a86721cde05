"""Ctrl-C, SIGTERM and a terminal that goes away: the process stops, the job does not get lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from agent_runtime.cli.exit_codes import FAILED, INTERRUPTED
from agent_runtime.cli.terminal import program

GRACE_SECONDS: Final = 10.0
"""How much longer than its work a process may take until it ends in any case: to close the storage, to leave."""
GIVE_UP_SECONDS: Final = 3.0
"""The same once it has been told twice."""


@contextmanager
def resumable(
    job_id: str, flags: str, say: Callable[[str], None], *, executes: bool = True
) -> Iterator[None]:
    """Say how to go on with a job when Ctrl-C, SIGTERM or SIGHUP ends what is done inside.

    Args:
        job_id: The job.
        flags: What `jobs resume` needs besides the id.
        say: Prints a line.
        executes: Whether the job is executed inside, and not only followed.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 -- a command runs in one
    others = set(stop_signals()) - {signal.SIGINT}  # that one is asyncio's
    for number in others:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    except asyncio.CancelledError:
        signal.signal(signal.SIGINT, _exit)
        say("")
        say(
            "stopping: what is in flight is finished first (Ctrl-C again stops at once)"
            if executes
            else "the job goes on; nobody follows it here any more"
        )
        say(f"end it with: {program()} jobs cancel {job_id}{flags}")
        say(f"go on with: {program()} jobs resume {job_id}{flags}")
        raise
    finally:
        for number in others:  # a second one ends the process at once
            loop.remove_signal_handler(number)


@contextmanager
def told_to_stop(seconds: float) -> Iterator[asyncio.Event]:
    """Give what is set when a signal asks the process to stop. A second one cancels the task that waits for it.

    A process that cannot even do that ends all the same.

    Args:
        seconds: How long the process may take to stop.
    """
    stop = asyncio.Event()
    main_task = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def stop_or_give_up() -> None:
        again = stop.is_set()
        stop.set()
        if again and main_task is not None:
            main_task.cancel()
        loop.call_later(GIVE_UP_SECONDS if again else seconds + GRACE_SECONDS, os._exit, FAILED)

    signals = stop_signals()
    for number in signals:
        loop.add_signal_handler(number, stop_or_give_up)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def stop_signals() -> tuple[int, ...]:
    """Return the signals that ask a process to stop; `nohup` has it ignore the one of a terminal that goes away."""
    is_deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *(() if is_deaf else (signal.SIGHUP,)))


def _exit(number: int, frame: FrameType | None) -> None:
    """Leave without another step: whatever this process was doing, the journal knows how far it had come."""
    del number, frame
    os._exit(INTERRUPTED)
