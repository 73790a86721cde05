"""Resume tokens among the arguments of a job's steps: they are stored nowhere, and are others in every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent_runtime.actions.records import draw_tokens
from agent_runtime.values.action import ActionRecord, ActionToken


class ResumeTokens:
    """The tokens that one run has drawn, and in whose place something else is recorded."""

    def __init__(self) -> None:
        self._drawn: dict[str, str] = {}
        """By token, what stands for it."""

    @property
    def are_drawn(self) -> bool:
        """Whether there are any, so that arguments may be recorded as others than they are."""
        return bool(self._drawn)

    def draw(self, action: ActionRecord) -> tuple[ActionRecord, Sequence[ActionToken]]:
        """Draw tokens for an action; return the action that shows them, and what is stored of them."""
        action, stored = draw_tokens(action)
        if action.resume_token is not None:
            self._drawn[action.resume_token] = f"<resume token of {action.action_id}>"
        for approver, token in action.resume_tokens.items():
            self._drawn[token] = f"<resume token of {action.action_id} for {approver}>"
        return action, stored

    def hidden(self, value: object) -> object:
        """Return arguments as they are recorded, and shown to people: a link with a token is the same link in the next run."""
        return _replaced(value, self._drawn)

    def put_back(self, value: object, given: object) -> object:
        """Return arguments that somebody has edited with the tokens in their places again: those of the call that they were shown, and no others."""
        tokens = {
            name: token for token, name in self._drawn.items() if _replaced(given, {token: name}) != given
        }
        return _replaced(value, tokens)


def _replaced(value: object, words: Mapping[str, str], depth: int = 50) -> object:
    """Return a value with some words of its texts replaced."""
    if not words or not depth:  # a circle, if anything
        return value
    if isinstance(value, str):
        for word, other in words.items():
            value = value.replace(word, other)
        return value
    if isinstance(value, Mapping):
        return {name: _replaced(inner, words, depth - 1) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(inner, words, depth - 1) for inner in value]
    return value
