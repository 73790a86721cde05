"""The methods of the asynchronous client for ordinary code: the same, waited for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast

from llm_client.blocking import run_blocking

Part = TypeVar("Part")
Given = ParamSpec("Given")
Answer = TypeVar("Answer")
_END: Final = object()


class Blocking(Generic[Part]):
    """A part of a client for ordinary code.

    Args:
        part: The same for asynchronous code, which does the work.
    """

    def __init__(self, part: Part) -> None:
        self._part = part


def waited(
    method: Callable[Concatenate[Part, Given], Coroutine[Any, Any, Answer]],
) -> Callable[Concatenate[Blocking[Part], Given], Answer]:
    """Return a method that waits for what an asynchronous one returns."""

    @wraps(method)
    def wait(self: Blocking[Part], /, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return run_blocking(method(self._part, *args, **kwargs), _instead(method))

    return wait


def one_by_one(
    method: Callable[Concatenate[Part, Given], AsyncGenerator[Answer, None]],
) -> Callable[Concatenate[Blocking[Part], Given], Generator[Answer, None, None]]:
    """Return a method that yields what an asynchronous one yields, waiting for each."""

    @wraps(method)
    def each(
        self: Blocking[Part], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Generator[Answer, None, None]:
        found = method(self._part, *args, **kwargs)

        async def following() -> object:
            return await anext(found, _END)

        try:
            while (one := run_blocking(following(), _instead(method))) is not _END:
                yield cast("Answer", one)
        finally:
            run_blocking(found.aclose(), _instead(method))

    return each


def _instead(method: Callable[..., object]) -> str:
    """Return what to write in asynchronous code."""
    return f"{method.__qualname__} of an AsyncClient"
