"""Live text between processes: whoever watches a job that another process executes hears what its models write.

Only what somebody wants to hear is said: a process that has readers of a job says so, again and again while it has, and the one that
executes the job then says what comes, gathered for a moment. What has come before, whoever is new is told from the beginning. Nothing of it
is a promise: a piece that is missing is asked for, and the journal has the whole answer in the end.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from agent_runtime.errors import StorageError
from agent_runtime.events.bus import EventBus
from agent_runtime.events.live_calls import LiveCall, LiveCalls
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.live_channel import MAX_LIVE_BYTES, LiveChannel
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from llm_client.background import BackgroundLoop, stopped
from llm_client.json_text import JsonValue, dumps, loads
from llm_client.logs import logger_of

logger = logger_of(__name__)

GATHER_SECONDS: Final = 0.1
"""How long text is gathered before it is said."""
WANT_SECONDS: Final = 5.0
"""How often it is said which jobs are watched here."""
WANTED_SECONDS: Final = 15.0
"""How long a job counts as watched elsewhere since that was said."""
AGAIN_SECONDS: Final = 1.0
"""How often the beginning of a job's answers is asked for at most."""
MAX_WANTED: Final = 10_000
"""Jobs that are watched elsewhere; of more, those that were asked for longest ago are forgotten."""
MAX_CALLS: Final = 100
"""Answers of one job that are followed at a time."""
_JOBS_AT_ONCE: Final = 100
"""Names of jobs in one message."""
_TEXT_AT_ONCE: Final = 1_000
"""Characters in one message: as JSON each may take six bytes."""
_WANT, _TEXT, _END = "want", "text", "end"


