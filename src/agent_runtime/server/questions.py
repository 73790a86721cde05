"""The questions of a job as forms, for clients that show them to their person, and what those fill in as answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from agent_runtime.actions.resolution import OUTCOMES, read_object
from agent_runtime.errors import ActionAlreadyResolved, InvalidInput
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.server.access import Caller
from agent_runtime.values.action import ActionRecord, ActionStatus, ActionType
from agent_runtime.values.api_key import Permission
from agent_runtime.values.person import find_person, person_key
from llm_client.json_text import JsonObject, JsonValue, dumps
from llm_client.public_text import public_text

MAX_QUESTIONS: Final = 50
"""Open questions of one job that a client is shown at once."""
MAX_BYTES: Final = 1024 * 1024
"""Of what they ask, or one of them: the others are shown when these are answered."""
MAX_MESSAGE: Final = 4_000
"""Characters of a question."""
MAX_CHOICES: Final = 8_000
"""Characters of choices that a form lists; of more it takes any text, and its message begins to tell them."""
REASON: Final[JsonObject] = {"type": "string", "title": "Reason"}
JSON: Final = "json"
"""Field of a form for an answer that no form fits: JSON, as text."""
_NO: Final = {ActionType.CONFIRM: "confirmed", ActionType.APPROVAL: "approved"}
"""Questions that can be declined, and the field that says so."""


async def open_questions(kernel: Kernel, job_id: str, caller: Caller) -> Sequence[ActionRecord]:
    """Return the questions of a job that wait for this caller's answer: none for one who may not answer, or has."""
    if not caller.role.allows(Permission.APPROVE):
        return ()
    pending, _ = await kernel.storage.part_of_actions(
        scope_id=caller.scope_id,
        job_id=job_id,
        status=ActionStatus.PENDING,
        limit=MAX_QUESTIONS,
        max_bytes=MAX_BYTES,
    )
    return [action for action in pending if _waits_for(action, caller.person)]


def _waits_for(action: ActionRecord, person: str) -> bool:
    if action.approvers is None:
        return True
    voter = find_person(person, action.approvers)
    return voter is not None and all(
        person_key(str(vote["by"])) != person_key(voter) for vote in action.votes
    )


def fields_of(action: ActionRecord) -> tuple[JsonObject, list[JsonValue]]:
    """Return the fields of a form, and those that have to be filled in: only plain values, as the protocol has it."""
    match action.type:
        case ActionType.CONFIRM:
            return {"confirmed": {"type": "boolean", "title": "Yes"}, "reason": REASON}, ["confirmed"]
        case ActionType.APPROVAL:
            return {"approved": {"type": "boolean", "title": "Approve"}, "reason": REASON}, ["approved"]
        case ActionType.CHOOSE:
            field: dict[str, JsonValue] = {"type": "string", "title": "Choice"}
            if words := _listed(action):
                field["enum"] = words
            return {"choice": field, "reason": REASON}, ["choice"]
        case ActionType.INPUT:
            return {"value": {"type": "string", "title": "Value"}, "reason": REASON}, ["value"]
        case ActionType.RECONCILE:
            outcome: JsonObject = {"type": "string", "enum": list(OUTCOMES), "title": "What has happened"}
            return {"outcome": outcome, "error": {"type": "string"}, "reason": REASON}, ["outcome"]
    return {JSON: {"type": "string", "title": "Answer", "description": "A JSON object."}}, [JSON]


def _listed(action: ActionRecord) -> list[str]:
    """Return the choices that a form lists: all, or none where they are too long for it."""
    choices = action.payload.get("choices")
    words = [_word_for(choice) for choice in choices] if isinstance(choices, list) else []
    return words if sum(map(len, words)) <= MAX_CHOICES else []


def _word_for(choice: object) -> str:
    return choice if isinstance(choice, str) else dumps(choice).decode()


def message_of(action: ActionRecord, problem: str | None) -> str:
    """Return the text of a question: its message, and for an approval what is to be approved."""
    payload = action.payload
    said = payload.get("message")
    told = ("message", "choices") if _listed(action) else ("message",)
    rest = {name: value for name, value in payload.items() if name not in told}
    lines = [] if problem is None else [f"{problem}."]
    lines.append(said if isinstance(said, str) else f"A job asks for {action.type}.")
    if rest:
        lines.append(dumps(rest).decode())
    text = "\n".join(lines)
    if len(text) <= MAX_MESSAGE:
        return public_text(text, MAX_MESSAGE)
    return f"{public_text(text, MAX_MESSAGE)}\n… and more: all of it stands in the action {action.action_id}."


async def take(
    kernel: Kernel, action: ActionRecord, resolution: Mapping[str, object] | None, caller: Caller
) -> None:
    """Take an answer to a question that is open for this caller; one that comes too late is nothing. `None` withdraws the question.

    Raises:
        InvalidInput: It is none for this question.
    """
    try:
        if resolution is None:
            await kernel.actions.cancel(action.action_id, "declined", scope_id=caller.scope_id)
        else:
            await kernel.actions.resolve_by_id(
                action.action_id, resolution, resolved_by=caller.person, scope_id=caller.scope_id
            )
    except ActionAlreadyResolved:
        return


def declined(action: ActionRecord) -> Mapping[str, object] | None:
    """Return what it means to decline a question: no, where that can be said, and otherwise `None`."""
    field = next((name for kind, name in _NO.items() if kind == action.type), None)
    return None if field is None else {field: False}


def filled_in(action: ActionRecord, given: Mapping[str, object]) -> Mapping[str, object]:
    """Return what a form says as an answer. Raises `InvalidInput`."""
    content = {name: value for name, value in given.items() if value not in (None, "")}
    fields, _ = fields_of(action)
    if JSON in fields:
        said = content.get(JSON)
        if not isinstance(said, str):
            raise InvalidInput("the answer to this question is a JSON object, as text")
        return read_object(said)
    choices = action.payload.get("choices")
    if action.type == ActionType.CHOOSE and isinstance(choices, list):
        words = {_word_for(choice): choice for choice in choices}
        return {**content, "choice": words.get(str(content.get("choice")), content.get("choice"))}
    return content
