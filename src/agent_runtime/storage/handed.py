"""What callers have handed to a writer, and how they learn what became of it: the same for every writer of batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from llm_client.logs import logger_of

logger = logger_of(__name__)

Then = Callable[[Any], None]


@dataclass(slots=True, eq=False)
class Handed:
    """One request to a writer, and its outcome."""

    future: asyncio.Future[Any]
    then: Then | None = None
    """Called with the result once it is on disk, in commit order, even when the caller has been cancelled."""
    result: Any = None
    error: BaseException | None = None
    repeated: bool = False
    """It was found to have been written before; nobody is told again."""


def deliver(batch: Iterable[Handed]) -> None:
    """Tell listeners, then wake the callers; on the loop, in the order of the batch."""
    for handed in batch:
        error = handed.error
        if error is None and handed.then is not None and not handed.repeated:
            try:
                handed.then(handed.result)
            except Exception:
                logger.exception("a listener failed; what it listened to is written")
        if handed.future.done():
            continue
        if error is None:
            handed.future.set_result(handed.result)
        else:
            handed.future.set_exception(error)
