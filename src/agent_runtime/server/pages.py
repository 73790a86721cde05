"""Lists in pages: each says where the next one goes on, however much is written or pruned meanwhile, and none is long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeVar

from fastapi import Query, Response
from pydantic import BaseModel

from llm_client.json_text import dumps
from llm_client.turns import aside

MAX_PAGE: Final = 500
MAX_PAGE_BYTES: Final = 512 * 1024
"""Of a page, unless its first item alone has more."""
MAX_READ_BYTES: Final = 1024 * 1024
"""What is read at once for a page: of what is long of one thing a list has less than is stored."""

Thing = TypeVar("Thing")

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items of a page.")]
CursorParameter = Annotated[
    str | None, Query(max_length=2048, description="Where to go on: `next` of the page before.")
]


async def page_of(
    found: Sequence[Thing],
    shown: Callable[[Thing], BaseModel],
    cursor: Callable[[Thing], str],
    *,
    limit: int = MAX_PAGE,
    has_more: bool = False,
    max_bytes: int = MAX_PAGE_BYTES,
) -> Response:
    """Return the answer with a page of what was found, written aside.

    Args:
        found: Things; one more than `limit` says that there are more.
        shown: Makes an item of a thing.
        cursor: Says of a thing where the page after it goes on.
        limit: Items of the page at most.
        has_more: Whether there are more than were found.
        max_bytes: Bytes of the page at most, unless its first item alone has more.
    """
    return await aside(_written, found, shown, cursor, limit, has_more, max_bytes)


def _written(
    found: Sequence[Thing],
    shown: Callable[[Thing], BaseModel],
    cursor: Callable[[Thing], str],
    limit: int,
    has_more: bool,
    max_bytes: int,
) -> Response:
    items: list[bytes] = []
    for thing in found[:limit]:
        item = shown(thing).model_dump_json().encode()
        max_bytes -= len(item) + 1
        if items and max_bytes < 0:
            break
        items.append(item)
    goes_on = items and (has_more or len(items) < len(found))
    following = cursor(found[len(items) - 1]) if goes_on else None
    return _json(b'{"items":[' + b",".join(items) + b'],"next":' + dumps(following) + b"}")


async def written(
    make: Callable[[], BaseModel], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer with what a function makes, written aside: one thing may have megabytes."""
    return await aside(lambda: _json(make().model_dump_json().encode(), status, headers))


def _json(content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(content, status, headers=headers, media_type="application/json")
