"""Code that tries to end the process: a failure of that code, not the end of everybody else's work.

`sys.exit`, argparse and click raise `SystemExit`, which an event loop does not leave to the task it happens in: it ends the
loop, and with it every other task. So it is caught where the task's code begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

from llm_client.errors import HostSignal, LLMClientError

T = TypeVar("T")

PASSING: Final = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit, HostSignal)
"""What is no failure of the code that it comes out of. Everything else is, `SystemExit` too."""


class ProcessExit(LLMClientError):
    """The code tried to end the process."""

    code = "process_exit"


def contained(work: Coroutine[object, None, T]) -> Coroutine[object, None, T]:
    """Return somebody's code for a task of its own: what would end the process is raised as `ProcessExit`."""
    return _Contained(work)


class _Contained(Coroutine[Any, Any, T]):
    """Passes everything on, instead of awaiting: a task that is cancelled before it began leaves nothing unawaited."""

    __slots__ = ("_work",)

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work

    @property
    def cr_await(self) -> Coroutine[Any, Any, T]:
        """What it waits for, under the name that coroutines have for it: for whoever looks at a task's frames."""
        return self._work

    def send(self, value: Any) -> Any:
        return _going_on(self._work.send, value)

    def throw(self, *error: Any) -> Any:
        return _going_on(self._work.throw, *error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            return (yield from self._work.__await__())
        except SystemExit as error:
            raise _refused(error) from error


def _going_on(step: Callable[..., Any], *given: Any) -> Any:
    try:
        return step(*given)
    except SystemExit as error:
        raise _refused(error) from error


def _refused(error: SystemExit) -> ProcessExit:
    return ProcessExit(f"the code tried to end the process, with status {error.code!r}")
