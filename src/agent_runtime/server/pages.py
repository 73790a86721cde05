"""Lists in pages: each says where the next one goes on, however much is written meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query

from agent_runtime.client.models import Page

MAX_PAGE: Final = 500

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items of a page.")]
CursorParameter = Annotated[
    str | None, Query(max_length=2048, description="Where to go on: `next` of the page before.")
]


def page_of(
    found: Sequence[Any], limit: int, shown: Callable[[Any], Item], cursor: Callable[[Any], str]
) -> Page[Item]:
    """Return a page of what was found.

    Args:
        found: Up to `limit` + 1 things; the last one says that there are more.
        limit: Items of the page.
        shown: Makes an item of a thing.
        cursor: Says of a thing where the page after it goes on.
    """
    page = found[:limit]
    more = len(found) > limit
    return Page[Any](items=[shown(thing) for thing in page], next=cursor(page[-1]) if more else None)
