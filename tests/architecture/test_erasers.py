"""Every table that holds what somebody has said is emptied when their content is erased: a new one needs an eraser."""

from sqlalchemy import LargeBinary, Text
from sqlalchemy.types import JSON

from agent_runtime.app import erasers_of
from agent_runtime.storage.erasing import EMPTIED, KEPT
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.schema import metadata


def test_every_table_with_content_is_emptied_or_says_why_it_is_kept() -> None:
    holds_text = {
        name
        for name, table in metadata.tables.items()
        if any(isinstance(column.type, Text | LargeBinary | JSON) for column in table.columns)
    }
    elsewhere = {table for eraser in erasers_of(MemoryStorage()) for table in eraser.tables}
    assert holds_text - EMPTIED - KEPT.keys() - elsewhere == set()
    assert not EMPTIED & KEPT.keys()
    assert (EMPTIED | KEPT.keys()) <= metadata.tables.keys()
