"""Waits as values: what `context.child`, `action`, `sleep` and `receive` return before they are awaited.

Awaited, such a value asks and waits. Handed to `gather`, `wait_all` or `wait_any` before that, it is part of a set whose
members are asked for in one commit, and the job is woken when the set is satisfied, not whenever a member is.
"""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Generator, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from agent_runtime.errors import InvalidInput

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
WaitKind = Literal["action", "timer", "child", "message"]


class DurableWait(Coroutine[object, None, T_co]):
    """A wait that has not been awaited yet: a coroutine, with its kind.

    Args:
        kind: What it waits for.
        coroutine: What awaiting it does.
    """

    __slots__ = ("_coroutine", "kind")

    def __init__(self, kind: WaitKind, coroutine: Coroutine[object, None, T_co]) -> None:
        self.kind: WaitKind = kind
        self._coroutine = coroutine

    @property
    def started(self) -> bool:
        """Whether it has been awaited."""
        return inspect.getcoroutinestate(self._coroutine) != inspect.CORO_CREATED

    def __await__(self) -> Generator[object, None, T_co]:
        return self._coroutine.__await__()

    def send(self, value: None, /) -> object:
        """Run on to the next suspension."""
        return self._coroutine.send(value)

    def throw(
        self,
        kind: Any,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
        /,
    ) -> object:
        """Raise an error where it stands. Whoever gives it in three parts is understood; from Python 3.12 on one is wanted."""
        error = kind if value is None else value if isinstance(value, BaseException) else kind(value)
        if traceback is not None:
            error = (error() if isinstance(error, type) else error).with_traceback(traceback)
        return self._coroutine.throw(error)

    def close(self) -> None:
        """End it; one that was never awaited does nothing."""
        self._coroutine.close()


class Won(NamedTuple, Generic[T]):
    """The first of several waits that was satisfied."""

    winner: int
    """Its place among the arguments, from 0."""
    value: T


def check_waits(waits: Sequence[object], name: str) -> None:
    """Refuse what is no wait of the context, or has been awaited already.

    Raises:
        InvalidInput: It names the function.
    """
    if not waits:
        raise InvalidInput(f"{name} needs something to wait for")
    if not all(isinstance(one, DurableWait) and not one.started for one in waits):
        raise InvalidInput(
            f"{name} takes waits that nobody has awaited yet: context.child(…), action(…), sleep(…), receive(…) or "
            ".result() of a started child"
        )
