"""Questions that end a run, and the answers with which another one goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from agent_runtime.actions.argument_schema import problems_of
from agent_runtime.actions.votes import voter_of
from agent_runtime.errors import InvalidInput, UnknownAction
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.server.access import Caller
from agent_runtime.server.ag_ui.given import ResumeEntry, Run
from agent_runtime.server.questions import (
    JSON,
    declined,
    fields_of,
    filled_in,
    message_of,
    open_questions,
    take,
)
from agent_runtime.values.action import ActionRecord, ActionType
from agent_runtime.values.checks import MAX_COUNT
from llm_client.json_text import JsonObject, JsonValue

EDITED: Final = "editedArgs"
"""What AG-UI calls the arguments with which somebody wants a tool to be called instead."""
_BETWEEN: Final = "@"


def interrupts_of(questions: Sequence[ActionRecord], seq: int, calls: Collection[str]) -> list[JsonObject]:
    """Return questions as what a run waits for.

    Args:
        questions: The questions.
        seq: The last entry that the run has told of; it comes back with the answer.
        calls: Operations that were told as calls of tools.
    """
    return [_interrupt(action, seq, calls) for action in questions]


def _interrupt(action: ActionRecord, seq: int, calls: Collection[str]) -> dict[str, JsonValue]:
    told: dict[str, JsonValue] = {
        "id": f"{action.action_id}{_BETWEEN}{seq}",
        "reason": "input_required",
        "message": message_of(action, None),
        "responseSchema": _schema_of(action),
    }
    if action.type in (ActionType.APPROVAL, ActionType.CONFIRM):
        told["reason"] = "confirmation"
        call = (action.operation_id or "").partition("?")[0]  # after it stands what is asked about it
        if call in calls:
            told |= {"reason": "tool_call", "toolCallId": call}
    if action.expires_at is not None:
        told["expiresAt"] = action.expires_at.isoformat().replace("+00:00", "Z")
    return told


def _schema_of(action: ActionRecord) -> JsonObject:
    """Return the form of an answer."""
    fields, required = fields_of(action)
    if JSON in fields:
        return {"type": "object"}
    if action.type == ActionType.APPROVAL and action.argument_schema is not None:
        fields = {**fields, EDITED: dict(action.argument_schema)}
    return {"type": "object", "properties": fields, "required": required}


async def answered(kernel: Kernel, run: Run, caller: Caller, scope_id: str | None) -> tuple[str, int]:
    """Take answers, and return the job that goes on with them, and the last of its entries that the page knows.

    Answers that were taken before are nothing, so that a page may send them again.

    Raises:
        UnknownAction: There is no such question in this scope and conversation.
        InvalidInput: An answer is none, or one of the questions has none.
    """
    answers = {each.interrupt_id.rpartition(_BETWEEN)[0]: each for each in run.given.resume or ()}
    seq = min(_seq_in(each.interrupt_id) for each in answers.values())
    actions = [await kernel.actions.get(each, scope_id=scope_id) for each in answers]
    job_ids = {action.job_id for action in actions}
    job_id = job_ids.pop() if len(job_ids) == 1 else None
    if job_id is None:
        raise InvalidInput("the answers of one run are to questions of one job")
    job = await kernel.jobs.get(job_id, scope_id=scope_id)
    if (job.session_id, job.operator) != (run.given.thread_id, run.operator):
        raise UnknownAction("no question of this conversation has this id")
    missing = [each for each in await open_questions(kernel, job_id, caller) if each.action_id not in answers]
    if missing:
        raise InvalidInput(f"every open question is answered at once; {missing[0].action_id} is not")
    for action in actions:
        if action.is_pending:  # somebody else's is not withdrawn either, nor is one answered beside it
            voter_of(action, caller.person)
    said = [(action, _resolution(action, answers[action.action_id])) for action in actions]
    for action, resolution in said:
        if action.is_pending:
            await take(kernel, action, resolution, caller)
    return job_id, seq


def _resolution(action: ActionRecord, answer: ResumeEntry) -> Mapping[str, object] | None:
    """Return what an answer says; of a form with one field that matters, the value alone is enough."""
    if answer.status == "cancelled":
        return declined(action)
    fields, required = fields_of(action)
    payload: Any = answer.payload
    if JSON in fields:
        if not isinstance(payload, Mapping):
            raise InvalidInput("the answer to this question is an object")
        return payload
    content = dict(payload) if isinstance(payload, Mapping) else {str(required[0]): payload}
    if problems := problems_of(content, _schema_of(action)):
        raise InvalidInput(f"the answer is not of the form that was asked for: {'; '.join(problems)}")
    if EDITED in content:
        content["arguments"] = content.pop(EDITED)
    return filled_in(action, content)


def _seq_in(interrupt_id: str) -> int:
    said = interrupt_id.rpartition(_BETWEEN)[2]
    if not said.isascii() or not said.isdigit():
        raise UnknownAction("no question has this id")
    return min(int(said[:19]), MAX_COUNT)
