"""Standing budgets as a file: read whole or refused whole, with every line that is wrong and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from agent_runtime.errors import FileInvalid, InvalidInput
from agent_runtime.time_zones import zone
from agent_runtime.values.document import Document, Place, Problems, read_toml, read_yaml
from agent_runtime.values.standing_budget import Budget
from llm_client.errors import ConfigurationError

_KNOWN: Final = {field.name for field in fields(Budget)}


def parse_budgets(text: str, *, source: str = "budgets", toml: bool = False) -> Sequence[Budget]:
    """Build budgets from YAML, JSON or TOML text: a list named `budgets`, each with the fields of `Budget`.

    Time zones are looked up, which reads files the first time: call it in a thread where that matters.

    Raises:
        FileInvalid: Something in it is wrong; nothing of it is used. The message names every line and reason.
    """
    return _read(read_toml(text, source=source) if toml else read_yaml(text, source=source))


def _read(document: Document) -> Sequence[Budget]:
    problems = Problems(document.source, document.lines)
    values = document.values
    listed = values.get("budgets") if isinstance(values, Mapping) else None
    found: dict[str, Budget] = {}
    if not isinstance(values, Mapping) or not isinstance(listed, list):
        problems.add(("budgets",), "a file of budgets is a mapping with a list of `budgets`")
    else:
        problems.check_keys(values, {"budgets"}, ())
        for number, one in enumerate(listed):
            place = ("budgets", number)
            budget = _budget(one, place, problems)
            if budget is not None and budget.budget_id in found:
                problems.add(place, f"there are two budgets {budget.label!r}; give one of them a `name`")
            elif budget is not None:
                found[budget.budget_id] = budget
    if problems:
        raise FileInvalid(str(problems), line=problems.line)
    return list(found.values())


def _budget(given: Any, place: Place, problems: Problems) -> Budget | None:
    if not isinstance(given, Mapping):
        problems.add(place, "a budget is a mapping")
        return None
    if not problems.check_keys(given, _KNOWN, place):
        return None
    try:
        budget = Budget(**given)
        zone(budget.timezone)
    except (InvalidInput, ConfigurationError) as error:
        wrong = next((name for name in given if str(error).startswith(f"{name} ")), "")
        wrong = "timezone" if isinstance(error, ConfigurationError) else wrong
        problems.add((*place, wrong), str(error))
        return None
    return budget
