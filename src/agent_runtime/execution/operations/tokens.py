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

    def hidden(self, value: object, depth: int = 50) -> object:
        """Return arguments as they are recorded: a link with a token is the same link in the next run."""
        if not self._drawn or not depth:  # a circle, if anything
            return value
        if isinstance(value, str):
            for token, name in self._drawn.items():
                value = value.replace(token, name)
            return value
        if isinstance(value, Mapping):
            return {name: self.hidden(inner, depth - 1) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.hidden(inner, depth - 1) for inner in value]
        return value
