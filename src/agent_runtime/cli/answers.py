"""From what a person types to a resolution of the action they were asked."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Final

from agent_runtime.actions.resolution import read_object
from agent_runtime.cli.output.printable import printable
from agent_runtime.errors import InvalidInput
from agent_runtime.values.action import ActionRecord, ActionType
from llm_client.json_text import JsonValue

_YES: Final = frozenset({"y", "yes", "approve", "accept"})
_NO: Final = frozenset({"n", "no", "deny", "reject"})


def choices_of(action: ActionRecord) -> list[object]:
    """Return what may be chosen, of an action that gives a choice."""
    choices = action.payload.get("choices")
    return choices if isinstance(choices, list) else []


def labels_of(action: ActionRecord) -> list[str]:
    """Return how each choice is written: as its text, or as JSON where that could be taken for another one, or for several."""
    texts = [str(choice) for choice in choices_of(action)]
    return [
        json.dumps(choice, ensure_ascii=False) if texts.count(text) > 1 or "," in text else text
        for choice, text in zip(choices_of(action), texts, strict=True)
    ]


def items_of(action: ActionRecord) -> Mapping[str, str]:
    """Return the single packages that a confirmation is about, if it names any."""
    packages = action.payload.get("packages")
    return packages if action.type == ActionType.CONFIRM and isinstance(packages, dict) else {}


def how_to_answer(action: ActionRecord) -> str:
    """Return the options of `actions resolve` that answer this action."""
    match action.type:
        case ActionType.APPROVAL | ActionType.CONFIRM:
            return "--approve (or --deny)"
        case ActionType.CHOOSE:
            return (
                f"--choice {shlex.quote(printable(labels_of(action)[0]))}"
                if choices_of(action)
                else "--choice …"
            )
        case ActionType.INPUT:
            return "--value …"
        case ActionType.RECONCILE:
            return "--outcome done (or retry, or fail)"
        case _:
            return "--json '{…}'"


def prompt_for(action: ActionRecord) -> str:
    """Return the words that ask for an answer at a terminal."""
    match action.type:
        case ActionType.APPROVAL:
            return "[y]es or [n]o? "
        case ActionType.CONFIRM:
            return (
                "[y]es to all, [n]o to all, or [e]ach by itself? " if items_of(action) else "[y]es or [n]o? "
            )
        case ActionType.CHOOSE:
            return printable(f"which of {', '.join(labels_of(action))}? ")
        case ActionType.INPUT:
            return "your answer: "
        case ActionType.RECONCILE:
            return "did it happen? [d]one, [r]etry or [f]ail: "
        case _:
            return "your answer, as JSON: "


def understand(action: ActionRecord, text: str) -> dict[str, object]:
    """Return the resolution that a typed line means.

    Raises:
        InvalidInput: It means none.
    """
    lowered = text.strip().lower()
    match action.type:
        case ActionType.APPROVAL | ActionType.CONFIRM:
            return {"approved" if action.type == ActionType.APPROVAL else "confirmed": is_yes(lowered)}
        case ActionType.CHOOSE:
            return {"choice": choice_from(action, text.strip())}
        case ActionType.INPUT:
            return {"value": text}
        case ActionType.RECONCILE:
            for outcome in ("done", "retry", "fail"):
                if lowered and outcome.startswith(lowered):
                    return {"outcome": outcome}
            raise InvalidInput("answer done, retry or fail")
        case _:
            return dict(from_json(text))


def is_yes(text: str) -> bool:
    """Return what a yes or no means.

    Raises:
        InvalidInput: It is neither.
    """
    if text.strip().lower() in _YES:
        return True
    if text.strip().lower() in _NO:
        return False
    raise InvalidInput("answer y or n")


def choice_from(action: ActionRecord, text: str) -> object:
    """Return the choice that is written as `text`; choices need not be text themselves.

    Raises:
        InvalidInput: It may be one or another.
    """
    choices = choices_of(action)
    written = [choice for choice, label in zip(choices, labels_of(action), strict=True) if label == text]
    meant = written or [choice for choice in choices if str(choice) == text]
    if len(meant) > 1:
        raise InvalidInput(f"{text!r} may be one or another; choices are {', '.join(labels_of(action))}")
    return meant[0] if meant else text


def from_json(text: str) -> dict[str, JsonValue]:
    """Return a resolution written as JSON.

    Raises:
        InvalidInput: It is not a JSON object.
    """
    try:
        return read_object(text)
    except InvalidInput as error:
        raise InvalidInput(f"the answer: {error}") from None
