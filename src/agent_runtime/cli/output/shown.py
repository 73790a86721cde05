"""A question as a person sees it: every argument on a line of its own with its length, so that none hides another.

Who asked chooses the names, the values and their order. So what the question itself says stands above a heading, and what has others'
names below it, further inside; the long ones come first and the short ones last, next to the prompt; and what is cut says so, and is not
to be answered before all of it was shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent_runtime.cli.output.printable import printable
from agent_runtime.values.action import ActionRecord, ActionType

_Detail = tuple[str, str, int]
MAX_VALUE: Final = 500
"""Characters of one value that are shown at first."""
MAX_QUESTION: Final = 2_000
"""Characters of all of them: more would push some of it off the screen."""
MAX_LINES: Final = 40
MAX_NAME: Final = 60
_IN_A_LINE: Final = 100
_SHARE: Final = 24
"""Characters of each value where a whole question has one line."""
_OPENED: Final = ("arguments", "retry_arguments", "packages", "input", "tags", "metadata")
"""Fields of a payload whose entries are shown one by one, below a heading: others have chosen their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A question in lines."""

    lines: tuple[str, ...]
    is_whole: bool
    """Whether nothing of it is cut."""


def show(action: ActionRecord, *, whole: bool = False) -> Shown:
    """Return a question in lines: its sentence, then its details.

    Args:
        action: The question.
        whole: Show everything, however long it is.
    """
    sentence = sentence_of(action)
    lines, is_whole, length = [f"question: {_cut(sentence, None if whole else MAX_VALUE)}"], True, 0
    for heading, details in _details(action):
        lines += [f"  {heading}:"] if heading else []
        indent = "    " if heading else "  "
        for name, value, characters in details:
            limit = None if whole else max(0, min(MAX_VALUE, MAX_QUESTION - length))
            said, named = _cut(value, limit), _cut(name, None if whole else MAX_NAME)
            length += len(said)
            is_whole = is_whole and (named, said) == (name, value)
            lines.append(f"{indent}{named} ({_characters(characters)}): {said}")
    if not whole and len(lines) > MAX_LINES:
        lines, is_whole = [*lines[:MAX_LINES], f"  … and {len(lines) - MAX_LINES} more"], False
    return Shown(lines=tuple(lines), is_whole=is_whole and (whole or len(sentence) <= MAX_VALUE))


def sentence_of(action: ActionRecord) -> str:
    """Return what a question asks, without its details."""
    payload = action.payload
    if isinstance(payload.get("message"), str):
        return printable(payload["message"])
    if action.type == ActionType.APPROVAL and "tool" in payload:
        arguments = payload.get("arguments")
        written = _written(arguments)
        if len(written) <= _IN_A_LINE:
            return printable(f"may {payload['tool']} be called with {written}?")
        number = len(arguments) if isinstance(arguments, Mapping) else 1
        return printable(
            f"may {payload['tool']} be called with {number} arguments, {_characters(len(written))}?"
        )
    return printable(f"{action.type}: {', '.join(map(str, payload)) or 'no details'}")


def question_of(action: ActionRecord) -> str:
    """Return a question as a cell of a table: each argument has its share of the line, whatever the others say."""
    arguments = action.payload.get("arguments")
    written = _written(arguments)
    if not isinstance(arguments, Mapping) or len(written) <= _IN_A_LINE:
        return _cut(sentence_of(action), 2 * _IN_A_LINE)
    told = [
        f"{_cut(printable(name), _SHARE)}={_cut(value, _SHARE)}"
        for name, value in sorted(
            ((str(name), printable(_written(value))) for name, value in arguments.items()), key=_by_length
        )
    ]
    what = f"may {action.payload['tool']} be called" if "tool" in action.payload else sentence_of(action)
    return f"{_cut(printable(what), 2 * _IN_A_LINE)} with {', '.join(told)}"


def _details(action: ActionRecord) -> Iterator[tuple[str, list[_Detail]]]:
    """Yield what a question itself says, under no heading, and what others have named, each under one."""
    payload = action.payload
    is_said = isinstance(payload.get("message"), str)
    said = "message" if is_said else "tool" if action.type == ActionType.APPROVAL else None
    opened = {
        name: value for name in _OPENED if isinstance(value := payload.get(name), Mapping) and name != said
    }
    yield "", _in_order({name: value for name, value in payload.items() if name not in (said, *opened)})
    for name, value in opened.items():
        yield name, _in_order(value)


def _in_order(values: Mapping[str, object]) -> list[_Detail]:
    """Return names, values and how many characters these have, the longest first."""
    written = [
        (printable(str(name)), printable(_written(value)), _length(value)) for name, value in values.items()
    ]
    return sorted(written, key=_by_length, reverse=True)


def _by_length(detail: tuple[Any, ...]) -> int:
    return len(detail[1])


def _length(value: Any) -> int:
    """Return how long a text is, without its quotes, or a value as JSON."""
    return len(value) if isinstance(value, str) else len(_written(value))


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _characters(number: int) -> str:
    return "1 character" if number == 1 else f"{number:,} characters"


def _cut(text: str, limit: int | None) -> str:
    return text if limit is None or len(text) <= limit else f"{text[:limit]}… (cut)"
