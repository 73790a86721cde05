"""The collector of a process that does nothing but execute jobs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG: Final = 10_000
"""New objects after which the collector looks for garbage among them. Python's own 700 (2,000 from 3.13 on) are a few steps of a busy
worker: a third of its processor time went into looking again and again through jobs that are all alive."""


@contextmanager
def few_collections() -> Iterator[None]:
    """Have the collector leave alone what is there now, which lives as long as the process, and look at the rest less often."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # else a full collection goes through all modules, and holds the loop meanwhile
    gc.set_threshold(max(YOUNG, before[0]) if before[0] else 0, *before[1:])  # 0: somebody has turned it off
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
