"""Tool calls and steps as journaled effects: recalled, intended, finished, or unknown.

| effect class | after a crash between intent and outcome |
| --- | --- |
| `pure`, `read` | no intent is written; run again |
| `idempotent` | run again with the same operation id |
| `reconcilable` | ask `reconcile(operation_id)` |
| `unsafe` | unknown: a person says done, retry or fail |
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Unpack

from agent_runtime.actions.records import new_action
from agent_runtime.errors import ContentTooLarge, ResultNotSerializable
from agent_runtime.execution.approvals import who_agreed
from agent_runtime.execution.branch import TIME_IS_UP, Branch, Operation
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.journal.history import History, Step
from agent_runtime.execution.operations.changes import warn_changed
from agent_runtime.execution.operations.waits import asked_event, await_action, blocking, open_action
from agent_runtime.ports.commit import CommitParts, NewEvent
from agent_runtime.values.action import ActionRecord, ActionSpec, ActionType
from agent_runtime.values.budget import Charge
from agent_runtime.values.content import decode, encode
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.fingerprint import hash_of, type_name
from llm_client.exits import PASSING
from llm_client.json_text import JsonObject
from llm_client.logs import logger_of
from llm_client.public_text import public_text, text_of
from llm_client.tools.tool import Effect, Reconcile, Reconciliation

logger = logger_of(__name__)

REPEATABLE: Final = frozenset({"pure", "read", "idempotent"})
WITHOUT_INTENT: Final = frozenset({"pure", "read"})
RECONCILE_TIMEOUT: Final = 60.0
"""Seconds a tool may take to find out whether an operation happened."""

MAX_SHOWN: Final = 100
"""Arguments that are listed by their classes when all together are too long."""

_CHANGED_MEANWHILE: Final = (
    "The code calls it with something else by now than was shown to those who wanted it done again"
)

Outcome = RuntimeEvent | NewEvent
"""A `completed` or `failed` entry: recorded earlier, or just now."""


def described(arguments: Mapping[str, object]) -> bytes:
    """Return arguments as far as they are JSON, as content: for the record, and for a person who has to decide."""
    try:
        return encode(dict(arguments))
    except (ResultNotSerializable, ContentTooLarge):
        shown = {name: value if _is_json(value) else type_name(value) for name, value in arguments.items()}
    try:
        return encode(shown)
    except (ResultNotSerializable, ContentTooLarge):  # each of them fits, all together do not
        return encode([type_name(value) for value in arguments.values()][:MAX_SHOWN])


def _is_json(value: object) -> bool:
    try:
        encode(value)
    except (ResultNotSerializable, ContentTooLarge):
        return False
    return True


class JournaledEffect:
    """One tool call or step of a job, from recall to outcome.

    Args:
        branch: Where it waits, if it has to.
        kind: `tool` or `step`.
        name: Of the tool or step.
        operation: Its place in the journal.
        effect: Its effect class.
        arguments: What the code, or the model, calls it with. Those of a tool are ruled on, completed and perhaps edited before
            it begins (`agree`); with those that it begins with the effect is recorded, named, and shown to people.
        reconcile: For the class `reconcilable`.
        write_result: Turns a result that a person or `reconcile` gives into content; raises where it cannot be one, in words
            that follow 'the result'.
    """

    def __init__(
        self,
        branch: Branch,
        *,
        kind: Literal["tool", "step"],
        name: str,
        operation: Operation,
        effect: Effect,
        arguments: Mapping[str, object],
        reconcile: Reconcile | None = None,
        write_result: Callable[[object], bytes] = encode,
    ) -> None:
        self.branch = branch
        self.run = branch.run
        self.kind: Literal["tool", "step"] = kind
        self.name = name
        self.effect: Effect = effect
        self.arguments = arguments
        self._reconcile = reconcile
        self._write_result = write_result
        self._asked = self._hash_of(arguments)
        self._made = (operation.step and operation.step.made_hash) or self._asked
        self._place = operation.place
        self._before: list[Any] | None = (self.run.history.created_data("dropped") or {}).get(operation.place)
        self._is_settled = False
        self.ruled_at = operation.id if self._before is None else self._first_id(self._before[3])
        """Under which id rulings and approvals are recorded, which come before its name is known."""
        if operation.step is not None or self._before is None:
            self.operation_id = operation.id
        else:
            self.operation_id = self._named() if kind == "step" else self.ruled_at

    def _first_id(self, before: str) -> str:
        has_new_keys = self.run.history.created_data("new_seed") is not None
        return self.run.own_operation_id(self._place) if has_new_keys else before

    def _named(self) -> str:
        """Return the id of a new effect: of two that a retry does at one place, only the same one has the same id."""
        if self._before is None or self._before[:3] == [self.kind, self.name, self._made]:
            return self.ruled_at
        return self.run.own_operation_id(self._place)

    def _hash_of(self, arguments: Mapping[str, object]) -> str:
        return hash_of(self.run.tokens.hidden(arguments))

    async def agree(self, arguments: Mapping[str, object]) -> Outcome | None:
        """Learn with which arguments it is going to begin; return what became of the very same effect in the job retried."""
        self.arguments, self._made = arguments, self._hash_of(arguments)
        if self.step is not None or self._before is None:
            return None
        self.operation_id = self._named()
        return await self._settle_repeated("made", self._made)

    def arguments_again(self) -> dict[str, Any] | None:
        """Return what it has to be called with, because it was under way with that, and people were shown it.

        `None` where nothing is recorded, or not as it was: then it is called as the code asks.
        """
        return None if self.step is None else _whole_arguments(self._recorded())

    def was_begun_with(self, arguments: Mapping[str, object]) -> bool:
        """Whether it was under way in this job with the same arguments: then whoever had to agree to them has."""
        intent = None if self.step is None else self.step.intended
        return intent is not None and _made_hash(intent) == self._hash_of(arguments)

    def _recorded(self) -> RuntimeEvent | None:
        """Return the entry that holds what it was called with, here or in the job that is retried."""
        history, step = self.run.history, self.step
        return history.repeats.get(self._place) if step is None else history.call_of(step)

    def _shown(self) -> dict[str, object]:
        """Return the arguments as they are recorded."""
        return {name: self.run.tokens.hidden(value) for name, value in self.arguments.items()}

    @property
    def step(self) -> Step | None:
        """What the journal knows of it by now."""
        return self.run.history.steps.get(self.operation_id)

    async def recall(self) -> Outcome | None:
        """Return the recorded outcome, or settle what a crash left open; `None` when it is to run (again)."""
        step = self.step
        if step is None:
            return await self._settle_repeated("input", self._asked)
        self._warn_if_changed(step)
        if step.outcome is not None:
            return step.outcome
        if step.state == "unknown":
            return await self._ask_person(step) or await self._not_again()
        if step.open_intent is None or step.may_reenter:
            return None
        return await self.settle_lost() or await self._not_again()

    async def _settle_repeated(self, by: Literal["input", "made"], wanted: str) -> Outcome | None:
        """See about an effect that happened in the job that is retried from before it: somebody says what now.

        It is the same if the code asks the same again, or if the same is what has come of what it asks.
        """
        before = self.run.history.repeats.get(self._place)
        if before is None or self._is_settled:
            return None
        data = before.data
        found = data.get("input") if by == "input" else _made_hash(before)
        if (data["kind"], data["name"], found) != (self.kind, self.name, wanted):
            return None
        self._is_settled, self._made = True, _made_hash(before) or self._made
        return await self.settle_lost()

    def _warn_if_changed(self, step: Step) -> None:
        if step.input_hash is not None and step.input_hash != self._asked:
            warn_changed(self.run, self.operation_id, self.kind, self.name)

    async def intend(self, **parts: Unpack[CommitParts]) -> None:
        """Write the intent, where the effect class needs one and none is open."""
        step = self.step
        if self.effect in WITHOUT_INTENT and not parts and not self.run.journal.suspicion.is_suspect:
            return
        if step is not None and step.open_intent is not None:
            return
        if self.kind == "step":  # runs with what the code asks for now
            self._made = self._asked
        data = {**self._hashes(), "effect": self.effect}
        if self.run.tokens.are_drawn and hash_of(self.arguments) != self._made:
            data["hides"] = True
        content = described(self._shown())
        event = NewEvent(f"{self.kind}.started", self.operation_id, data, content)
        await self.run.journal.commit([event], **parts)
        await self.run.gate.check_alive()

    def _hashes(self) -> JsonObject:
        """Return what entries say of it: its name, what was asked, and what is done where that is something else."""
        data = {"name": self.name, "input": self._asked}
        return data if self._made == self._asked else data | {"made": self._made}

    async def finish(
        self,
        *,
        ok: bool,
        data: JsonObject,
        content: bytes | None,
        charges: Sequence[Charge] = (),
        with_next: bool = False,
    ) -> Outcome:
        """Write the outcome, or hold it for the next commit.

        It may be held where a crash would repeat only what may be repeated, or where its caller shows it to nobody yet.
        """
        state = "completed" if ok else "failed"
        described = {**self._hashes(), **data}
        outcome = NewEvent(f"{self.kind}.{state}", self.operation_id, described, content)
        if (with_next or self.effect in REPEATABLE) and self.run.journal.may_defer(outcome):
            self.run.journal.defer(outcome, charges)
        else:
            await self.run.journal.commit([outcome], charges=charges)
        return outcome

    async def settle_lost(self) -> Outcome | None:
        """Deal with an intent whose outcome was lost, by a crash or a time-out; `None` means: run it again."""
        if self.effect in REPEATABLE:
            return None
        if self.effect == "reconcilable" and self._reconcile is not None:
            answer = await self._ask_tool(self._reconcile)
            if answer.outcome == "happened":
                content, problem = self._told(answer.result)
                if content is not None:
                    return await self._done(content, by="reconcile")
                logger.warning("%s %r: what its reconcile gave %s", self.kind, self.name, problem)
            if answer.outcome == "did_not_happen":
                return None
        step = self.step
        number = step.unknowns if step is not None else 0
        unknown = NewEvent(
            f"{self.kind}.unknown", self.operation_id, {"name": self.name, "effect": self.effect}
        )
        action = question_about(self.run, self._question(), f"{self.operation_id}!{number}")
        await self.run.journal.commit(
            [
                unknown,
                asked_event(action, asks=self._done_again()),
                *blocking(self.branch, action.operation_id or "", "action"),
            ],
            new_actions=[action],
        )
        step = self.step
        assert step is not None  # noqa: S101 -- the commit has just declared it
        return await self._ask_person(step)

    async def settle_interrupted(self) -> None:
        """Deal with an effect that a bound on time has cut off: what became of it is found out before anybody goes on.

        A job that ends or leaves the memory settles it there, and what stood still in a wait has not gone on.
        """
        step, run = self.step, self.run
        if run.lifecycle.is_over or run.is_asked_to_stop() or self.effect in REPEATABLE:
            return
        if self.branch.stop_reason("action") is None:  # cut off by something else, which is refused
            return
        if step is None or step.open_intent is None or step.may_reenter:
            return
        self.branch.effect = None
        if await self.settle_lost() is None and not self.run.lifecycle.is_over:
            await self._out_of_time()

    async def _not_again(self) -> Outcome | None:
        """Refuse to do again what is known not to have happened when its time is up; `None` where it is not.

        Done again it would be cut off at once, and somebody asked what had become of it, for ever.
        """
        if self.effect in REPEATABLE or self.branch.stop_reason("action") != TIME_IS_UP:
            return None
        return await self._out_of_time()

    async def _out_of_time(self) -> Outcome:
        data = {"error": "its time was up before it was done again", "error_type": TimeoutError.__name__}
        return await self.finish(ok=False, data=data, content=None)

    def _question(self, problem: str | None = None) -> ActionSpec:
        """Ask about what was under way; where `retry` would run something else, show that as well."""
        call, shown = self._recorded(), decode(described(self._shown()))
        is_other = call is not None and call.data.get("input") != self._asked
        if is_other and self.kind == "tool":
            is_other = self.arguments_again() is None
        return unknown_effect(
            self.run.history,
            kind=self.kind,
            name=self.name,
            operation_id=self.operation_id,
            arguments=shown if call is None or call.content is None else decode(call.content),
            retried_with=shown if is_other else None,
            problem=problem,
        )

    async def _ask_tool(self, reconcile: Reconcile) -> Reconciliation:
        call = self._recorded()  # under another name, perhaps, in the job that is retried
        called = self.operation_id if call is None or call.operation_id is None else call.operation_id
        try:
            async with asyncio.timeout(RECONCILE_TIMEOUT):
                return await reconcile(called)
        except PASSING:
            raise
        except BaseException:
            logger.exception("%s %r could not be reconciled", self.kind, self.name)
            return Reconciliation(outcome="cannot_tell")

    async def _ask_person(self, step: Step) -> Outcome | None:
        """Wait until somebody has said what became of an operation; again where they gave a result that cannot be."""
        first = f"{self.operation_id}!{step.unknowns - 1}"
        problem: str | None = None
        for number in itertools.count():
            place = f"{first}.{number}" if number else first
            retried = self._done_again()
            action = await open_action(self.branch, place, self._question(problem), asks=retried)
            answer = (await await_action(self.branch, action, settles=True)).resolution or {}
            match answer.get("outcome"):
                case "done":
                    content, unfit = self._told(answer.get("result"))
                    if content is not None:
                        return await self._done(content, by="person")
                    problem = f"The result that was given {unfit}"
                case "retry":
                    if self.run.history.steps[place].input_hash in (None, retried):
                        return None
                    problem = _CHANGED_MEANWHILE
                case _:
                    reason = public_text(str(answer.get("error") or "a person found that it had failed"))
                    data = {"error": reason, "error_type": "reconciled", "reconciled": "person"}
                    return await self.finish(ok=False, data=data, content=None)
        raise AssertionError("unreachable: the count has no end")

    def _done_again(self) -> str:
        """Return the hash of the arguments that a retry would be called with: those that a tool was called with, or the code's."""
        call = self._recorded()
        is_made_again = self.kind == "tool" and _whole_arguments(call) is not None
        made = _made_hash(call) if call is not None and is_made_again else None
        return made or self._asked

    def _told(self, result: Any) -> tuple[bytes | None, str | None]:
        """Return a result that somebody gives as content, or why it cannot be what this operation returned."""
        try:
            return self._write_result(result), None
        except Exception as error:  # noqa: BLE001 -- whatever the declared type's own code raises
            return None, text_of(error)

    async def _done(self, content: bytes, *, by: str) -> Outcome:
        return await self.finish(ok=True, data={"reconciled": by}, content=content)


