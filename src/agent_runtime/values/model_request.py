"""Reading from a job's journal what its models were asked: messages are written once, and referred to afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from llm_client.codec import load_message, load_result
from llm_client.messages import Message
from llm_client.tools.execution import to_result

MAX_MESSAGES: Final = 50_000
"""Of one request. What refers twice to what was before it becomes twice as long with each, and nobody has asked it."""
_ANSWERS = frozenset({RuntimeEventType.MODEL_COMPLETED, RuntimeEventType.MODEL_LEFT})
_RESULTS = frozenset({RuntimeEventType.TOOL_COMPLETED, RuntimeEventType.TOOL_FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """What a model call has asked."""

    messages: tuple[Message, ...]
    """All of them, in their order, as the policy let them leave."""
    tools: tuple[str, ...] = ()
    """Names of the tools the model was offered."""


def model_requests(events: Iterable[RuntimeEvent]) -> dict[str, ModelRequest]:
    """Return what each model call of a job has asked, by its operation id.

    Args:
        events: The job's stored events from the first one on.
    """
    reader = _Reader()
    for event in events:
        reader.read(event)
    return {operation_id: reader.requests[place] for operation_id, place in reader.places.items()}


class _Reader:
    """The requests, answers and results of a journal, as far as it has been read."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}
        """Of the model calls, by operation id."""
        self._answers: dict[str, Message] = {}
        self._results: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._reader = RequestReader(answer=self._answers.__getitem__, result=self._results.__getitem__)

    @property
    def requests(self) -> Mapping[str, ModelRequest]:
        return self._reader.requests

    def read(self, event: RuntimeEvent) -> None:
        operation_id = event.operation_id
        if operation_id is None or event.content is None:
            return
        place = operation_id.partition(":")[2]
        if event.type == RuntimeEventType.MODEL_STARTED:
            self.places[operation_id] = place
            self._reader.read(place, event.body())
        elif event.type in _ANSWERS:
            self._answers[place] = load_result(event.body()).message()
        elif event.type in _RESULTS:
            self._results[place] = event.data.get("name", ""), event.body()


class RequestReader:
    """Puts requests together from what is written of each: what was new, and references.

    Args:
        answer: Returns the answer of the call at a place.
        result: Returns the name of the tool at a place, and what its call came to.
    """

    def __init__(
        self,
        *,
        answer: Callable[[str], Message],
        result: Callable[[str], tuple[str, Mapping[str, Any]]],
    ) -> None:
        self.requests: dict[str, ModelRequest] = {}
        """Those that were read, by place."""
        self._answer = answer
        self._result = result

    def read(self, place: str, body: Mapping[str, Any]) -> None:
        """Put together the request at a place; those that it refers to were read before."""
        fresh = [load_message(message) for message in body["messages"]]
        messages: list[Message] = []
        tools = body.get("tools")
        for part in body.get("request", (len(fresh),)):
            if isinstance(part, int):
                messages += fresh[:part]
                del fresh[:part]
                continue
            messages += self._referred(part)
            if len(messages) > MAX_MESSAGES:
                raise ValueError(f"a request of more than {MAX_MESSAGES} messages")
            if tools is None and len(part) == 3:
                tools = self.requests[part[0]].tools
        self.requests[place] = ModelRequest(messages=tuple(messages), tools=tuple(tools or ()))

    def _referred(self, part: Sequence[Any]) -> Sequence[Message]:
        match part:
            case [place, int(first), int(count)]:
                return self.requests[place].messages[first : first + count]
            case [place, call_id]:
                name, body = self._result(place)
                text = body.get("content")
                text = to_result(body.get("value")).content if text is None else text
                return (Message.tool(text, call_id, name),)
            case [place]:
                return (self._answer(place),)
        raise ValueError(f"{part!r} refers to no message")
