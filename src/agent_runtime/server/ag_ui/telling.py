"""A job's events as events of AG-UI: what was begun is ended, and what has been told stays true or is taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from agent_runtime.kernel.following import PARTIAL
from agent_runtime.values.event import EPOCH, RuntimeEvent, RuntimeEventType
from llm_client.codec import load_result
from llm_client.json_text import JsonObject, dumps
from llm_client.messages import CompletionResult

MAX_TOLD: Final = 256 * 1024
"""Characters of a run's messages that are kept to take one back; of a longer run nothing is taken back, and what was given up stands there ended."""
_TYPES: Final = frozenset(RuntimeEventType)
_OWN: Final = "agent-runtime."
"""What names of events begin with for which AG-UI has no type."""


class _Coming:
    """A text that is coming, piece by piece."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        self._pieces.append(text)

    def joined(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]


class Telling:
    """Tells of one job, in one run.

    Args:
        mark: What ids of messages begin with.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._texts: dict[str, _Coming] = {}
        self._thoughts: dict[str, _Coming] = {}
        self._given_up: Counter[str] = Counter()
        """Answers of each operation that were given up: another one has another id."""
        self._unknown: set[str] = set()
        """Answers of whose beginning nothing was kept: they are told when they are whole."""
        self._steps: dict[str, str] = {}
        self.calls: set[str] = set()
        """Operations that were told as calls of tools; these are their ids."""
        self._told: list[JsonObject] | None = None
        self._size = 0

    def begin(self, messages: Sequence[JsonObject]) -> None:
        """Begin to tell. What was told before belongs to another run.

        Args:
            messages: Those that the page has.
        """
        self._texts.clear()
        self._thoughts.clear()
        self._steps.clear()
        self._told, self._size = [], 0
        for message in messages:
            self._keep(message)

    def tell(self, event: RuntimeEvent) -> list[JsonObject]:
        """Return what an event is told as; most of what a journal keeps is nothing to a page."""
        at = {} if event.timestamp == EPOCH else {"timestamp": int(event.timestamp.timestamp() * 1000)}
        return [{**told, **at} for told in self._tell(event, event.operation_id or "")]

    def end(self) -> Iterator[JsonObject]:
        """End all that was begun: after this nothing but the end of the run comes."""
        for operation in [*self._thoughts]:
            yield from self._end_thought(operation)
        for operation in [*self._texts]:
            yield from self._end_text(operation)
        for operation in [*self._steps]:
            yield from self._end_step(operation)

    def _tell(self, event: RuntimeEvent, operation: str) -> Iterator[JsonObject]:
        data = event.data
        if event.type.startswith("model."):
            yield from self._tell_of_model(event, operation)
            return
        match event.type:
            case RuntimeEventType.TOOL_STARTED:
                yield from self._call(operation, str(data.get("name")), event.body())
            case RuntimeEventType.TOOL_COMPLETED | RuntimeEventType.TOOL_FAILED:
                yield from self._result(event, operation)
            case RuntimeEventType.STEP_STARTED:
                yield from self._begin_step(operation, str(data.get("name")))
            case RuntimeEventType.STEP_COMPLETED | RuntimeEventType.STEP_FAILED:
                yield from self._begin_step(operation, str(data.get("name")))
                yield from self._end_step(operation)
            case RuntimeEventType.JOB_PROGRESS | RuntimeEventType.JOB_BLOCKED:
                yield _custom(_OWN + event.type.partition(".")[2], data)
            case RuntimeEventType.ARTIFACT_CREATED:
                yield _custom(event.type, data)
            case _ if event.seq is not None and event.type not in _TYPES:  # of the application
                yield _custom(event.type, data)

    def _tell_of_model(self, event: RuntimeEvent, operation: str) -> Iterator[JsonObject]:
        if event.type == PARTIAL:
            yield from self._replace(operation, event.data)
        elif event.type == RuntimeEventType.MODEL_TOKEN and operation not in self._unknown:
            add = self._think if event.data.get("reasoning") else self._write
            yield from add(operation, str(event.data["text"]))
        elif event.type in (RuntimeEventType.MODEL_COMPLETED, RuntimeEventType.MODEL_LEFT):
            yield from self._answered(event, operation)
        elif event.type == RuntimeEventType.MODEL_FAILED:
            yield from self._give_up(operation)

    def _replace(self, operation: str, data: Any) -> Iterator[JsonObject]:
        """Tell what has come of an answer, which replaces what was told of it."""
        if data.get("cut"):
            self._unknown.add(operation)
            return
        self._unknown.discard(operation)
        if data["reasoning"]:
            yield from self._whole_thought(operation, data["reasoning"])
        yield from self._whole_text(operation, data["text"])

    def _answered(self, event: RuntimeEvent, operation: str) -> Iterator[JsonObject]:
        """Tell the rest of an answer, and the calls in it."""
        self._unknown.discard(operation)
        result = CompletionResult() if event.content is None else load_result(event.body())
        if event.content is not None:
            thought = "".join(part.text for part in result.reasoning)
            if thought and operation not in self._thoughts and operation not in self._texts:
                yield from self._think(operation, thought)
            yield from self._whole_text(operation, result.content)
        yield from self._end_thought(operation)
        yield from self._end_text(operation)
        for number, call in enumerate(result.tool_calls):
            given = call.arguments if call.malformed is None else {}
            yield from self._call(f"{operation}.{number}", call.name, given, self._id_of(operation))

    def _whole_text(self, operation: str, whole: str) -> Iterator[JsonObject]:
        coming = self._texts.get(operation)
        has = "" if coming is None else coming.joined()
        if not whole.startswith(has):
            yield from self._give_up(operation)
            has = ""
        if rest := whole[len(has) :]:
            yield from self._write(operation, rest)

    def _write(self, operation: str, text: str) -> Iterator[JsonObject]:
        if not text:
            return
        yield from self._end_thought(operation)
        coming = self._texts.get(operation)
        if coming is None:
            coming = self._texts[operation] = _Coming(self._id_of(operation))
            yield {"type": "TEXT_MESSAGE_START", "messageId": coming.message_id, "role": "assistant"}
        coming.add(text)
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": coming.message_id, "delta": text}

    def _end_text(self, operation: str) -> Iterator[JsonObject]:
        coming = self._texts.pop(operation, None)
        if coming is not None:
            yield {"type": "TEXT_MESSAGE_END", "messageId": coming.message_id}
            self._keep({"id": coming.message_id, "role": "assistant", "content": coming.joined()})

    def _give_up(self, operation: str) -> Iterator[JsonObject]:
        """Take back what was told of an answer that will not come: another attempt begins anew."""
        yield from self._end_thought(operation)
        coming = self._texts.pop(operation, None)
        if coming is None:
            return
        self._given_up[operation] += 1
        yield {"type": "TEXT_MESSAGE_END", "messageId": coming.message_id}
        if self._told is not None:
            others = [
                {"id": each.message_id, "role": "assistant", "content": each.joined()}
                for each in self._texts.values()
            ]
            yield {"type": "MESSAGES_SNAPSHOT", "messages": [*self._told, *others]}

    def _whole_thought(self, operation: str, whole: str) -> Iterator[JsonObject]:
        coming = self._thoughts.get(operation)
        if coming is None:
            if operation not in self._texts:  # it was told whole before the text
                yield from self._think(operation, whole)
        elif whole.startswith(has := coming.joined()):
            yield from self._think(operation, whole[len(has) :])

    def _think(self, operation: str, text: str) -> Iterator[JsonObject]:
        if not text:
            return
        coming = self._thoughts.get(operation)
        if coming is None:
            self._given_up[f"{operation}:thought"] += 1
            number = self._given_up[f"{operation}:thought"]
            coming = self._thoughts[operation] = _Coming(f"{self._mark}:{operation}:thought:{number}")
            yield {"type": "REASONING_START", "messageId": coming.message_id}
            yield {"type": "REASONING_MESSAGE_START", "messageId": coming.message_id, "role": "reasoning"}
        coming.add(text)
        yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": coming.message_id, "delta": text}

    def _end_thought(self, operation: str) -> Iterator[JsonObject]:
        coming = self._thoughts.pop(operation, None)
        if coming is not None:
            yield {"type": "REASONING_MESSAGE_END", "messageId": coming.message_id}
            yield {"type": "REASONING_END", "messageId": coming.message_id}

    def _call(
        self, operation: str, name: str, given: object, parent: str | None = None
    ) -> Iterator[JsonObject]:
        """Tell that a tool is called, once: by the model, and where nobody but the code did, when it begins."""
        if operation in self.calls:
            return
        self.calls.add(operation)
        parent = parent or f"{self._mark}:{operation}"
        text = dumps({} if given is None else given).decode()
        yield {
            "type": "TOOL_CALL_START",
            "toolCallId": operation,
            "toolCallName": name,
            "parentMessageId": parent,
        }
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": operation, "delta": text}
        yield {"type": "TOOL_CALL_END", "toolCallId": operation}
        function: JsonObject = {"name": name, "arguments": text}
        self._keep(
            {
                "id": parent,
                "role": "assistant",
                "toolCalls": [{"id": operation, "type": "function", "function": function}],
            }
        )

    def _result(self, event: RuntimeEvent, operation: str) -> Iterator[JsonObject]:
        yield from self._call(operation, str(event.data.get("name")), None)
        body = event.body()
        said = body.get("content", body.get("value")) if isinstance(body, dict) else event.data.get("error")
        text = "" if said is None else said if isinstance(said, str) else dumps(said).decode()
        message_id = f"{self._mark}:{operation}:result"
        yield {
            "type": "TOOL_CALL_RESULT",
            "messageId": message_id,
            "toolCallId": operation,
            "content": text,
            "role": "tool",
        }
        self._keep({"id": message_id, "role": "tool", "toolCallId": operation, "content": text})

    def _begin_step(self, operation: str, name: str) -> Iterator[JsonObject]:
        if operation in self._steps:
            return
        if name in self._steps.values():  # several at a time need names of their own
            name = f"{name} ({operation.rpartition(':')[2]})"
        self._steps[operation] = name
        yield {"type": "STEP_STARTED", "stepName": name}

    def _end_step(self, operation: str) -> Iterator[JsonObject]:
        name = self._steps.pop(operation, None)
        if name is not None:
            yield {"type": "STEP_FINISHED", "stepName": name}

    def _id_of(self, operation: str) -> str:
        number = self._given_up[operation]
        return f"{self._mark}:{operation}" + (f":{number}" if number else "")

    def _keep(self, message: JsonObject) -> None:
        """Keep a message, so that what is given up later can be taken back without it."""
        if self._told is None:
            return
        same = self._told[-1] if self._told and self._told[-1].get("id") == message["id"] else None
        self._size += len(dumps(message))
        if self._size > MAX_TOLD:
            self._told = None
        elif same is None:
            self._told.append(message)
        else:  # an answer and its calls are one message
            calls = [*_list(same.get("toolCalls")), *_list(message.get("toolCalls"))]
            self._told[-1] = {**same, "toolCalls": calls}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _custom(name: str, value: Any) -> JsonObject:
    return {"type": "CUSTOM", "name": name, "value": dict(value)}
