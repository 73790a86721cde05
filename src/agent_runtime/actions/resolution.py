"""What answers a question, by its type; and the hash of what an answer says shall be done, which is what votes are for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from agent_runtime.actions.argument_schema import problems_of
from agent_runtime.errors import ContentTooLarge, InvalidInput, ResultNotSerializable
from agent_runtime.values.action import ActionRecord, ActionType
from agent_runtime.values.checks import check_json
from agent_runtime.values.digest import digest
from llm_client.json_text import JsonObject, JsonValue, number_of

Answer = dict[str, JsonValue]

OUTCOMES: Final = ("done", "retry", "fail")
"""What a person may have found out about an effect whose outcome was lost."""
_VERDICTS: Final = ("accept", "reject")
_COMMENTS: Final = frozenset({"reason", "error"})
"""What an answer says besides what shall be done; two who differ only in this agree."""


def check_resolution(action: ActionRecord, resolution: object) -> Answer:
    """Return an answer in the form of its action's type.

    Raises:
        InvalidInput: It is none; says what is wrong, so that it can be given again.
    """
    if not isinstance(resolution, Mapping):
        raise InvalidInput('an answer is an object such as {"approved": true}')
    if not all(isinstance(name, str) for name in resolution):
        raise InvalidInput("the names in an answer are texts")
    answer = dict(resolution)
    form = _FORMS.get(action.type)
    if form is not None:
        fields, check = form
        _check_names(action, answer, fields)
        check(action, answer)
    try:
        check_json("the answer", answer, exact=True)
    except (ResultNotSerializable, ContentTooLarge) as error:
        raise InvalidInput(str(error)) from error
    return answer


def hash_of_answer(action: ActionRecord, answer: Answer) -> str:
    """Return the hash of what shall be done: a yes without arguments is for the original ones."""
    comments = _COMMENTS if action.type in _FORMS else ()
    said = {name: value for name, value in answer.items() if name not in comments}
    if action.type == ActionType.APPROVAL and agrees(answer):
        said.setdefault("arguments", action.payload.get("arguments"))
    return digest(said)


def agrees(answer: JsonObject) -> bool:
    """Whether an answer is not a no; one no decides."""
    return bool(answer.get("approved", True))


def read_object(text: str) -> dict[str, JsonValue]:
    """Read a JSON object that was written as text.

    Raises:
        InvalidInput: It is none, or says something twice: then nobody knows which one was meant.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_without_twice, parse_float=number_of, parse_constant=_no_constant
        )
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput('it is not a JSON object such as {"value": 1}')
    return value


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidInput("it is not clear: a name stands there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise InvalidInput(f"it is not JSON: {name} is no number of it")


def _check_names(action: ActionRecord, answer: Answer, fields: frozenset[str]) -> None:
    unknown = sorted(answer.keys() - fields)
    if unknown:
        shown = unknown[0] if unknown[0].isidentifier() and len(unknown[0]) <= 40 else "another name"
        raise InvalidInput(
            f"the answer to a question of type {action.type!r} has {', '.join(sorted(fields))}, not {shown}"
        )
    if answer.get("reason") is None:
        answer.pop("reason", None)
    elif not isinstance(answer["reason"], str):
        raise InvalidInput("reason is a text")


def _check_yes_or_no(action: ActionRecord, answer: Answer) -> None:
    name = "approved" if action.type == ActionType.APPROVAL else "confirmed"
    given = [answer[word] for word in ("approved", "confirmed") if word in answer]
    if not given or not all(isinstance(word, bool) for word in given):
        article = "an" if name == "approved" else "a"
        raise InvalidInput(
            f'{article} {action.type} is answered with {{"{name}": true}} or {{"{name}": false}}'
        )
    if len(set(given)) > 1:
        raise InvalidInput("the answer says both yes and no")
    answer["approved"] = given[0]


def _check_approval(action: ActionRecord, answer: Answer) -> None:
    _check_yes_or_no(action, answer)
    answer.pop("confirmed", None)
    if "arguments" not in answer:
        return
    if answer["arguments"] is None or not answer["approved"]:
        del answer["arguments"]  # forms send their fields whatever is answered; a no changes nothing
        return
    answer["arguments"] = _edited(action, answer["arguments"])


def _edited(action: ActionRecord, given: Any) -> dict[str, Any]:
    """Return edited arguments, if the tool could be called with them."""
    if isinstance(given, str):
        try:
            given = read_object(given)
        except InvalidInput as error:
            raise InvalidInput(f"arguments: {error}") from None
    if not isinstance(given, Mapping):
        raise InvalidInput("arguments is an object, with all the arguments of the call")
    if action.argument_schema is None:
        return dict(given)
    if action.argument_schema == NOTHING_TO_EDIT:
        raise InvalidInput("this approval has no arguments that could be changed")
    problems = problems_of(given, action.argument_schema)
    if problems:
        raise InvalidInput(f"the arguments do not match the tool's schema: {'; '.join(problems)}")
    return dict(given)


def _check_confirm(action: ActionRecord, answer: Answer) -> None:
    _check_yes_or_no(action, answer)
    answer["confirmed"] = answer["approved"]
    if "decisions" not in answer:
        return
    decisions, items = answer["decisions"], action.payload.get("packages")
    if not isinstance(decisions, Mapping) or any(word not in _VERDICTS for word in decisions.values()):
        raise InvalidInput('decisions has "accept" or "reject" for each name')
    if isinstance(items, Mapping) and not decisions.keys() <= items.keys():
        raise InvalidInput("decisions has a name that the question does not ask about")


def _check_choice(action: ActionRecord, answer: Answer) -> None:
    choices = action.payload.get("choices")
    if "choice" not in answer:
        raise InvalidInput(f'a choose is answered with {{"choice": …}}{_one_of(choices)}')
    if isinstance(choices, list):
        wanted = digest(answer["choice"])
        for choice in choices:  # not `in`: to Python `true` is 1
            if digest(choice) == wanted:
                answer["choice"] = choice
                return
        raise InvalidInput(f'a choose is answered with {{"choice": …}}{_one_of(choices)}')


def _one_of(choices: Any) -> str:
    return f", one of {choices}" if isinstance(choices, list) else ""


def _check_input(_: ActionRecord, answer: Answer) -> None:
    if "value" not in answer:
        raise InvalidInput('an input is answered with {"value": …}')


def _check_reconcile(_: ActionRecord, answer: Answer) -> None:
    outcome = answer.get("outcome")
    if outcome not in OUTCOMES or not isinstance(outcome, str):
        raise InvalidInput('a reconcile is answered with {"outcome": "done"}, "retry" or "fail"')
    for name, of in (("result", "done"), ("error", "fail")):
        if answer.get(name) is None:
            answer.pop(name, None)
        elif outcome != of:
            raise InvalidInput(f'{name} goes with the outcome "{of}"')
    if not isinstance(answer.get("error", ""), str):
        raise InvalidInput("error is a text")


NOTHING_TO_EDIT: Final[Mapping[str, Any]] = {"type": "object", "maxProperties": 0}
"""The schema of an approval that is about no call: of a model, say, or of a job."""
_FORMS: Final[Mapping[str, tuple[frozenset[str], Callable[[ActionRecord, Answer], None]]]] = {
    ActionType.APPROVAL: (frozenset({"approved", "confirmed", "reason", "arguments"}), _check_approval),
    ActionType.CONFIRM: (frozenset({"approved", "confirmed", "reason", "decisions"}), _check_confirm),
    ActionType.CHOOSE: (frozenset({"choice", "reason"}), _check_choice),
    ActionType.INPUT: (frozenset({"value", "reason"}), _check_input),
    ActionType.RECONCILE: (frozenset({"outcome", "result", "error", "reason"}), _check_reconcile),
}
"""Fields and check by type. An answer to any other type is any object."""
