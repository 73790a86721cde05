"""Whose texts the logs keep: said once by whoever follows the journals, and stored beside the rows, since other processes write them too."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select

from agent_runtime.observability.sql.tables import log_settings

_NAME: Final = "texts"


class KeptTexts(NamedTuple):
    """A rule."""

    everywhere: bool = True
    without: frozenset[str] = frozenset()
    """Scopes whose texts are not kept in any case."""

    @classmethod
    def said(cls, everywhere: bool | None, without: Collection[str] | None) -> KeptTexts | None:
        """Return what has been said; `None` where nothing has."""
        if everywhere is None and without is None:
            return None
        return cls(everywhere is not False, frozenset(without or ()))

    def of(self, scope_id: str) -> bool:
        """Whether a scope's texts are kept."""
        return self.everywhere and scope_id not in self.without


def stored_rule(connection: Connection) -> KeptTexts:
    """Return the rule that is stored; without one, all texts are kept."""
    value = connection.execute(select(log_settings.c.value).where(log_settings.c.name == _NAME)).scalar()
    return (
        KeptTexts(value["everywhere"], frozenset(value["without"]))
        if isinstance(value, dict)
        else KeptTexts()
    )


def store_rule(connection: Connection, rule: KeptTexts) -> None:
    """Store a rule, unless it is there."""
    if stored_rule(connection) != rule:
        connection.execute(delete(log_settings).where(log_settings.c.name == _NAME))
        value = {"everywhere": rule.everywhere, "without": sorted(rule.without)}
        connection.execute(insert(log_settings), {"name": _NAME, "value": value})
