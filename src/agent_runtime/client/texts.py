"""The texts that models write, joined from the events that tell of them live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent_runtime.client.models import Event


class AnswerTexts(Mapping[str, str]):
    """What has come of each answer so far, by the id of its operation.

    Give it all events of a stream: what begins in the middle, or comes again after a lost connection, takes the place of what was there.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def add(self, event: Event) -> str | None:
        """Take an event in, and return the whole text of its answer; `None` when it tells of none."""
        operation = event.operation_id
        if operation is None or event.seq is not None or event.data.get("reasoning"):
            return None
        text = event.data.get("text")
        if not isinstance(text, str):
            return None
        match event.type:
            case "model.partial":
                self._texts[operation] = text
            case "model.token":
                self._texts[operation] = self._texts.get(operation, "") + text
            case _:
                return None
        return self._texts[operation]

    def __getitem__(self, operation_id: str) -> str:
        return self._texts[operation_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)
