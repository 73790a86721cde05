"""The statements about cursors and pages of the feed, the same for both databases but for their parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from agent_runtime.ports.feed import Cursor
from agent_runtime.storage.rows import CURSOR, EVENT
from agent_runtime.values.event import RuntimeEvent
from llm_client.json_text import dumps

_COLUMNS = ", ".join(CURSOR)

ALL: Final = f"SELECT {_COLUMNS} FROM runtime_cursors ORDER BY name"  # noqa: S608 -- names of our own
TAKE: Final = f"""
INSERT INTO runtime_cursors AS c (name, position, fence, holder, held_until, updated_at)
VALUES ({{name}}, {{position}}, 1, {{holder}}, {{until}}, {{at}})
ON CONFLICT (name) DO UPDATE
SET fence = c.fence + 1, holder = excluded.holder, held_until = excluded.held_until, updated_at = excluded.updated_at
WHERE c.holder IS NULL OR c.holder = excluded.holder OR c.held_until <= excluded.updated_at
RETURNING {_COLUMNS}
"""  # noqa: S608
MOVE: Final = """
UPDATE runtime_cursors SET position = {position}, held_until = {until}, updated_at = {at},
  holder = CASE WHEN {is_held} THEN holder END
WHERE name = {name} AND fence = {fence} AND holder IS NOT NULL AND position <= {position} RETURNING name
"""
DROP: Final = "DELETE FROM runtime_cursors WHERE name = {name} RETURNING name"
PAGE: Final = f"""
SELECT e.id, e.job_id, j.scope_id, {", ".join(f"e.{name}" for name in EVENT)}
FROM runtime_events e JOIN runtime_jobs j ON j.job_id = e.job_id
WHERE e.id > {{after}} AND e.id <= {{upto}} ORDER BY e.id
"""  # noqa: S608
PUBLIC_PAGE: Final = PAGE.replace("e.content", "NULL AS content")
"""The same without private content, which is not read then."""
_NAMES_AND_NUMBERS: Final = 2_000
"""Bytes of data that are not counted, as most entries have no more."""
_PACKED: Final = 200
"""Bytes of data as Postgres stores it, perhaps compressed, up to which it is not worth asking how long it is."""
DATA_ON_POSTGRES: Final = (
    f"CASE WHEN pg_column_size(data) > {_PACKED} THEN octet_length(data::text) ELSE 0 END"
)
"""What the data of an entry takes."""
DATA_ON_SQLITE: Final = f"CASE WHEN length(data) > {_NAMES_AND_NUMBERS} THEN length(data) ELSE 0 END"
BYTES_ON_POSTGRES: Final = f"coalesce(octet_length(content), 0) + {DATA_ON_POSTGRES}"
"""What all of an entry takes."""
BYTES_ON_SQLITE: Final = f"coalesce(length(content), 0) + {DATA_ON_SQLITE}"
SIZES: Final = """
SELECT id, {bytes} FROM runtime_events WHERE id > {after} AND id <= {upto} ORDER BY id LIMIT {limit}
"""
FOLLOWED: Final = """
coalesce((SELECT e.id FROM runtime_events e WHERE e.job_id = j.job_id ORDER BY e.seq DESC LIMIT 1), 0)
  <= (SELECT coalesce(min(c.position), 9223372036854775807) FROM runtime_cursors c)
"""
"""Whether all projections have dealt with everything of an ended job `j`."""


def cursor_record(row: Iterable[object]) -> Cursor:
    """Build a cursor from its column values."""
    values: dict[str, Any] = dict(zip(CURSOR, row, strict=True))
    return Cursor(**values)


def bytes_of(event: RuntimeEvent, *, with_content: bool = True) -> int:
    """Return what an entry takes, as the databases reckon it."""
    data = len(dumps(event.data))
    content = len(event.content or b"") if with_content else 0
    return content + (data if data > _NAMES_AND_NUMBERS else 0)


def last_of_page(sizes: Iterable[tuple[int, int]], max_bytes: int) -> int | None:
    """Return the last position of which the entries up to it have so many bytes at most; `None` when there is none.

    Args:
        sizes: Each entry's position and bytes, in order. The first one is taken in any case.
        max_bytes: The bound.
    """
    last = None
    for position, size in sizes:
        max_bytes -= size
        if last is not None and max_bytes < 0:
            break
        last = position
    return last
