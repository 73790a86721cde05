"""The back ends are put together from the same nouns, which stand in files of the same names."""

import inspect
from typing import Protocol

import pytest

from agent_runtime.ports.journal import Journal
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage

BACK_ENDS: list[type] = [MemoryStorage, SQLiteStorage, PostgresStorage]
NOUNS = {base.__name__: base for base in Storage.__bases__ if base not in (Protocol, Journal)}


def methods_of(port: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(port, inspect.isfunction) if not name.startswith("_")}


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_a_storage_is_put_together_from_the_nouns_of_its_port(back_end: type) -> None:
    parts = {base.__name__: base for base in back_end.__bases__}
    assert parts.keys() == NOUNS.keys()
    for name, port in NOUNS.items():
        assert methods_of(port) <= methods_of(parts[name]), name
        assert not methods_of(port) & vars(back_end).keys(), name


def test_a_noun_stands_in_a_file_of_the_same_name_in_every_back_end() -> None:
    places = [
        {base.__name__: base.__module__.rsplit(".", 1)[1] for base in back_end.__bases__}
        for back_end in BACK_ENDS
    ]
    assert places[0] == places[1] == places[2]