def _whole_arguments(call: RuntimeEvent | None) -> dict[str, Any] | None:
    """Return what an effect was called with, where its entry holds it as it was."""
    if call is None or call.content is None or call.data.get("hides"):
        return None
    arguments = decode(call.content)
    is_whole = isinstance(arguments, dict) and hash_of(arguments) == _made_hash(call)
    return arguments if is_whole else None


def _made_hash(call: RuntimeEvent) -> str | None:
    found: str | None = call.data.get("made", call.data.get("input"))
    return found


def unknown_effect(
    history: History,
    *,
    kind: str,
    name: str,
    operation_id: str,
    arguments: object = None,
    retried_with: object = None,
    problem: str | None = None,
) -> ActionSpec:
    """Build the question what became of an operation whose outcome was lost, for those who had to agree to it.

    Args:
        history: Tells who that was.
        kind: `tool` or `step`.
        name: Its name.
        operation_id: It.
        arguments: What it was called with.
        retried_with: What it is called with if it is run again, where that is something else by now.
        problem: What was wrong with an earlier answer, in a sentence.
    """
    agreed = who_agreed(history, operation_id)
    payload: dict[str, Any] = {
        "message": f"The outcome of {kind} {name!r} was lost. Did it happen? Answer done, retry or fail.",
        kind: name,
        "operation_id": operation_id,
    }
    if arguments is not None:
        payload["arguments"] = arguments
    if retried_with is not None:
        payload["retry_arguments"] = retried_with
    if problem is not None:
        payload["problem"] = problem
    return ActionSpec(
        type=ActionType.RECONCILE, payload=payload, approvers=agreed.approvers, quorum=agreed.quorum
    )


def question_about(run: JobRun, spec: ActionSpec, operation_id: str) -> ActionRecord:
    """Build the action that asks it in this job."""
    return new_action(
        spec,
        scope_id=run.job.scope_id,
        job_id=run.job_id,
        operation_id=operation_id,
        now=run.services.clock.now(),
    )