class LiveText:
    """One process's part of it.

    Args:
        live: The answers that are coming here, and those that others tell of.
        bus: Where readers here hear what others say.
        channel: Carries it.
        clock: What time it is.
    """

    def __init__(self, live: LiveCalls, *, bus: EventBus, channel: LiveChannel, clock: Clock) -> None:
        self._live = live
        self._bus = bus
        self._channel = channel
        self._clock = clock
        self._wanted: OrderedDict[str, float] = OrderedDict()
        """Until when each job counts as watched elsewhere."""
        self._asked: dict[str, float] = {}
        """When the beginning of a job's answers was asked for."""
        self._begun: dict[str, float] = {}
        """For whom the beginning of a job's answers was said, by the same clock: many may ask at once, and all of them hear it."""
        self._to_say: deque[list[JsonValue]] = deque()
        self._saying = BackgroundLoop(
            self._say, name="telling of live text", logger=logger, failures=(StorageError,)
        )
        self._wanting = BackgroundLoop(
            self._want, name="asking for live text", logger=logger, failures=(StorageError,)
        )

    def start(self) -> None:
        """Begin to hear and to say. Idempotent."""
        live = self._live
        live.wanted_elsewhere, live.on_added, live.on_ended = self._is_wanted, self._added, self._ended
        live.on_watched = self._ask
        self._channel.hear(self._heard)
        self._wanting.start(after=WANT_SECONDS)
        self._saying.start()

    async def stop(self) -> None:
        """Hear and say nothing more. Idempotent."""
        live = self._live
        live.wanted_elsewhere, live.on_added, live.on_ended, live.on_watched = _nobody, None, None, None
        self._channel.hear(_deaf)
        await stopped(self._wanting.stop, self._saying.stop)

    def _is_wanted(self, job_id: str) -> bool:
        return self._wanted.get(job_id, 0.0) > self._clock.monotonic()

    def _added(self, call: LiveCall, text: str, reasoning: bool, offset: int) -> None:
        """Say what has come of an answer, if somebody wants to hear it: together with what was not said yet."""
        if not self._is_wanted(call.job_id):
            return
        kind = int(reasoning)
        last: list[JsonValue] = self._to_say[-1] if self._to_say else []
        is_next = last[:5] == [_TEXT, call.job_id, call.operation_id, call.call_id, kind]
        if is_next and len(str(last[6])) + len(text) <= _TEXT_AT_ONCE:
            last[6] = f"{last[6]}{text}"
        else:
            self._tell(call, text, kind, offset)

    def _tell(self, call: LiveCall, text: str, kind: int, offset: int) -> None:
        names: list[JsonValue] = [_TEXT, call.job_id, call.operation_id, call.call_id, kind]
        for start in range(0, len(text), _TEXT_AT_ONCE):
            piece = text[start : start + _TEXT_AT_ONCE]
            self._to_say.append([*names, offset + start, piece, call.scope_id])
        self._saying.wake()

    def _ended(self, call: LiveCall) -> None:
        if self._is_wanted(call.job_id):
            self._to_say.append([_END, call.job_id, call.operation_id, call.call_id])
            self._saying.wake()

    async def _say(self) -> None:
        """Say what there is, after a moment in which more may come."""
        while self._to_say:
            await asyncio.sleep(GATHER_SECONDS)
            for _ in range(len(self._to_say)):
                await self._say_one(self._to_say.popleft())

    async def _say_one(self, message: list[JsonValue]) -> None:
        text = dumps(message).decode()
        if len(text.encode()) <= MAX_LIVE_BYTES:  # names of operators may be long
            await self._channel.say(text)

    async def _want(self) -> float:
        """Say which jobs are watched here, again and again."""
        now = self._clock.monotonic()
        self._asked = {job: at for job, at in self._asked.items() if now - at < AGAIN_SECONDS}
        self._begun = {job: at for job, at in self._begun.items() if at > now}
        watched = self._live.watched
        for start in range(0, len(watched), _JOBS_AT_ONCE):
            await self._say_one([_WANT, False, *watched[start : start + _JOBS_AT_ONCE]])
        return WANT_SECONDS

    def _ask(self, job_id: str) -> None:
        """Ask for all that has come of a job's answers."""
        now = self._clock.monotonic()
        if now - self._asked.get(job_id, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return
        self._asked[job_id] = now
        self._to_say.appendleft([_WANT, True, job_id])
        self._saying.wake()

    def _heard(self, said: str) -> None:
        """Learn what another process says; what nobody can have meant is not looked at."""
        try:
            kind, *told = loads(said)
            if kind == _WANT:
                self._wants(bool(told[0]), [str(job) for job in told[1:]])
            elif kind == _TEXT:
                job, operation, call, reasoning, offset, text, scope = told
                self._hears(
                    LiveCall(str(job), str(scope), str(operation), str(call)),
                    str(text),
                    reasoning=bool(reasoning),
                    offset=int(offset),
                )
            elif kind == _END:
                found = self._live.find(str(told[0]), str(told[1]))
                if found is not None and not found.is_ours and found.call_id == told[2]:
                    self._live.end(found)
        except (ValueError, TypeError, IndexError):
            logger.debug("what another process said is not understood")

    def _wants(self, from_beginning: bool, jobs: Sequence[str]) -> None:
        until = self._clock.monotonic() + WANTED_SECONDS
        for job_id in jobs:
            self._wanted[job_id] = until
            self._wanted.move_to_end(job_id)
            if len(self._wanted) > MAX_WANTED:
                self._wanted.popitem(last=False)
            if not from_beginning or until - self._begun.get(job_id, 0.0) < AGAIN_SECONDS:
                continue
            self._begun[job_id] = until
            for call in self._live.calls(job_id):
                if call.is_ours:
                    so_far = call.so_far()
                    self._tell(call, so_far.reasoning, 1, 0)
                    self._tell(call, so_far.text, 0, 0)

    def _hears(self, told: LiveCall, text: str, *, reasoning: bool, offset: int) -> None:
        """Pass on what readers here do not know yet; ask for what is missing."""
        if not self._live.is_watched(told.job_id):
            return
        call = self._live.find(told.job_id, told.operation_id)
        if call is not None and call.is_ours:
            return
        if call is None or call.call_id != told.call_id:
            if offset > 0:
                self._ask(told.job_id)
                return
            if call is None and len(self._live.calls(told.job_id)) >= MAX_CALLS:
                return
            call = self._live.add_call(told)
        known = call.length(reasoning=reasoning)
        if offset > known:
            self._ask(told.job_id)
            return
        news = text[known - offset :]
        if not news:
            return
        call.add(news, reasoning=reasoning)
        data: dict[str, JsonValue] = {
            "text": news,
            "reasoning": reasoning,
            "offset": known,
            "call": call.call_id,
        }
        event = RuntimeEvent(
            type=RuntimeEventType.MODEL_TOKEN,
            job_id=call.job_id,
            scope_id=call.scope_id,
            timestamp=self._clock.now(),
            operation_id=call.operation_id,
            data=data,
        )
        self._bus.publish_live(event)


def _nobody(_: str) -> bool:
    return False


def _deaf(_: str) -> None:
    return
