"""Many requests at once, with the results in the order of the requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from llm_client.background import gather_or_cancel
from llm_client.errors import RunAborted

Request = TypeVar("Request")
Result = TypeVar("Result")


async def run_batch(
    requests: Sequence[Request],
    ask: Callable[[Request], Awaitable[Result]],
    *,
    workers: int,
    keep_failures: bool,
) -> list[Result | Exception]:
    """Ask everything with a number of workers.

    Args:
        requests: What to ask.
        ask: Asks one.
        workers: How many are asked at the same time.
        keep_failures: Whether a failure takes its result's place; otherwise the first one cancels the rest and is raised.
    """
    results: list[Result | Exception | None] = [None] * len(requests)
    queue = iter(enumerate(requests))
    workers = min(workers, len(requests))
    await gather_or_cancel([_work(queue, ask, results, keep_failures) for _ in range(workers)])
    return [result for result in results if result is not None]


async def _work(
    queue: Iterator[tuple[int, Request]],
    ask: Callable[[Request], Awaitable[Result]],
    results: list[Result | Exception | None],
    keep_failures: bool,
) -> None:
    for position, request in queue:
        try:
            results[position] = await ask(request)
        except Exception as error:
            if not keep_failures or isinstance(error, RunAborted):
                raise
            results[position] = error
