"""Votes: who has said what about a question, and when that decides it.

Votes are only ever added; of one person the latest counts. So their number tells a writer whether somebody else has
voted meanwhile, and what was said before stays to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypedDict, cast

from agent_runtime.actions.resolution import agrees, hash_of_answer
from agent_runtime.errors import InvalidInput
from agent_runtime.values.action import ActionRecord
from agent_runtime.values.content import json_text
from agent_runtime.values.person import check_person, find_person, person_key
from llm_client.json_text import JsonObject, JsonValue


class Vote(TypedDict):
    """What somebody has said about a question."""

    by: str | None
    hash: str
    """Of what shall be done."""
    resolution: JsonObject
    """The whole answer."""


MAX_VOTES: Final = 50
"""How often one person may answer one question anew."""
MAX_VOTES_BYTES: Final = 256 * 1024
"""Bytes of JSON of all that one person answers a question that wants several: it is kept with the question, and read with it."""

_SHORT: Final = 1024


def voter_of(action: ActionRecord, resolved_by: str | None) -> str | None:
    """Return who answers, as the question names them.

    Raises:
        InvalidInput: They may not, or the token they have given belongs to somebody else.
    """
    if resolved_by is not None:
        check_person("resolved_by", resolved_by)
    if action.token_of is not None:
        if resolved_by is not None and person_key(resolved_by) != person_key(action.token_of):
            raise InvalidInput(f"this token is not {resolved_by}'s: every approver has one of their own")
        resolved_by = action.token_of
    if action.approvers is None:
        return resolved_by
    voter = None if resolved_by is None else find_person(resolved_by, action.approvers)
    if voter is None:
        raise InvalidInput(f"{resolved_by or 'an unnamed person'} is not an approver of this action")
    return voter


def with_vote(
    action: ActionRecord, voter: str | None, answer: dict[str, JsonValue]
) -> tuple[tuple[Vote, ...], bool]:
    """Return the votes with one more, and whether that decides: a no does, and a quorum for one and the same thing.

    Raises:
        InvalidInput: The voter has answered just so already, or too often.
    """
    wanted = hash_of_answer(action, answer)
    before = cast("tuple[Vote, ...]", action.votes)  # all were cast here
    if voter is not None:
        mine = [vote for vote in before if vote["by"] == voter]
        if mine and mine[-1]["hash"] == wanted:
            raise InvalidInput(f"{voter} has answered already, and just so; another answer would replace it")
        if len(mine) >= MAX_VOTES:
            raise InvalidInput(f"{voter} has answered already, {MAX_VOTES} times")
        if action.quorum > 1:
            _check_length(answer, mine)
    votes = (*before, Vote(by=voter, hash=wanted, resolution=answer))
    supporters = [vote for vote in standing(votes) if vote["hash"] == wanted]
    return votes, not agrees(answer) or len(supporters) >= action.quorum


def _check_length(answer: JsonObject, before: Sequence[Vote]) -> None:
    """Refuse what makes the answers of one person too long; a short one is taken however long the others were.

    Raises:
        InvalidInput: It does.
    """
    size = len(json_text(answer, exact=True))
    said = size + sum(len(json_text(vote["resolution"], exact=True)) for vote in before)
    if size > _SHORT and said > MAX_VOTES_BYTES:
        raise InvalidInput(
            f"where several decide, the answers of one person have {MAX_VOTES_BYTES:,} bytes at most, all together"
        )


def standing(votes: Sequence[Vote]) -> list[Vote]:
    """Return the votes that count: the latest of each person."""
    return list({vote["by"]: vote for vote in votes}.values())


def votes_told(votes: Sequence[Vote]) -> list[dict[str, JsonValue]]:
    """Return who stands behind the last vote's answer, without what else they said, which is private content.

    Behind a yes stand those who want the same done; a no is told with everybody's vote.
    """
    decisive = votes[-1]
    return [
        {
            "by": vote["by"],
            "resolution": {
                name: value for name, value in vote["resolution"].items() if name in ("approved", "confirmed")
            },
        }
        for vote in standing(votes)
        if vote["hash"] == decisive["hash"] or not agrees(decisive["resolution"])
    ]
