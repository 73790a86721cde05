"""One run as a stream: it begins, follows its job, and ends with the job, or with a question to whoever reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Final, NamedTuple

from fastapi.sse import format_sse_event

from agent_runtime.errors import AgentRuntimeError, ContentPruned, StorageError
from agent_runtime.server.access import Caller
from agent_runtime.server.ag_ui.given import Run
from agent_runtime.server.ag_ui.interrupts import answered, interrupts_of
from agent_runtime.server.ag_ui.telling import Telling
from agent_runtime.server.parts import Service
from agent_runtime.server.questions import open_questions
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from llm_client.json_text import JsonObject, JsonValue, dumps
from llm_client.public_text import public_text
from llm_client.turns import read_aside

PROTOCOL: Final = "1.0"
"""The version of AG-UI that is spoken."""


class Followed(NamedTuple):
    """What a run follows."""

    job_id: str
    after_seq: int = 0
    """The last entry that the page knows from the run before."""


class Running:
    """Tells one reader of one run.

    Args:
        service: Of whose job.
        caller: Who reads.
        scope_id: In which scope.
        run: The run.
    """

    def __init__(self, service: Service, caller: Caller, scope_id: str | None, run: Run) -> None:
        self._kernel = service.kernel
        self._caller = caller
        self._scope_id = scope_id
        self._run = run
        self._telling = Telling(run.mark)
        self._asked: set[str] = set()
        """Questions that the job has asked by now."""

    async def frames(self, followed: Followed | None) -> AsyncGenerator[bytes, None]:
        """Yield the frames of the run.

        Args:
            followed: What it follows; `None` for a run that goes on with answers.
        """
        refused: JsonObject | None = None
        if followed is None:
            try:
                followed = Followed(*await answered(self._kernel, self._run, self._caller, self._scope_id))
            except StorageError:
                raise
            except AgentRuntimeError as error:
                refused = _error(str(error), str(error.code))
        yield _frame(self._begun(followed))
        if followed is None:
            yield _frame(refused or _error("nothing goes on", None))
            return
        if self._run.comes_back:
            before: JsonObject = {"type": "MESSAGES_SNAPSHOT", "messages": self._run.messages}
            yield await read_aside(before, partial(_frame, before))
        async for told in self._told(followed):
            yield await read_aside(told, partial(_frame, told))

    def _begun(self, followed: Followed | None) -> dict[str, JsonValue]:
        given = self._run.given
        told: dict[str, JsonValue] = {
            "type": "RUN_STARTED",
            **self._ids(),
            "protocolVersion": PROTOCOL,
            "timestamp": int(self._kernel.clock.now().timestamp() * 1000),
        }
        if given.parent_run_id is not None:
            told["parentRunId"] = given.parent_run_id
        if followed is not None:
            told["metadata"] = {"agent-runtime": {"jobId": followed.job_id}}
        return told

    def _ids(self) -> dict[str, JsonValue]:
        return {"threadId": self._run.given.thread_id, "runId": self._run.given.run_id}

    async def _told(self, followed: Followed) -> AsyncIterator[JsonObject]:
        """Yield what happens in a job, and in those that go on in its place, and how it ends."""
        last: RuntimeEvent | None = None
        job_id: str | None = followed.job_id
        known = followed.after_seq
        if not known:
            self._telling.begin(self._run.messages)
        while job_id is not None:
            handle = self._kernel.handle(job_id, scope_id=self._scope_id)
            async with aclosing(handle.events(partials=True)) as events:
                async for event in events:
                    last = event
                    silent = event.seq is not None and event.seq <= known
                    for told in await read_aside(event.content or b"", partial(self._telling.tell, event)):
                        if not silent:
                            yield told
                    if silent:
                        if event.seq == known:
                            self._telling.begin(self._run.messages)
                        self._note(event)
                        continue
                    async for told in self._stops(job_id, event):
                        yield told
                        if told["type"] == "RUN_FINISHED":
                            return
            job_id, known = None if last is None else last.data.get("continued_as"), 0
        for told in self._telling.end():
            yield told
        yield await self._ended(last)

    def _note(self, event: RuntimeEvent) -> None:
        if event.type == RuntimeEventType.ACTION_REQUIRED:
            self._asked.add(str(event.data.get("action_id")))

    async def _stops(self, job_id: str, event: RuntimeEvent) -> AsyncIterator[JsonObject]:
        """Yield the end of a run whose job waits for whoever reads; others are told that it waits for somebody."""
        self._note(event)
        if event.type != RuntimeEventType.JOB_SUSPENDED or not self._asked:
            return
        questions = [
            action
            for action in await open_questions(self._kernel, job_id, self._caller)
            if action.action_id in self._asked
        ]
        if not questions:
            if "action" in (event.data.get("waits") or ()):
                yield {"type": "CUSTOM", "name": "agent-runtime.waits", "value": {"for": "people"}}
            return
        for told in self._telling.end():
            yield told
        interrupts = interrupts_of(questions, event.seq or 0, self._telling.calls)
        yield {
            "type": "RUN_FINISHED",
            **self._ids(),
            "outcome": {"type": "interrupt", "interrupts": interrupts},
            **_at(event),
        }

    async def _ended(self, last: RuntimeEvent | None) -> dict[str, JsonValue]:
        """Return how the run ends, by the last entry of its job."""
        if last is None or not last.is_terminal:
            return _error("the job has told nothing more", None)
        if last.type == RuntimeEventType.JOB_CANCELLED:
            return {"type": "RUN_FINISHED", **self._ids(), "outcome": {"type": "cancelled"}, **_at(last)}
        if last.type != RuntimeEventType.JOB_SUCCEEDED:
            said = last.data.get("error") or last.type
            code = last.data.get("error_code")
            return _error(str(said), None if code is None else str(code)) | _at(last)
        told: dict[str, JsonValue] = {
            "type": "RUN_FINISHED",
            **self._ids(),
            "outcome": {"type": "success"},
            **_at(last),
        }
        try:
            handle = self._kernel.handle(str(last.job_id), scope_id=self._scope_id)
            output = (await handle.result()).output
        except ContentPruned:
            return told
        return told if output is None else {**told, "result": output}


def _error(message: str, code: str | None) -> dict[str, JsonValue]:
    told: dict[str, JsonValue] = {"type": "RUN_ERROR", "message": public_text(message)}
    return told if code is None else {**told, "code": code}


def _at(event: RuntimeEvent) -> dict[str, JsonValue]:
    return {"timestamp": int(event.timestamp.timestamp() * 1000)}


def _frame(told: JsonObject) -> bytes:
    return format_sse_event(data_str=dumps(told).decode())
