"""The questions of a job as forms that a client shows its person (`elicitation/create`), and its answers as answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequests

from agent_runtime.errors import InvalidInput
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.server.access import Caller
from agent_runtime.server.questions import (
    declined,
    fields_of,
    filled_in,
    message_of,
    open_questions,
    take,
)
from agent_runtime.values.action import ActionRecord
from llm_client.public_text import public_text
from llm_client.turns import read_aside

MAX_PROBLEM: Final = 500
"""Characters of what was wrong with an answer."""


def form_of(action: ActionRecord, problem: str | None = None) -> ElicitRequestFormParams:
    """Return a question as a form.

    Args:
        action: The question.
        problem: What was wrong with the last answer.
    """
    fields, required = fields_of(action)
    schema = {"type": "object", "properties": fields, "required": required}
    return ElicitRequestFormParams(message=message_of(action, problem), requested_schema=schema)


async def forms_of(questions: Sequence[ActionRecord], problems: Mapping[str, str]) -> InputRequests:
    """Return questions as what a client is asked by an answer to it, by their ids.

    Args:
        questions: The questions.
        problems: What was wrong with answers to them.
    """

    def made() -> InputRequests:
        return {
            action.action_id: ElicitRequest(params=form_of(action, problems.get(action.action_id)))
            for action in questions
        }

    return await read_aside([action.payload for action in questions], made)


async def answer(kernel: Kernel, action: ActionRecord, given: ElicitResult, caller: Caller) -> None:
    """Take an answer to a question that is open for this caller; an answer that comes too late is nothing.

    Who declines says no where that can be said, and otherwise withdraws the question. Who dismisses the form has said nothing.

    Raises:
        InvalidInput: It is none for this question.
    """
    if given.action == "cancel":
        return
    said = declined(action) if given.action == "decline" else filled_in(action, given.content or {})
    await take(kernel, action, said, caller)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of several answers."""

    problems: Mapping[str, str]
    """Why some were none, by their questions."""
    dismissed: bool
    """Whether a person has said nothing to one of them."""


async def take_answers(kernel: Kernel, job_id: str, given: Mapping[str, object], caller: Caller) -> Taken:
    """Take the answers to those questions of a job that are open for this caller, each for itself; others are nothing."""
    problems, dismissed = {}, False
    for action in await open_questions(kernel, job_id, caller):
        said = given.get(action.action_id)
        if not isinstance(said, ElicitResult):
            continue
        dismissed = dismissed or said.action == "cancel"
        try:
            await answer(kernel, action, said, caller)
        except InvalidInput as error:
            problems[action.action_id] = problem_of(error)
    return Taken(problems, dismissed)


def problem_of(error: InvalidInput) -> str:
    """Return what was wrong with an answer, as its giver is told."""
    return public_text(str(error), MAX_PROBLEM)
