"""How tests are spread over the workers of pytest-xdist: those of a group on one, without looking through all of them for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadGroupScheduling


class Spread(LoadGroupScheduling):
    """pytest-xdist's own way, whose work for a test does not grow with the number of tests."""

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        super().add_node_collection(node, collection)
        if node in self.registered_collections:
            self.registered_collections[node] = Places(collection)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        given = self.assigned_work[node]
        unit = self._split_scope(self.registered_collections[node][item_index])
        if all(given[unit].values()):
            del given[unit]  # what is left is counted after each test


class Places(list[str]):
    """Names of tests that know where each is."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self._places = {name: place for place, name in enumerate(names)}

    def index(self, name: str, *bounds: Any) -> int:
        return self._places[name]


def name_groups(items: Sequence[pytest.Item]) -> None:
    """Name the group of a test behind its name, where the scheduler looks for it.

    pytest-xdist 3.8 does so itself, at a place where pytest 9.2 keeps nothing any more: the tests of a group ran side by side.
    """
    for item in items:
        group = "_".join(sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")}))
        if group and not item.nodeid.endswith(f"@{group}"):
            known: Any = item
            known._id = type(known.id).parse(f"{item.nodeid}@{group}")
