"""Runs the server that clients call."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
RESTING = 5
"""Seconds after which a server that should have ended is killed."""


@contextmanager
def stub() -> Iterator[str]:
    """Start the server and yield its address."""
    process = subprocess.Popen(
        [sys.executable, HERE / "stub.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        try:
            process.wait(RESTING)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()
