"""Where something is done: on the thread of the event loop, which is a test's own, or beside it."""

import asyncio
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest


def calls_on_the_loop(
    patch: pytest.MonkeyPatch, owner: object, name: str, when: Callable[..., bool] = lambda *given: True
) -> list[bool]:
    """Return a list to which every call of a function adds whether it was made on the loop's thread.

    Args:
        patch: Puts the function back.
        owner: The module or class that has it.
        name: Its name there.
        when: Which calls are of interest, by what they are given.
    """
    found: list[bool] = []
    called = getattr(owner, name)

    @wraps(called)
    def noted(*given: Any, **named: Any) -> Any:
        if when(*given):
            found.append(threading.current_thread() is threading.main_thread())
        return called(*given, **named)

    patch.setattr(owner, name, noted)
    return found


class Turns:
    """How often others got a turn of the event loop while a block went on: `with Turns() as turns: …`, then `turns.count`."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Turns":
        self._counting = asyncio.create_task(self._others())
        return self

    def __exit__(self, *error: object) -> None:
        self._counting.cancel()

    async def _others(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.count += 1
